# Sourced by setup.sh: Rust, cargo-pgrx, cargo-fuzz. What it sets is for those who source it.
# shellcheck shell=bash disable=SC2034

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
    # shellcheck disable=SC2016 # these are the wrapper's own
    printf '#!/bin/sh\ncase $1 in build|rustc|test|check|clippy) c=$1; shift; exec cargo "$c" --ignore-rust-version "$@";; esac\nexec cargo "$@"\n' >"$cargo"
    chmod +x "$cargo"
    export CARGO=$cargo
  else
    export CARGO=cargo
  fi
  RUST_READY=1
}

# need_nightly [COMPONENT…] : goes over to the nightly toolchain, with these components of rustup's.
# shellcheck disable=SC2120 # miri.sh hands it some
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
  # shellcheck disable=SC2119
  need_nightly
  local version=0.13.2
  local root=$TOOLS_DIR/cargo-fuzz-$version
  CARGO_FUZZ=$root/bin/cargo-fuzz
  [ ! -x "$CARGO_FUZZ" ] || return 0
  say "building cargo-fuzz $version (about a minute)"
  quietly cargo-fuzz cargo install --locked cargo-fuzz --version "=$version" --root "$root"
}

pgrx_version() { sed -n 's/^pgrx = .*"=\([^"]*\)".*/\1/p' "$PROJECT/Cargo.toml"; }

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
