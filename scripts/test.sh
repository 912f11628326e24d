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
need git git
need setpriv util-linux
if ! scripts/throwaway-postgres.sh --programs >/dev/null 2>&1; then
  # Only the programs are wanted, not a cluster that runs.
  [ "$(id -u)" != 0 ] || { mkdir -p /etc/postgresql-common; echo 'create_main_cluster = false' >/etc/postgresql-common/createcluster.conf; }
  need initdb postgresql
fi
need docker-compose docker-compose
# Programs of Python's are installed into directories of their own, which needs what only looks like a part of Python.
python3 -c 'import ensurepip, venv' 2>/dev/null || need python3-venv python3 python3-venv
command -v cargo >/dev/null || { echo "test.sh: cargo is missing; install Rust (https://rustup.rs)" >&2; exit 1; }
cargo fmt --version >/dev/null 2>&1 || rustup component add rustfmt
cargo clippy --version >/dev/null 2>&1 || rustup component add clippy

step() { printf '\n== %s\n' "$*" >&2; "$@"; }
step cargo fmt --all --check
step cargo clippy --locked --workspace --all-targets -- -D warnings
step cargo clippy --locked --no-default-features --lib -- -D warnings
step env RUSTDOCFLAGS=-Dwarnings cargo doc --locked --workspace --no-deps --document-private-items
step scripts/deny.sh
step scripts/check-compose.sh
step env -u STORM_INDEX_TEST_POSTGRES -u STORM_INDEX_TEST_GARAGE -u STORM_INDEX_TEST_SEAWEEDFS cargo test --locked --workspace
# The API against its own specification.
step scripts/schemathesis.sh
# The same tests on PostgreSQL, and those that depend on an order once more where the whole cluster sorts by a language.
step scripts/throwaway-postgres.sh cargo test --locked --test it
step scripts/throwaway-postgres.sh --initdb=--locale-provider=icu --initdb=--icu-locale=en-US \
  cargo test --locked --test it -- worlds:: postgres::law_01 law_05
# What happens on S3, on a real server.
step scripts/throwaway-garage.sh cargo test --locked --test it -- s3 buckets::
# And on one that lists folder by folder. It changes some of the keys of the other tests, so those are left out.
step scripts/throwaway-seaweedfs.sh cargo test --locked --test it -- seaweedfs:: cli::s3 moves::law_11_on_s3
