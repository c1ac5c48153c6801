#!/usr/bin/env bash
# Makes the packages of what is committed, in target/packages: for each Postgres that a release of Debian has, or for PG=15 17 18 19, a .deb and a
# plain tarball; the bundle for PGXN; what psql installs: the portable edition, and leases; SHA256SUMS.
set -euo pipefail
cd "$(dirname "$0")/.."
# shellcheck source=scripts/setup.sh
. scripts/setup.sh
# shellcheck source=scripts/packaging/release.sh
. scripts/packaging/release.sh

[ -z "$(git status --porcelain)" ] || say "what is not committed is not in the packages"
need_packages debhelper dpkg-dev lintian postgresql-server-dev-all
need_rust

mkdir -p "$PACKAGES"
work=$PROJECT/target/packaging
source=$work/$NAME-$VERSION

# Runs a command with the Postgres of PG_CONFIG where Debian has it, which is what pg_buildext and the paths in the package
# go by. Other commands see nothing of that.
where_debian_has_it() {
  local tree as=()
  tree=$("$PG_CONFIG" --bindir)
  tree=${tree%/usr/lib/postgresql/*/bin}
  if [ -z "$tree" ]; then
    "$@"
    return
  fi
  is_root || as=(--map-root-user)
  # shellcheck disable=SC2016 # for the shell within
  unshare "${as[@]}" --mount bash -euc '
    tree=$1
    shift
    for folder in lib share include; do mount --bind "$tree/usr/$folder/postgresql" "/usr/$folder/postgresql"; done
    exec "$@"' - "$tree" "$@"
}

# unpack_source: the sources as they are committed, in a folder of their own, beside which debhelper puts its packages.
unpack_source() {
  rm -rf "$source" "$work"/*.deb
  mkdir -p "$source"
  git archive HEAD | tar -x -C "$source"
}

make_deb() (
  rm -f "$PACKAGES/postgresql-$1"-*
  # There is no debugging information for a package of its own.
  export PG_SUPPORTED_VERSIONS=$1 CARGO_TARGET_DIR=$work/cargo DEB_BUILD_OPTIONS=noautodbgsym
  cd "$source"
  pg_buildext updatecontrol
  # Rust comes by rustup here, not in a package.
  quietly "package-pg$1" where_debian_has_it dpkg-buildpackage --build=binary --no-check-builddeps --no-sign
  lintian --allow-root --fail-on error,warning --tag-display-limit 0 "$work"/*.deb
  mv "$work"/*.deb "$PACKAGES/"
)

# The library and the SQL as they are in the .deb.
make_tarball() (
  folder=$NAME-$VERSION-pg$1-$(uname -m) installed=$work/installed
  rm -rf "$installed" "${work:?}/$folder" "$PACKAGES/$NAME"-*-"pg$1"-*
  dpkg -x "$(deb_of "$1")" "$installed"
  mkdir -p "$work/$folder"
  cp -r "$installed/usr/lib/postgresql/$1/lib" "$installed/usr/share/postgresql/$1/extension" "$work/$folder/"
  cp -r "$source"/{LICENSE,THIRD-PARTY-LICENSES.txt,README.md,CHANGELOG.md,docs} "$source/packaging/INSTALL" "$work/$folder/"
  SOURCE_DATE_EPOCH=$(dpkg-parsechangelog -l"$source/debian/changelog" -S Timestamp)
  tar --sort=name --mtime="@$SOURCE_DATE_EPOCH" --owner=0 --group=0 --numeric-owner --mode=go=rX,u+w -c -C "$work" "$folder" |
    gzip -9n >"$PACKAGES/$folder.tar.gz"
)

for major in $(majors); do
  need_debian_postgres "$major"
  say "packages for $("$PG_CONFIG" --version)"
  unpack_source
  make_deb "$major"
  make_tarball "$major"
done
rm -f "$PACKAGES"/*.{zip,sql}
git archive --format=zip --prefix="$NAME-$VERSION/" --output="$PACKAGES/$NAME-$VERSION.zip" HEAD
git show HEAD:sql/portable.sql >"$PACKAGES/portable-$VERSION.sql"
git show "HEAD:leases/advisory_leases--$VERSION.sql" >"$PACKAGES/advisory_leases--$VERSION.sql"
(cd "$PACKAGES" && sha256sum -- *"$VERSION"[-.]* >SHA256SUMS && ls -l)
