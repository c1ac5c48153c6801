# Sourced after setup.sh by package.sh and package-check.sh: which packages there are, and for which release of Debian. What it sets is
# for those who source it.
# shellcheck shell=bash disable=SC2034

NAME=advisory_keys
VERSION=$(sed -n 's/^version = "\(.*\)"$/\1/p' Cargo.toml)
PACKAGES=$PROJECT/target/packages

majors() { echo "${PG:-15 17 18 19}"; }

# The suites of Debian that have a major; no release has 16.
suites_of() {
  case $1 in
    15) echo bookworm ;;
    17) echo trixie ;;
    18) echo testing ;;
    # What experimental does not have itself comes from sid.
    19) echo sid experimental ;;
    *) die "no release of Debian has Postgres $1: make packages of 15, 17, 18 or 19" ;;
  esac
}

deb_of() { echo "$PACKAGES/postgresql-$1-advisory-keys_$VERSION"-*.deb; }

own_pg_config=${PG_CONFIG:-}

# need_debian_postgres MAJOR: sets PG_CONFIG to that of Debian's own, wherever it is unpacked.
need_debian_postgres() {
  suites_of "$1" >/dev/null
  PG_CONFIG=$own_pg_config
  need_postgres "$1"
  [[ $("$PG_CONFIG" --bindir) = */usr/lib/postgresql/$1/bin ]] || die "$PG_CONFIG is not Debian's"
}
