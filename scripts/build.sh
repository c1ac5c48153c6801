#!/bin/sh
# Builds the library for the Postgres of PG_CONFIG, and does nothing else: what is missing is named, not brought.
# CARGO is another cargo, CARGO_FLAGS more options for it (--offline).
set -eu
cd "$(dirname "$0")/.."
# shellcheck source=scripts/pg_config.sh
. scripts/pg_config.sh

CARGO=${CARGO:-cargo}
needed=$(sed -n 's/^rust-version = "1\.\([0-9]*\)"$/\1/p' Cargo.toml)
command -v "$CARGO" >/dev/null || die "$CARGO is not there: Rust 1.$needed or newer is needed"
there=$("$CARGO" --version | sed -n 's/^cargo 1\.\([0-9]*\).*/\1/p')
[ "${there:-0}" -ge "$needed" ] || die "Rust 1.$needed or newer is needed, and $CARGO is of $("$CARGO" --version)"
[ -f "$("$PG_CONFIG" --includedir-server)/postgres.h" ] ||
  die "$PG_CONFIG has no server headers: install those of Postgres $MAJOR (Debian: postgresql-server-dev-$MAJOR)"

case $(uname) in Darwin) built=libadvisory_keys.dylib ;; *) built=libadvisory_keys.so ;; esac
set -f
# shellcheck disable=SC2086 # options, by blanks
if ! PGRX_PG_CONFIG_PATH=$PG_CONFIG "$CARGO" build --release --lib --locked ${CARGO_FLAGS:-} --no-default-features --features "pg$MAJOR" \
  --target-dir "$TARGET"; then
  die "the library was not built. If libclang was not found: install it (Debian: libclang-dev), or set LIBCLANG_PATH to its folder"
fi
mkdir -p "$TARGET/pg$MAJOR"
# Not over a file that may be mapped.
cp "$TARGET/release/$built" "$LIBRARY.new"
mv -f "$LIBRARY.new" "$LIBRARY"
echo "built $LIBRARY"
