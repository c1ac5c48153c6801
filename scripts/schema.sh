#!/usr/bin/env bash
# Makes the install script of the version under development from the code; with "check", compares it with the one in the tree instead.
# It is the same for all majors.
set -euo pipefail
cd "$(dirname "$0")/.."
# shellcheck source=scripts/setup.sh
. scripts/setup.sh

need_cargo_pgrx
need_postgres "${PG:-$(default_major)}"
build_extension
major=$(major_of "$PG_CONFIG")
work=$(mktemp -d "${TMPDIR:-/tmp}/advisory_keys-schema.XXXXXX")
trap 'rm -rf "$work"' EXIT
# It reads the library that was built just now.
quietly schema "$CARGO_PGRX" pgrx schema --release --skip-build --no-default-features --features "pg$major" --out "$work/pgrx.sql" "pg$major"
python3 scripts/schema.py <"$work/pgrx.sql" >"$work/schema.sql"
if [ "${1:-}" = check ]; then
  diff --unified "$(install_script)" "$work/schema.sql" || die "the code makes another $(install_script): run 'make schema'"
else
  cat "$work/schema.sql" >"$(install_script)"
  say "$(install_script)"
fi
