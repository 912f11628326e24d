#!/usr/bin/env bash
# Measures audit and sync of a large storage against what they cannot be faster than. See usage().
set -euo pipefail

usage() {
    cat <<'TEXT'
Usage: scripts/bench.sh [--clean]

Measures, in rounds that take turns so that noise hits all alike, with files on local disk:
  ref1   find with the size of every file
  a      storm-index audit of an index in sync
  ref2   sqlite3 .import of the same records into an empty table, indexes and WAL included
  b      storm-index sync into an empty index
  ref3   psql \copy of the same records into an empty table of PostgreSQL with the same indexes
  d      storm-index sync into an empty index on PostgreSQL
  e      storm-index audit of an index in sync on PostgreSQL
and prints the medians, their ratios and the peak memory beside the goals. It asserts nothing about speed, but stops
when a run did not do its work.

  --clean        remove what earlier runs left in BENCH_DIR, and measure nothing

  BENCH_FILES    how many files, for 50 users with 20 folders each [1000000]
  BENCH_ROUNDS   how many rounds [5]
  BENCH_DIR      where the files are made, once, and the databases [${TMPDIR:-/tmp}/storm-index-bench]
  BENCH_TREE     existing files to measure instead, in folders 1 to 50; only read; BENCH_FILES is then counted

PostgreSQL is a server of its own, started for this and thrown away, with fsync off: it measures the programs, not the
disk. Needs cargo, python3, GNU find, sqlite3 and PostgreSQL's programs; a missing sqlite3 is installed with apt-get
where that is possible.
TEXT
}

fail() {
    printf 'bench.sh: %s\n' "$1" >&2
    exit 1
}

say() {
    printf '== %s\n' "$*" >&2
}

# The files are only read: they get no marker.
export LC_ALL=C STORAGE_IDENTITY=none
unset STORAGE_URL DATABASE_URL CARGO_BUILD_TARGET
root=$(cd -P -- "$(dirname -- "$(readlink -f -- "${BASH_SOURCE[0]}")")/.." && pwd)
bench=$(realpath -m -- "${BENCH_DIR:-${TMPDIR:-/tmp}/storm-index-bench}")
rounds=${BENCH_ROUNDS:-5}
files=${BENCH_FILES:-1000000}
users=50

case ${1:-} in
    '') ;;
    --clean)
        # Only what this script makes, in case the directory has other things in it.
        rm -rf -- "$bench"/tree-[0-9]* "$bench"/run.*
        [[ ! -d $bench ]] || rmdir -- "$bench" 2>/dev/null || say "$bench has other files and stays"
        exit 0
        ;;
    -h | --help)
        usage
        exit 0
        ;;
    *)
        usage >&2
        exit 2
        ;;
esac
[[ $rounds =~ ^[1-9][0-9]*$ ]] || fail "BENCH_ROUNDS must be a number above 0, not '$rounds'"
[[ $files =~ ^[1-9][0-9]*$ ]] || fail "BENCH_FILES must be a number above 0, not '$files'"

if [[ -z ${STORM_INDEX_TEST_POSTGRES:-} ]]; then
    exec "$root/scripts/throwaway-postgres.sh" --set shared_buffers=256MB --set max_wal_size=4GB "$root/scripts/bench.sh"
fi
server=${STORM_INDEX_TEST_POSTGRES%/*}
psql=("$("$root/scripts/throwaway-postgres.sh" --programs)/psql" --no-psqlrc --quiet --tuples-only --no-align -v ON_ERROR_STOP=1)

# --- What is needed ---------------------------------------------------------------------------------------------------

[[ $(find . --version 2>/dev/null) == *GNU* ]] || fail 'this needs GNU find'
for tool in cargo python3; do
    command -v "$tool" >/dev/null || fail "this needs $tool"
done
if ! command -v sqlite3 >/dev/null; then
    if [[ $EUID != 0 ]] || ! command -v apt-get >/dev/null; then
        fail 'this needs sqlite3; install it, e.g. apt-get install sqlite3'
    fi
    say 'installing sqlite3'
    apt-get install -y sqlite3 >&2
fi

say 'building storm-index'
target=${CARGO_TARGET_DIR:-target}
[[ $target == /* ]] || target=$root/$target
(cd "$root" && cargo build --release --locked --target-dir "$target") >&2
bin=$target/release/storm-index

# --- The files --------------------------------------------------------------------------------------------------------

make_tree() { # FOLDER FILES
    python3 - "$1" "$2" "$users" <<'PYTHON'
import os, sys

base, files, users, folders = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), 20
each, more = divmod(files, users * folders)
for number in range(users * folders):
    user, folder = divmod(number, folders)
    path = f"{base}/{user + 1}/photos-{folder:03d}"
    os.makedirs(path)
    fd = os.open(path, os.O_RDONLY)
    for i in range(each + (number < more)):
        file = os.open(f"img-{i:05d}.jpg", os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o644, dir_fd=fd)
        os.write(file, b"sixteen bytes...")
        os.close(file)
    os.close(fd)
PYTHON
}

mkdir -p -- "$bench"
run=$(mktemp -d -- "$bench/run.XXXXXX")
trap 'rm -rf -- "$run"' EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

if [[ -n ${BENCH_TREE:-} ]]; then
    tree=$(realpath -e -- "$BENCH_TREE")
    files=$(find "$tree" -type f -printf '\n' | wc -l)
else
    tree=$bench/tree-$files
    if [[ ! -d $tree ]]; then
        say "making $files files in $tree"
        make_tree "$run/tree" "$files"
        mv -T -- "$run/tree" "$tree" # only whole trees get their name
    fi
fi

# --- The measuring ----------------------------------------------------------------------------------------------------

cd "$run" # so that every database has a short, plain name

# Runs a command with stdout into OUT, and notes its seconds and its peak memory under NAME. Waits first until the disk
# has nothing left to write of what came before. A peak below that of this Python, some 13 MiB, shows as that.
measure() { # NAME OUT COMMAND...
    python3 - "$@" <<'PYTHON'
import os, subprocess, sys, time

name, out, *command = sys.argv[1:]
os.sync()
with open(out, "wb") as stdout, open("stderr", "wb") as stderr:
    begin = time.monotonic()
    child = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=stdout, stderr=stderr)
    _, status, usage = os.wait4(child.pid, 0)
    seconds = time.monotonic() - begin
child.returncode = code = os.waitstatus_to_exitcode(status)
if code != 0:
    for file in {out, "stderr"} - {os.devnull}:
        sys.stderr.write(open(file, errors="replace").read()[-4000:])
    sys.exit(f"bench.sh: {name} ended with {code}: {' '.join(command)}")
with open("results", "a") as results:
    print(name, seconds, usage.ru_maxrss, file=results)
PYTHON
}

# Stops unless each KEY=NUMBER holds in the answer in OUT, and nothing went wrong in that run.
check() { # OUT KEY=NUMBER...
    python3 - "$@" <<'PYTHON'
import json, sys

out, *wanted = sys.argv[1:]
answer = json.load(open(out))
result = answer["result"]
for key, want in (pair.split("=") for pair in wanted):
    if result[key] != int(want):
        sys.exit(f"bench.sh: {out}: {key} is {result[key]}, but must be {want}")
if answer["status"] != "SUCCESSFUL" or result["errors"] or result["refusal"]:
    sys.exit(f"bench.sh: {out}: the run did not go well: {json.dumps(answer)[:2000]}")
PYTHON
}

find_all() { # NAME
    measure "$1" /dev/null find "$tree" -type f -printf '%P\t%s\n'
}

audit() { # NAME
    measure "$1" audit.json "$bin" rebuild --mode audit --format json --storage "$tree" --database sqlite://synced.db
    check audit.json users_scanned="$users" files_on_disk="$files" files_in_db="$files" \
        missing_in_db=0 stale_in_db=0 orphaned_in_db=0 unclaimed_on_disk=0
}

import() { # NAME
    rm -f import.db*
    measure "$1" /dev/null sqlite3 -bail import.db \
        'PRAGMA journal_mode = WAL' 'PRAGMA synchronous = NORMAL' '.read schema.sql' '.mode tabs' '.import rows.tsv stored_files'
    [[ $(sqlite3 import.db 'SELECT count(*) FROM stored_files') == "$files" ]] || fail 'sqlite3 did not import all rows'
    rm -f import.db*
}

sync_empty() { # NAME DATABASE
    rm -f "$2"*
    cp empty.db "$2"
    measure "$1" sync.json "$bin" rebuild --mode sync --format json --storage "$tree" --database "sqlite://$2"
    check sync.json users_scanned="$users" files_on_disk="$files" files_in_db=0 \
        records_created="$files" unclaimed_on_disk=0
}

sql() { # DATABASE STATEMENT...
    local database=$1 statement
    shift
    for statement; do "${psql[@]}" --dbname "$server/$database" --command "$statement"; done
}

audit_postgres() { # NAME
    measure "$1" audit.json "$bin" rebuild --mode audit --format json --storage "$tree" --database "$server/bench_synced"
    check audit.json users_scanned="$users" files_on_disk="$files" files_in_db="$files" \
        missing_in_db=0 stale_in_db=0 orphaned_in_db=0 unclaimed_on_disk=0
}

copy() { # NAME
    sql postgres 'DROP DATABASE IF EXISTS bench_copy' 'CREATE DATABASE bench_copy TEMPLATE bench_empty' 'CHECKPOINT'
    sql bench_copy 'CREATE TABLE copied (LIKE stored_files INCLUDING ALL)'
    measure "$1" /dev/null "${psql[@]}" --dbname "$server/bench_copy" --command "\\copy copied FROM 'rows.pg'"
    [[ $(sql bench_copy 'SELECT count(*) FROM copied') == "$files" ]] || fail 'psql did not copy all rows'
    sql postgres 'DROP DATABASE bench_copy'
}

sync_postgres() { # NAME DATABASE
    sql postgres "DROP DATABASE IF EXISTS $2" "CREATE DATABASE $2 TEMPLATE bench_empty" 'CHECKPOINT'
    measure "$1" sync.json "$bin" rebuild --mode sync --format json --storage "$tree" --database "$server/$2"
    check sync.json users_scanned="$users" files_on_disk="$files" files_in_db=0 \
        records_created="$files" unclaimed_on_disk=0
}

say 'warming up: reading all files, a first index, and its rows as text'
find_all warm-up
"$bin" migrate up --database sqlite://empty.db >&2
sqlite3 -bail empty.db "WITH RECURSIVE n(id) AS (SELECT 1 UNION ALL SELECT id + 1 FROM n WHERE id < $users)
    INSERT INTO users (id, name, prefix) SELECT id, 'user ' || id, id FROM n"
[[ ! -s empty.db-wal ]] || fail 'empty.db still has a write-ahead log, so a copy of it would lack something'
sync_empty warm-up synced.db
sqlite3 synced.db "SELECT sql || ';' FROM sqlite_schema
    WHERE tbl_name = 'stored_files' AND type IN ('table', 'index') AND sql IS NOT NULL" >schema.sql
sqlite3 -tabs synced.db 'SELECT * FROM stored_files ORDER BY user_id, path' >rows.tsv

sql postgres 'CREATE DATABASE bench_empty TEMPLATE template0'
"$bin" migrate up --database "$server/bench_empty" >&2
sql bench_empty "INSERT INTO users (id, name, prefix) SELECT n, 'user ' || n, n FROM generate_series(1, $users) AS n"
sync_postgres warm-up bench_synced
sql bench_synced 'VACUUM ANALYZE'
sql bench_synced "\\copy (SELECT * FROM stored_files ORDER BY user_id, path) TO 'rows.pg'"

for ((round = 1; round <= rounds; round++)); do
    say "round $round of $rounds"
    find_all ref1
    audit a
    import ref2
    sync_empty b fresh.db
    rm -f fresh.db*
    copy ref3
    sync_postgres d bench_fresh
    sql postgres 'DROP DATABASE bench_fresh'
    audit_postgres e
done

# --- The table --------------------------------------------------------------------------------------------------------

python3 - results "$files" "$("$bin" --version)" "$(sqlite3 --version | cut -d ' ' -f 1)" \
    "$(sql postgres 'SHOW server_version' | cut -d ' ' -f 1)" <<'PYTHON'
import collections, datetime, os, statistics, sys

file, files, version, sqlite, postgres = sys.argv[1:]
seconds, peak = collections.defaultdict(list), collections.defaultdict(float)
for line in open(file):
    name, time, kib = line.split()
    seconds[name].append(float(time))
    peak[name] = max(peak[name], int(kib) / 1024)
median = {name: statistics.median(times) for name, times in seconds.items()}

now = datetime.datetime.now(datetime.timezone.utc)
print(f"{now:%Y-%m-%d %H:%M} UTC, {len(os.sched_getaffinity(0))} CPUs, {int(files):,} files, "
      f"{len(seconds['a'])} rounds, {version}, sqlite3 {sqlite}, PostgreSQL {postgres}\n")
print(f"{'':4}  {'':29} {'median':>9}  {'peak':>9}   all rounds")
for name, what in {
    "ref1": "find -printf",
    "a": "storm-index audit, in sync",
    "ref2": "sqlite3 .import",
    "b": "storm-index sync, empty index",
    "ref3": "psql \\copy",
    "d": "the same sync, PostgreSQL",
    "e": "the same audit, PostgreSQL",
}.items():
    rounds = " ".join(f"{time:.2f}" for time in seconds[name])
    print(f"{name:4}  {what:29} {median[name]:7.2f} s  {peak[name]:5.0f} MiB   {rounds}")
print()
print(f"a / ref1           {median['a'] / median['ref1']:5.2f}        goal: at most 2.0")
print(f"b / (ref1 + ref2)  {median['b'] / (median['ref1'] + median['ref2']):5.2f}        goal: at most 1.5")
print(f"d / ref3           {median['d'] / median['ref3']:5.2f}        goal: at most 1.5")
print(f"e / a              {median['e'] / median['a']:5.2f}        goal: at most 1.5")
print(f"peak of a, b, d, e {max(peak[name] for name in 'abde'):5.0f} MiB    goal: at most 128")
PYTHON
