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
    @integers = PG::TextDecoder::Array.new(elements_type: PG::TextDecoder::Integer.new)
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

  def slot(slots, parts) = attempt("SELECT try_lock_slot($1, $2)", @array.encode(parts), slots)

  def claim(wanted, parts)
    start
    names = parts.map { |part| [part] }
    rows = @integers.decode(one("SELECT claim_keys($1, wanted => $2)", @array.encode(names), wanted))
    "{#{rows.join(",")}}"
  end

  def acquire(parts)
    start
    @connection.exec_params("CALL acquire_keys($1)", [@array.encode(parts)])
    "ok"
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

  def start
    @connection.exec("BEGIN") if @connection.transaction_status == PG::PQTRANS_IDLE
  end

  def attempt(statement, *parameters)
    start
    one(statement, *parameters) == "t"
  end
end

client = Client.new
$stdout.sync = true
while (line = $stdin.gets)
  command, *words = line.split
  number = words.shift.to_i if %w[wait slot claim].include?(command)
  parts = words.map { |word| word == "-" ? "" : [word].pack("H*").force_encoding("UTF-8") }
  puts case command
       when "driver", "commit" then client.public_send(command)
       when "wait", "slot", "claim" then client.public_send(command, number, parts)
       else client.public_send(command, parts)
       end
end
