#!/usr/bin/env bash
# Measures the release build against core on a throwaway server; options go to bench/bench.py.
# The figures stand in target/bench-pgNN.json afterwards.
set -euo pipefail
cd "$(dirname "$0")/.."
# shellcheck source=scripts/setup.sh
. scripts/setup.sh
# shellcheck source=scripts/server.sh
. scripts/server.sh

need_rust
major=${PG:-$(default_major)}
need_postgres "$major"
need_python_packages bench/requirements.txt
build_extension
install_extension
server=$(mktemp -d "${TMPDIR:-/tmp}/advisory_keys-bench.XXXXXX")
chmod 755 "$server"
trap 'stop_server "$server"; rm -rf "$server"' EXIT
mkdir -p target
start_server "$server" shared_preload_libraries=advisory_keys max_locks_per_transaction=1024 shared_buffers=256MB autovacuum=off
PATH=$("$PG_CONFIG" --bindir):$PATH "$PYTHON" bench/bench.py --output "target/bench-pg$major.json" "$@"
