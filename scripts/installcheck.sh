#!/usr/bin/env bash
# Runs the SQL suites against a running server that has the extension installed, found by the usual
# PGHOST, PGPORT and PGUSER; PG_CONFIG names its Postgres.
set -euo pipefail
cd "$(dirname "$0")/.."
# shellcheck source=scripts/setup.sh
. scripts/setup.sh
# shellcheck source=scripts/suites.sh
. scripts/suites.sh

PG_CONFIG=$(command -v "${PG_CONFIG:-pg_config}") || die "no pg_config: set PG_CONFIG"
run_regress
run_isolation
