# Sourced by setup.sh: Rust, cargo-pgrx, cargo-fuzz. What it sets is for those who source it.
# shellcheck shell=bash disable=SC2034

# The version 1.x that Cargo.toml asks for, as pgrx does, and that of the cargo in use: their x.
rust_needed() { sed -n 's/^rust-version = "1\.\([0-9]*\)"$/\1/p' "$PROJECT/Cargo.toml"; }
rust_minor() {
  local version
  version=$("$CARGO" --version 2>/dev/null | sed -n 's/^cargo 1\.\([0-9]*\).*/\1/p')
  echo "${version:-0}"
}

# What the extension is built with: sets CARGO. Any cargo that is new enough will do; if the one in use is not, and it is
# rustup's, another toolchain that is installed, else the newest.
need_rust() {
  [ -z "${RUST_READY:-}" ] || return 0
  need_packages build-essential libclang-dev
  export CARGO=${CARGO:-cargo}
  if ! command -v "$CARGO" >/dev/null && [ -x "$HOME/.cargo/bin/cargo" ]; then
    PATH=$HOME/.cargo/bin:$PATH
  fi
  if ! command -v "$CARGO" >/dev/null && command -v apt-cache >/dev/null && apt_offers rustup; then
    need_packages rustup
    quietly rustup rustup default stable
  fi
  if [ "$(rust_minor)" -lt "$(rust_needed)" ] && command -v rustup >/dev/null && ! new_enough_toolchain; then
    quietly rustup timeout 600 rustup update stable
    new_enough_toolchain || true
  fi
  [ "$(rust_minor)" -ge "$(rust_needed)" ] ||
    die "Rust 1.$(rust_needed) or newer is needed, of rustup or of your distribution; here is $("$CARGO" --version 2>/dev/null || echo none)"
  RUST_READY=1
}

# Goes over to the first installed toolchain of rustup's that is new enough.
new_enough_toolchain() {
  local toolchain
  for toolchain in $(rustup toolchain list | cut -d' ' -f1); do
    if [ "$(RUSTUP_TOOLCHAIN=$toolchain rust_minor)" -ge "$(rust_needed)" ]; then
      export RUSTUP_TOOLCHAIN=$toolchain
      return
    fi
  done
  return 1
}

# rustfmt and clippy, of the same toolchain.
need_rust_linters() {
  if "$CARGO" fmt --version >/dev/null 2>&1 && "$CARGO" clippy --version >/dev/null 2>&1; then return; fi
  command -v rustup >/dev/null || die "rustfmt and clippy are needed, as they come with $("$CARGO" --version)"
  quietly rustup-components rustup component add rustfmt clippy
}

# need_nightly [COMPONENT…] : goes over to the nightly toolchain, with these components of rustup's.
# shellcheck disable=SC2120 # miri.sh hands it some
need_nightly() {
  need_rust
  command -v rustup >/dev/null || die "Rust's nightly toolchain is needed: install it with rustup"
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

# Sets CARGO_PGRX to a cargo-pgrx of the version that Cargo.toml pins. The extension is built without; it makes the
# install script of the code, and runs the tests inside a server. It is built to be there soon, not to be fast, and
# without what downloads Postgres, which it is not asked to do.
need_cargo_pgrx() {
  need_rust
  local version candidate root
  version=$(pgrx_version)
  root=$TOOLS_DIR/cargo-pgrx-$version
  for candidate in "$root/bin/cargo-pgrx" "$(command -v cargo-pgrx || true)"; do
    if [ -x "$candidate" ] && [ "$("$candidate" pgrx --version 2>/dev/null)" = "cargo-pgrx $version" ]; then
      CARGO_PGRX=$candidate
      return
    fi
  done
  say "building cargo-pgrx $version (about a minute)"
  quietly cargo-pgrx env CARGO_PROFILE_RELEASE_OPT_LEVEL=0 CARGO_PROFILE_RELEASE_LTO=off CARGO_PROFILE_RELEASE_CODEGEN_UNITS=16 CARGO_PROFILE_RELEASE_DEBUG=0 \
    "$CARGO" install --locked --no-default-features cargo-pgrx --version "=$version" --root "$root"
  CARGO_PGRX=$root/bin/cargo-pgrx
}
