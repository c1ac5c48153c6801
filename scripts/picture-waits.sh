#!/usr/bin/env bash
# Draws docs/monitoring.svg: what advisory_lock_stats says over some minutes (MINUTES, 3) of a load with three kinds of names, on a
# throwaway server.
set -euo pipefail
cd "$(dirname "$0")/.."
# shellcheck source=scripts/setup.sh
. scripts/setup.sh
# shellcheck source=scripts/server.sh
. scripts/server.sh

need_rust
need_postgres "${PG:-$(default_major)}"
need_python_packages tests/torture/picture/requirements.txt
build_extension
install_extension
seconds=$((${MINUTES:-3} * 60))
bin=$("$PG_CONFIG" --bindir)
scratch=$(mktemp -d "${TMPDIR:-/tmp}/advisory_keys-waits.XXXXXX")
chmod 755 "$scratch"
trap 'stop_server "$scratch/server"; rm -rf "$scratch"' EXIT
start_server "$scratch/server" shared_preload_libraries=advisory_keys
"$bin/psql" -Xqc 'CREATE EXTENSION advisory_keys'

# load CLIENTS DELAY NAME HOLD: so many clients lock a name for HOLD ms, after DELAY seconds.
load() {
  local script=$scratch/$RANDOM.sql
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
end=$((SECONDS + seconds))
while [ $SECONDS -lt $end ]; do
  "$bin/psql" -XAtF, -c 'SELECT extract(epoch FROM clock_timestamp()), first_part, waits, wait_time FROM advisory_lock_stats' >>"$scratch/samples.csv"
  sleep 1
done
"$PYTHON" bench/waits.py --output docs/monitoring.svg "$scratch/samples.csv"
say "docs/monitoring.svg"
