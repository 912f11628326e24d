//! What is left out is left out on both sides, and nothing is by default.

use crate::support::playground::Playground;

#[test]
fn patterns_act_on_storage_and_index_alike() {
    let playground = Playground::with_user();
    for key in
        ["1/a.tmp", "1/deep/b.tmp", "1/keep", "1/cache/x", "1/deep/cache/y", "1/.DS_Store", "1/top/z", "1/deep/top/z"]
    {
        playground.write(key, key);
    }
    playground.write("@eaDir/thumb", "x");
    let first = playground.sync();
    assert_eq!((&first["records_created"], &first["unclaimed_on_disk"]), (&8.into(), &1.into()), "nothing by default");
    // Their files are gone, and new ones are there: neither is seen.
    for key in ["1/a.tmp", "1/cache/x", "1/.DS_Store", "1/top/z"] {
        playground.remove(key);
    }
    playground.write("1/new.tmp", "x");
    playground.write("1/keep", "changed");
    let before = playground.paths();
    let some = ["--exclude", "*.tmp", "--exclude", "cache/", "--exclude", "/top", "--exclude-noise"];
    let audit = playground.rebuild(&some).ends(1).result();
    for (key, want) in [
        ("files_on_disk", 2),
        ("files_in_db", 2),
        ("missing_in_db", 0),
        ("orphaned_in_db", 0),
        ("stale_in_db", 1),
        ("unclaimed_on_disk", 0),
    ] {
        assert_eq!(audit[key], want, "{key} {audit}");
    }
    let full = playground.rebuild(&[&["--mode", "full", "--force"], &some[..]].concat()).ends(0).result();
    assert_eq!((&full["records_updated"], &full["records_deleted"]), (&1.into(), &0.into()), "{full}");
    assert_eq!(playground.paths(), before);
    let request = playground.run(&["task", "list", "--limit", "1", "--format", "json"]).ends(0).json();
    assert_eq!(request[0]["request"]["exclude"][0], "*.tmp", "{request}");
    let all = playground.full();
    assert_eq!((&all["records_created"], &all["records_deleted"]), (&1.into(), &4.into()), "{all}");
}

/// What is left out neither becomes a user's, nor is a place that cannot be read a trouble there.
#[test]
fn what_is_left_out_is_no_trouble() {
    let playground = Playground::new();
    playground.write("lost+found/x", "x");
    playground.write("7/x", "x");
    std::os::unix::fs::symlink("/no/such/place", playground.path("files/7/link.tmp")).unwrap();
    let args = ["--mode", "sync", "--adopt", "--exclude-noise", "--exclude", "*.tmp"];
    let result = playground.rebuild(&args).ends(0).result();
    let numbers = ["users_adopted", "records_created", "unclaimed_on_disk", "unindexable_on_disk"];
    assert_eq!(numbers.map(|key| result[key].as_u64().unwrap()), [1, 1, 0, 0], "{result}");
    for bad in ["", "/", "a["] {
        playground.rebuild(&["--exclude", bad]).ends(2).complains(&["exclude"]);
    }
}

/// A file that was renamed out of an excluded folder keeps its record: that record's key is asked for, and is gone.
#[test]
fn law_11_a_rename_out_of_what_is_excluded_is_carried() {
    let playground = Playground::with_user();
    for key in ["1/cache/a", "1/cache/b", "1/keep"] {
        playground.write(key, key);
    }
    playground.sync();
    let token = playground.share(1, "cache/a");
    std::fs::rename(playground.path("files/1/cache/a"), playground.path("files/1/a")).unwrap();
    playground.write("1/new", "new");
    let without = playground.rebuild(&["--mode", "full", "--force", "--exclude", "cache/"]).ends(0).result();
    assert_eq!((&without["records_created"], &without["records_moved"]), (&1.into(), &1.into()), "{without}");
    assert_eq!((&without["deferred"], &without["excluded_in_db"]), (&0.into(), &2.into()), "{without}");
    // And into it: where the exclude keeps from looking, there is no proof of a move, and the record is an orphan.
    std::fs::rename(playground.path("files/1/keep"), playground.path("files/1/cache/keep")).unwrap();
    let without = playground.rebuild(&["--mode", "full", "--force", "--exclude", "cache/"]).ends(0).result();
    assert_eq!((&without["records_deleted"], &without["records_skipped"]), (&1.into(), &0.into()), "{without}");
    let links = playground.run(&["share", "list", "--show-tokens", "--format", "json"]).ends(0).json();
    assert_eq!((&links[0]["token"], &links[0]["path"]), (&token.trim().into(), &"a".into()));
}

/// All of a user's files cannot be meant by a pattern of paths: that they cannot be read is told all the same.
#[test]
fn law_06_a_pattern_hides_no_trouble_with_all_of_a_users_files() {
    use std::os::unix::fs::PermissionsExt as _;
    let playground = Playground::new();
    playground.run(&["user", "add", "ann", "--prefix", "photos"]).ends(0);
    (0..8).for_each(|n| playground.write(&format!("photos/f{n}"), "x"));
    playground.sync();
    let folder = playground.path("files/photos");
    std::fs::set_permissions(&folder, std::fs::Permissions::from_mode(0o000)).unwrap();
    let ran = playground.run_as_nobody(&["rebuild", "--format", "json", "--exclude", "photos/"]);
    std::fs::set_permissions(&folder, std::fs::Permissions::from_mode(0o755)).unwrap();
    let result = ran.ends(4).result();
    assert_eq!((&result["orphaned_in_db"], &result["incomplete_users"][0]), (&0.into(), &1.into()), "{result}");
}

/// A pair that is left out and agrees is nobody's source or target: its copies are what they are by their paths.
#[test]
fn law_01_copies_of_what_is_left_out_are_what_they_are() {
    let playground = Playground::with_user();
    playground.write("1/a.tmp", "the same");
    playground.write("1/k", "other");
    playground.sync();
    // A hard link is the same file to a disk, as a copy is to a bucket.
    let at = |key| playground.path("files").join(key);
    std::fs::hard_link(at("1/a.tmp"), at("1/b")).unwrap();
    let full = || playground.rebuild(&["--mode", "full", "--force", "--exclude", "*.tmp"]).ends(0).result();
    let made = full();
    assert_eq!((&made["missing_in_db"], &made["records_created"]), (&1.into(), &1.into()), "{made}");
    playground.rebuild(&["--exclude", "*.tmp"]).ends(0);
    playground.remove("1/b");
    let gone = full();
    assert_eq!((&gone["orphaned_in_db"], &gone["records_deleted"]), (&1.into(), &1.into()), "{gone}");
    assert_eq!(playground.paths(), ["1/a.tmp", "1/k"]);
    // Where its path has a new file, what is excluded has been renamed, but the path itself is not gone: no move.
    std::fs::rename(at("1/a.tmp"), at("1/c")).unwrap();
    playground.write("1/a.tmp", "new");
    let made = full();
    assert_eq!((&made["missing_in_db"], &made["records_created"]), (&1.into(), &1.into()), "{made}");
    let all = playground.full();
    assert_eq!((&all["records_updated"], &all["records_created"]), (&1.into(), &0.into()), "{all}");
}
