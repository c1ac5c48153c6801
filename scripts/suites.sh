# Sourced after setup.sh: the test suites that run against a server with the extension installed,
# reached by PGHOST, PGPORT and PGUSER.
# shellcheck shell=bash

# Where the test programs of the Postgres of PG_CONFIG are.
test_programs() { echo "$(dirname "$("$PG_CONFIG" --pgxs)")/../test"; }

# run_pg_regress PROGRAM SUITE: runs tests/SUITE by its schedule; shows the differences on failure.
run_pg_regress() {
  local program=$1 suite=$2 expected=()
  local out=$PROJECT/target/results/$suite
  [ -x "$program" ] || die "$program is missing: it comes with the server headers of Postgres"
  rm -rf "$out"
  mkdir -p "$out"
  # Before 16, expected files were looked for beside the input without being told.
  if [ "$(major_of "$PG_CONFIG")" -ge 16 ]; then expected=("--expecteddir=$PROJECT/tests/$suite"); fi
  if ! "$program" --inputdir="$PROJECT/tests/$suite" --outputdir="$out" "${expected[@]}" \
    --bindir="$("$PG_CONFIG" --bindir)" --dbname="regress_$suite" --load-extension=advisory_keys \
    --schedule="$PROJECT/tests/$suite/schedule"; then
    cat "$out/regression.diffs" >&2 2>/dev/null || true
    return 1
  fi
}

run_regress() { run_pg_regress "$(test_programs)/regress/pg_regress" regress; }

run_isolation() { run_pg_regress "$(test_programs)/isolation/pg_isolation_regress" isolation; }

# Outside clients, in Python.
run_live() {
  need_python_packages tests/live/requirements.txt
  "$PYTHON" -B -m pytest -p no:cacheprovider -q "$PROJECT/tests/live" "$@"
}
