# Sourced after release.sh and server.sh by package-check.sh: the bundle for PGXN.
# shellcheck shell=bash

# check_bundle FOLDER: has PGXN's client install the bundle from the file, and uses it. The Postgres of PG_CONFIG is copied to below FOLDER,
# which is DESTDIR, so that the copy has the extension and the original has not.
check_bundle() {
  local folder=$1 bin part
  need_rust
  need_python_packages scripts/packaging/requirements.txt
  say "the bundle for PGXN on $("$PG_CONFIG" --version)"
  chmod 755 "$folder"
  bin=$("$PG_CONFIG" --bindir)
  for part in "$bin" "$("$PG_CONFIG" --pkglibdir)" "$("$PG_CONFIG" --sharedir)"; do
    mkdir -p "$folder${part%/*}"
    cp -r "$part" "$folder${part%/*}/"
    rm -f "$folder$part"/{,extension/}advisory_*
  done
  # The crates that make has built already are taken from there.
  CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-$PROJECT/target} DESTDIR=$folder quietly package-pgxn \
    "$(dirname "$PYTHON")/pgxn" install --nosudo --make make --pg_config "$PG_CONFIG" "$PACKAGES/$NAME-$VERSION.zip"
  PG_CONFIG=$folder$bin/pg_config
  start_server "$SCRATCH/server"
  [ "$("$folder$bin/psql" -XAtq -c 'CREATE EXTENSION advisory_keys' -c "SELECT holds_keys(ARRAY['bundle'])" \
    -c 'CREATE EXTENSION advisory_leases' -c "SELECT advisory_leases.holds_lease_key(ARRAY['bundle'], 1)" | xargs)" = "f f" ] ||
    die "the extensions of the bundle do not work"
  stop_server "$SCRATCH/server"
}
