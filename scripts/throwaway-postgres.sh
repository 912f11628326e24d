#!/usr/bin/env bash
# Runs a command beside a PostgreSQL server of its own: on loopback, on a free port, in a directory that goes with it.
# The command finds the server's maintenance database in STORM_INDEX_TEST_POSTGRES.
set -euo pipefail

usage() {
  cat <<'TEXT'
Usage: scripts/throwaway-postgres.sh [--memory] [--initdb OPTION]... [--set NAME=VALUE]... COMMAND [ARGUMENT]...
       scripts/throwaway-postgres.sh --programs

  --initdb OPTION     a further option for initdb, e.g. --initdb=--locale-provider=icu
  --memory            keep the data in memory (/dev/shm) where there are 4 GB of it
  --programs          say where PostgreSQL's programs are, and start nothing
  --set NAME=VALUE    a further setting of the server; without any it forgets everything when the machine fails

Needs PostgreSQL 15 or newer, which it finds in /usr/lib/postgresql or by pg_config.
TEXT
}

initdb=(--username=postgres --auth=trust --no-sync --no-instructions --encoding=UTF8 --locale=C.UTF-8)
# As many tests run at a time as there are processors, each with some programs and their connections.
settings=(fsync=off synchronous_commit=off full_page_writes=off shared_buffers=64MB "max_connections=$((200 + 50 * $(nproc)))")
parent=${TMPDIR:-/tmp}
while [ $# -gt 0 ]; do
  case $1 in
    --memory)
      room=$(df --output=avail -k /dev/shm 2>/dev/null | tail -n 1) || room=0
      [ "${room:-0}" -lt 4194304 ] || parent=/dev/shm
      shift ;;
    --initdb) initdb+=("$2"); shift 2 ;;
    --initdb=*) initdb+=("${1#--initdb=}"); shift ;;
    --set) settings+=("$2"); shift 2 ;;
    --programs) only_programs=1; shift ;;
    -h | --help) usage; exit 0 ;;
    *) break ;;
  esac
done
[ $# -gt 0 ] || [ -n "${only_programs:-}" ] || { usage >&2; exit 2; }

programs=$(find /usr/lib/postgresql -mindepth 2 -maxdepth 2 -name bin 2>/dev/null | sort -V | tail -n 1)
[ -n "$programs" ] || programs=$(pg_config --bindir 2>/dev/null) || true
[ -x "$programs/initdb" ] || {
  echo "throwaway-postgres.sh: no PostgreSQL is installed; on Debian: apt-get install postgresql" >&2
  exit 1
}
[ -z "${only_programs:-}" ] || { echo "$programs"; exit 0; }

# The server refuses to run as root.
as=()
[ "$(id -u)" != 0 ] || as=(setpriv --reuid=postgres --regid=postgres --clear-groups env HOME=/tmp)
home=$(mktemp -d "$parent/throwaway-postgres.XXXXXX")
chmod 700 "$home"
[ "$(id -u)" != 0 ] || chown postgres "$home"

pid=
stop() {
  # Immediately: nothing in it is worth a checkpoint.
  [ -z "$pid" ] || kill -QUIT "$pid" 2>/dev/null || true
  while [ -n "$pid" ] && kill -0 "$pid" 2>/dev/null; do sleep 0.05; done
  rm -rf -- "$home"
}
trap stop EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

(cd "$home" && "${as[@]}" "$programs/initdb" "${initdb[@]}" --pgdata="$home/data" >"$home/initdb.log" 2>&1) || {
  cat "$home/initdb.log" >&2
  exit 1
}
for try in 1 2 3 4 5; do
  # A free port is only free until somebody takes it; from 32768 on, the kernel takes them for whoever connects.
  port=$((20000 + RANDOM % 12000))
  options=(-c listen_addresses=127.0.0.1 -p "$port" -k "$home")
  for setting in "${settings[@]}"; do options+=(-c "$setting"); done
  if (cd "$home" && "${as[@]}" "$programs/pg_ctl" --pgdata="$home/data" --log="$home/log" --wait --timeout=600 --options="${options[*]}" start >/dev/null); then
    pid=$(head -n 1 "$home/data/postmaster.pid")
    break
  fi
  [ "$try" -lt 5 ] || { cat "$home/log" >&2; exit 1; }
done

status=0
STORM_INDEX_TEST_POSTGRES="postgres://postgres@127.0.0.1:$port/postgres" "$@" || status=$?
[ "$status" = 0 ] || { echo "throwaway-postgres.sh: the server's last words:" >&2; tail -n 20 "$home/log" >&2; }
exit "$status"
