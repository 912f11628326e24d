# Recipes for `just` (https://just.systems); each is a command that can be typed without it.

# List the recipes.
default:
    @just --list

# Format and lint what was changed, and run the unit tests.
dev:
    cargo fmt --all
    cargo clippy --locked --workspace --all-targets -- -D warnings
    scripts/nextest.sh default --lib

# Run the tests on SQLite and memory: no root, no servers. One test: `just test moves::law_11`.
test *ARGS:
    scripts/nextest.sh default {{ARGS}}

# Run every check, as for each change: installs what is missing, which takes root.
ci:
    scripts/test.sh

# Run what is too long for each change: the tests at their greatest effort, and mutants.
nightly:
    scripts/nightly.sh

# Measure audit and sync of a million files beside `find`, `sqlite3 .import` and `psql \copy`.
bench:
    scripts/bench.sh

# Build the documentation of the code, and open it.
docs:
    cargo doc --locked --workspace --no-deps --document-private-items --open
