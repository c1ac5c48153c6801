# Sourced after release.sh: Debian with nothing but apt, for each major the release that has it. What it sets is for those who source it.
# shellcheck shell=bash disable=SC2034

# need_clean_root MAJOR: sets CLEAN_ROOT to an archive of it. Postgres is not installed there; it only is downloaded, with all that
# it needs, so that apt has it to install. The archive stays as it is until it is removed.
need_clean_root() {
  CLEAN_ROOT=$TOOLS_DIR/clean-root-$1.tar
  [ ! -f "$CLEAN_ROOT" ] || return 0
  need_packages mmdebstrap
  local suites suite work
  read -ra suites <<<"$(suites_of "$1")"
  say "bringing a clean root of ${suites[*]}"
  mkdir -p "$TOOLS_DIR"
  work=$(mktemp -d "$TOOLS_DIR/clean-root.XXXXXX")
  for suite in "${suites[@]}"; do sources_of_suite "$suite"; done >"$work/debian.sources"
  [ -s "$work/debian.sources" ] || die "apt has no archive of Debian here to make a clean root of"
  # Of Postgres itself the newest of the suites.
  printf 'Package: src:postgresql-%s\nPin: release a=*\nPin-Priority: 900\n' "$1" >"$work/preferences"
  # shellcheck disable=SC2016 # $1 is mmdebstrap's
  quietly "clean-root-$1" as_root mmdebstrap --variant=apt --skip=cleanup/apt --dpkgopt=force-unsafe-io \
    --aptopt='Acquire::Check-Valid-Until "false"' --aptopt='Acquire::Languages "none"' --aptopt='APT::Install-Recommends "false"' \
    --setup-hook='mkdir -p "$1/etc/apt/preferences.d"' \
    --setup-hook="copy-in $work/preferences /etc/apt/preferences.d" \
    --customize-hook="chroot \"\$1\" apt-get install -y --download-only postgresql-$1" \
    "${suites[0]}" "$work/root.tar" "$work/debian.sources"
  # In one step, so that half an archive never has the final name.
  mv "$work/root.tar" "$CLEAN_ROOT"
  rm -rf "$work"
}

# in_clean_root FOLDER COMMAND…: runs a command in it, with what is in FOLDER as /packages, and without a network. The root lies in memory, and
# it, its mounts and all of its processes are gone when the command ends.
in_clean_root() {
  # shellcheck disable=SC2016 # for the shell within
  as_root unshare --mount --pid --fork --kill-child --net bash -euc '
    mount -t tmpfs clean-root /mnt
    tar -x -C /mnt -f "$1"
    mount -t proc proc /mnt/proc
    install -d -m 1777 /mnt/dev/shm
    ip link set lo up
    echo "127.0.0.1 localhost" >/mnt/etc/hosts
    cp -r "$2" /mnt/packages
    shift 2
    exec chroot /mnt env -i LANG=C.UTF-8 PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root DEBIAN_FRONTEND=noninteractive "$@"' \
    - "$CLEAN_ROOT" "$@"
}
