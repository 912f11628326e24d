#!/usr/bin/env bash
# Prints the path of a program from crates.io, which is built the first time and kept outside of the tree.
set -euo pipefail

usage() {
  cat <<'TEXT'
Usage: scripts/built-once.sh CRATE VERSION [OPTION OF cargo install]...

The program is kept in $STORM_INDEX_CACHE (~/.cache/storm-index). It is built without optimisation: it is to be had
soon, not to be fast.
TEXT
}

case ${1:-} in -h | --help) usage; exit 0 ;; esac
[ $# -ge 2 ] || { usage >&2; exit 2; }
crate=$1 version=$2
shift 2
cache=${STORM_INDEX_CACHE:-$HOME/.cache/storm-index}
program=$cache/$crate-$version/bin/$crate
if [ ! -x "$program" ]; then
  mkdir -p "$cache"
  # One builds, others wait. What was built stands in its place at once or not at all.
  exec 9>"$cache/$crate-$version.lock"
  flock 9
  if [ ! -x "$program" ]; then
    echo "built-once.sh: building $crate $version, once, into $cache" >&2
    work=$(mktemp -d "$cache/building.XXXXXX")
    trap 'rm -rf -- "$work"' EXIT
    CARGO_PROFILE_DEV_DEBUG=0 CARGO_TARGET_DIR=$work/target \
      cargo install "$crate" --version "=$version" --locked --debug --quiet --no-track --root "$work/root" "$@" >&2 9>&-
    rm -rf -- "${cache:?}/$crate-$version"
    mv "$work/root" "$cache/$crate-$version"
  fi
fi
echo "$program"
