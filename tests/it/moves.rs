//! Law 11: a renamed file keeps its record, with id and links.

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::Value;

use storm_index::reconcile::{Mode, Request};

use crate::support::backend::{Backend, Kind};
use crate::support::database;
use crate::support::playground::{Playground, block_on, dry, forced};

/// The numbers of a run that have to do with moves.
pub(crate) fn moves(result: &Value) -> [u64; 7] {
    let keys = [
        "moved_in_db",
        "records_moved",
        "missing_in_db",
        "orphaned_in_db",
        "records_created",
        "records_updated",
        "records_deleted",
    ];
    keys.map(|key| result[key].as_u64().unwrap())
}

/// Ids of records by `user/path`.
pub(crate) fn ids(playground: &Playground) -> BTreeMap<String, String> {
    block_on(async {
        let query = "SELECT CAST(user_id AS TEXT) || '/' || path, CAST(id AS TEXT) FROM stored_files";
        let rows = database::rows(&playground.database().await, query).await;
        rows.into_iter().map(|row| (row[0].clone().unwrap(), row[1].clone().unwrap())).collect()
    })
}

fn rename(playground: &Playground, from: &str, to: &str) {
    let files = playground.path("files");
    std::fs::create_dir_all(files.join(to).parent().unwrap()).unwrap();
    std::fs::rename(files.join(from), files.join(to)).unwrap();
}

pub(crate) fn share(playground: &Playground, path: &str) -> String {
    let ran = playground.run(&["share", "create", "--user-id", "1", path]).ends(0);
    ran.out.trim().to_owned()
}

/// The paths that tokens open.
pub(crate) fn opens(playground: &Playground) -> BTreeMap<String, String> {
    let links = playground.run(&["share", "list", "--show-tokens", "--format", "json"]).ends(0).json();
    let text = |link: &Value, key: &str| link[key].as_str().unwrap().to_owned();
    links.as_array().unwrap().iter().map(|link| (text(link, "token"), text(link, "path"))).collect()
}

fn findings(path: &Path) -> Vec<(String, String, String)> {
    let text = std::fs::read_to_string(path).unwrap();
    let mut lines: Vec<_> = text
        .lines()
        .map(|line| {
            let line: Value = serde_json::from_str(line).unwrap();
            let word = |key: &str| line[key].as_str().unwrap().to_owned();
            (word("kind"), word("path"), word("action"))
        })
        .collect();
    lines.sort();
    lines
}

#[test]
fn law_11_a_renamed_folder_keeps_ids_and_links() {
    let playground = Playground::with_user();
    for n in 0..10_000 {
        playground.write(&format!("1/old/{}/f{n:05}", n % 7), &format!("content {n}"));
    }
    playground.write("1/stays", "x");
    playground.sync();
    let before = ids(&playground);
    let token = share(&playground, "old/3/f00003");
    rename(&playground, "1/old", "1/new/place");
    let want = |done: u64| [10_000, done, 0, 0, 0, 0, 0];
    assert_eq!(moves(&playground.drifted()), want(0));
    assert_eq!(moves(&playground.done(&dry(Mode::Sync))), want(10_000));
    // A clean carries nothing, and deletes nothing of what has moved.
    assert_eq!(moves(&playground.clean()), want(0));
    assert_eq!(ids(&playground), before);
    assert_eq!(moves(&playground.full()), want(10_000));
    let after: BTreeMap<String, String> =
        before.into_iter().map(|(path, id)| (path.replace("1/old/", "1/new/place/"), id)).collect();
    assert_eq!(ids(&playground), after);
    assert_eq!(opens(&playground)[&token], "new/place/3/f00003");
    assert_eq!(moves(&playground.full()), [0; 7]);
    // All columns are those of the new place.
    let wrong = "SELECT path FROM stored_files WHERE parent_path || '/' || name <> path AND path <> 'stays'";
    assert_eq!(block_on(async { database::column(&playground.database().await, wrong).await }), [""; 0]);
}

#[test]
fn law_11_chains_and_swaps_are_carried_at_once() {
    let playground = Playground::with_user();
    for (key, content) in
        [("a", "1"), ("b", "22"), ("c", "333"), ("x", "4444"), ("y", "55555"), ("log.1", "l1"), ("log.2", "l22")]
    {
        playground.write(&format!("1/{key}"), content);
    }
    playground.sync();
    let before = ids(&playground);
    let token = share(&playground, "x");
    // A circle of three, a swap, and a chain.
    rename(&playground, "1/a", "1/t");
    rename(&playground, "1/c", "1/a");
    rename(&playground, "1/b", "1/c");
    rename(&playground, "1/t", "1/b");
    rename(&playground, "1/x", "1/t");
    rename(&playground, "1/y", "1/x");
    rename(&playground, "1/t", "1/y");
    rename(&playground, "1/log.2", "1/log.3");
    rename(&playground, "1/log.1", "1/log.2");
    let report = ["--mode", "full", "--force", "--report", "r.ndjson"];
    let result = playground.rebuild(&report).ends(0).result();
    assert_eq!(moves(&result), [7, 7, 0, 0, 0, 0, 0], "{result}");
    let after = ids(&playground);
    for (from, to) in
        [("a", "b"), ("b", "c"), ("c", "a"), ("x", "y"), ("y", "x"), ("log.1", "log.2"), ("log.2", "log.3")]
    {
        assert_eq!(before[&format!("1/{from}")], after[&format!("1/{to}")], "{from} {to}");
    }
    assert_eq!(opens(&playground)[&token], "y");
    assert_eq!(findings(&playground.path("r.ndjson")).len(), 7);
    assert_eq!(moves(&playground.in_step()), [0; 7]);
}

/// Folders that have changed names in a circle, and a longer circle of files: more moves than one transaction carries, of
/// which three or seven hang together.
#[test]
fn law_11_folders_that_changed_names_in_a_circle_keep_ids_and_links() {
    let playground = Playground::with_user();
    for folder in ["a", "b", "c"] {
        for n in 0..700 {
            playground.write(&format!("1/{folder}/f{n:03}"), &format!("{folder}{n}"));
        }
    }
    for n in 0..7 {
        playground.write(&format!("1/r{n}"), &format!("ring {n}"));
    }
    playground.sync();
    let before = ids(&playground);
    // Where each of them is afterwards.
    let goes = |path: &str| match path.split_at(1) {
        ("r", n) => format!("r{}", (n.parse::<usize>().unwrap() + 3) % 7),
        (folder, rest) => ["b", "c", "a"][usize::from(folder.as_bytes()[0] - b'a')].to_owned() + rest,
    };
    let shared = ["a/f000", "a/f699", "b/f000", "b/f350", "c/f001", "r0", "r6"];
    let want: BTreeMap<String, String> = shared.iter().map(|path| (share(&playground, path), goes(path))).collect();
    for (from, to) in [("1/a", "1/t"), ("1/c", "1/a"), ("1/b", "1/c"), ("1/t", "1/b")] {
        rename(&playground, from, to);
    }
    (0..7).for_each(|n| rename(&playground, &format!("1/r{n}"), &format!("1/t{n}")));
    (0..7).for_each(|n| rename(&playground, &format!("1/t{n}"), &format!("1/{}", goes(&format!("r{n}")))));
    let run = |mode: &[&str], code| {
        let result = playground.rebuild(&[mode, &["--report", "r.ndjson"]].concat()).ends(code).result();
        (moves(&result), result["stale_in_db"].as_u64(), findings(&playground.path("r.ndjson")))
    };
    let dry = run(&["--mode", "full", "--dry-run"], 1);
    let real = run(&["--mode", "full", "--force"], 0);
    assert_eq!((real.0, real.1, real.2.len()), ([2_107, 2_107, 0, 0, 0, 0, 0], Some(0), 2_107));
    assert_eq!(dry, real);
    assert_eq!(opens(&playground), want);
    let after: BTreeMap<String, String> =
        before.into_iter().map(|(path, id)| (format!("1/{}", goes(&path[2..])), id)).collect();
    assert_eq!(ids(&playground), after);
    assert_eq!(run(&["--mode", "full", "--force"], 0), ([0; 7], Some(0), Vec::new()));
}

/// A file that was moved over another one: the path's own record stays, the other one's file is gone.
#[test]
fn law_11_a_record_keeps_its_path_when_another_file_comes_there() {
    let playground = Playground::with_user();
    playground.write("1/a", "1");
    playground.write("1/b", "22");
    playground.sync();
    let (before, token) = (ids(&playground), share(&playground, "a"));
    rename(&playground, "1/a", "1/b");
    let result = playground.full();
    assert_eq!(moves(&result), [0, 0, 0, 1, 0, 1, 0], "{result}");
    assert_eq!(ids(&playground), before);
    assert_eq!(opens(&playground)[&token], "a", "and its record is kept for the link");
}

/// A file that is saved anew after the old one was renamed to a backup, or logs that are turned: the path is what is meant.
#[test]
fn law_11_a_path_that_has_a_new_file_keeps_its_record() {
    let playground = Playground::with_user();
    for (key, content) in [("report", "draft"), ("log", "l"), ("log.1", "l1"), ("odd", "odd")] {
        playground.write(&format!("1/{key}"), content);
    }
    playground.sync();
    let (before, token) = (ids(&playground), share(&playground, "report"));
    rename(&playground, "1/report", "1/report~");
    playground.write("1/report", "a second draft");
    rename(&playground, "1/log.1", "1/log.2");
    rename(&playground, "1/log", "1/log.1");
    playground.write("1/log", "a new one");
    // A path that no storage could have is no place from which a file could have come.
    playground.sql("UPDATE stored_files SET path = 'x//odd' WHERE path = 'odd'");
    let result = playground.full();
    assert_eq!(moves(&result), [0, 0, 3, 1, 3, 3, 0], "{result}");
    let after = ids(&playground);
    for path in ["1/report", "1/log", "1/log.1"] {
        assert_eq!(after[path], before[path], "{path}");
    }
    assert_eq!(opens(&playground)[&token], "report");
    assert_eq!(moves(&playground.full()), [0, 0, 0, 1, 0, 0, 0]);
}

/// Hard links and empty files: all names of one file lead to it, so whichever are paired open the same bytes.
#[test]
fn law_11_names_of_one_file_are_paired_in_one_run() {
    let playground = Playground::with_user();
    playground.write("1/a", "one");
    playground.write("1/empty", "");
    playground.write("1/twin", "twin");
    let link = |from: &str, to: &str| {
        std::fs::hard_link(playground.path("files/1").join(from), playground.path("files/1").join(to)).unwrap();
    };
    link("twin", "twin2");
    playground.sync();
    let before = ids(&playground);
    rename(&playground, "1/a", "1/b");
    link("b", "c");
    rename(&playground, "1/twin2", "1/twin3");
    rename(&playground, "1/empty", "1/void");
    let report = |mode: &[&str], code| {
        let result = playground.rebuild(&[mode, &["--report", "r.ndjson"]].concat()).ends(code).result();
        (result, findings(&playground.path("r.ndjson")))
    };
    let line = |kind: &str, path: &str, action: &str| (kind.to_owned(), path.to_owned(), action.to_owned());
    let dry = report(&["--mode", "full", "--dry-run"], 1);
    let (result, lines) = report(&["--mode", "full", "--force"], 0);
    assert_eq!(moves(&result), [3, 3, 1, 0, 1, 0, 0], "{result}");
    assert_eq!((&result["deferred"], &result["records_skipped"]), (&0.into(), &0.into()), "{result}");
    assert_eq!(
        lines,
        [
            line("missing", "c", "create"),
            line("moved", "b", "move"),
            line("moved", "twin3", "move"),
            line("moved", "void", "move"),
        ]
    );
    assert_eq!((moves(&dry.0), dry.1), (moves(&result), lines));
    let after = ids(&playground);
    for (from, to) in [("a", "b"), ("twin", "twin"), ("twin2", "twin3"), ("empty", "void")] {
        assert_eq!(before[&format!("1/{from}")], after[&format!("1/{to}")], "{from} {to}");
    }
    assert_eq!(moves(&playground.in_step()), [0; 7]);
    // Without moves, each name is what it is by its path.
    rename(&playground, "1/twin3", "1/twin4");
    let result = playground.done(&Request { moves: false, ..forced(Mode::Full) });
    assert_eq!(moves(&result), [0, 0, 1, 1, 1, 0, 1], "{result}");
    assert_eq!(moves(&playground.in_step()), [0; 7]);
}

/// One name of a file is gone, another one was renamed, and that one's path has a new file: the link of the first follows.
#[test]
fn law_01_hard_links_converge_in_one_run() {
    let playground = Playground::with_user();
    playground.write("1/x", "same");
    std::fs::hard_link(playground.path("files/1/x"), playground.path("files/1/y")).unwrap();
    playground.full();
    let token = share(&playground, "x");
    playground.remove("1/x");
    rename(&playground, "1/y", "1/c");
    playground.write("1/y", "another one");
    let result = playground.full();
    assert_eq!((moves(&result), &result["stale_in_db"]), ([1, 1, 0, 0, 0, 1, 0], &1.into()), "{result}");
    assert_eq!(opens(&playground)[&token], "c");
    assert_eq!(moves(&playground.full()), [0; 7]);
}

/// From one user to another: missing here, orphaned there, and said so.
#[test]
fn law_11_a_move_between_users_is_told_and_not_made() {
    let playground = Playground::with_user();
    playground.add_user("bob", 2);
    playground.write("1/gone", "x");
    playground.write("1/given", "something");
    playground.write("2/back", "back");
    playground.sync();
    playground.remove("1/gone");
    rename(&playground, "1/given", "2/taken");
    rename(&playground, "2/back", "1/there");
    for args in [&["--mode", "audit"][..], &["--mode", "full", "--force"]] {
        let code = i32::from(args.len() == 2);
        let result = playground.rebuild(&[args, &["--report", "r.ndjson"]].concat()).ends(code).result();
        assert_eq!(moves(&result)[..4], [0, 0, 2, 3], "{result}");
        let text = std::fs::read_to_string(playground.path("r.ndjson")).unwrap();
        let reasons: BTreeMap<String, Value> = text
            .lines()
            .map(|line| serde_json::from_str::<Value>(line).unwrap())
            .filter(|line| line["kind"] == "orphaned")
            .map(|line| (line["path"].as_str().unwrap().to_owned(), line["reasons"].clone()))
            .collect();
        let moved = serde_json::json!(["no_object", "moved_to_user"]);
        assert_eq!((&reasons["given"], &reasons["back"]), (&moved, &moved), "{reasons:?}");
        assert_eq!(reasons["gone"], serde_json::json!(["no_object"]));
    }
}

/// Into and out of a place that cannot be read: what may come from there waits, what may have gone there is an orphan.
#[test]
fn law_11_a_move_out_of_a_hidden_place_waits_until_it_can_be_seen() {
    use std::os::unix::fs::PermissionsExt as _;
    let playground = Playground::with_user();
    for key in ["1/dir/a", "1/dir/b", "1/c", "1/d"] {
        playground.write(key, key);
    }
    playground.sync();
    let (before, token) = (ids(&playground), share(&playground, "dir/a"));
    // Out of it, into it, and past it, and then it is closed.
    rename(&playground, "1/dir/a", "1/out");
    rename(&playground, "1/c", "1/dir/in");
    rename(&playground, "1/d", "1/e");
    let close = |mode| {
        let dir = playground.path("files/1/dir");
        std::fs::set_permissions(dir, std::fs::Permissions::from_mode(mode)).unwrap();
    };
    close(0o000);
    let result = playground.run_as_nobody(&["rebuild", "--mode", "sync", "--format", "json"]).ends(4).result();
    assert_eq!(moves(&result), [1, 1, 1, 1, 0, 0, 0], "{result}");
    assert_eq!(result["deferred"], 1, "{result}");
    close(0o755);
    let result = playground.full();
    assert_eq!(moves(&result), [2, 2, 0, 0, 0, 0, 0], "{result}");
    let after = ids(&playground);
    for (from, to) in [("dir/a", "out"), ("c", "dir/in"), ("d", "e")] {
        assert_eq!(before[&format!("1/{from}")], after[&format!("1/{to}")], "{from}");
    }
    assert_eq!(opens(&playground)[&token], "out");
}

/// The same on S3, where the entity tag names the content, and the marker names the bucket.
#[test]
fn law_11_on_s3_the_tag_of_the_content_tells() {
    let backend = Backend::new(Kind::S3);
    let playground = Playground::with_user();
    let put = |key: &str, content: &str| block_on(backend.put(key, content.as_bytes()));
    let remove = |key: &str| block_on(backend.remove(key));
    for n in 0..1_100 {
        put(&format!("1/a/f{n:04}"), &format!("content {n}"));
    }
    put("1/copy", "content 7");
    let url = backend.url();
    let run = |args: &[&str]| playground.rebuild(&[args, &["--storage", &url]].concat());
    run(&["--mode", "sync"]).ends(0);
    let status = playground.run(&["storage", "status", "--format", "json", "--storage", &url]).ends(0).json();
    assert_eq!((&status["marker"], &status["storage_id"]), (&"found".into(), &status["bound_to"]));
    let before = ids(&playground);
    for n in 0..1_100 {
        remove(&format!("1/a/f{n:04}"));
        put(&format!("1/b/f{n:04}"), &format!("content {n}"));
    }
    let result = run(&["--mode", "full", "--force"]).ends(0).result();
    assert_eq!(moves(&result), [1_099, 1_099, 1, 1, 1, 0, 1], "all but the one that has a copy: {result}");
    let after = ids(&playground);
    for n in (0..1_100).filter(|n| *n != 7) {
        assert_eq!(before[&format!("1/a/f{n:04}")], after[&format!("1/b/f{n:04}")]);
    }
    // A look that is not answered keeps the record where it is.
    remove("1/b/f0001");
    put("1/c/f0001", "content 1");
    if let Backend::S3(server) = &backend {
        server.faults().refuse_head = Some("1/b/f0001".to_owned());
        let result = run(&["--mode", "sync"]).ends(4).result();
        assert_eq!(moves(&result)[..3], [1, 0, 0], "{result}");
        assert_eq!(result["errors"][0]["code"], "head_failed");
        server.faults().refuse_head = None;
    }
    assert_eq!(moves(&run(&["--mode", "sync"]).ends(0).result())[..2], [1, 1]);
    // Another bucket is not believed.
    remove(".storm-index/identity.json");
    assert_eq!(run(&["--mode", "sync"]).ends(3).result()["refusal"]["code"], "wrong_storage");
}
