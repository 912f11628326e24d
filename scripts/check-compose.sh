#!/usr/bin/env bash
# Checks compose.yaml, with each of its profiles: by docker-compose, and against the schema of the Compose specification.
set -euo pipefail
cd "$(dirname "$0")/.."

case ${1:-} in
  '') ;;
  -h | --help) echo 'Usage: scripts/check-compose.sh   (installs check-jsonschema in a directory of its own the first time)'; exit 0 ;;
  *) echo 'Usage: scripts/check-compose.sh' >&2; exit 2 ;;
esac

check=$(scripts/from-pypi.sh check-jsonschema 0.39.0)
command -v docker-compose >/dev/null || { echo "check-compose.sh: docker-compose is missing; install it" >&2; exit 1; }

unset "${!STORM_INDEX_@}" "${!COMPOSE_@}"
none=$(mktemp "${TMPDIR:-/tmp}/check-compose.XXXXXX")
trap 'rm -f -- "$none"' EXIT
for profiles in '' s3; do
  COMPOSE_PROFILES=$profiles docker-compose --env-file "$none" config -q
done
"$check" --builtin-schema vendor.compose-spec compose.yaml >&2
# What can be set is written down, with the same default.
grep -v '^ *#' compose.yaml | grep -o '\${[^}]*}' | sed 's/^${\(.*\):-\(.*\)}$/#\1=\2/' | sort -u | while IFS= read -r line; do
  grep -qxF -- "$line" .env.example || { echo "check-compose.sh: $line is in compose.yaml, and not in .env.example" >&2; exit 1; }
done
# So is what is passed on as it is: a name without a value.
sed -n 's/^ *\([A-Z][A-Z0-9_]*\): *$/\1/p' compose.yaml | sort -u | while IFS= read -r name; do
  grep -q "^#$name=" .env.example || { echo "check-compose.sh: $name is in compose.yaml, and not in .env.example" >&2; exit 1; }
done
