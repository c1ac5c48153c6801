#!/usr/bin/env bash
# Runs the SQL suites against a running server that has the extension installed, found by the usual
# PGHOST, PGPORT and PGUSER; PG_CONFIG names its Postgres, which has to come with its test programs.
set -euo pipefail
cd "$(dirname "$0")/.."
# shellcheck source=scripts/setup.sh
. scripts/setup.sh
# shellcheck source=scripts/suites.sh
. scripts/suites.sh

PG_CONFIG=$(command -v "${PG_CONFIG:-pg_config}") || die "no pg_config: set PG_CONFIG"
prepared=$("$("$PG_CONFIG" --bindir)/psql" -XAtd postgres -c 'SHOW max_prepared_transactions')
[ "$prepared" -ge 2 ] || die "the tests prepare transactions: set max_prepared_transactions of the server to 2 or more, and restart it"
run_regress
run_isolation
