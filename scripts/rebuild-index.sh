#!/bin/sh
# Runs `storm-index rebuild` with the arguments given; they, stdout and the exit code are the program's own.
#
#   scripts/rebuild-index.sh --mode audit
#   scripts/rebuild-index.sh --mode full --force --user-id 123
#
# The program is the first of these that is there:
#   1. $STORM_INDEX_BIN
#   2. the one in the running server of this checkout's compose.yaml, with the storage and the index of that stack, unless
#      $STORAGE_URL or $DATABASE_URL names others; paths among the arguments are those of the container
#   3. the release build of this checkout, unless a source is newer (CARGO_TARGET_DIR is honoured)
#   4. an installed storm-index
#   5. dist/storm-index in this checkout
#   6. a release build made now, with its output on stderr
set -eu

fail() {
    printf 'rebuild-index.sh: %s\n' "$1" >&2
    exit 4
}

program() {
    [ -f "$1" ] && [ -x "$1" ]
}

# The directory above the one where this file really is, whatever links lead to it.
checkout() {
    file=$1
    while [ -L "$file" ]; do
        dir=$(CDPATH='' cd -P -- "$(dirname -- "$file")" && pwd)
        file=$(readlink -- "$file")
        case $file in
            /*) ;;
            *) file=$dir/$file ;;
        esac
    done
    CDPATH='' cd -P -- "$(dirname -- "$file")/.." && pwd
}

# Whether nothing that is compiled changed after the program in $1 was built.
up_to_date() {
    newer=$(cd "$root" && find Cargo.toml Cargo.lock rust-toolchain.toml .cargo build.rs src migration \
        -type f -newer "$1" 2>/dev/null | head -n 1)
    [ -z "$newer" ]
}

if [ -n "${STORM_INDEX_BIN:-}" ]; then
    bin=$(command -v "$STORM_INDEX_BIN") || bin=
    program "$bin" || fail "STORM_INDEX_BIN names no program: $STORM_INDEX_BIN; correct it, or unset it to have one found"
    exec "$bin" rebuild "$@"
fi

# The container of the running server that was started from this checkout's compose.yaml, if there is one.
container() {
    command -v docker >/dev/null || return 0
    # One that is paused or starts again and again is listed as well, and can run nothing.
    docker ps --filter status=running --filter label=com.docker.compose.service=server \
        --filter "label=com.docker.compose.project${COMPOSE_PROJECT_NAME:+=$COMPOSE_PROJECT_NAME}" \
        --format '{{.ID}} {{.Label "com.docker.compose.project.working_dir"}}' 2>/dev/null |
        while read -r id dir; do
            if [ "$(CDPATH='' cd -P -- "$dir" 2>/dev/null && pwd)" = "$root" ]; then
                printf '%s\n' "$id"
                break
            fi
        done
}

root=$(checkout "$0") || fail "the folder above $0 cannot be read; make it readable, or set STORM_INDEX_BIN"
if [ -z "${STORAGE_URL:-}${DATABASE_URL:-}" ]; then
    id=$(container)
    if [ -n "$id" ]; then
        printf 'rebuild-index.sh: in the container %s\n' "$id" >&2
        # With a terminal, progress is shown, and Ctrl-C reaches the program.
        if [ -t 0 ] && [ -t 1 ] && [ -t 2 ]; then
            exec docker exec -it "$id" storm-index rebuild "$@"
        fi
        exec docker exec "$id" storm-index rebuild "$@"
    fi
fi

target=${CARGO_TARGET_DIR:-target}
case $target in
    /*) ;;
    *) target=$root/$target ;;
esac
built=$target/release/storm-index

if program "$built" && up_to_date "$built"; then
    exec "$built" rebuild "$@"
fi
if installed=$(command -v storm-index); then
    exec "$installed" rebuild "$@"
fi
if program "$root/dist/storm-index"; then
    exec "$root/dist/storm-index" rebuild "$@"
fi
if ! [ -f "$root/Cargo.toml" ] || ! command -v cargo >/dev/null; then
    fail 'there is no current storm-index and no cargo to build one; put storm-index on the PATH, name it in STORM_INDEX_BIN, or install Rust (https://rustup.rs)'
fi
# For this machine, whatever else is usually built for; the caller's directory stays as it is.
(cd "$root" && unset CARGO_BUILD_TARGET && exec cargo build --release --locked --target-dir "$target") >&2 ||
    fail 'cargo could not build storm-index, for the reason above; mend that, or name a program in STORM_INDEX_BIN'
exec "$built" rebuild "$@"
