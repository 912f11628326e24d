#!/usr/bin/env bash
# Runs a command beside a Garage S3 server of its own: on loopback, on free ports, in a directory that goes with it.
# The command finds the server's address in STORM_INDEX_TEST_GARAGE, and by the usual AWS_* variables.
set -euo pipefail

usage() {
  cat <<'TEXT'
Usage: scripts/throwaway-garage.sh COMMAND [ARGUMENT]...
       scripts/throwaway-garage.sh --program

  --program    build the server if need be, say where it is, and start nothing

The server has the bucket `bucket`, and its key may make others. GARAGE_BIN names a Garage that is there already (2.3 or
newer); otherwise one is built from crates.io the first time, which takes some minutes and a C compiler.
TEXT
}
case ${1:-} in
  '') usage >&2; exit 2 ;;
  -h | --help) usage; exit 0 ;;
esac
complain() { echo "throwaway-garage.sh: $*" >&2; exit 1; }

if [ -n "${GARAGE_BIN:-}" ]; then
  program=$(command -v "$GARAGE_BIN") || complain "GARAGE_BIN is $GARAGE_BIN, which is no program"
else
  # SQLite inside, not LMDB: that one cannot hold long keys.
  program=$("$(dirname "$0")/built-once.sh" garage 2.5.0 --no-default-features --features bundled-libs,sqlite) ||
    complain "Garage cannot be built; set GARAGE_BIN to one that is there already"
fi
[ "$1" != --program ] || { echo "$program"; exit 0; }

home=$(mktemp -d "${TMPDIR:-/tmp}/throwaway-garage.XXXXXX")
pid=
# shellcheck disable=SC2317 # it is called, by the trap
stop() {
  [ -z "$pid" ] || kill -KILL "$pid" 2>/dev/null || true
  [ -z "$pid" ] || wait "$pid" 2>/dev/null || true
  rm -rf -- "$home"
}
trap stop EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

secret() { od -An -v -N "$1" -tx1 /dev/urandom | tr -d ' \n'; }
access=GK$(secret 12) key=$(secret 32)
# shellcheck disable=SC2317 # called by wait_for
healthy() { # healthy PORT
  local line
  line=$( (exec 3<>"/dev/tcp/127.0.0.1/$1" && printf 'GET /health HTTP/1.0\r\n\r\n' >&3 && head -n 1 <&3) 2>/dev/null) || return
  [[ $line == *" 200 "* ]]
}
# shellcheck disable=SC2317 # called by wait_for
listens() { (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null; }
# wait_for CHECK...: until the check holds; false when the server ends, or after a minute
wait_for() {
  local latest=$((SECONDS + 60))
  until "$@"; do
    kill -0 "$pid" 2>/dev/null && [ "$SECONDS" -lt "$latest" ] || return 1
    sleep 0.05
  done
}
for try in 1 2 3 4 5; do
  # Free ports are only free until somebody takes them; from 32768 on, the kernel takes them for whoever connects.
  port=$((20000 + RANDOM % 12000))
  cat >"$home/garage.toml" <<TOML
metadata_dir = "$home/meta"
data_dir = "$home/data"
db_engine = "sqlite"
replication_factor = 1
metadata_fsync = false
data_fsync = false
rpc_bind_addr = "127.0.0.1:$((port + 1))"
rpc_public_addr = "127.0.0.1:$((port + 1))"
rpc_secret = "$(secret 32)"
[s3_api]
s3_region = "us-east-1"
api_bind_addr = "127.0.0.1:$port"
root_domain = ".s3.localhost"
[admin]
api_bind_addr = "127.0.0.1:$((port + 2))"
TOML
  chmod 600 "$home/garage.toml"
  GARAGE_DEFAULT_ACCESS_KEY=$access GARAGE_DEFAULT_SECRET_KEY=$key GARAGE_DEFAULT_BUCKET=bucket RUST_LOG=warn \
    "$program" -c "$home/garage.toml" server --single-node --default-bucket >"$home/log" 2>&1 &
  pid=$!
  # It says it is healthy before it listens for S3.
  if wait_for healthy "$((port + 2))" &&
    "$program" -c "$home/garage.toml" key allow --create-bucket "$access" >"$home/key.log" 2>&1 &&
    wait_for listens "$port"; then break; fi
  kill -KILL "$pid" 2>/dev/null || true
  wait "$pid" 2>/dev/null || true
  rm -rf -- "$home/meta" "$home/data"
  [ "$try" -lt 5 ] || { cat "$home/log" "$home/key.log" >&2 || true; complain "Garage does not start"; }
done

status=0
STORM_INDEX_TEST_GARAGE="http://127.0.0.1:$port" AWS_ENDPOINT_URL="http://127.0.0.1:$port" AWS_REGION=us-east-1 \
  AWS_ACCESS_KEY_ID=$access AWS_SECRET_ACCESS_KEY=$key "$@" || status=$?
[ "$status" = 0 ] || { echo "throwaway-garage.sh: the server's last words:" >&2; tail -n 20 "$home/log" >&2; }
exit "$status"
