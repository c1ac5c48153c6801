#!/usr/bin/env bash
# Builds the extension for the Postgres of PG_CONFIG; with "install", installs it there too.
set -euo pipefail
cd "$(dirname "$0")/.."
# shellcheck source=scripts/setup.sh
. scripts/setup.sh

command -v "${PG_CONFIG:=pg_config}" >/dev/null || die "no pg_config: install a Postgres with its server headers (Debian: postgresql-server-dev-15) or set PG_CONFIG"
PG_CONFIG=$(command -v "$PG_CONFIG")
need_cargo_pgrx
need_postgres "$(major_of "$PG_CONFIG")"
build_package
if [ "${1:-}" = install ]; then
  install_package
fi
