#!/usr/bin/env bash
# Tortures the release build, or with EDITION=portable that edition, on a throwaway server: SIZE=quick (the default)
# or long, with MINUTES. The add-on for leases comes along, as an extension or, beside the portable edition, made by psql.
# The counts and findings stand in target/torture-pgNN.json, or target/portable-torture-pgNN.json.
set -euo pipefail
cd "$(dirname "$0")/.."
# shellcheck source=scripts/setup.sh
. scripts/setup.sh
# shellcheck source=scripts/suites.sh
. scripts/suites.sh

set_up
major=$(major_of "$PG_CONFIG")
if [ "$EDITION" = portable ]; then
  subject=(--portable "$PROJECT/sql/portable.sql" --leases "$(leases_script)" --report "target/portable-torture-pg$major.json")
else
  build_extension
  install_extension
  subject=(--library "$("$PG_CONFIG" --pkglibdir)/advisory_keys.so" --report "target/torture-pg$major.json")
fi

"$CARGO" test --quiet --locked --manifest-path tests/torture/Cargo.toml --target-dir target/torture
run_torture "${subject[@]}" --size "${SIZE:-quick}" --minutes "${MINUTES:-60}" "$@"
