# Sourced after setup.sh and server.sh: checks that run none of our code.
# shellcheck shell=bash

ANALYSERS=$PROJECT/scripts/analysers

check_shell() {
  shellcheck --external-sources scripts/*.sh scripts/*/*.sh .ci/run tests/clients/psql/client.sh
}

# What others wrote: licences, duplicates, hashes; and that the workflows of CI take no more rights than they need. Of registries it asks
# nothing, but for crates that are not on this machine yet.
check_supply() {
  need_python_packages scripts/analysers/requirements.txt
  "$PYTHON" -B "$ANALYSERS/locks.py"
  "$PYTHON" -B "$ANALYSERS/crates.py"
  "$(dirname "$PYTHON")/zizmor" --offline --quiet --persona=pedantic .github
}

# The same fact in several files, and what was released.
check_metadata() {
  need_python_packages scripts/analysers/requirements.txt
  "$PYTHON" -B "$ANALYSERS/metadata.py"
  scripts/schema.sh check
  "$PYTHON" -B "$ANALYSERS/released.py" "$(built_library)" "$(install_script)"
}

# Names in SQL that a stranger's object could take.
check_names() {
  need_python_packages scripts/analysers/requirements.txt
  "$PYTHON" -B "$ANALYSERS/spot.py" "$(install_script)" sql/advisory_keys--*--*.sql sql/portable.sql leases/advisory_leases--*.sql
}

# The PL/pgSQL functions of the portable edition and of leases, on the server that is running.
check_plpgsql() {
  if ! is_debians_15; then
    say "plpgsql_check is there for Debian's Postgres 15 only: skipped"
    return
  fi
  local psql=("$("$PG_CONFIG" --bindir)/psql" -Xq -v ON_ERROR_STOP=1)
  "${psql[@]}" -d postgres -c 'CREATE DATABASE plpgsql_check'
  "${psql[@]}" -d plpgsql_check -o /dev/null -f sql/portable.sql
  "${psql[@]}" -d plpgsql_check -1 -f "$(leases_script)"
  "${psql[@]}" -d plpgsql_check -f "$ANALYSERS/plpgsql_check.sql"
}
