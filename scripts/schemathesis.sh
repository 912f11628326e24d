#!/usr/bin/env bash
# Asks the running server everything that its specification allows, and more (schemathesis): no failure of the server, and
# no status or form that is not written down.
set -euo pipefail
cd "$(dirname "$0")/.."

case ${1:-} in
  '') ;;
  -h | --help) echo 'Usage: scripts/schemathesis.sh   (installs schemathesis in a directory of its own the first time)'; exit 0 ;;
  *) echo 'Usage: scripts/schemathesis.sh' >&2; exit 2 ;;
esac

schemathesis=$(scripts/from-pypi.sh schemathesis 4.32.5)

cargo build --locked --quiet
program=$(realpath "${CARGO_TARGET_DIR:-target}")/debug/storm-index
work=$(mktemp -d "${TMPDIR:-/tmp}/schemathesis.XXXXXX")
server=
trap 'if [ -n "$server" ]; then kill "$server" 2>/dev/null || true; fi; rm -rf -- "$work"' EXIT
cd "$work"
mkdir -p files/1
echo hello >files/1/a.txt
export STORAGE_URL=files DATABASE_URL=sqlite://index.sqlite3
"$program" user add ann --id 1 >/dev/null 2>&1
key=$("$program" key create --user ann --admin 2>/dev/null)
"$program" serve --listen 127.0.0.1:0 --auth-failures 1000 2>log &
server=$!
# It is asked when it has its database: before, it would say that it has none, which nobody's request can mend.
address=
until [ -n "$address" ] && "$program" health --ready --listen "${address#http://}" >/dev/null 2>&1; do
  kill -0 "$server" 2>/dev/null || { cat log >&2; exit 1; }
  sleep 0.1
  address=$(sed -n 's|.*listening on \(http://[0-9.:]*\).*|\1|p' log)
done
# A well-formed request may ask for what is refused: `full` without `force`, or a task that is not there.
cat >schemathesis.toml <<'TOML'
[checks.positive_data_acceptance]
expected-statuses = ["2xx", 400, 404, 409, 422]
TOML
"$schemathesis" --config-file schemathesis.toml run "$address/openapi.json" --url "$address" \
  --header "Authorization: Bearer $key" --header 'Prefer: wait=1' --max-examples 30 --seed 1 --request-timeout 300 \
  --checks all --suppress-health-check all
kill -0 "$server"
