# Sourced by the scripts that run many checks: each step is timed, and at the end scripts/test-report.py prints how long the
# steps took, which tests were the slowest, and what was skipped.

results=$(mktemp -d "${TMPDIR:-/tmp}/test-results.XXXXXX")
current='' began=''
record() { printf '%s\t%s\t%s\n' "$1" "$began" "$EPOCHREALTIME" >>"$results/steps"; }
# shellcheck disable=SC2317 # called by the trap
finish() {
  [ -z "$current" ] || record "$current (FAILED)"
  scripts/test-report.py "$results" || true
  [ -z "$current" ] || printf '\nFAILED: %s\n' "$current" >&2
  rm -rf -- "$results"
}
trap finish EXIT

step() { # step NAME COMMAND...: runs a command; if it fails, so does the script
  current=$1 began=$EPOCHREALTIME
  shift
  printf '\n== %s\n' "$current" >&2
  "$@"
  record "$current"
  current=''
}

tests() { # tests PASS PROFILE [ARGUMENT]...: one pass through the tests
  local pass=$1
  shift
  STORM_INDEX_TEST_RESULTS=$results STORM_INDEX_TEST_PASS=$pass scripts/nextest.sh "$@"
}

# For the commands that start a server and run another command beside it.
export -f tests
export results
# There are tests of a server only where a pass starts it.
unset STORM_INDEX_TEST_POSTGRES STORM_INDEX_TEST_GARAGE STORM_INDEX_TEST_SEAWEEDFS
