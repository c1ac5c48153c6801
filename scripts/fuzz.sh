#!/usr/bin/env bash
# Fuzzes what reads arrays and computes keys, guided by coverage and with AddressSanitizer: each target of
# tests/pure for FUZZ_SECONDS (60). No Postgres is needed.
set -euo pipefail
cd "$(dirname "$0")/.."
# shellcheck source=scripts/setup.sh
. scripts/setup.sh

need_cargo_fuzz
for target in any_bytes any_array; do
  say "fuzzing: $target"
  # What it finds on the way is kept in the first folder, for the next run to start from.
  mkdir -p "tests/pure/corpus/$target"
  "$CARGO_FUZZ" run --fuzz-dir tests/pure --target-dir target/pure "$target" \
    "tests/pure/corpus/$target" tests/pure/seeds -- -max_total_time="${FUZZ_SECONDS:-60}" -verbosity=0 -print_final_stats=1 \
    2>&1 | grep --line-buffered -v -e '^"' -e 'ecommended dictionary'
done
