#!/usr/bin/env bash
# Tortures the release build on a throwaway server: SIZE=quick (the default) or long, with MINUTES.
# The counts and findings stand in target/torture-pgNN.json afterwards.
set -euo pipefail
cd "$(dirname "$0")/.."
# shellcheck source=scripts/setup.sh
. scripts/setup.sh

need_cargo_pgrx
major=${PG:-$(default_major)}
need_postgres "$major"
need_packages pgbouncer
build_package
install_package

manifest=tests/torture/Cargo.toml
"$CARGO" test --quiet --locked --manifest-path "$manifest" --target-dir target/torture
# The program makes its server here, which is killed now and then.
folder=$(mktemp -d "${TMPDIR:-/tmp}/advisory_keys-torture.XXXXXX")
chmod 755 "$folder"
if is_root; then chown postgres "$folder"; fi
trap 'rm -rf "$folder"' EXIT
if ! "$CARGO" run --quiet --locked --manifest-path "$manifest" --target-dir target/torture -- \
  --bindir "$("$PG_CONFIG" --bindir)" --folder "$folder" \
  --library "$("$PG_CONFIG" --pkglibdir)/advisory_keys.so" --report "target/torture-pg$major.json" \
  --size "${SIZE:-quick}" --minutes "${MINUTES:-60}" "$@"; then
  tail -n 30 "$folder/server.log" >&2
  exit 1
fi
