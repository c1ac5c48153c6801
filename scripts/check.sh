#!/usr/bin/env bash
# Everything that must hold, on one Postgres major: PG=15 … 19, the machine's own if not given; or some of it, by the
# words of SUITES: format lints install metadata analysers rust sql isolation live; with TEST=NAME one test of a suite. Needs what make setup-check
# brings, goes on after a failure, and ends with a summary.
set -euo pipefail
cd "$(dirname "$0")/.."
# shellcheck source=scripts/setup.sh
. scripts/setup.sh
# shellcheck source=scripts/server.sh
. scripts/server.sh
# shellcheck source=scripts/suites.sh
. scripts/suites.sh
# shellcheck source=scripts/analysers.sh
. scripts/analysers.sh

all_suites="format lints install metadata analysers rust sql isolation live"
for suite in ${SUITES:=$all_suites}; do
  [[ " $all_suites " = *" $suite "* ]] || die "SUITES knows: $all_suites"
done

need_cargo_pgrx
major=${PG:-$(default_major)}
need_postgres "$major"
say "checking on $("$PG_CONFIG" --version) with $("$CARGO" --version)"

features=(--no-default-features --features "pg$major")
test_features=(--no-default-features --features "pg$major pg_test")
make_scratch check
server=$SCRATCH/server

check_format() {
  local manifest
  for manifest in Cargo.toml tests/{pure,torture,clients/rust}/Cargo.toml; do
    "$CARGO" fmt --check --manifest-path "$manifest"
  done
}

check_lints() {
  "$CARGO" clippy --locked --all-targets "${test_features[@]}" -- -D warnings
  # Not its fuzz targets, which want the nightly toolchain.
  "$CARGO" clippy --locked --lib --tests --manifest-path tests/pure/Cargo.toml --target-dir target/pure -- -D warnings
  "$CARGO" clippy --locked --all-targets --manifest-path tests/torture/Cargo.toml --target-dir target/torture -- -D warnings
}

start_tested_server() {
  start_server "$1" max_prepared_transactions=10 deadlock_timeout=1s
  export ADVISORY_KEYS_SERVER_LOG=$1/server.log
}

# Both editions side by side, since most of these tests wait most of the time; each on a server of its own.
check_live() {
  local beside own=0 other=0
  (start_tested_server "$server-portable" && portable run_live) >"$SCRATCH/live-portable.log" 2>&1 &
  beside=$!
  run_live || own=$?
  wait $beside || other=$?
  say "the same, portable edition"
  cat "$SCRATCH/live-portable.log"
  stop_server "$server-portable"
  [ $own -eq 0 ] && [ $other -eq 0 ]
}

# Unit tests, and tests inside a server of its own.
check_rust() {
  local as=()
  if is_root; then
    install -d -o postgres "$SCRATCH/pgrx"
    as=(--runas postgres --pgdata "$SCRATCH/pgrx/data")
  fi
  USER=$(id -un) env -u RUST_BACKTRACE "$CARGO_PGRX" pgrx test "${as[@]}" "${features[@]}" "pg$major" ${TEST:+"$TEST"}
}

# The release build, as users install it, on a server for all the suites that follow.
check_install() {
  build_extension
  install_extension
  start_tested_server "$server"
}

passed=() failed=()
# step SUITE NAME COMMAND…: runs it if that suite is wanted.
step() {
  local suite=$1 name=$2 begun=$SECONDS
  shift 2
  [[ " $SUITES " = *" $suite "* ]] || return 0
  say "$name"
  # Not in the condition of an if: there, bash would switch off errexit inside the step too.
  set +e
  (set -e; "$@")
  local status=$?
  set -e
  if [ $status -eq 0 ]; then
    passed+=("$name ($((SECONDS - begun)) s)")
  else
    failed+=("$name")
  fi
}

step format "format" check_format
step lints "lints" check_lints
step analysers "shellcheck" check_shell
step analysers "licences, locks, workflows" check_supply
step rust "Rust tests" check_rust
say "install"
check_install
step install "make install" scripts/check-install.sh
step metadata "metadata" check_metadata
step metadata "mutants apply" check_mutants
step analysers "pgspot" check_names
step analysers "plpgsql_check" check_plpgsql
portable() { EDITION=portable "$@"; }
step sql "SQL suite" run_regress
step isolation "isolation suite" run_isolation
step live "live suites of both editions" check_live
step sql "SQL suite, portable edition" portable run_regress
step isolation "isolation suite, portable edition" portable run_isolation
if [ "$major" -lt 17 ]; then
  # From 17 on names are recorded without this.
  start_server "$server" max_prepared_transactions=10 shared_preload_libraries=advisory_keys
  step sql "SQL suite, library preloaded" run_regress
  step isolation "isolation suite, library preloaded" run_isolation
fi

printf '\nPostgres %s:\n' "$major"
[ ${#passed[@]} -eq 0 ] || printf '  ok      %s\n' "${passed[@]}"
[ ${#failed[@]} -eq 0 ] || printf '  FAILED  %s\n' "${failed[@]}"
printf '%d passed, %d failed\n' ${#passed[@]} ${#failed[@]}
[ ${#failed[@]} -eq 0 ]
