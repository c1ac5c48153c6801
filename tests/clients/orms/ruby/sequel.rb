require "json"
require "pg"
require "sequel"
require_relative "scene"

DB = Sequel.connect(adapter: "postgres", host: ENV["PGHOSTADDR"], port: ENV["PGPORT"], user: ENV["PGUSER"], password: ENV["PGPASSWORD"],
  database: ENV["PGDATABASE"], max_connections: 1)

facts = check(
  version: Sequel.version.split(".").first(2).join("."),
  refuse: -> { DB.get(Sequel.lit("lock_keys(ARRAY['report', 'daily'], timeout => '0')")) },
  lock: -> { DB.get(Sequel.lit("lock_keys(ARRAY['report', 'daily'], session => true)")) },
  unlock: -> { DB.get(Sequel.lit("release_keys(ARRAY['report', 'daily'])")) }
)

# A list becomes one in parentheses, as for IN.
raise unless DB["SELECT try_lock_keys(?)", PARTS].sql == "SELECT try_lock_keys(('report', 'daily'))"
puts facts.to_json
