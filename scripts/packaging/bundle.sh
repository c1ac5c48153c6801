# Sourced after release.sh and server.sh by package-check.sh: the bundle for PGXN.
# shellcheck shell=bash

# check_bundle FOLDER: has PGXN's client install the bundle from the file into a copy in FOLDER of the Postgres of PG_CONFIG, and uses it
# there.
check_bundle() {
  local tree folder=$1 major part
  need_rust
  need_python_packages scripts/packaging/requirements.txt
  major=$(major_of "$PG_CONFIG")
  say "the bundle for PGXN on $("$PG_CONFIG" --version)"
  tree=$("$PG_CONFIG" --bindir)
  tree=${tree%/usr/lib/postgresql/*/bin}
  for part in lib share include; do
    mkdir -p "$folder/usr/$part/postgresql"
    cp -r "$tree/usr/$part/postgresql/$major" "$folder/usr/$part/postgresql/"
  done
  chmod 755 "$folder"
  PG_CONFIG=$folder/usr/lib/postgresql/$major/bin/pg_config
  rm -f "$("$PG_CONFIG" --pkglibdir)"/advisory_keys* "$("$PG_CONFIG" --sharedir)"/extension/advisory_keys*
  CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-$PROJECT/target} quietly package-pgxn \
    "$(dirname "$PYTHON")/pgxn" install --make make --pg_config "$PG_CONFIG" "$PACKAGES/$NAME-$VERSION.zip"
  start_server "$folder/server"
  [ "$("$("$PG_CONFIG" --bindir)/psql" -XAtq -c 'CREATE EXTENSION advisory_keys' -c "SELECT try_lock_keys(ARRAY['bundle'])")" = t ] ||
    die "the extension of the bundle does not lock"
  stop_server "$folder/server"
}
