//! Indexes that earlier versions made open, migrate and keep their links. The dumps beside this file are what the version
//! with 14 steps of the schema left: two users, a stale record, a move and a deletion that the journal has, links to each
//! file, one of them to a file that is gone.

use std::fs;
use std::time::{Duration, SystemTime};

use storm_index::model::Timestamp;
use storm_index::storage::{MARKER, marker_document};

use crate::support::database::{self, on_postgres};
use crate::support::playground::{Playground, block_on};

const SQLITE: &str = include_str!("old_indexes/sqlite-14-steps.sql");
const POSTGRES: &str = include_str!("old_indexes/postgres-14-steps.sql");

/// The files that the dumps are about, as they were when they were made.
fn old_playground() -> Playground {
    let playground = Playground::new();
    playground.sql(if on_postgres() { POSTGRES } else { SQLITE });
    for (key, content) in
        [("1/renamed.txt", "one"), ("1/d/b.txt", "two"), ("1/d/c.txt", "three and more"), ("2/e.txt", "five")]
    {
        playground.write(key, content);
        let modified = SystemTime::UNIX_EPOCH + Duration::new(1_767_323_045, 678_901_000);
        let file = fs::File::options().write(true).open(playground.path("files").join(key)).unwrap();
        file.set_modified(modified).unwrap();
    }
    let id = column(&playground, "SELECT storage_id FROM storage_binding").remove(0);
    let marker = marker_document(id.parse().unwrap(), Timestamp::from_micros(0));
    fs::create_dir_all(playground.path("files/.storm-index")).unwrap();
    fs::write(playground.path("files").join(MARKER), marker).unwrap();
    playground
}

fn column(playground: &Playground, query: &str) -> Vec<String> {
    block_on(async { database::column(&playground.database().await, query).await })
}

#[test]
fn an_index_of_14_steps_keeps_links_and_gets_identities() {
    let playground = old_playground();
    let links = "SELECT CAST(share_links.id AS TEXT) || ' ' || token || ' ' || CAST(stored_file_id AS TEXT) FROM share_links \
                 ORDER BY share_links.id";
    let before = column(&playground, links);
    assert_eq!(before.len(), 4);
    let result = playground.full();
    let number = |key: &str| result[key].as_u64().unwrap();
    assert_eq!([number("identities_refreshed"), number("stale_in_db"), number("missing_in_db")], [4, 0, 0], "{result}");
    assert_eq!([number("orphaned_in_db"), number("records_skipped")], [1, 1], "the one that is shared: {result}");
    assert_eq!(column(&playground, links), before);
    // From then on renames are recognised.
    fs::rename(playground.path("files/1/d"), playground.path("files/1/e")).unwrap();
    assert_eq!(playground.sync()["records_moved"], 2);
    assert_eq!(column(&playground, links), before);
}

#[test]
fn what_an_old_version_did_can_be_undone() {
    let playground = old_playground();
    let task = column(&playground, "SELECT CAST(task_id AS TEXT) FROM journal WHERE action = 'move'").remove(0);
    // The file is where it was moved to, and its old path is empty: the record may go back there.
    let ran = playground.run(&["restore", &task, "--format", "json"]).ends(0).json();
    assert_eq!(ran["result"]["records_restored"], 2, "{ran}");
    let paths = column(&playground, "SELECT path FROM stored_files WHERE user_id = 1 ORDER BY id");
    assert_eq!(paths, ["a.txt", "d/b.txt", "d/c.txt", "gone.txt", "f.txt"]);
}
