# Sourced by setup.sh: the extension itself, for the Postgres of PG_CONFIG.
# shellcheck shell=bash

# Builds the extension for PG_CONFIG as a tree of files to install, below PACKAGE.
build_package() {
  local major
  major=$(major_of "$PG_CONFIG")
  PACKAGE=$PROJECT/target/package-pg$major
  rm -rf "$PACKAGE"
  (cd "$PROJECT" && "$CARGO_PGRX" pgrx package --pg-config "$PG_CONFIG" --out-dir "$PACKAGE" \
    --no-default-features --features "pg$major")
  # The install scripts of earlier versions, so that what upgrades do to them can be seen.
  cp "$PROJECT"/sql/advisory_keys--[0-9]*.sql "$PACKAGE$("$PG_CONFIG" --sharedir)/extension/"
}

# Copies what build_package made to where PG_CONFIG looks for extensions.
install_package() {
  local pkglibdir extension as=()
  pkglibdir=$("$PG_CONFIG" --pkglibdir)
  extension=$("$PG_CONFIG" --sharedir)/extension
  [ -w "$pkglibdir" ] && [ -w "$extension" ] || as=(as_root)
  "${as[@]}" install -m 755 "$PACKAGE$pkglibdir"/advisory_keys.* "$pkglibdir/"
  "${as[@]}" install -m 644 "$PACKAGE$extension"/advisory_keys* "$extension/"
  say "installed advisory_keys into $("$PG_CONFIG" --version)"
}
