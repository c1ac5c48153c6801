#!/usr/bin/env bash
# Runs what docs/citus.md says on a cluster of three throwaway servers, where Citus is installed for the Postgres of PG_CONFIG, or PG; elsewhere
# it says so and does nothing. It brings no Citus. EDITION=portable: with the portable edition.
set -euo pipefail
cd "$(dirname "$0")/.."
# shellcheck source=scripts/setup.sh
. scripts/setup.sh

need_postgres "${PG:-$(default_major)}"
if ! [ -f "$("$PG_CONFIG" --sharedir)/extension/citus.control" ]; then
  say "skipped: no Citus here ($PG_CONFIG)"
  exit
fi
need_rust
quietly citus-build build_extension
install_extension
need_python_packages tests/live/requirements.txt
PYTHONPATH=tests/live "$PYTHON" -B -m pytest -p no:cacheprovider -q tests/citus ${TEST:+-k "$TEST"}
