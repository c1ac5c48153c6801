# Sourced by setup.sh: released versions of the extension, built from the history, for the Postgres of PG_CONFIG. What it sets is for
# those who source it.
# shellcheck shell=bash disable=SC2034

# Each line of this file is of one version: its number, the commit that it was released as, and the majors that it knows.
RELEASES=$PROJECT/sql/released.txt

# The released versions that know a major.
released_for() { awk -v major="$1" '{ for (i = 3; i <= NF; i++) if ($i == major) print $1 }' "$RELEASES"; }

# need_released VERSION: sets RELEASED to a folder with what its users have installed: the library, the control file and the install script.
need_released() {
  local version=$1 major commit source=$PROJECT/target/released/$1 target=${CARGO_TARGET_DIR:-$PROJECT/target} library
  major=$(major_of "$PG_CONFIG")
  commit=$(awk -v version="$version" '$1 == version { print $2 }' "$RELEASES")
  [ -n "$commit" ] || die "$version is not in sql/released.txt"
  [[ $'\n'$(released_for "$major")$'\n' = *$'\n'$version$'\n'* ]] || die "$version does not know Postgres $major"
  RELEASED=$TOOLS_DIR/released/$commit-pg$major
  [ ! -d "$RELEASED" ] || return 0
  git -C "$PROJECT" cat-file -e "$commit^{commit}" ||
    die "the history here does not reach back to $version (commit $commit), which has to be built: git fetch --unshallow"
  need_rust
  need_packages libclang-dev
  say "building $version for Postgres $major"
  rm -rf "$source"
  mkdir -p "$source" "$TOOLS_DIR/released"
  git -C "$PROJECT" archive "$commit" | tar -x -C "$source"
  # A library of the same name would take the place of the present one's in the folder that they share for the sake of their crates.
  library=advisory_keys_${version//./_}
  sed -i "s/^\[lib\]\$/&\nname = \"$library\"/" "$source/Cargo.toml"
  (cd "$source" && PGRX_PG_CONFIG_PATH=$PG_CONFIG quietly "released-$version-pg$major" \
    "$CARGO" build --release --locked --no-default-features --features "pg$major" --target-dir "$target")
  mkdir "$source/files"
  cp "$target/release/lib$library.so" "$source/files/advisory_keys.so"
  cp "$PROJECT/sql/advisory_keys--$version.sql" "$source/files/"
  sed "s/@CARGO_VERSION@/$version/" "$source/advisory_keys.control" >"$source/files/advisory_keys.control"
  chmod -R a+rX "$source/files"
  # In one step, so that half of it never has the final name.
  mv "$source/files" "$RELEASED"
  rm -rf "$source"
}
