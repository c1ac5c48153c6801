#!/usr/bin/env bash
# Runs the unit tests of the modules that need no Postgres under Miri, which notices undefined behaviour and data races.
set -euo pipefail
cd "$(dirname "$0")/.."
# shellcheck source=scripts/setup.sh
. scripts/setup.sh

need_nightly miri rust-src
# shellcheck disable=SC2120 # quietly hands it arguments
miri() {
  "$CARGO" miri test --quiet --locked --lib --manifest-path tests/pure/Cargo.toml --target-dir target/pure "$@"
}
say "all tests"
# Without isolation they may read files and PROPTEST_CASES; Miri is too slow for as many cases as elsewhere.
# shellcheck disable=SC2119
PROPTEST_CASES=${PROPTEST_CASES:-4} MIRIFLAGS=-Zmiri-disable-isolation miri
say "threads that share the record of names, and the statistics, in other orders and with other stale reads"
MIRIFLAGS=-Zmiri-many-seeds=0..16 quietly miri miri names_are_never_mixed_up
MIRIFLAGS=-Zmiri-many-seeds=0..16 quietly miri miri no_count_is_lost_or_doubled_while_others_come
