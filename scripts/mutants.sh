#!/usr/bin/env bash
# Would the torture notice? Each patch of tests/torture/mutants breaks the extension, or the add-on for leases, in one way, and
# says which checks have to find that. The broken libraries are built in target/mutants and never installed; a broken
# add-on is SQL, and beside the library as it should be. Arguments: the names of patches; all if there are none.
set -euo pipefail
cd "$(dirname "$0")/.."
# shellcheck source=scripts/setup.sh
. scripts/setup.sh
# shellcheck source=scripts/suites.sh
. scripts/suites.sh

set_up
need_packages patch
build_extension
install_extension

work=target/mutants
# The library of the sources in $work/source, built quickly.
build_mutant() {
  (cd "$work/source" && CARGO_PROFILE_RELEASE_LTO=off CARGO_PROFILE_RELEASE_OPT_LEVEL=1 "$CARGO" build --quiet --locked --release --lib \
    --no-default-features --features "pg$(major_of "$PG_CONFIG")" --target-dir "$PROJECT/$work/build")
}

# What follows a word at the beginning of a line of the patch.
field() { sed -n "s/^$1: //p" "$mutant"; }

missed=()
if [ $# -eq 0 ]; then
  mapfile -t names < <(basename -s .patch tests/torture/mutants/*.patch)
  set -- "${names[@]}"
fi
for name; do
  mutant=tests/torture/mutants/$name.patch
  say "$name: $(head -n 1 "$mutant")"
  rm -rf "$work/source"
  mkdir -p "$work/source"
  cp -r Cargo.toml Cargo.lock .cargo src sql leases "$work/source"
  patch --quiet --strip=1 --directory="$work/source" <"$mutant"
  read -ra options <<<"$(field 'Run with')"
  if grep -q '^+++ b/leases/' "$mutant"; then
    library=$(built_library)
    options+=(--leases "$work/source/leases/$(basename "$(leases_script)")")
  else
    build_mutant
    library=$work/build/release/libadvisory_keys.so
  fi
  log=$work/$name.log
  run_torture --library "$library" --until "$(field 'Found by')" "${options[@]}" \
    >"$log" 2>&1 || true
  while read -r check; do
    if grep -q "^ *FINDINGS .*  $check\$" "$log"; then
      echo "    found by: $check"
    else
      echo "    NOT FOUND by: $check (see $log)"
      missed+=("$name by $check")
    fi
  done < <(field 'Found by' | sed 's/; */\n/g')
done

[ ${#missed[@]} -eq 0 ] || die "not found: ${missed[*]}"
say "all were found"
