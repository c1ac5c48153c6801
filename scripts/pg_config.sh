# Sourced by build.sh and install.sh, in the project's folder: which Postgres PG_CONFIG names, and what is built for it.
# shellcheck shell=sh disable=SC2034

die() { printf 'error: %s\n' "$*" >&2; exit 1; }

config=${PG_CONFIG:-pg_config}
PG_CONFIG=$(command -v "$config") ||
  die "$config is not there: install a Postgres with its server headers (Debian: postgresql-server-dev-NN), or set PG_CONFIG to its pg_config"
case $PG_CONFIG in /*) ;; *) PG_CONFIG=$PWD/$PG_CONFIG ;; esac
version=$("$PG_CONFIG" --version | head -n 1)
MAJOR=$(printf '%s\n' "$version" | sed -n 's/^PostgreSQL \([0-9]*\).*/\1/p')
grep -q "^pg$MAJOR = " Cargo.toml ||
  die "$PG_CONFIG is of '$version', which is not supported; these are:" "$(sed -n 's/^pg\([0-9]*\) = .*/\1/p' Cargo.toml | xargs)"

TARGET=${CARGO_TARGET_DIR:-target}
# On macOS Postgres looks for .dylib since 16.
suffix=so
[ "$(uname)" != Darwin ] || [ "$MAJOR" -lt 16 ] || suffix=dylib
LIBRARY=$TARGET/pg$MAJOR/advisory_keys.$suffix
