#!/usr/bin/env bash
# Installs, uses, upgrades and removes what make package made, each package in a clean root of the release of Debian that has its Postgres:
# all of them, or PG=15 17 18 19; and the bundle for PGXN with the first of them.
set -euo pipefail
cd "$(dirname "$0")/.."
# shellcheck source=scripts/setup.sh
. scripts/setup.sh
# shellcheck source=scripts/server.sh
. scripts/server.sh
# shellcheck source=scripts/packaging/release.sh
. scripts/packaging/release.sh
# shellcheck source=scripts/packaging/clean_root.sh
. scripts/packaging/clean_root.sh
# shellcheck source=scripts/packaging/bundle.sh
. scripts/packaging/bundle.sh

need_packages iproute2
[ -f "$PACKAGES/SHA256SUMS" ] || die "no packages: run 'make package' first"
(cd "$PACKAGES" && sha256sum --quiet --check SHA256SUMS)
make_scratch packages
folder=$SCRATCH/packages
mkdir "$folder"

# make_deb_of_released MAJOR VERSION: a package of what users of a version have installed; there was none of its own, so it is made of
# the present one.
make_deb_of_released() (
  deb=$folder/before/unpacked
  need_released "$2"
  mkdir -p "$folder/before"
  dpkg-deb --raw-extract "$(deb_of "$1")" "$deb"
  rm "$deb/usr/lib/postgresql/$1/lib"/* "$deb/usr/share/postgresql/$1/extension"/* "$deb/DEBIAN/md5sums"
  cp "$RELEASED/advisory_keys.so" "$deb/usr/lib/postgresql/$1/lib/"
  cp "$RELEASED"/advisory_keys{.control,--*.sql} "$deb/usr/share/postgresql/$1/extension/"
  sed -i "s/^Version: .*/Version: $2-1/" "$deb/DEBIAN/control"
  dpkg-deb --root-owner-group --build "$deb" "$folder/before/$2.deb" >/dev/null
  rm -rf "$deb"
)

for major in $(majors); do
  [ -f "$(deb_of "$major")" ] || die "no package for Postgres $major: run 'make package PG=$major' first"
  need_debian_postgres "$major"
  need_clean_root "$major"
  before=$(released_for "$major" | tail -n 1)
  rm -rf "${folder:?}"/*
  [ -z "$before" ] || make_deb_of_released "$major" "$before"
  cp "$(deb_of "$major")" "$PACKAGES/$NAME-$VERSION-pg$major-"*.tar.gz "$PACKAGES"/*.sql "$PROJECT/scripts/packaging/use.sh" "$folder/"
  say "packages for Postgres $major on Debian's $(suites_of "$major")"
  in_clean_root "$folder" bash /packages/use.sh "$major" "$VERSION" "$before"
done

read -r major _ <<<"$(majors)"
need_debian_postgres "$major"
check_bundle "$folder"
