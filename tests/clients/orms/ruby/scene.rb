# What is done to each library: the block of the page, what a refusal is, and what becomes of a session-level lock in its pool.
PARTS = %w[report daily].freeze
REQUEST = JSON.parse(ARGV[0])
OTHER = PG.connect
$reports = 0

def ask_other(expression) = OTHER.exec("SELECT #{expression}").getvalue(0, 0)

def free? = ask_other("keys_available('{report,daily}')") == "t"

def hold = ask_other("lock_keys('{report,daily}', session => true)")

def release = ask_other("release_keys('{report,daily}')")

def error_of
  yield
rescue StandardError => error
  error
else
  raise "it did not fail"
end

def report
  raise "the lock is not held" if free?
  $reports += 1
end

# refuse, lock, unlock: lock_keys without waiting, and at session level, on one connection of the pool.
def check(version:, refuse:, lock:, unlock:)
  attempt = -> { eval("#{REQUEST["block"]}\nlocked") }
  raise "not locked" unless attempt.call == true && $reports == 1 && free?
  hold
  raise "locked" unless attempt.call == false && $reports == 1
  error = error_of(&refuse)
  raise error unless eval(REQUEST["sqlstate"]) == "55P03"
  release
  lock.call
  pool = free? ? "released" : "held"
  unlock.call
  raise "still held" unless free?
  raise "not locked again" unless 10.times.all? { attempt.call }
  { version: version, refused: error.class.name, pool: pool }
end
