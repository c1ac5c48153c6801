#!/usr/bin/env bash
# Has three kinds of names waited for, on a throwaway server for some minutes (MINUTES, 3), and writes down each second what
# advisory_lock_stats says of them, in target/bench-waits.csv: seconds, first part, waits, wait_time.
set -euo pipefail
cd "$(dirname "$0")/.."
# shellcheck source=scripts/setup.sh
. scripts/setup.sh
# shellcheck source=scripts/server.sh
. scripts/server.sh

set_up
build_extension
install_extension
seconds=$((${MINUTES:-3} * 60))
bin=$("$PG_CONFIG" --bindir)
mkdir -p target
make_scratch waits
start_server "$SCRATCH/server" shared_preload_libraries=advisory_keys
"$bin/psql" -Xqc 'CREATE EXTENSION advisory_keys'

# load CLIENTS DELAY NAME HOLD: so many clients lock a name for HOLD ms, after DELAY seconds.
load() {
  local script=$SCRATCH/$RANDOM.sql
  cat >"$script" <<SQL
\\set i random(1, 40)
BEGIN;
SELECT lock_keys(ARRAY[$3], timeout => '5s');
\\sleep $4 ms
COMMIT;
\\sleep 20 ms
SQL
  (sleep "$2" && exec "$bin/pgbench" -n -c "$1" -T "$((seconds - $2))" -f "$script" >/dev/null 2>&1) &
}

load 12 0 "'ORDER', :i::text" 20
load 3 0 "'REPORT', 'daily'" 40
# A release that holds one name for all makes itself felt from here on.
load 6 $((seconds / 3)) "'INVOICE'" 100

say "a load of $seconds seconds"
SECONDS=0
while [ $SECONDS -lt $seconds ]; do
  "$bin/psql" -XAtF, -c "SELECT round(extract(epoch FROM clock_timestamp() - pg_postmaster_start_time()), 1), first_part, waits, round(wait_time)
    FROM advisory_lock_stats ORDER BY first_part"
  sleep 1
done >target/bench-waits.csv
say "target/bench-waits.csv"
