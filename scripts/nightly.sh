#!/usr/bin/env bash
# Runs what is too long for each change: the tests at their greatest effort, and mutants.
set -euo pipefail
cd "$(dirname "$0")/.."

case ${1:-} in
  '') ;;
  -h | --help) echo 'Usage: scripts/nightly.sh   (after scripts/test.sh, which installs what is missing)'; exit 0 ;;
  *) echo 'Usage: scripts/nightly.sh' >&2; exit 2 ;;
esac
. scripts/steps.sh

# Changes the rules (.cargo/mutants.toml) in one place at a time; a change that no unit test notices is a rule without a test.
# An eighth of the changes each night.
mutants() {
  local program
  program=$(scripts/built-once.sh cargo-mutants 27.1.0)
  "$program" mutants --shard "$((10#$(date +%j) % 8))/8" --sharding round-robin --output "$results" --no-shuffle
}

step 'tests on SQLite' tests sqlite nightly
step 'tests on PostgreSQL' scripts/throwaway-postgres.sh --memory bash -c 'tests postgres nightly-postgres'
step 'mutants' mutants
