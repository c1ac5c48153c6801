require "active_record"
require "json"
require "pg"
require_relative "scene"

ActiveRecord::Base.establish_connection(adapter: "postgresql", host: ENV["PGHOSTADDR"], port: ENV["PGPORT"], username: ENV["PGUSER"],
  password: ENV["PGPASSWORD"], database: ENV["PGDATABASE"], pool: 1)

def connection = ActiveRecord::Base.connection

def give_back = ActiveRecord::Base.connection_handler.clear_active_connections!

facts = check(
  version: ActiveRecord.version.segments.first(2).join("."),
  refuse: -> { connection.select_value("SELECT lock_keys(ARRAY['report', 'daily'], timeout => '0')") },
  lock: -> { connection.select_value("SELECT lock_keys(ARRAY['report', 'daily'], session => true)"); give_back },
  unlock: -> { connection.select_value("SELECT release_keys(ARRAY['report', 'daily'])") }
)

TRY = "SELECT try_lock_keys(ARRAY['report', 'daily'])"

# The query cache answers the second time; not a CALL, not `execute`, not in `uncached`.
ActiveRecord::Base.cache do
  locks = lambda do |lock|
    2.times.map { ActiveRecord::Base.transaction { lock.call; !free? } }
  end
  raise unless locks.call(-> { connection.select_value(TRY) }) == [true, false]
  raise unless locks.call(-> { connection.execute(TRY) }) == [true, true]
  raise unless locks.call(-> { connection.execute("CALL acquire_keys(ARRAY['report', 'daily'])") }) == [true, true]
  raise unless locks.call(-> { ActiveRecord::Base.uncached { connection.select_value(TRY) } }) == [true, true]
end

# A list becomes several arguments, in ARRAY[…] the parts.
wrong = ActiveRecord::Base.sanitize_sql(["SELECT try_lock_keys(?)", PARTS])
raise wrong unless wrong == "SELECT try_lock_keys('report','daily')"

# It takes CALL for a write, and SELECT for none.
ActiveRecord::Base.while_preventing_writes do
  error = error_of { connection.execute("CALL acquire_keys(ARRAY['report', 'daily'])") }
  raise error unless error.is_a?(ActiveRecord::ReadOnlyError)
  ActiveRecord::Base.transaction { raise unless connection.select_value(TRY) }
end

# Other classes of errors.
hold
connection.execute("SET statement_timeout = '100ms'")
error = error_of { connection.select_value("SELECT lock_keys(ARRAY['report', 'daily'])") }
raise error unless error.is_a?(ActiveRecord::QueryCanceled)
release
puts facts.to_json
