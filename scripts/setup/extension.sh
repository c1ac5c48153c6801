# Sourced by setup.sh: the extension itself, for the Postgres of PG_CONFIG.
# shellcheck shell=bash

build_extension() {
  make --no-print-directory -C "$PROJECT" PG_CONFIG="$PG_CONFIG"
}

# What build_extension made, to where PG_CONFIG looks for extensions.
install_extension() {
  local as=()
  [ -w "$("$PG_CONFIG" --pkglibdir)" ] && [ -w "$("$PG_CONFIG" --sharedir)/extension" ] || as=(as_root)
  "${as[@]}" make --no-print-directory -C "$PROJECT" install PG_CONFIG="$PG_CONFIG" ${CARGO_TARGET_DIR:+CARGO_TARGET_DIR="$CARGO_TARGET_DIR"}
}

# The library that build_extension made.
built_library() { echo "${CARGO_TARGET_DIR:-$PROJECT/target}/pg$(major_of "$PG_CONFIG")/advisory_keys.so"; }

# The install script of the version under development.
install_script() { echo "sql/advisory_keys--$(sed -n "s/^default_version = '\(.*\)'$/\1/p" "$PROJECT/advisory_keys.control").sql"; }
