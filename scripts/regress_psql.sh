#!/usr/bin/env bash
# Runs psql, given with its options, for pg_regress, without the CONTEXT that is of no interest: where in the functions
# of the portable edition an error was raised, and the line about the lock that Postgres puts above ours from 19 on.
set -euo pipefail
[ "$EDITION" != portable ] || set -- "$@" -v SHOW_CONTEXT=never
"$@" 2>&1 | sed '/^CONTEXT:  waiting for [A-Za-z]* on advisory lock \[[0-9,]*\]$/{
  N
  s/.*\n/CONTEXT:  /
}'
