#!/usr/bin/env bash
# Installs what is missing on a bare Debian with Rust, then runs every check: formatting, lints, tests, documentation.
set -euo pipefail
cd "$(dirname "$0")/.."

need() { # need COMMAND PACKAGE...: installs the packages when the command is missing
  local command=$1; shift
  command -v "$command" >/dev/null && return
  [ "$(id -u)" = 0 ] || { echo "test.sh: $command is missing; install: $*" >&2; exit 1; }
  apt-get update -q >&2
  DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends "$@" >&2
}
need cc build-essential
need setpriv util-linux
command -v cargo >/dev/null || { echo "test.sh: cargo is missing; install Rust (https://rustup.rs)" >&2; exit 1; }
cargo fmt --version >/dev/null 2>&1 || rustup component add rustfmt
cargo clippy --version >/dev/null 2>&1 || rustup component add clippy

step() { printf '\n== %s\n' "$*" >&2; "$@"; }
step cargo fmt --all --check
step cargo clippy --locked --workspace --all-targets -- -D warnings
step cargo clippy --locked --no-default-features --lib -- -D warnings
step env RUSTDOCFLAGS=-Dwarnings cargo doc --locked --workspace --no-deps --document-private-items
step cargo test --locked --workspace
