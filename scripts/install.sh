#!/bin/sh
# Copies what build.sh made, the SQL of this and of earlier versions, and the add-on for leases to where the Postgres of PG_CONFIG
# looks for extensions, below DESTDIR; with "uninstall", removes these files there.
set -eu
cd "$(dirname "$0")/.."
# shellcheck source=scripts/pg_config.sh
. scripts/pg_config.sh

libraries=${DESTDIR:-}$("$PG_CONFIG" --pkglibdir)
extensions=${DESTDIR:-}$("$PG_CONFIG" --sharedir)/extension
command=${1:-}
set -- advisory_keys.control sql/advisory_keys--*.sql leases/advisory_leases.control leases/advisory_leases--*.sql

if [ "$command" = uninstall ]; then
  rm -f "$libraries/${LIBRARY##*/}"
  for file; do
    rm -f "$extensions/${file##*/}"
  done
  exit
fi

[ -f "$LIBRARY" ] || die "nothing is built for Postgres $MAJOR: run 'make PG_CONFIG=$PG_CONFIG' first"
[ -z "$(find src Cargo.toml Cargo.lock -type f -newer "$LIBRARY")" ] ||
  die "$LIBRARY is older than its sources: run 'make PG_CONFIG=$PG_CONFIG' first"
install -d "$libraries" "$extensions"
# In one step: a server that runs has the old one mapped, and another may start now.
install -m 755 "$LIBRARY" "$libraries/${LIBRARY##*/}.new"
mv -f "$libraries/${LIBRARY##*/}.new" "$libraries/${LIBRARY##*/}"
install -m 644 "$@" "$extensions/"
echo "installed advisory_keys and advisory_leases into $libraries and $extensions"
