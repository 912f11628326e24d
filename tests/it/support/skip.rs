//! Tests that cannot run here: they return at once, and count as skipped, with a reason, not as passed.
//!
//! The reasons are appended to the file that `STORM_INDEX_TEST_SKIPPED` names, one line a test; `scripts/nextest.sh` reads it.

use std::io::Write as _;

use super::database;

/// Reports that the running test is skipped.
pub(crate) fn skip(reason: &str) {
    println!("skipped: {reason}");
    let Some(path) = std::env::var_os("STORM_INDEX_TEST_SKIPPED") else { return };
    let thread = std::thread::current();
    let test = std::env::var("NEXTEST_TEST_NAME").ok();
    let test = test.as_deref().or(thread.name()).expect("the name of the running test");
    // One write a line: other tests append to the same file.
    let line = format!("{test}\t{reason}\n");
    let mut file = std::fs::File::options().create(true).append(true).open(path).unwrap();
    file.write_all(line.as_bytes()).unwrap();
}

/// Skips the test unless it runs on PostgreSQL; true if it is skipped.
pub(crate) fn unless_on_postgres() -> bool {
    let skipped = !database::on_postgres();
    if skipped {
        skip("needs PostgreSQL");
    }
    skipped
}

/// Skips the test on PostgreSQL; true if it is skipped.
pub(crate) fn unless_on_sqlite() -> bool {
    let skipped = database::on_postgres();
    if skipped {
        skip("needs SQLite");
    }
    skipped
}

/// Skips the test unless it runs as root, as `what` needs; true if it is skipped.
pub(crate) fn unless_root(what: &str) -> bool {
    let skipped = !rustix::process::geteuid().is_root();
    if skipped {
        skip(&format!("{what} needs root"));
    }
    skipped
}
