//! Law 11 and law 16: a link leads to its file or to none. Renames are proven by the file itself, and what is not proven is
//! no rename: the new file gets a record of its own.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{MetadataExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, SystemTime};

use serde_json::Value;

use storm_index::reconcile::Mode;

use crate::support::backend::{Backend, Kind};
use crate::support::database;
use crate::support::playground::{Playground, block_on, dry};

/// The time of all files of a package that was built reproducibly.
fn constant_time() -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(499_162_500)
}

fn write_at_that_time(path: &Path, content: &str) {
    fs::write(path, content).unwrap();
    fs::File::options().write(true).open(path).unwrap().set_modified(constant_time()).unwrap();
}

fn files(playground: &Playground) -> PathBuf {
    playground.path("files/1")
}

/// Shares a file, and returns the link's token.
fn share(playground: &Playground, path: &str) -> String {
    playground.share(1, path)
}

/// The path that each link leads to, by its token.
fn links(playground: &Playground) -> BTreeMap<String, String> {
    block_on(async {
        let query = "SELECT token, path FROM share_links JOIN stored_files ON stored_files.id = stored_file_id";
        let rows = database::rows(&playground.database().await, query).await;
        rows.into_iter().map(|row| (row[0].clone().unwrap(), row[1].clone().unwrap())).collect()
    })
}

/// The id of each record, by its path.
fn ids(playground: &Playground) -> BTreeMap<String, String> {
    block_on(async {
        let query = "SELECT path, CAST(id AS TEXT) FROM stored_files WHERE user_id = 1";
        let rows = database::rows(&playground.database().await, query).await;
        rows.into_iter().map(|row| (row[0].clone().unwrap(), row[1].clone().unwrap())).collect()
    })
}

fn numbers<const N: usize>(result: &Value, keys: [&str; N]) -> [u64; N] {
    keys.map(|key| result[key].as_u64().unwrap_or_else(|| panic!("{key} in {result}")))
}

const FULL: [&str; 3] = ["--mode", "full", "--force"];

/// 400 files go and 800 others come, all of one size and one time: the system gives inode numbers out again.
#[test]
fn law_16_inode_numbers_that_are_used_again_move_no_link() {
    let playground = Playground::with_user();
    fs::create_dir_all(files(&playground).join("stays")).unwrap();
    let write = |name: &str, content: &str| write_at_that_time(&files(&playground).join(name), content);
    (0..400).for_each(|n| write(&format!("old{n:03}"), &format!("secret {n:03}")));
    (0..50).for_each(|n| write(&format!("stays/{n:02}"), &format!("steady {n:03}")));
    playground.sync();
    let mut want: BTreeMap<String, String> = BTreeMap::new();
    for n in 0..100 {
        let path = format!("old{n:03}");
        want.insert(share(&playground, &path), path);
    }
    for n in 0..10 {
        want.insert(share(&playground, &format!("stays/{n:02}")), format!("went/{n:02}"));
    }
    let before = ids(&playground);
    let inodes = |prefix: &str, count: usize| -> Vec<u64> {
        (0..count).map(|n| fs::metadata(files(&playground).join(format!("{prefix}{n:03}"))).unwrap().ino()).collect()
    };
    let gone = inodes("old", 400);
    (0..400).for_each(|n| fs::remove_file(files(&playground).join(format!("old{n:03}"))).unwrap());
    (0..800).for_each(|n| write(&format!("new{n:03}"), &format!("public {n:03}")));
    // True renames of the same run keep their links.
    fs::rename(files(&playground).join("stays"), files(&playground).join("went")).unwrap();
    let again = inodes("new", 800).iter().filter(|inode| gone.contains(inode)).count();
    println!("{again} inode numbers are used again");
    let result = playground.sync();
    assert_eq!(
        numbers(
            &result,
            ["moved_in_db", "records_moved", "missing_in_db", "records_created", "orphaned_in_db", "deferred"]
        ),
        [50, 50, 800, 800, 400, 0],
        "{result}"
    );
    assert_eq!(links(&playground), want);
    let after = ids(&playground);
    (0..50).for_each(|n| assert_eq!(before[&format!("stays/{n:02}")], after[&format!("went/{n:02}")]));
    let result = playground.rebuild(&[&FULL[..], &["--max-delete", "100%"]].concat()).ends(0).result();
    assert_eq!(numbers(&result, ["records_deleted", "records_skipped", "records_moved"]), [300, 100, 0], "{result}");
    assert_eq!(links(&playground), want);
}

/// Hard links within a library, as programs make them that import downloads: all converge in one run and keep their ids.
#[test]
fn law_11_hard_links_of_a_library_are_renamed_in_one_run() {
    let playground = Playground::with_user();
    let at = |path: &str| files(&playground).join(path);
    fs::create_dir_all(at("lib/Show")).unwrap();
    fs::create_dir_all(at("dl")).unwrap();
    for n in 1..=3 {
        fs::write(at(&format!("dl/ep{n}.mkv")), format!("episode {n}")).unwrap();
        fs::hard_link(at(&format!("dl/ep{n}.mkv")), at(&format!("lib/Show/ep{n}.mkv"))).unwrap();
    }
    playground.sync();
    let (before, token) = (ids(&playground), share(&playground, "lib/Show/ep2.mkv"));
    fs::rename(at("lib/Show"), at("lib/Show (2020)")).unwrap();
    // One of them is removed and linked anew under another name.
    fs::remove_file(at("lib/Show (2020)/ep3.mkv")).unwrap();
    fs::hard_link(at("dl/ep3.mkv"), at("lib/Ep 3.mkv")).unwrap();
    let dry = playground.done(&dry(Mode::Full));
    let result = playground.full();
    let keys = ["moved_in_db", "missing_in_db", "orphaned_in_db", "deferred", "records_created"];
    assert_eq!(numbers(&result, keys), [3, 0, 0, 0, 0], "{result}");
    assert_eq!(numbers(&dry, keys), numbers(&result, keys));
    let after = ids(&playground);
    for (from, to) in [("ep1.mkv", "Show (2020)/ep1.mkv"), ("ep2.mkv", "Show (2020)/ep2.mkv"), ("ep3.mkv", "Ep 3.mkv")]
    {
        assert_eq!(before[&format!("lib/Show/{from}")], after[&format!("lib/{to}")]);
    }
    assert_eq!(links(&playground)[&token], "lib/Show (2020)/ep2.mkv");
    playground.in_step();
}

/// Links to content that lies elsewhere in the prefix, as git-annex keeps it.
#[test]
fn law_11_a_renamed_link_keeps_its_record() {
    let playground = Playground::with_user();
    let at = |path: &str| files(&playground).join(path);
    fs::create_dir_all(at(".git/annex/objects/K1")).unwrap();
    fs::write(at(".git/annex/objects/K1/K1"), "the movie").unwrap();
    symlink(".git/annex/objects/K1/K1", at("movie.mkv")).unwrap();
    playground.sync();
    let (before, token) = (ids(&playground), share(&playground, "movie.mkv"));
    fs::rename(at("movie.mkv"), at("Movie (2020).mkv")).unwrap();
    for args in [&["--exclude", "/.git/"][..], &[]] {
        let result = playground.rebuild(&[&FULL[..], args].concat()).ends(0).result();
        assert_eq!(numbers(&result, ["missing_in_db", "orphaned_in_db", "deferred"]), [0, 0, 0], "{result}");
    }
    assert_eq!(ids(&playground)["Movie (2020).mkv"], before["movie.mkv"]);
    assert_eq!(links(&playground)[&token], "Movie (2020).mkv");
    playground.in_step();
}

/// Equal objects in a bucket: a copy that goes and one that comes are no rename, and neither keeps the other out.
#[test]
fn law_11_identical_copies_in_a_bucket_come_and_go() {
    for kind in [Kind::S3] {
        let backend = Backend::new(kind);
        let playground = Playground::with_user();
        let put = |key: &str| block_on(backend.put(key, b"the default picture"));
        for user in ["alice", "bob", "carol"] {
            put(&format!("1/{user}/avatar.png"));
        }
        let url = backend.url();
        let run = |args: &[&str]| playground.rebuild(&[args, &["--storage", &url]].concat());
        run(&["--mode", "sync"]).ends(0);
        let token = share(&playground, "alice/avatar.png");
        block_on(backend.remove("1/alice/avatar.png"));
        put("1/dave/avatar.png");
        let report = playground.path("r.ndjson");
        let args = ["--mode", "full", "--force", "--report", report.to_str().unwrap()];
        let result = run(&args).ends(0).result();
        let keys = ["missing_in_db", "records_created", "orphaned_in_db", "records_skipped", "moved_in_db", "deferred"];
        assert_eq!(numbers(&result, keys), [1, 1, 1, 1, 0, 0], "{result}");
        let text = fs::read_to_string(&report).unwrap();
        let orphan: Value = text
            .lines()
            .map(|line| serde_json::from_str::<Value>(line).unwrap())
            .find(|line| line["kind"] == "orphaned")
            .unwrap();
        assert_eq!((&orphan["path"], &orphan["candidate"]), (&"alice/avatar.png".into(), &"dave/avatar.png".into()));
        assert_eq!(links(&playground)[&token], "alice/avatar.png");
        // One vanished object that is shared keeps out none of those to come.
        (0..50).for_each(|n| put(&format!("1/new/{n:02}.png")));
        assert_eq!(run(&["--mode", "sync"]).ends(0).result()["records_created"], 50);
        assert_eq!(links(&playground)[&token], "alice/avatar.png");
    }
}

/// A disk that is copied with `cp -a`: the records take over what names the files there, and later renames are recognised.
#[test]
fn law_11_identity_follows_the_disk() {
    let playground = Playground::with_user();
    (0..30).for_each(|n| playground.write(&format!("1/d/{n:02}"), &format!("photo {n}")));
    playground.sync();
    let (before, token) = (ids(&playground), share(&playground, "d/07"));
    let updated = || {
        block_on(async {
            let query = "SELECT CAST(updated_at AS TEXT) FROM stored_files ORDER BY id";
            database::column(&playground.database().await, query).await
        })
    };
    let moments = updated();
    let copy = |from: &str, to: &str| {
        let (from, to) = (playground.path(from), playground.path(to));
        assert!(Command::new("cp").arg("-a").arg(from).arg(to).status().unwrap().success());
    };
    copy("files", "copied");
    fs::remove_dir_all(playground.path("files")).unwrap();
    copy("copied", "files");
    let keys = ["identities_refreshed", "records_updated", "stale_in_db", "records_moved"];
    assert_eq!(numbers(&playground.in_step(), keys), [0; 4], "an audit only looks");
    assert_eq!(numbers(&playground.rebuild(&["--mode", "sync", "--dry-run"]).ends(0).result(), keys), [30, 0, 0, 0]);
    let task = playground.rebuild(&["--mode", "sync"]).ends(0).json();
    assert_eq!(numbers(&task["result"], keys), [30, 0, 0, 0], "{task}");
    assert_eq!(updated(), moments, "no record was changed");
    let journal = format!("SELECT action FROM journal WHERE task_id = '{}'", task["task_id"].as_str().unwrap());
    assert_eq!(block_on(async { database::column(&playground.database().await, &journal).await }), [""; 0]);
    assert_eq!(numbers(&playground.sync(), keys), [0; 4]);
    fs::rename(files(&playground).join("d"), files(&playground).join("e")).unwrap();
    assert_eq!(numbers(&playground.full(), keys), [0, 0, 0, 30]);
    let after = ids(&playground);
    (0..30).for_each(|n| assert_eq!(before[&format!("d/{n:02}")], after[&format!("e/{n:02}")]));
    assert_eq!(links(&playground)[&token], "e/07");
}

/// Records of before there were identities get theirs in the first run that finds them in step; a rename before that run is
/// no move.
#[test]
fn law_11_records_without_an_identity_are_not_guessed() {
    let playground = Playground::with_user();
    (0..20).for_each(|n| playground.write(&format!("1/d/{n:02}"), &format!("photo {n}")));
    playground.sync();
    let token = share(&playground, "d/07");
    playground.sql("UPDATE stored_files SET file_id = NULL");
    fs::rename(files(&playground).join("d/00"), files(&playground).join("before")).unwrap();
    let keys = ["identities_refreshed", "records_moved", "records_created", "orphaned_in_db", "deferred"];
    assert_eq!(numbers(&playground.sync(), keys), [19, 0, 1, 1, 0]);
    fs::rename(files(&playground).join("d"), files(&playground).join("e")).unwrap();
    assert_eq!(numbers(&playground.sync(), keys), [0, 19, 0, 1, 0]);
    assert_eq!(links(&playground)[&token], "e/07");
}

/// A link may lead elsewhere tomorrow: a record goes to the file's own new name first.
#[test]
fn law_16_a_record_goes_to_the_file_itself_before_a_link() {
    let playground = Playground::with_user();
    let at = |path: &str| files(&playground).join(path);
    fs::create_dir_all(at("releases/5")).unwrap();
    symlink("releases/5", at("current")).unwrap();
    fs::write(at("notes.txt"), "old notes").unwrap();
    fs::create_dir(at("archive")).unwrap();
    fs::write(at("report.pdf"), "2024").unwrap();
    playground.sync();
    let (notes, report) = (share(&playground, "notes.txt"), share(&playground, "report.pdf"));
    fs::rename(at("notes.txt"), at("releases/5/notes.txt")).unwrap();
    fs::rename(at("report.pdf"), at("archive/report-2024.pdf")).unwrap();
    symlink("archive/report-2024.pdf", at("report-latest.pdf")).unwrap();
    playground.sync();
    assert_eq!(links(&playground)[&notes], "releases/5/notes.txt");
    assert_eq!(links(&playground)[&report], "archive/report-2024.pdf");
}

/// The undo of a move takes a name that opens for what it is, be it through a link that leads out of the prefix.
#[test]
fn law_16_an_undone_move_goes_to_no_other_users_file() {
    let playground = Playground::with_user();
    playground.write("1/d/x", "own");
    playground.sync();
    let token = share(&playground, "d/x");
    fs::rename(files(&playground).join("d"), files(&playground).join("d2")).unwrap();
    let task = playground.rebuild(&["--mode", "sync"]).ends(0).json()["task_id"].as_str().unwrap().to_owned();
    symlink("../2", files(&playground).join("d")).unwrap();
    playground.write("2/x", "of another user");
    let ran = playground.run(&["restore", &task]).ends(4);
    assert!(ran.err.contains("kept: path_taken"), "{ran:?}");
    assert_eq!(links(&playground)[&token], "d2/x");
}

/// What a broken link led to may be on a file system that is not mounted, so nobody knows what is below it.
#[test]
fn law_16_an_undone_move_goes_below_no_broken_link() {
    let playground = Playground::with_user();
    playground.write("1/d/x", "own");
    playground.sync();
    let token = share(&playground, "d/x");
    fs::rename(files(&playground).join("d"), files(&playground).join("d2")).unwrap();
    let task = playground.rebuild(&["--mode", "sync"]).ends(0).json()["task_id"].as_str().unwrap().to_owned();
    symlink("disk/d", files(&playground).join("d")).unwrap();
    let ran = playground.run(&["restore", &task]).ends(4);
    assert!(ran.err.contains("kept: path_unknown"), "{ran:?}");
    assert_eq!(links(&playground)[&token], "d2/x");
}
