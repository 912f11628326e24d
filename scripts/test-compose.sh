#!/usr/bin/env bash
# Drives the whole stack of compose.yaml on a real engine: as it is meant, with drift, with its storage missing, wrong or
# slow, and on S3. The stack has a project name, volumes and ports of its own, and is taken down at the end.
set -euo pipefail
cd "$(dirname "$0")/.."

usage() {
  cat <<'TEXT'
Usage: scripts/test-compose.sh
       scripts/test-compose.sh --prepare

  --prepare    build dist/storm-index, the program that the image takes, and stop

Needs a Docker engine with Compose (docker compose or docker-compose), curl and jq. Where there is cargo, dist/storm-index
is built first; without cargo and without that file the image builds the program itself, which takes the image of Rust and
some minutes. STORM_INDEX_TARGET=runtime asks for that in any case. Where the image of Garage cannot be had, S3 is left
out, and that is said; with STORM_INDEX_REQUIRE_GARAGE=1 it is a failure.
TEXT
}
case ${1:-} in
  '' | --prepare) ;;
  -h | --help) usage; exit 0 ;;
  *) usage >&2; exit 2 ;;
esac
complain() { echo "test-compose.sh: $*" >&2; exit 1; }

# The image's glibc, which the program must not be newer than.
glibc=2.36
prepare() {
  echo "== building dist/storm-index" >&2
  # The build that the tests have made already, without what only a debugger reads.
  cargo build --locked --quiet
  mkdir -p dist
  objcopy --strip-debug "${CARGO_TARGET_DIR:-target}/debug/storm-index" dist/storm-index.new
  chmod 755 dist/storm-index.new
  local needs
  needs=$(grep -ao 'GLIBC_2\.[0-9]*' dist/storm-index.new | sed 's/GLIBC_//' | sort -uV | tail -n 1)
  if [ "$(printf '%s\n' "$needs" "$glibc" | sort -V | tail -n 1)" != "$glibc" ]; then
    rm dist/storm-index.new
    complain "what is built on this system needs glibc $needs, and the image (Debian 12) has $glibc;" \
      "build dist/storm-index on Debian 12, or set STORM_INDEX_TARGET=runtime to have the image build it"
  fi
  mv dist/storm-index.new dist/storm-index
}
if [ "${1:-}" = --prepare ]; then prepare; exit 0; fi

target=${STORM_INDEX_TARGET:-prebuilt}
if [ "$target" = prebuilt ]; then
  if command -v cargo >/dev/null; then prepare; elif [ ! -x dist/storm-index ]; then target=runtime; fi
fi

for program in docker curl jq; do command -v "$program" >/dev/null || complain "$program is missing; install it"; done
docker info >/dev/null 2>&1 || complain "no Docker engine answers; start one, or set DOCKER_HOST"
if docker compose version >/dev/null 2>&1; then engine=(docker compose); else engine=(docker-compose); fi
command -v "${engine[0]}" >/dev/null || complain "neither docker compose nor docker-compose is there; install one"

require_garage=${STORM_INDEX_REQUIRE_GARAGE:-}
# Nothing of the caller's own stack, nor of this checkout's .env.
unset "${!STORM_INDEX_@}" "${!COMPOSE_@}" AUDIT_EVERY METRICS_AUTH STORAGE_IDENTITY STORAGE_INODE_NUMBERS STORAGE_ORDER STORAGE_URL DATABASE_URL STORM_INDEX_BIN
export COMPOSE_PROJECT_NAME=storm-index-test
work=$(mktemp -d "${TMPDIR:-/tmp}/test-compose.XXXXXX")
mkdir -m 755 "$work/empty"
# set_up NAME=VALUE...: what compose.yaml reads from now on
set_up() {
  printf '%s\n' "STORM_INDEX_IMAGE=storm-index:test" "STORM_INDEX_TARGET=$target" \
    "STORM_INDEX_PUBLISH=127.0.0.1:0" "STORM_INDEX_S3_PUBLISH=127.0.0.1:0" "$@" >"$work/env"
}
compose() { "${engine[@]}" --env-file "$work/env" "$@"; }
take_down() {
  set_up
  compose --profile s3 down --volumes --remove-orphans --timeout 5 >"$work/down" 2>&1 || { cat "$work/down" >&2; return 1; }
}

step() { printf '\n== %s\n' "$*"; }
show_logs() {
  echo "test-compose.sh: FAILED; the stack and its last words:"
  docker ps --all --filter "label=com.docker.compose.project=$COMPOSE_PROJECT_NAME" || true
  compose logs --no-color --tail 60 || true
} >&2
# shellcheck disable=SC2317 # it is called, by the trap
ending() {
  local status=$?
  trap - EXIT
  [ "$status" = 0 ] || show_logs
  docker unpause "$(container garage)" >/dev/null 2>&1 || true
  take_down || status=1
  docker image rm storm-index:test >/dev/null 2>&1 || true
  rm -rf -- "$work"
  exit "$status"
}
fail() { echo "test-compose.sh: $*" >&2; exit 1; }
# same WANTED GOT WHAT
same() { [ "$1" = "$2" ] || fail "$3: wanted ${1@Q}, got ${2@Q}"; echo "   $3: $2"; }
# wait_for WHAT CHECK...: until the check holds. The two minutes are for what never comes.
wait_for() {
  local what=$1 latest=$((SECONDS + 120)) begun=$SECONDS
  shift
  until "$@" >/dev/null 2>&1; do
    [ "$SECONDS" -lt "$latest" ] || fail "waited in vain for: $what"
    sleep 0.5
  done
  echo "   $what (after $((SECONDS - begun)) s)"
}

container() { compose ps -q "$1" 2>/dev/null; }
health() { docker inspect --format '{{.State.Health.Status}}' "$(container "$1")"; }
is_healthy() { [ "$(health "$1")" = healthy ]; }
# What the server has said since it was started last.
said() {
  local id
  id=$(container server)
  docker logs --since "$(docker inspect --format '{{.State.StartedAt}}' "$id")" "$id" 2>&1
}
# (The whole of it is read, or `docker logs` ends by a broken pipe.)
has_said() { said | grep -E "$1" >"$work/line"; }
# told PATTERN: the audit's line comes, and fits
told() {
  wait_for "the log has: $1" has_said "$1"
  sed 's/^/   | /' "$work/line" | head -n 3
}
ask() { # ask PATH [OPTION of curl]...: the body; the status is in $work/status
  local path=$1
  shift
  curl --silent --show-error --max-time 600 --output "$work/body" --write-out '%{http_code}' \
    "http://$(compose port server 8080)$path" "$@" >"$work/status"
  cat "$work/body"
}
# rebuild BODY [PREFERENCE]: by the API; without a preference its end is waited for
rebuild() {
  ask /api/v1/index/rebuild/ -H "Authorization: Bearer $key" -H 'Content-Type: application/json' -d "$1" \
    -H "Prefer: ${2:-wait=300}"
}
# facts FILTER: of the answer before
facts() { jq -r "$1" "$work/body"; }
lives() {
  wait_for "the server is healthy" is_healthy server
  ask /health/live >/dev/null
  same 200 "$(cat "$work/status")" "live"
}
# is_ready [FILTER]: it is, and this is so; neither storage nor database is waited for long
# shellcheck disable=SC2317 # called by wait_for
is_ready() { ask /health/ready >/dev/null && [ "$(cat "$work/status")" = 200 ] && jq -e "${1:-.}" "$work/body"; }
ready() { wait_for "it is ready, and says of the storage: $1" is_ready ".status == \"ready\" and .storage == \"$1\""; }
inside() { compose exec -T server "$@"; }
# In a volume of a server that need not be there yet.
in_volume() {
  compose run --rm --no-deps -T --entrypoint sh server -c "$1" >"$work/up" 2>&1 || { cat "$work/up" >&2; fail "no files can be made"; }
}
# counted TABLE: its rows, whatever the server says of them
export PGPASSWORD=for-development-only
counted() { compose exec -T -e PGPASSWORD postgres psql -h 127.0.0.1 -U storm_index -Atc "SELECT count(*) FROM $1"; }
script() { # script EXIT [OPTION]...: scripts/rebuild-index.sh, from here, inside the stack
  local wanted=$1 status=0
  shift
  scripts/rebuild-index.sh "$@" --format json >"$work/body" 2>"$work/stderr" || status=$?
  same "$wanted" "$status" "rebuild-index.sh $*: exit"
  grep -q 'in the container' "$work/stderr" || { cat "$work/stderr" >&2; fail "rebuild-index.sh did not run in the stack"; }
}
up() { compose up -d >"$work/up" 2>&1 || { cat "$work/up" >&2; fail "the stack does not start"; }; }
stop_well() {
  local id
  id=$(container server)
  compose stop server >"$work/up" 2>&1
  same 0 "$(docker inspect --format '{{.State.ExitCode}}' "$id")" "exit code of the stopped server"
}

trap ending EXIT
trap 'exit 130' INT
trap 'exit 143' TERM
take_down # what a run left that was killed

step "build ($target)"
set_up
compose build server >"$work/build" 2>&1 || { tail -n 60 "$work/build" >&2; fail "the image cannot be built"; }
same 10001 "$(docker run --rm --entrypoint id storm-index:test -u)" "user"
docker run --rm storm-index:test rebuild --mode sync >"$work/body" 2>&1 || { cat "$work/body" >&2; fail "the image does not work alone"; }
echo "   size: $(docker image ls --format '{{.Size}}' storm-index:test)"

step "two files and a user, before the server has ever started: it finds drift, and is healthy"
in_volume 'mkdir -p /storage/1/photos && echo one >/storage/1/a.txt && echo two >/storage/1/photos/b.jpg'
compose run --rm -T server user add ann --id 1 >"$work/body" 2>"$work/up" || { cat "$work/up" >&2; fail "no user can be made"; }
up
lives
told 'startup audit: 2 missing, 0 orphaned'
ready ok
same 0000000000000000 "$(inside sed -n 's/^CapEff:[[:space:]]*//p' /proc/1/status)" "capabilities"
if inside touch /usr/touched 2>/dev/null; then fail "the root can be written"; fi

step "a key by exec, and a rebuild through the API"
ask /api/v1/index/tasks/ >/dev/null
same 401 "$(cat "$work/status")" "without a key"
key=$(inside storm-index key create --user ann --admin 2>/dev/null)
rebuild '{"mode": "sync"}' >/dev/null
same '200 SUCCESSFUL 2' "$(cat "$work/status") $(facts '.status + " " + (.result.records_created | tostring)')" "sync"
same 2 "$(counted stored_files)" "records"

step "scripts/rebuild-index.sh runs inside"
script 0 --mode audit
same '2 0' "$(facts '"\(.result.files_in_db) \(.result.missing_in_db)"')" "records, missing"
in_volume 'echo three >/storage/1/c.txt'
script 1 --mode audit
same 1 "$(facts .result.missing_in_db)" "missing"
script 2 --mode clean
script 0 --mode full --force
same 3 "$(counted stored_files)" "records"

step "a restart keeps the index and the keys"
compose restart server >"$work/up" 2>&1
lives
told 'startup audit: index and storage agree; .* 3 in the index'
rebuild '{"mode": "audit"}' >/dev/null
same '200 SUCCESSFUL 3' "$(cat "$work/status") $(facts '"\(.status) \(.result.files_in_db)"')" "audit with the key of before"
stop_well

step "down and up again as well"
compose down >"$work/up" 2>&1
up
lives
told 'startup audit: index and storage agree; .* 3 in the index'

step "the database goes away and comes back: not ready, but alive"
compose stop postgres >"$work/up" 2>&1
ask /health/ready >/dev/null
same '503 unavailable' "$(cat "$work/status") $(facts .status)" "ready"
# By itself, as after a crash: compose would start the database before it.
docker restart "$(container server)" >/dev/null
lives
ask /health/ready >/dev/null
same '503 unavailable' "$(cat "$work/status") $(facts .status)" "ready"
compose start postgres >"$work/up" 2>&1
wait_for "the server is ready" is_ready
rebuild '{"mode": "audit"}' >/dev/null
same '200 SUCCESSFUL 3' "$(cat "$work/status") $(facts '"\(.status) \(.result.files_in_db)"')" "audit"

step "the storage is missing: the server is up, says so, and loses nothing"
set_up STORM_INDEX_STORAGE=/nowhere
up
lives
told 'startup audit: failed: storage .* does not exist'
ready storage_missing
rebuild '{"mode": "full", "force": true}' >/dev/null
[ "$(cat "$work/status")" -lt 500 ] || fail "a rebuild without storage: $(cat "$work/status") $(cat "$work/body")"
echo "   a rebuild: $(cat "$work/status") $(head -c 200 "$work/body")"
script 4 --mode full --force
same 3 "$(counted stored_files)" "records"
stop_well

step "the storage is not mounted (an empty directory): every run is refused, and nothing is lost"
set_up "STORM_INDEX_FILES=$work/empty"
up
lives
told 'startup audit: refused: '
ready wrong_storage
script 3 --mode full --force
same 3 "$(counted stored_files)" "records"

step "it is back"
set_up
up
lives
told 'startup audit: index and storage agree; .* 3 in the index'
ready ok
take_down

step "a directory of one's own, and a user of one's own"
mkdir -p "$work/own"
mkdir "$work/photos"
echo mine >"$work/photos/mine.txt"
owner=$(id -u)
if [ "$owner" = 0 ]; then owner=12345; chown -R 12345:12345 "$work/own"; chmod 711 "$work"; fi
set_up "STORM_INDEX_FILES=$work/own" "STORM_INDEX_USER=$owner:$owner"
up
lives
told 'startup audit: index and storage agree; .* 0 files in the storage'
docker cp "$work/photos/." "$(container server):/storage/1"
inside storm-index user add ann --id 1 >/dev/null 2>&1
key=$(inside storm-index key create --user ann --admin 2>/dev/null)
rebuild '{"mode": "sync"}' >/dev/null
same '200 SUCCESSFUL 1' "$(cat "$work/status") $(facts '"\(.status) \(.result.records_created)"')" "sync"
ask "/api/v1/index/tasks/$(facts .task_id)/findings" -H "Authorization: Bearer $key" >/dev/null
same '200 mine.txt' "$(cat "$work/status") $(facts '.findings[0].path')" "its finding"
same "$owner" "$(stat -c %u "$work/own/.storm-index/identity.json")" "owner of the marker"
stop_well
take_down

if ! docker image inspect dxflrs/garage:v2.5.0 >/dev/null 2>&1 && ! docker pull --quiet dxflrs/garage:v2.5.0 >/dev/null 2>&1; then
  printf '\n== S3 WAS NOT TESTED: the image dxflrs/garage:v2.5.0 is not there and cannot be pulled\n'
  [ -z "$require_garage" ] || fail "STORM_INDEX_REQUIRE_GARAGE is set, so that is a failure"
  exit 0
fi

step "the profile s3: Garage sets itself up, an object is put, and a sync makes its record"
on_s3=(COMPOSE_PROFILES=s3 STORM_INDEX_STORAGE=s3://files)
set_up "${on_s3[@]}"
export COMPOSE_PROFILES=s3 # one of the two programs does not read it from the file
up
wait_for "Garage is healthy" is_healthy garage
lives
told 'startup audit: index and storage agree; .* 0 files in the storage'
put() { # put KEY CONTENT
  curl --silent --show-error --fail --max-time 60 --aws-sigv4 aws:amz:garage:s3 \
    --user "GK0123456789abcdef01234567:$(printf '0%.0s' {1..64})" \
    --request PUT --header 'X-Amz-Content-Sha256: UNSIGNED-PAYLOAD' --data "$2" "http://$(compose port garage 3900)/files/$1"
}
put 1/a.txt one
inside storm-index user add ann --id 1 >/dev/null 2>&1
key=$(inside storm-index key create --user ann --admin 2>/dev/null)
rebuild '{"mode": "sync"}' >/dev/null
same '200 SUCCESSFUL 1' "$(cat "$work/status") $(facts '"\(.status) \(.result.records_created)"')" "sync"
put 1/b.txt two
script 1 --mode audit
script 0 --mode sync
same 2 "$(counted stored_files)" "records"

step "the storage is slow: the server starts, lives and answers while the audit waits"
stop_well
docker pause "$(container garage)" >/dev/null
compose start server >"$work/up" 2>&1
lives
wait_for "the audit is under way" is_ready '.audit.state == "running"'
has_said 'startup audit' && fail "the audit of a storage that does not answer has ended: $(cat "$work/line")"
rebuild '{"mode": "audit"}' respond-async >/dev/null
same 202 "$(cat "$work/status")" "another audit"
docker unpause "$(container garage)" >/dev/null
told 'startup audit: index and storage agree; .* 2 in the index'

step "it is asked to stop while the storage is silent"
docker pause "$(container garage)" >/dev/null
rebuild '{"mode": "audit"}' respond-async >/dev/null
same 202 "$(cat "$work/status")" "an audit"
stop_well
docker unpause "$(container garage)" >/dev/null

step "S3 is not there at all"
compose stop garage >"$work/up" 2>&1
compose start server >"$work/up" 2>&1
lives
told 'startup audit.*(failed|incomplete)'
compose start garage >"$work/up" 2>&1
wait_for "Garage is healthy" is_healthy garage
rebuild '{"mode": "full", "force": true}' >/dev/null
same '200 SUCCESSFUL 2' "$(cat "$work/status") $(facts '"\(.status) \(.result.files_in_db)"')" "a full run, once it is back"
same 2 "$(counted stored_files)" "records"
stop_well

step "down"
take_down
same '' "$(docker volume ls -q --filter "label=com.docker.compose.project=$COMPOSE_PROJECT_NAME")" "volumes left"
printf '\n== all of the stack works (%s s)\n' "$SECONDS"
