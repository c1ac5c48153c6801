#!/usr/bin/env bash
# psql, with sha256sum for the program's own key. The parts go into the statements in hexadecimal.
set -euo pipefail

coproc PSQL { exec psql -XqAt 2>&1; }
exec {to}>&"${PSQL[1]}" {from}<&"${PSQL[0]}"  # which, unlike the originals, subshells keep

# ask STATEMENT: gives a line to psql, and prints what comes back, up to the mark.
ask() {
  local line
  printf '%s\n\\echo --done--\n' "$1" >&"$to"
  while IFS= read -r line <&"$from" && [ "$line" != --done-- ]; do
    printf '%s\n' "$line"
  done
}

# The name as an expression of SQL: the parts' bytes, converted by the server.
array() {
  local word parts=()
  for word in "$@"; do parts+=("convert_from('\\x$word', 'UTF8')"); done
  (IFS=,; printf 'ARRAY[%s]::text[]' "${parts[*]}")
}

# Each part as a name of its own.
names() {
  local word names=()
  for word in "$@"; do names+=("$(array "$word")"); done
  (IFS=,; printf 'ARRAY[%s]' "${names[*]}")
}

own_key() {
  local word hex=''
  for word in "$@"; do hex+=2d$word; done
  # bash's integers have 64 bits and a sign, as keys have.
  echo $((16#$(printf '%b' "$(sed 's/^2d//; s/../\\x&/g' <<<"$hex")" | sha256sum | cut -c1-16)))
}

begin() { ask '\if :{?busy} \else
BEGIN; \set busy 1
\endif'; }
boolean() { sed 's/^t$/true/; s/^f$/false/'; }

ask '\set VERBOSITY sqlstate'
# shellcheck disable=SC2016 # the $1 of a statement
ask 'PREPARE key AS SELECT advisory_key($1);'
while read -r command words; do
  set --
  for word in $words; do
    [ "$word" != - ] || word=
    set -- "$@" "$word"
  done
  case $command in
    driver) psql --version | sed 's/(.*) //; s/ (.*//' ;;
    key) printf '%s %s %s\n' "$(own_key "$@")" "$(ask "SELECT advisory_key($(array "$@"));")" "$(ask "EXECUTE key($(array "$@"));")" ;;
    try) begin; ask "SELECT try_lock_keys($(array "$@"));" | boolean ;;
    integer) begin; ask "SELECT pg_try_advisory_xact_lock($(own_key "$@"));" | boolean ;;
    wait) begin; milliseconds=$1; shift; ask "SELECT try_lock_keys($(array "$@"), timeout => '${milliseconds}ms');" | boolean ;;
    slot) begin; slots=$1; shift; ask "SELECT try_lock_slot($(array "$@"), $slots);" | boolean ;;
    claim) begin; wanted=$1; shift; ask "SELECT claim_keys($(names "$@"), wanted => $wanted);" ;;
    acquire) begin; ask "CALL acquire_keys($(array "$@"));"; echo ok ;;
    fail) begin; ask "SELECT lock_keys($(array "$@"), timeout => '0');" | sed 's/^ERROR:  //'; ask 'ROLLBACK; \unset busy' ;;
    commit) ask 'COMMIT; \unset busy'; echo ok ;;
  esac
done
