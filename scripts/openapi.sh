#!/usr/bin/env bash
# Writes the specification of the API into openapi/, as the program makes it.
set -euo pipefail
cd "$(dirname "$0")/.."

case ${1:-} in
  '') ;;
  -h | --help) echo 'Usage: scripts/openapi.sh   (writes openapi/openapi.json and openapi/openapi.yaml)'; exit 0 ;;
  *) echo 'Usage: scripts/openapi.sh' >&2; exit 2 ;;
esac

cargo build --locked --quiet
program=${CARGO_TARGET_DIR:-target}/debug/storm-index
mkdir -p openapi
"$program" openapi >openapi/openapi.json
"$program" openapi --yaml >openapi/openapi.yaml
