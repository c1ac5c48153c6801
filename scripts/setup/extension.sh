# Sourced by setup.sh: the extension itself, for the Postgres of PG_CONFIG.
# shellcheck shell=bash

build_extension() {
  env -u DESTDIR -u MAKEFLAGS make --no-print-directory -C "$PROJECT" PG_CONFIG="$PG_CONFIG"
}

# What build_extension made, to where PG_CONFIG looks for extensions; not over what a package brought.
install_extension() {
  local as=() library
  library=$("$PG_CONFIG" --pkglibdir)/advisory_keys.so
  if [ -e "$library" ] && dpkg -S "$library" >/dev/null 2>&1; then
    die "$library belongs to a package: remove that ($(dpkg -S "$library" | cut -d: -f1)), or set PG_CONFIG to that of another Postgres"
  fi
  [ -w "$("$PG_CONFIG" --pkglibdir)" ] && [ -w "$("$PG_CONFIG" --sharedir)/extension" ] || as=(as_root)
  "${as[@]}" env -u DESTDIR -u MAKEFLAGS make --no-print-directory -C "$PROJECT" install PG_CONFIG="$PG_CONFIG" ${CARGO_TARGET_DIR:+CARGO_TARGET_DIR="$CARGO_TARGET_DIR"}
}

# The library that build_extension made.
built_library() { echo "${CARGO_TARGET_DIR:-$PROJECT/target}/pg$(major_of "$PG_CONFIG")/advisory_keys.so"; }

# The install script of the version under development, and that of the add-on for leases.
install_script() { echo "sql/advisory_keys--$(default_version advisory_keys.control).sql"; }
leases_script() { echo "$PROJECT/leases/advisory_leases--$(default_version leases/advisory_leases.control).sql"; }

default_version() { sed -n "s/^default_version = '\(.*\)'$/\1/p" "$PROJECT/$1"; }
