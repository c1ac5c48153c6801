#!/usr/bin/env bash
# Measures the release build against core on a throwaway server; options go to bench/bench.py (--help, --only …).
# The figures stand in target/bench-pgNN.json afterwards; with --only, those alone.
set -euo pipefail
cd "$(dirname "$0")/.."
# shellcheck source=scripts/setup.sh
. scripts/setup.sh
# shellcheck source=scripts/server.sh
. scripts/server.sh

set_up
need_python_packages bench/requirements.txt
build_extension
install_extension
mkdir -p target
make_scratch bench
start_server "$SCRATCH/server" shared_preload_libraries=advisory_keys max_locks_per_transaction=1024 shared_buffers=256MB autovacuum=off
PATH=$("$PG_CONFIG" --bindir):$PATH "$PYTHON" -B bench/bench.py --output "target/bench-pg$(major_of "$PG_CONFIG").json" "$@"
