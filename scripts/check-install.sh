#!/usr/bin/env bash
# make, make install and make uninstall as packagers call them: what they copy and remove, and what they say when
# something is missing. The library has to be built for the Postgres of PG.
set -euo pipefail
cd "$(dirname "$0")/.."
# shellcheck source=scripts/setup.sh
. scripts/setup.sh

set_up
work=$(mktemp -d "${TMPDIR:-/tmp}/advisory_keys-install.XXXXXX")
trap 'rm -rf "$work"' EXIT
root="$work/a root"
# Neither of the two compiles.
install=(make --no-print-directory CARGO=false PG_CONFIG="$PG_CONFIG" DESTDIR="$root")

# The files of the root, with their modes.
files() { (cd "$root" && find . -type f -printf '%m /%P\n' | sort); }

expect() {
  local what=$1
  shift
  diff --unified --label "$what" --label here <([ $# -eq 0 ] || printf '%s\n' "$@" | sort) - || die "$what: not as expected"
}

# refused MESSAGE COMMAND…: fails, and says so.
refused() {
  local message=$1
  shift
  if "$@" >"$work/output" 2>&1; then die "was not refused: $*"; fi
  grep -qF "$message" "$work/output" || { cat "$work/output"; die "does not say '$message': $*"; }
}

libraries=$("$PG_CONFIG" --pkglibdir)
extensions=$("$PG_CONFIG" --sharedir)/extension
texts=(advisory_keys.control sql/advisory_keys--*.sql leases/*)
texts=("${texts[@]##*/}")
touch "$work/before"
umask 077
"${install[@]}" install >/dev/null
files | expect "make install" "755 $libraries/$(basename "$(built_library)")" "${texts[@]/#/644 $extensions/}"
find . -path ./.git -prune -o -newer "$work/before" -print | expect "what make install writes into the tree"

touch "$root$extensions/another.control"
"${install[@]}" uninstall
files | expect "make uninstall" "600 $extensions/another.control"

refused "nothing is built for Postgres" env CARGO_TARGET_DIR="$work/target" "${install[@]}" install
mkdir -p "$work/target/pg$(major_of "$PG_CONFIG")"
touch -d 2000-01-01 "$work/target/pg$(major_of "$PG_CONFIG")/$(basename "$(built_library)")"
refused "is older than its sources" env CARGO_TARGET_DIR="$work/target" "${install[@]}" install
refused "nowhere/pg_config is not there" make PG_CONFIG=nowhere/pg_config
# What a fake answers stands in the variables that it is called with.
# shellcheck disable=SC2016
printf '#!/bin/sh\ncase $1 in --version) echo "$SAYS" ;; *) echo /nowhere ;; esac\n' | tee "$work/pg_config" >"$work/cargo"
chmod +x "$work/pg_config" "$work/cargo"
refused "which is not supported" env SAYS="PostgreSQL 14.3" make PG_CONFIG="$work/pg_config"
refused "has no server headers" env SAYS="PostgreSQL 17.1" make PG_CONFIG="$work/pg_config"
refused "Rust 1.$(rust_needed) or newer is needed" env SAYS="cargo 1.85.0" make PG_CONFIG="$PG_CONFIG" CARGO="$work/cargo"
refused "Rust 1.$(rust_needed) or newer is needed" make PG_CONFIG="$PG_CONFIG" CARGO="$work/nowhere"
