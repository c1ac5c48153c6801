#!/usr/bin/env bash
# Upgrades: from every released version to the present one on servers in use, and pg_upgrade from one Postgres to a newer one. On all majors,
# or on PG=15 … 19 and from there.
set -euo pipefail
cd "$(dirname "$0")/.."
# shellcheck source=scripts/setup.sh
. scripts/setup.sh

# Where pg_upgrade goes from a major.
declare -A newer=([15]=18 [17]=19)

scratch=$(mktemp -d "${TMPDIR:-/tmp}/advisory_keys-upgrades.XXXXXX")
trap 'rm -rf "$scratch"' EXIT

# need_present MAJOR: sets PG_CONFIG, and PRESENT to a folder with the files of the present version for that major.
need_present() {
  PG_CONFIG=$own_pg_config
  need_postgres "$1"
  PRESENT=$scratch/present-pg$1
  [ ! -d "$PRESENT" ] || return 0
  say "building the extension for Postgres $1"
  quietly "upgrades-pg$1" build_extension
  mkdir "$PRESENT"
  cp "$(built_library)" advisory_keys.control sql/advisory_keys--*.sql leases/advisory_leases* "$PRESENT/"
}

# check_upgrades MAJOR: the tests on this major.
check_upgrades() {
  local major=$1 version options=()
  if [ -z "$(released_for "$major")" ]; then
    say "no released version knows Postgres $major: their SQL is tried there with the present library, by make check"
    return
  fi
  if [ -n "${newer[$major]:-}" ]; then
    need_present "${newer[$major]}"
    options=(--to "$PG_CONFIG" --to-present "$PRESENT")
  else
    options=(--ignore "$PROJECT/tests/upgrade/test_pg_upgrade.py")
  fi
  need_present "$major"
  for version in $(released_for "$major"); do
    need_released "$version"
    options+=(--released "$version=$RELEASED")
  done
  say "upgrades on $("$PG_CONFIG" --version)"
  "$PYTHON" -B -m pytest -p no:cacheprovider -q --tb=short "$PROJECT/tests/upgrade" --present "$PRESENT" "${options[@]}"
}

need_rust
need_python_packages tests/live/requirements.txt
# Read by the tests, for what they share with the live tests.
export EDITION=native
own_pg_config=${PG_CONFIG:-}
for major in ${PG:-15 16 17 18 19}; do
  check_upgrades "$major"
done
