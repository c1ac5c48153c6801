# Sourced by setup.sh: Debian packages of the machine itself.
# shellcheck shell=bash

# need_packages PACKAGE… : Debian packages, by name.
need_packages() {
  local package missing=()
  if ! command -v dpkg-query >/dev/null; then
    say "not a Debian system; make sure you have what these Debian packages hold: $*"
    return
  fi
  for package in "$@"; do
    [ "$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null)" = installed ] || missing+=("$package")
  done
  [ ${#missing[@]} -gt 0 ] || return 0
  say "installing packages: ${missing[*]}"
  if [ -z "${APT_READY:-}" ]; then
    quietly apt-update as_root apt-get update
    APT_READY=1
  fi
  quietly apt-install as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends "${missing[@]}"
}

# Is there a package of this name to install?
apt_offers() { [ -n "$(apt-cache policy "$1" 2>/dev/null | sed -n 's/^ *Candidate: \([^(].*\)/\1/p')" ]; }
