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

# Changes the code in one place at a time; a change that no test notices is a rule that no test holds.
mutants() {
  local program
  program=$(scripts/built-once.sh cargo-mutants 27.1.0)
  "$program" mutants --in-place --output "$results" --test-tool nextest -- --locked --lib
}

step 'tests on SQLite' tests sqlite nightly
step 'tests on PostgreSQL' scripts/throwaway-postgres.sh --memory bash -c 'tests postgres nightly-postgres'
step 'mutants' mutants
