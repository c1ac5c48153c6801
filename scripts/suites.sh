# Sourced after setup.sh: the test suites that run against a server with the extension installed,
# reached by PGHOST, PGPORT and PGUSER. All tests of a suite, or with TEST that one.
# shellcheck shell=bash

# Where the test programs of the Postgres of PG_CONFIG are.
test_programs() { echo "$(dirname "$("$PG_CONFIG" --pgxs)")/../test"; }

# The edition under test: native (the extension), or portable (sql/portable.sql).
EDITION=${EDITION:-native}
export EDITION

# run_pg_regress PROGRAM SUITE [OPTION…]: runs tests/SUITE by its schedule; shows the differences on
# failure. What the portable edition does differently stands in tests/portable/SUITE, in files that take
# the place of those of the same name.
run_pg_regress() {
  local program=$1 suite=$2
  local out=$PROJECT/target/results/$EDITION/$suite database=regress_$suite
  shift 2
  [ -x "$program" ] || die "$program is missing: it comes with the server headers of Postgres"
  rm -rf "$out"
  mkdir -p "$out"
  cp -r "$PROJECT/tests/$suite/." "$out"
  if [ "$EDITION" = portable ]; then
    cp -r "$PROJECT/tests/portable/$suite/." "$PROJECT/sql/portable.sql" "$out"
    database=portable_$suite
    local psql=("$("$PG_CONFIG" --bindir)/psql" -Xq -v ON_ERROR_STOP=1)
    "${psql[@]}" -d postgres -c 'SET client_min_messages = warning' -c "DROP DATABASE IF EXISTS $database" -c "CREATE DATABASE $database"
    "${psql[@]}" -d "$database" -o /dev/null -1 -f "$PROJECT/sql/portable.sql"
    "${psql[@]}" -d "$database" -1 -f "$(leases_script)"
    set -- --use-existing "$@"
  else
    set -- --load-extension=advisory_keys --load-extension=advisory_leases "$@"
  fi
  # Before 16, expected files were looked for beside the input without being told.
  if [ "$(major_of "$PG_CONFIG")" -ge 16 ]; then set -- "--expecteddir=$out" "$@"; fi
  if [ -z "${TEST:-}" ]; then
    set -- --schedule="$out/schedule" "$@"
  elif [ -f "$out/sql/test_setup.sql" ]; then
    set -- "$@" test_setup "$TEST"
  else
    set -- "$@" "$TEST"
  fi
  if ! "$program" --inputdir="$out" --outputdir="$out" --bindir="$("$PG_CONFIG" --bindir)" --dbname="$database" "$@"; then
    cat "$out/regression.diffs" >&2 2>/dev/null || true
    return 1
  fi
}

run_regress() {
  run_pg_regress "$(test_programs)/regress/pg_regress" regress --launcher="$PROJECT/scripts/regress_psql.sh"
}

run_isolation() { run_pg_regress "$(test_programs)/isolation/pg_isolation_regress" isolation; }

# Outside clients, in Python.
run_live() {
  need_python_packages tests/live/requirements.txt
  "$PYTHON" -B -m pytest -p no:cacheprovider -q "$PROJECT/tests/live" ${TEST:+-k "$TEST"}
}

# run_torture OPTION…: tests/torture on a server of its own. What is tortured is --library FILE of the extension, or
# --portable FILE.
run_torture() (
  need_packages pgbouncer
  # The program makes its server here, which is killed now and then.
  folder=$(mktemp -d "${TMPDIR:-/tmp}/advisory_keys-torture.XXXXXX")
  trap 'rm -rf "$folder"' EXIT
  chmod 755 "$folder"
  if is_root; then chown postgres "$folder"; fi
  if ! "$CARGO" run --quiet --locked --manifest-path tests/torture/Cargo.toml --target-dir target/torture -- \
    --bindir "$("$PG_CONFIG" --bindir)" --folder "$folder" "$@"; then
    tail -n 30 "$folder/server.log" >&2
    exit 1
  fi
)

# Does each patch of tests/torture/mutants apply, and does the torture have the checks that it names?
check_mutants() (
  need_packages patch
  wrong=0
  for patch in "$PROJECT"/tests/torture/mutants/*.patch; do
    if ! patch --dry-run --force --strip=1 --directory="$PROJECT" <"$patch"; then
      echo "does not apply: $patch" >&2
      wrong=1
    fi
    while read -r check; do
      if ! grep -rqF "\"$check\"" "$PROJECT/tests/torture/src"; then
        echo "no such check: \"$check\" of $patch" >&2
        wrong=1
      fi
    done < <(sed -n 's/^Found by: //p' "$patch" | sed 's/; */\n/g')
  done
  exit $wrong
)
