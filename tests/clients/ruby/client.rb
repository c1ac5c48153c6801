# Ruby with pg.
require "digest"
require "pg"

def own_key(parts)
  Digest::SHA256.digest(parts.join("-")).unpack1("q>")
end

class Client
  def initialize
    @connection = PG.connect
    @array = PG::TextEncoder::Array.new
    # With these, arrays can be passed as they are.
    @types = PG::BasicTypeMapForQueries.new(@connection)
    @connection.prepare("key", "SELECT advisory_key($1)")
  end

  def driver = "pg #{PG::VERSION}"

  def key(parts)
    ask = "SELECT advisory_key($1)"
    [
      own_key(parts),
      one(ask, @array.encode(parts)),
      @connection.exec_params(ask, [parts], 0, @types).getvalue(0, 0),
      @connection.exec_prepared("key", [@array.encode(parts)]).getvalue(0, 0)
    ].join(" ")
  end

  def try(parts) = attempt("SELECT try_lock_keys($1)", @array.encode(parts))

  def integer(parts) = attempt("SELECT pg_try_advisory_xact_lock($1)", own_key(parts))

  def wait(milliseconds, parts)
    attempt("SELECT try_lock_keys($1, timeout => $2)", @array.encode(parts), "#{milliseconds}ms")
  end

  def fail(parts)
    attempt("SELECT lock_keys($1, timeout => '0')", @array.encode(parts))
  rescue PG::Error => error # PG::LockNotAvailable when refused
    @connection.exec("ROLLBACK")
    error.result.error_field(PG::PG_DIAG_SQLSTATE)
  end

  def commit
    @connection.exec("COMMIT")
    "ok"
  end

  private

  def one(statement, *parameters) = @connection.exec_params(statement, parameters).getvalue(0, 0)

  def attempt(statement, *parameters)
    @connection.exec("BEGIN") if @connection.transaction_status == PG::PQTRANS_IDLE
    one(statement, *parameters) == "t"
  end
end

client = Client.new
$stdout.sync = true
while (line = $stdin.gets)
  command, *words = line.split
  milliseconds = words.shift if command == "wait"
  parts = words.map { |word| word == "-" ? "" : [word].pack("H*").force_encoding("UTF-8") }
  puts case command
       when "driver", "commit" then client.public_send(command)
       when "wait" then client.wait(milliseconds, parts)
       else client.public_send(command, parts)
       end
end
