#!/usr/bin/env bash
# use.sh MAJOR VERSION BEFORE: in a clean root, installs the .deb in /packages, uses it, upgrades to it from the one of version BEFORE if there is
# one in /packages/before, removes it; then the same with the tarball, and with what psql installs.
set -euo pipefail
major=$1 version=$2 before=$3
cd /tmp

die() { printf 'error: %s\n' "$*" >&2; exit 1; }
trap 'die "line $LINENO: $BASH_COMMAND"' ERR
say() { printf '  %3d s: %s\n' "$SECONDS" "$*"; }

as_postgres() { runuser -u postgres -- "$@"; }
server() { as_postgres pg_ctlcluster "$major" main "$1"; }
# A lock that is asked for outside a transaction, to see whether it can be had, is not worth a warning.
sql() { as_postgres env PGOPTIONS='-c client_min_messages=error' psql -XAtq -v ON_ERROR_STOP=1 "$@"; }

# expect WHAT RESULT: dies unless the result is this.
expect() { [ "$2" = "$1" ] || die "expected '$1' and got '$2'"; }

# Sessions of psql that stay open: open NAME, send NAME SQL, answer NAME.
declare -A input output
open() {
  mkfifo "$1.in" "$1.out"
  sql <"$1.in" >"$1.out" 2>&1 &
  exec {to}>"$1.in" {from}<"$1.out"
  input[$1]=$to output[$1]=$from
  rm "$1.in" "$1.out"
}
send() { printf '%s;\n' "$2" >&"${input[$1]}"; }
answer() { local line; read -r -t 90 line <&"${output[$1]}" || die "session $1 does not answer"; echo "$line"; }
ask() { send "$1" "$2"; answer "$1"; }
close() {
  local to=${input[$1]} from=${output[$1]}
  exec {to}>&- {from}<&-
}

apt() { apt-get "$1" -y "$2" >/tmp/apt.log 2>&1 || { cat /tmp/apt.log; die "apt does not $1 $2"; }; }

# What names in the view need.
preload() {
  [ "$major" -lt 17 ] || return 0
  sql -c "ALTER SYSTEM SET shared_preload_libraries = $1"
  server restart
}

# Two sessions want the same name.
use() {
  open first
  open second
  expect t "$(ask first "BEGIN; SELECT try_lock_keys(ARRAY['job', '1'])")"
  expect f "$(ask second "SELECT try_lock_keys(ARRAY['job', '1'])")"
  send second "SELECT try_lock_keys(ARRAY['job', '1'], timeout => '1min')"
  waits="SELECT count(*) FROM advisory_locks WHERE name = 'job-1' AND NOT granted"
  for _ in {1..100}; do
    [ "$(sql -c "$waits")" != 1 ] || break
    sleep 0.1
  done
  expect 'job-1|f job-1|t' "$(sql -c 'SELECT name, granted FROM advisory_locks ORDER BY granted' | xargs)"
  send first COMMIT
  expect t "$(answer second)"
  close first
  close second
  sql -c 'CREATE EXTENSION advisory_leases'
  expect t "$(sql -c "SELECT advisory_leases.try_lease_key(ARRAY['job'], '1h') > 0")"
  expect '' "$(sql -c "SELECT advisory_leases.try_lease_key(ARRAY['job'], '1h')")"
}

# What is there of it.
left() { find / -xdev \( -path /packages -o -path /proc \) -prune -o -iname '*advisory?[kl]e*' -print; }

package=postgresql-$major-advisory-keys
new=$(echo /packages/"$package"_*.deb)
if [ -n "$before" ]; then
  apt install "$(echo /packages/before/*.deb)"
else
  apt install "$new"
fi
say "installed, with $(dpkg-query -W -f '${Package} ${Version}' "postgresql-$major")"
server status >/dev/null || server start

sql -c 'CREATE EXTENSION advisory_keys'
if [ -n "$before" ]; then
  expect "$before" "$(sql -c "SELECT extversion FROM pg_extension WHERE extname = 'advisory_keys'")"
  open old
  expect t "$(ask old "BEGIN; SELECT try_lock_keys(ARRAY['held'])")"
  apt install "$new"
  sql -c 'ALTER EXTENSION advisory_keys UPDATE'
  open new
  expect f "$(ask new "SELECT try_lock_keys(ARRAY['held'])")"
  send old COMMIT
  expect t "$(ask new "SELECT try_lock_keys(ARRAY['held'], timeout => '1min')")"
  close old
  close new
  say "upgraded from $before, with a lock held"
fi
expect "$version" "$(sql -c "SELECT extversion FROM pg_extension WHERE extname = 'advisory_keys'")"

preload advisory_keys
use
say 'used'

# What a session has called already, it can call without the file.
open loaded
expect t "$(ask loaded "SELECT try_lock_keys(ARRAY['held'], session => true)")"
mapfile -t files < <(dpkg -L "$package" | while read -r file; do [ -d "$file" ] || echo "$file"; done)
apt remove "$package"
expect t "$(ask loaded "SELECT try_lock_keys(ARRAY['held'], session => true)")"
close loaded
[ "${#files[@]}" -gt 4 ] || die "the package has no files"
for file in "${files[@]}"; do [ ! -e "$file" ] || die "$file is still there"; done
expect '' "$(left)"
expect '' "$(dpkg-query -W -f '${Status}' "$package" 2>/dev/null || true)"
expect 1 "$(sql -c 'SELECT 1')"
sql -c 'DROP EXTENSION advisory_keys, advisory_leases'
preload DEFAULT
server restart
expect 1 "$(sql -c 'SELECT 1')"
say 'removed; the server runs'

tar -xf /packages/advisory_keys-*.tar.gz
cp advisory_keys-*/lib/* "$(sql -c "SELECT setting FROM pg_config WHERE name = 'PKGLIBDIR'")/"
cp advisory_keys-*/extension/* "$(sql -c "SELECT setting FROM pg_config WHERE name = 'SHAREDIR'")/extension/"
sql -c 'CREATE EXTENSION advisory_keys'
preload advisory_keys
use
say 'used from the tarball'

# The tarball's are installed in another database.
sql -c 'CREATE DATABASE portable'
sql -d portable -f "/packages/portable-$version.sql"
sql -d portable -1 -f "/packages/advisory_leases--$version.sql"
expect t "$(sql -d portable -c "SELECT try_lock_keys(ARRAY['job', '1'])")"
expect t "$(sql -d portable -c "SELECT advisory_leases.try_lease_key(ARRAY['job'], '1h') > 0")"
say 'used without a library'
server stop
