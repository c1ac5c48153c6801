#!/usr/bin/env bash
# A tour of the extension with two sessions on a throwaway server; "stop" ends that server.
set -euo pipefail
cd "$(dirname "$0")/.."
# shellcheck source=scripts/setup.sh
. scripts/setup.sh
# shellcheck source=scripts/server.sh
. scripts/server.sh

# The folder of the server that is running, and the pg_config of its Postgres.
remembered=$TOOLS_DIR/demo
stop_demo() {
  local demo PG_CONFIG
  { read -r demo && read -r PG_CONFIG; } <"$remembered"
  stop_server "$demo"
  rm -rf "$demo" "$remembered"
}
if [ "${1:-}" = stop ]; then
  if [ -f "$remembered" ]; then
    stop_demo
    say "the demo server is stopped and gone"
  else
    say "no demo server is running"
  fi
  exit
fi

set_up
say "building the extension for $("$PG_CONFIG" --version) (the first time takes a minute or two)"
quietly demo-build build_extension
install_extension
if [ -f "$remembered" ]; then stop_demo; fi
demo=$(mktemp -d "${TMPDIR:-/tmp}/advisory_keys-demo.XXXXXX")
printf '%s\n' "$demo" "$PG_CONFIG" >"$remembered"
chmod 755 "$demo"
start_server "$demo" shared_preload_libraries=advisory_keys
psql=$("$PG_CONFIG" --bindir)/psql
"$psql" -Xqc 'CREATE EXTENSION advisory_keys'

# Two sessions, each a psql that reads from a pipe.
session() { PGAPPNAME=$1 exec "$psql" -XqAt -v VERBOSITY=default -v ON_ERROR_STOP=0 2>&1; }
# shellcheck disable=SC2034 # send and receive know them by name
coproc ALICE { session alice; }
# Bash has something to say about a second one.
# shellcheck disable=SC2034
{ coproc BOB { session bob; }; } 2>/dev/null

# Shows a statement and gives it to a session.
send() {
  local -n pipe=$1
  printf '\n  %-6s %s\n' "$1" "$2"
  printf '%s\n\\echo --done--\n' "$2" >&"${pipe[1]}"
}

# Shows what comes back.
receive() {
  local -n pipe=$1
  local answer
  while IFS= read -r answer <&"${pipe[0]}" && [ "$answer" != --done-- ]; do
    printf '         %s\n' "${answer:-(done)}"
  done
}

run() {
  send "$1" "$2"
  receive "$1"
}
tell() { printf '\n%s\n' "$*"; }

tell "Alice begins a sign-up. The e-mail address is the lock, not an integer she has to invent."
run ALICE "BEGIN;"
run ALICE "SELECT try_lock_keys(ARRAY['SIGNUP-EMAIL', 'bob@example.com']);"
tell "She may lock it again in the same transaction."
run ALICE "SELECT try_lock_keys(ARRAY['SIGNUP-EMAIL', 'bob@example.com']);"

tell "Bob signs up with the same address. He is refused: false from one function, an error from the other."
run BOB "BEGIN;"
run BOB "SELECT try_lock_keys(ARRAY['SIGNUP-EMAIL', 'bob@example.com']);"
run BOB "SELECT lock_keys(ARRAY['SIGNUP-EMAIL', 'bob@example.com'], timeout => '0');"
run BOB "ROLLBACK;"

tell "He waits for at most a fifth of a second, in Postgres' own fair queue."
run BOB "SELECT try_lock_keys(ARRAY['SIGNUP-EMAIL', 'bob@example.com'], timeout => '200ms');"

tell "Any program that hashes for itself gets the same integer:"
key=$(python3 -c "import hashlib; print(int.from_bytes(hashlib.sha256(b'SIGNUP-EMAIL-bob@example.com').digest()[:8], 'big', signed=True))" 2>/dev/null || true)
printf '\n  python hashlib.sha256(b"SIGNUP-EMAIL-bob@example.com").digest()[:8], big-endian, signed\n         %s\n' "${key:-(no python3 here)}"
run BOB "SELECT advisory_key(ARRAY['SIGNUP-EMAIL', 'bob@example.com']);"

tell "Alice commits, and the lock is gone with her transaction. Bob gets it."
run ALICE "COMMIT;"
run BOB "BEGIN;"
run BOB "SELECT try_lock_keys(ARRAY['SIGNUP-EMAIL', 'bob@example.com']);"
run BOB "COMMIT;"

tell "Several names at once are locked all or none, in an order that cannot deadlock."
run ALICE "BEGIN;"
run ALICE "SELECT try_lock_keys(ARRAY[['account', '1'], ['account', '2']]);"
run BOB "SELECT try_lock_keys(ARRAY[['account', '3'], ['account', '2']]);"
run BOB "SELECT keys_available(ARRAY['account', '3']), keys_available(ARRAY['account', '2']);"

tell "Bob waits for an account that Alice holds. Anybody can look who holds and who waits, by name:"
run BOB "BEGIN;"
send BOB "SELECT lock_keys(ARRAY['account', '1'], timeout => '30s');"
until [ "$("$psql" -XAtqc "SELECT count(*) FROM advisory_locks WHERE NOT granted")" = 1 ]; do sleep 0.05; done
look="SELECT name, granted, pid, blocked_by, application_name, state FROM advisory_locks ORDER BY granted DESC, name"
printf '\n         %s;\n\n' "$look"
"$psql" -Xqc "$look" | sed 's/^/        /'

tell "Alice commits, and Bob's wait is over."
run ALICE "COMMIT;"
receive BOB

cat <<EOF

The server is still running. To try it yourself:

  $psql -h $demo -U postgres

and to stop it:

  make demo-stop
EOF
