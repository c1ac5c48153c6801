#!/usr/bin/env bash
# Brings what is missing on this machine to build the extension and to run it on Postgres PG; with "check", what the
# checks need besides. Sourced by the other scripts for the functions of the parts in setup/: each need_… function is
# quiet and quick when there is nothing to do.

PROJECT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)

say() { printf '==> %s\n' "$*"; }
die() { printf 'error: %s\n' "$*" >&2; exit 1; }
is_root() { [ "$(id -u)" -eq 0 ]; }

# Servers never run as root, and the user they run as must be able to read what is built here.
if is_root; then
  TOOLS_DIR=${ADVISORY_KEYS_TOOLS:-/var/cache/advisory_keys}
else
  TOOLS_DIR=${ADVISORY_KEYS_TOOLS:-${XDG_CACHE_HOME:-$HOME/.cache}/advisory_keys}
fi

as_root() {
  if is_root; then
    "$@"
  elif command -v sudo >/dev/null; then
    sudo "$@"
  else
    die "this needs root and there is no sudo; as root, run: $*"
  fi
}

# Runs a long command with its output in a log, whose end is shown if it fails.
quietly() {
  local log=$TOOLS_DIR/log/$1.log
  shift
  mkdir -p "$TOOLS_DIR/log"
  if ! "$@" >"$log" 2>&1; then
    tail -n 40 "$log" >&2
    die "failed: $* (all of its output: $log)"
  fi
}

# shellcheck source=scripts/setup/packages.sh
. "$PROJECT/scripts/setup/packages.sh"
# shellcheck source=scripts/setup/rust.sh
. "$PROJECT/scripts/setup/rust.sh"
# shellcheck source=scripts/setup/postgres.sh
. "$PROJECT/scripts/setup/postgres.sh"
# shellcheck source=scripts/setup/python.sh
. "$PROJECT/scripts/setup/python.sh"
# shellcheck source=scripts/setup/extension.sh
. "$PROJECT/scripts/setup/extension.sh"
# shellcheck source=scripts/setup/released.sh
. "$PROJECT/scripts/setup/released.sh"

set_up() {
  need_rust
  need_postgres "${PG:-$(default_major)}"
}

set_up_check() {
  set_up
  need_rust_linters
  need_cargo_pgrx
  # Go for docs/examples.
  local packages=(shellcheck binutils pgbouncer golang-go golang-github-jackc-pgx-v4-dev)
  # cargo pgrx test runs its server as another user by it.
  if is_root; then packages+=(sudo); fi
  # It is there for Debian's 15 only.
  if is_debians_15; then packages+=(postgresql-15-plpgsql-check); fi
  need_packages "${packages[@]}"
  need_python_packages scripts/analysers/requirements.txt
  need_python_packages tests/live/requirements.txt
}

if [ "${BASH_SOURCE[0]}" = "$0" ]; then
  set -euo pipefail
  case ${1:-} in
    '') set_up ;;
    check) set_up_check ;;
    *) die "usage: setup.sh [check]" ;;
  esac
  say "set up: $("$CARGO" --version) and $("$PG_CONFIG" --version) ($PG_CONFIG)"
fi
