#!/usr/bin/env bash
# Installs what is missing on a bare Debian with Rust, then runs every check: formatting, lints, tests, documentation. At the
# end it prints how long each step took, the slowest tests, and what was skipped.
set -euo pipefail
cd "$(dirname "$0")/.."

need() { # need COMMAND PACKAGE...: installs the packages when the command is missing
  local command=$1; shift
  command -v "$command" >/dev/null && return
  [ "$(id -u)" = 0 ] || { echo "test.sh: $command is missing; install: $*" >&2; exit 1; }
  apt-get update -q >&2
  DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends "$@" >&2
}
install() {
  need cc build-essential
  need git git
  need setpriv util-linux
  if ! scripts/throwaway-postgres.sh --programs >/dev/null 2>&1; then
    # Only the programs are wanted, not a cluster that runs.
    [ "$(id -u)" != 0 ] || { mkdir -p /etc/postgresql-common; echo 'create_main_cluster = false' >/etc/postgresql-common/createcluster.conf; }
    need initdb postgresql
  fi
  need docker-compose docker-compose
  need mkfs.ext4 e2fsprogs
  # Programs of Python's are installed into directories of their own, which needs what only looks like a part of Python.
  python3 -c 'import ensurepip, venv' 2>/dev/null || need python3-venv python3 python3-venv
  command -v cargo >/dev/null || { echo "test.sh: cargo is missing; install Rust (https://rustup.rs)" >&2; exit 1; }
  cargo fmt --version >/dev/null 2>&1 || rustup component add rustfmt
  cargo clippy --version >/dev/null 2>&1 || rustup component add clippy
}

. scripts/steps.sh

step 'install' install
step 'format' cargo fmt --all --check
step 'lint' cargo clippy --locked --workspace --all-targets -- -D warnings
step 'lint the library alone' cargo clippy --locked --no-default-features --lib -- -D warnings
step 'documentation' env RUSTDOCFLAGS=-Dwarnings cargo doc --locked --workspace --no-deps --document-private-items
step 'dependencies' scripts/deny.sh
step 'compose.yaml' scripts/check-compose.sh
step 'build the tests' cargo test --locked --workspace --no-run
step 'tests on SQLite' tests sqlite ci
step 'examples in the documentation' cargo test --locked --workspace --doc
step 'tests on PostgreSQL' scripts/throwaway-postgres.sh --memory bash -c 'tests postgres postgres'
# What happens on S3, on a real server.
step 'tests on Garage' scripts/throwaway-garage.sh bash -c "tests garage ci -E 'test(s3) | test(/^buckets::/)'"
# And on one that lists folder by folder. It changes some of the keys of the other tests, so those are left out.
step 'tests on SeaweedFS' scripts/throwaway-seaweedfs.sh \
  bash -c "tests seaweedfs ci -E 'test(/^seaweedfs::/) | test(/^cli::s3/) | test(/^moves::law_11_on_s3/)'"
step 'the API against its specification' scripts/schemathesis.sh
step 'nothing was left out' scripts/test-report.py --all-ran "$results" .config/not-in-ci.txt
