//! Law 17: no record of a user is about an object outside that user's prefix.

use std::fs;
use std::os::unix::fs::symlink;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;

use rustix::fs::{CWD, RenameFlags, renameat_with};
use storm_index::model::Prefix;
use storm_index::storage::{Glance, Step, Storage};

use storm_index::reconcile::{Mode, Request};

use crate::support::effort::Effort;
use crate::support::playground::{Playground, block_on, forced};

#[test]
fn law_17_links_show_no_other_users_files() {
    let playground = Playground::with_user();
    playground.add_user("bob", 2);
    playground.write("2/private/salary.txt", "salary");
    playground.write("1/own/file", "own");
    let link = |target: &str, name: &str| symlink(target, playground.path("files/1").join(name)).unwrap();
    link("../2/private", "peek");
    link("../2/private/salary.txt", "peekfile");
    link(playground.path("files/2/private").to_str().unwrap(), "absolute");
    link("../1/own", "around");
    link("own", "inside");
    link("own/file", "inside-file");
    link(playground.path("files/1/own/file").to_str().unwrap(), "inside-absolute");
    let result = playground.sync();
    assert_eq!((&result["unindexable_on_disk"], &result["records_created"]), (&4.into(), &5.into()), "{result}");
    let want = ["1/inside-absolute", "1/inside-file", "1/inside/file", "1/own/file", "2/private/salary.txt"];
    assert_eq!(playground.paths(), want);
    for path in ["peek/salary.txt", "peekfile", "absolute/salary.txt"] {
        playground.run(&["share", "create", "--user-id", "1", path]).ends(2);
    }
}

/// What an earlier version let leak is an orphan, and goes with the next clean.
#[test]
fn law_17_records_that_leaked_are_orphans() {
    let playground = Playground::with_user();
    playground.add_user("bob", 2);
    playground.write("2/private/salary.txt", "salary");
    playground.write("1/own", "own");
    symlink("../2/private", playground.path("files/1/peek")).unwrap();
    symlink("/etc/passwd", playground.path("files/1/peekfile")).unwrap();
    playground.sync();
    playground.sql(
        "INSERT INTO stored_files (user_id, path, name, parent_path, created_at, updated_at) \
         SELECT 1, path, path, '', created_at, updated_at FROM (SELECT 'peek/salary.txt' AS path UNION ALL SELECT 'peekfile') \
         AS leaked, (SELECT created_at, updated_at FROM stored_files LIMIT 1) AS moment",
    );
    let result = playground.clean();
    assert_eq!((&result["orphaned_in_db"], &result["records_deleted"]), (&2.into(), &2.into()), "{result}");
    assert_eq!(playground.paths(), ["1/own", "2/private/salary.txt"]);
}

/// A prefix that is itself a link, or has one on the way, is a range that was not listed, never an emptied one.
#[test]
fn law_17_a_prefix_that_is_a_link_is_never_emptied() {
    let playground = Playground::new();
    for (name, prefix) in [("ann", "1"), ("tea", "teams/alpha"), ("bob", "2")] {
        playground.run(&["user", "add", name, "--prefix", prefix]).ends(0);
    }
    for key in ["1/a", "1/b", "teams/alpha/x", "2/c"] {
        playground.write(key, key);
    }
    playground.sync();
    let files = playground.path("files");
    fs::rename(files.join("1"), playground.path("elsewhere")).unwrap();
    symlink(playground.path("elsewhere"), files.join("1")).unwrap();
    fs::rename(files.join("teams"), files.join("groups")).unwrap();
    symlink("groups", files.join("teams")).unwrap();
    fs::remove_file(files.join("2/c")).unwrap();
    let result = playground.troubled(&forced(Mode::Full));
    assert_eq!((&result["records_deleted"], &result["orphaned_in_db"]), (&1.into(), &1.into()), "{result}");
    assert_eq!(result["incomplete_users"], serde_json::json!([1, 2]), "{result}");
    assert!(result["errors"].to_string().contains("link_as_prefix"), "{result}");
    assert_eq!(playground.paths(), ["1/a", "1/b", "2/x"]);
    for user in ["1", "2"] {
        let one = playground.rebuild(&["--mode", "full", "--force", "--user-id", user]).ends(4).result();
        assert_eq!(one["records_deleted"], 0, "{one}");
    }
    // With the directory back, all is well.
    fs::remove_file(files.join("1")).unwrap();
    fs::rename(playground.path("elsewhere"), files.join("1")).unwrap();
    fs::remove_file(files.join("teams")).unwrap();
    fs::rename(files.join("groups"), files.join("teams")).unwrap();
    playground.in_step();
}

/// A folder at the top that is a link is no user to adopt.
#[test]
fn law_17_no_user_is_made_of_a_link() {
    let playground = Playground::new();
    playground.write("bob/secret", "secret");
    symlink("bob", playground.path("files/alice")).unwrap();
    let result = playground.done(&Request { adopt: true, ..Request::new(Mode::Sync) });
    assert_eq!((&result["users_adopted"], &result["records_created"]), (&1.into(), &1.into()), "{result}");
}

/// A directory and a link to the outside change names again and again while walks and looks go on: nothing from outside is
/// ever shown.
#[test]
fn law_17_nothing_from_outside_is_shown_while_names_are_swapped() {
    let swaps = Effort::of_this_run().pick(20_000, 100_000, 500_000);
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("files");
    let secret = "secret of another user".repeat(3);
    for folder in ["1/pub/deep", "2"] {
        fs::create_dir_all(root.join(folder)).unwrap();
    }
    for name in ["a", "SECRET", "deep/SECRET"] {
        fs::write(root.join("1/pub").join(name), "own").unwrap();
    }
    fs::create_dir_all(root.join("2/deep")).unwrap();
    for name in ["SECRET", "deep/SECRET", "only-there"] {
        fs::write(root.join("2").join(name), &secret).unwrap();
    }
    fs::write(root.join("1/file"), "own").unwrap();
    symlink("../2", root.join("1/swap")).unwrap();
    symlink("../2/SECRET", root.join("1/swapfile")).unwrap();
    let (done, stop) = (AtomicUsize::new(0), AtomicBool::new(false));
    thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                for (one, other) in [("1/pub", "1/swap"), ("1/file", "1/swapfile")] {
                    renameat_with(CWD, root.join(one), CWD, root.join(other), RenameFlags::EXCHANGE).unwrap();
                    done.fetch_add(1, Ordering::Relaxed);
                }
            }
        });
        let storage = Storage::local(&root).unwrap();
        let prefix = Prefix::parse("1").unwrap();
        let mut walks = 0;
        block_on(async {
            while done.load(Ordering::Relaxed) < swaps || walks < 100 {
                walks += 1;
                let mut listing = storage.reader().listing(Some(&prefix), std::slice::from_ref(&prefix));
                while let Step::Batch(batch) = listing.next().await {
                    for object in batch.objects {
                        assert!(object.size == 3 && !object.key.contains("only-there"), "{object:?}");
                    }
                }
                for path in ["pub/only-there", "swap/only-there"] {
                    let glance = storage.reader().glance(&prefix, path).await;
                    assert!(!matches!(glance, Glance::Present { .. } | Glance::Respelled { .. }), "{path}: {glance:?}");
                }
            }
        });
        println!("{walks} walks during {} swaps", done.load(Ordering::Relaxed));
        stop.store(true, Ordering::Relaxed);
    });
}
