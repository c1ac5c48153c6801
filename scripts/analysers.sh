# Sourced after setup.sh and server.sh: checks that run none of our code.
# shellcheck shell=bash

ANALYSERS=$PROJECT/scripts/analysers

check_shell() {
  need_packages shellcheck
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
  need_packages binutils
  need_python_packages scripts/analysers/requirements.txt
  "$PYTHON" -B "$ANALYSERS/metadata.py"
  "$PYTHON" -B "$ANALYSERS/released.py" "$(find "$PACKAGE" -name 'advisory_keys.so')" "$(install_script)"
}

# Names in SQL that a stranger's object could take.
check_names() {
  need_python_packages scripts/analysers/requirements.txt
  "$PYTHON" -B "$ANALYSERS/spot.py" "$(install_script)" sql/advisory_keys--*--*.sql sql/portable.sql
}

# Of the package that was built, as pgrx makes it of the sources.
install_script() { find "$PACKAGE" -name "advisory_keys--$(sed -n 's/^version = "\(.*\)"$/\1/p' Cargo.toml).sql"; }

# The PL/pgSQL functions of the portable edition, on the server that is running.
check_plpgsql() {
  if [ "$("$PG_CONFIG" --bindir)" != /usr/lib/postgresql/15/bin ]; then
    say "plpgsql_check is there for Debian's Postgres 15 only: skipped"
    return
  fi
  need_packages postgresql-15-plpgsql-check
  local psql=("$("$PG_CONFIG" --bindir)/psql" -Xq -v ON_ERROR_STOP=1)
  "${psql[@]}" -d postgres -c 'CREATE DATABASE plpgsql_check'
  "${psql[@]}" -d plpgsql_check -o /dev/null -f sql/portable.sql
  "${psql[@]}" -d plpgsql_check -f "$ANALYSERS/plpgsql_check.sql"
}
