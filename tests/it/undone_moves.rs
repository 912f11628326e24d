//! Laws 10 and 16: undoing a move puts a record back only where the old path is empty or provably holds the same file.

use serde_json::json;
use storm_index::index::{Access, Carried, Carry, Index, LeaseTerms, NewUser, RestoreReport};
use storm_index::model::{ObjectFacts, Timestamp};
use storm_index::reconcile::{Mode, Reconciler, Request, Silent, StorageLook};
use uuid::Uuid;

use crate::support::backend::{Backend, Kind};
use crate::support::database::{self, TestDatabase, column, execute};
use crate::support::playground::{Playground, Ran, block_on};

/// User 1 with files of different sizes, in step; each has a share link with the token `link-NAME`.
fn with_files(names: &[&str]) -> Playground {
    let playground = Playground::with_user();
    for (n, name) in names.iter().enumerate() {
        playground.write(&format!("1/{name}"), &"x".repeat(n + 1));
    }
    sync(&playground);
    playground.sql("INSERT INTO share_links (stored_file_id, token) SELECT id, 'link-' || path FROM stored_files");
    playground
}

fn task(ran: &Ran) -> String {
    ran.json()["task_id"].as_str().unwrap().to_owned()
}

fn sync(playground: &Playground) -> String {
    task(&playground.rebuild(&["--mode", "sync"]).ends(0))
}

/// Renames files of user 1 all at once, as in a swap.
fn rename(playground: &Playground, moves: &[(&str, &str)]) {
    let files = playground.path("files/1");
    let aside = |n: usize| playground.path(&format!("aside-{n}"));
    for (n, (from, _)) in moves.iter().enumerate() {
        std::fs::rename(files.join(from), aside(n)).unwrap();
    }
    for (n, (_, to)) in moves.iter().enumerate() {
        std::fs::rename(aside(n), files.join(to)).unwrap();
    }
}

/// Renames files, and has a run carry their records. Returns its task.
fn moved(playground: &Playground, moves: &[(&str, &str)]) -> String {
    rename(playground, moves);
    let ran = playground.rebuild(&["--mode", "sync"]).ends(0);
    assert_eq!(ran.result()["records_moved"], moves.len(), "{ran:?}");
    task(&ran)
}

fn restore(playground: &Playground, task: &str, args: &[&str]) -> Ran {
    playground.run(&[&["restore", task, "--format", "json"], args].concat())
}

/// The numbers of a restore: restored, replaced, links, unchanged, conflicts.
fn numbers(ran: &Ran) -> [u64; 5] {
    let result = ran.result();
    ["records_restored", "records_replaced", "links_restored", "records_unchanged", "conflicts"]
        .map(|key| result[key].as_u64().unwrap_or_else(|| panic!("{key} {result}")))
}

/// What was kept, as `path code`, in the order of the paths.
fn kept(ran: &Ran) -> Vec<String> {
    let errors = ran.result()["errors"].clone();
    let text = |error: &serde_json::Value, key: &str| error[key].as_str().unwrap().to_owned();
    let told = errors.as_array().unwrap().iter().map(|e| format!("{} {}", text(e, "path"), text(e, "code")));
    let mut told: Vec<String> = told.collect();
    told.sort();
    told
}

fn query(playground: &Playground, query: &str) -> Vec<String> {
    block_on(async { column(&playground.database().await, query).await })
}

/// The path to which each link leads, as `token path`.
fn links(playground: &Playground) -> Vec<String> {
    let links = "SELECT token || ' ' || path FROM share_links JOIN stored_files ON stored_files.id = stored_file_id \
                 ORDER BY 1";
    query(playground, links)
}

/// What names the file of each record, as `path file_id`.
fn file_ids(playground: &Playground) -> Vec<String> {
    query(playground, "SELECT path || ' ' || coalesce(file_id, '-') FROM stored_files ORDER BY path")
}

/// Restores, by a dry run as well, and checks that both keep the same and write nothing.
#[track_caller]
fn keeps(playground: &Playground, task: &str, want: &[&str]) -> Ran {
    let before = (playground.dump(), file_ids(playground));
    let dry = restore(playground, task, &["--dry-run"]).ends(4);
    let real = restore(playground, task, &[]).ends(4);
    assert_eq!((kept(&dry), kept(&real)), (kept(&real), want.iter().map(|w| (*w).to_owned()).collect()), "{real:?}");
    assert_eq!(numbers(&dry), numbers(&real));
    assert_eq!(numbers(&real)[0], 0, "{real:?}");
    assert_eq!((playground.dump(), file_ids(playground)), before);
    real
}

/// Restores, by a dry run as well, and checks that all of it goes back.
#[track_caller]
fn goes_back(playground: &Playground, task: &str, want: [u64; 5]) -> Ran {
    let dry = restore(playground, task, &["--dry-run"]).ends(0);
    let real = restore(playground, task, &[]).ends(0);
    assert_eq!((numbers(&dry), numbers(&real)), (want, want), "{real:?}");
    real
}

#[test]
fn law_10_a_moved_record_stays_where_another_file_is_at_its_old_path() {
    for is_indexed in [false, true] {
        let playground = with_files(&["a.txt"]);
        let task = moved(&playground, &[("a.txt", "b.txt")]);
        playground.write("1/a.txt", "another one");
        if is_indexed {
            sync(&playground);
        }
        let ran = keeps(&playground, &task, &["a.txt path_taken"]);
        assert_eq!(links(&playground), ["link-a.txt b.txt"], "{is_indexed}");
        assert_eq!(numbers(&ran), [0, 0, 0, 0, 1]);
        let text = playground.run(&["restore", &task]).ends(4);
        assert!(text.out.contains("1 conflicts"), "{text:?}");
        assert!(text.err.contains("\"a.txt\": kept: path_taken") && text.err.contains("\"b.txt\""), "{text:?}");
        // A copy is another file, whatever its content, name and times.
        let copied = ["-a", "1/b.txt", "1/a.txt"].map(|arg| arg.replace("1/", "files/1/"));
        let cp = std::process::Command::new("cp").current_dir(playground.dir.path()).args(copied).status();
        assert!(cp.unwrap().success());
        keeps(&playground, &task, &["a.txt path_taken"]);
        if is_indexed {
            // The file at the old path is gone, its record is not.
            playground.remove("1/a.txt");
            keeps(&playground, &task, &["a.txt path_taken"]);
        }
    }
}

#[test]
fn law_10_a_moved_record_goes_back_to_an_empty_path() {
    let playground = with_files(&["a", "d/b"]);
    let before = (playground.dump(), file_ids(&playground));
    std::fs::create_dir(playground.path("files/1/e")).unwrap();
    let task = moved(&playground, &[("a", "z"), ("d/b", "e/b")]);
    let after = playground.dump();
    // A folder of that name holds no file of that name.
    std::fs::create_dir(playground.path("files/1/a")).unwrap();
    std::fs::remove_dir(playground.path("files/1/d")).unwrap();
    goes_back(&playground, &task, [2, 0, 0, 0, 0]);
    assert_eq!((playground.dump(), file_ids(&playground)), before);
    assert_eq!(links(&playground), ["link-a a", "link-d/b d/b"]);
    // The next run finds the files by what names them.
    let again = playground.sync();
    assert_eq!((&again["records_moved"], &again["records_created"]), (&json!(2), &json!(0)));
    assert_eq!(
        after.iter().map(|row| row[..4].to_vec()).collect::<Vec<_>>(),
        playground.dump().iter().map(|row| row[..4].to_vec()).collect::<Vec<_>>()
    );
}

#[test]
fn law_10_a_moved_record_goes_back_to_its_own_file() {
    // Also where the path has a newer record of that file.
    for is_indexed in [false, true] {
        let playground = with_files(&["a", "k"]);
        let before = (playground.dump(), file_ids(&playground));
        let task = moved(&playground, &[("a", "b")]);
        rename(&playground, &[("b", "a")]);
        if is_indexed {
            playground.done(&Request { moves: false, ..Request::new(Mode::Sync) });
            playground.sql(
                "INSERT INTO share_links (stored_file_id, token) SELECT id, 'newer' FROM stored_files WHERE path = 'a'",
            );
        }
        goes_back(&playground, &task, [1, u64::from(is_indexed), 0, 0, 0]);
        let newer = is_indexed.then_some("newer a");
        let want: Vec<&str> = ["link-a a", "link-k k"].into_iter().chain(newer).collect();
        assert_eq!(links(&playground), want);
        assert_eq!(file_ids(&playground), before.1);
        assert!(is_indexed || playground.dump() == before.0);
        playground.in_step();
    }
}

#[test]
fn law_10_a_swap_is_undone_only_with_its_files() {
    let playground = with_files(&["a", "b"]);
    let before = (playground.dump(), file_ids(&playground));
    let task = moved(&playground, &[("a", "b"), ("b", "a")]);
    keeps(&playground, &task, &["a path_taken", "b path_taken"]);
    assert_eq!(links(&playground), ["link-a b", "link-b a"]);
    rename(&playground, &[("a", "b"), ("b", "a")]);
    goes_back(&playground, &task, [2, 0, 0, 0, 0]);
    assert_eq!((playground.dump(), file_ids(&playground)), before);
}

#[test]
fn law_10_a_chain_goes_back_as_far_as_its_files_have() {
    let playground = with_files(&["a", "b", "c"]);
    let before = (playground.dump(), file_ids(&playground));
    let task = moved(&playground, &[("a", "b"), ("b", "c"), ("c", "d")]);
    // Only the first path is empty.
    let dry = restore(&playground, &task, &["--dry-run"]).ends(4);
    let real = restore(&playground, &task, &[]).ends(4);
    assert_eq!((numbers(&dry), numbers(&real)), ([1, 0, 0, 0, 2], [1, 0, 0, 0, 2]));
    assert_eq!(kept(&real), ["b path_taken", "c path_taken"]);
    assert_eq!(links(&playground), ["link-a a", "link-b c", "link-c d"]);
    rename(&playground, &[("b", "a"), ("c", "b"), ("d", "c")]);
    goes_back(&playground, &task, [2, 0, 0, 1, 0]);
    assert_eq!((playground.dump(), file_ids(&playground)), before);

    // A record that stays keeps others from coming to its path.
    let task = moved(&playground, &[("a", "b"), ("b", "c"), ("c", "d")]);
    playground.write("1/a", "a new one");
    playground.remove("1/b");
    rename(&playground, &[("d", "aside"), ("c", "b")]);
    playground.remove("1/aside");
    keeps(&playground, &task, &["a path_taken", "b path_held", "c path_held"]);
}

#[test]
fn law_10_an_undone_move_is_undone_only_with_its_file() {
    let playground = with_files(&["a"]);
    let task = moved(&playground, &[("a", "b")]);
    let (dump, names) = (playground.dump(), file_ids(&playground));
    let undone = self::task(&goes_back(&playground, &task, [1, 0, 0, 0, 0]));
    // The file is still where it was.
    let redone = self::task(&goes_back(&playground, &undone, [1, 0, 0, 0, 0]));
    assert_eq!((playground.dump(), file_ids(&playground)), (dump, names));
    let undone = self::task(&goes_back(&playground, &redone, [1, 0, 0, 0, 0]));
    playground.write("1/b", "written anew");
    keeps(&playground, &undone, &["b path_taken"]);
    assert_eq!(links(&playground), ["link-a a"]);
}

/// A record that a later run has deleted comes back to the path from which the task had moved it.
#[test]
fn law_10_a_moved_record_that_was_deleted_since_comes_back_only_to_an_empty_path() {
    let playground = with_files(&["a", "k"]);
    playground.sql("UPDATE share_links SET is_active = false");
    let task = moved(&playground, &[("a", "b")]);
    playground.remove("1/b");
    playground.clean();
    playground.write("1/a", "another one");
    keeps(&playground, &task, &["a path_taken"]);
    playground.remove("1/a");
    goes_back(&playground, &task, [1, 0, 0, 0, 0]);
    assert_eq!(playground.paths(), ["1/a", "1/k"]);
}

/// Without the right storage, deletions come back and moves do not.
#[test]
fn law_16_without_the_right_storage_no_move_is_undone() {
    let playground = with_files(&["a", "x", "k"]);
    playground.sql("DELETE FROM share_links WHERE token = 'link-x'");
    rename(&playground, &[("a", "b")]);
    playground.remove("1/x");
    let ran = playground.rebuild(&["--mode", "full", "--force"]).ends(0);
    assert_eq!((&ran.result()["records_moved"], &ran.result()["records_deleted"]), (&json!(1), &json!(1)));
    let (task, after) = (task(&ran), playground.dump());
    let marker = playground.path("files/.storm-index/identity.json");
    let right = std::fs::read_to_string(&marker).unwrap();
    let other =
        right.replace(&query(&playground, "SELECT storage_id FROM storage_binding")[0], &Uuid::now_v7().to_string());
    assert_ne!(other, right);
    let (files, away) = (playground.path("files"), playground.path("away"));
    let unmount = |leaves_mount_point: bool| {
        std::fs::rename(&files, &away).unwrap();
        if leaves_mount_point {
            std::fs::create_dir(&files).unwrap();
        }
    };
    let mount = || {
        if away.exists() {
            let _ = std::fs::remove_dir(&files);
            std::fs::rename(&away, &files).unwrap();
        }
        std::fs::write(&marker, &right).unwrap();
    };
    let unmarked: &[&str] = &["--identity", "none"];
    for (case, args, why) in [
        ("no marker", &[][..], "is not there"),
        ("another storage", &[], "says that this is storage"),
        ("no storage", &[], "files"),
        ("an empty mount point", &[], "is not there"),
        ("an empty mount point of a storage without a marker", unmarked, "0 of the 3 records"),
        ("no storage named", &["--storage", "nfs://far/away"], "unknown scheme"),
    ] {
        match case {
            "no marker" => std::fs::remove_file(&marker).unwrap(),
            "another storage" => std::fs::write(&marker, &other).unwrap(),
            "no storage" => unmount(false),
            "no storage named" => {}
            _ => unmount(true),
        }
        let dry = restore(&playground, &task, &[&["--dry-run"], args].concat()).ends(4);
        let real = restore(&playground, &task, args).ends(4);
        mount();
        assert_eq!(kept(&real), ["a path_unknown"], "{case} {real:?}");
        let message = real.result()["errors"][0]["message"].as_str().unwrap().to_owned();
        assert!(message.contains("kept: path_unknown") && message.contains(why), "{case} {message}");
        assert_eq!((kept(&dry), numbers(&dry)[4]), (kept(&real), 1), "{case} {dry:?}");
        assert_eq!(playground.paths(), ["1/b", "1/k", "1/x"], "{case}");
        assert_eq!(links(&playground), ["link-a b", "link-k k"], "{case}");
        assert!(playground.dump().len() == after.len() + 1, "{case}");
    }
    // With the right storage the rest is undone.
    goes_back(&playground, &task, [1, 0, 0, 1, 0]);
    assert_eq!(links(&playground), ["link-a a", "link-k k"]);
}

/// Half of the records tell that a storage without a marker is the right one.
#[test]
fn law_16_without_a_marker_the_records_prove_the_storage() {
    let playground = with_files(&["a", "k"]);
    let task = moved(&playground, &[("a", "b")]);
    std::fs::remove_file(playground.path("files/.storm-index/identity.json")).unwrap();
    let ran = restore(&playground, &task, &["--identity", "none"]).ends(0);
    assert_eq!(numbers(&ran), [1, 0, 0, 0, 0]);
}

/// A mount point without its file system looks like an empty folder.
#[test]
fn law_18_below_a_mount_that_is_gone_no_path_is_empty() {
    let playground = with_files(&["usb/a", "k"]);
    let task = moved(&playground, &[("usb/a", "b")]);
    let time = if database::on_postgres() { "now()" } else { "'2026-01-01T00:00:00+00:00'" };
    playground.sql(&format!(
        "INSERT INTO mounts (path, fs_type, fs_id, records, seen_at) VALUES ('1/usb', 'ext4', 'another', 1, {time})"
    ));
    let ran = keeps(&playground, &task, &["usb/a path_unknown"]);
    let message = ran.result()["errors"][0]["message"].as_str().unwrap().to_owned();
    assert!(message.contains("storage mounts forget \"1/usb\""), "{message}");
    playground.sql("DELETE FROM mounts");
    goes_back(&playground, &task, [1, 0, 0, 0, 0]);
}

/// Images of older versions do not say what names a file, and runs change it without a line in the journal.
#[test]
fn law_10_what_names_a_file_is_kept_by_an_undone_move() {
    let playground = with_files(&["a"]);
    let before = file_ids(&playground);
    let task = moved(&playground, &[("a", "b")]);
    let strip = |column: &str| match database::on_postgres() {
        true => format!("{column} = CAST(CAST({column} AS jsonb) - 'file_id' AS text)"),
        false => format!("{column} = json_remove({column}, '$.file_id')"),
    };
    playground.sql(&format!("UPDATE journal SET {}, {}", strip("before"), strip("after")));
    goes_back(&playground, &task, [1, 0, 0, 0, 0]);
    assert_eq!(file_ids(&playground), before);
    assert_eq!(playground.sync()["records_moved"], 1);
    // The disk was restored: the same content is another file.
    let task = moved(&playground, &[("b", "c")]);
    let (file, copy) = (playground.path("files/1/c"), playground.path("copy"));
    assert!(std::process::Command::new("cp").arg("-a").args([&file, &copy]).status().unwrap().success());
    std::fs::rename(&copy, &file).unwrap();
    let refreshed = playground.sync();
    assert_eq!((&refreshed["identities_refreshed"], &refreshed["stale_in_db"]), (&json!(1), &json!(0)));
    let named = file_ids(&playground)[0].replace("c ", "b ");
    assert!(!before.contains(&named.replace("b ", "a ")));
    goes_back(&playground, &task, [1, 0, 0, 0, 0]);
    assert_eq!(file_ids(&playground), [named]);
    assert_eq!(playground.sync()["records_moved"], 1);
}

/// On an object store a content is known by its size and its strong tag, and a store that only counts proves nothing.
#[test]
fn law_10_on_an_object_store_a_moved_record_goes_back_to_its_content() {
    for kind in [Kind::Memory, Kind::S3] {
        let (database, backend) = (TestDatabase::fresh(), Backend::new(kind));
        block_on(async {
            let index = Index::open(&database.url(), Access::Write).await.unwrap();
            index.add_user(NewUser { name: "u".into(), id: Some(1), prefix: None }).await.unwrap();
            let other = database.connect().await;
            let reconciler = Reconciler::new(&backend.storage(), &index);
            let run = async || reconciler.run(&Request::new(Mode::Sync), &mut Silent).await.unwrap();
            let restore = async |task: &str| {
                let mut look = StorageLook::from(reconciler.clone());
                let dry = index.restore(task, true, LeaseTerms::default(), &mut look).await.unwrap();
                let real = index.restore(task, false, LeaseTerms::default(), &mut look).await.unwrap();
                assert_eq!((dry.tally, codes(&dry)), (real.tally, codes(&real)));
                real
            };
            let paths = async || column(&other, "SELECT path FROM stored_files ORDER BY path").await;
            backend.put("1/a", b"content of a").await;
            backend.put("1/k", b"k").await;
            run().await;
            execute(&other, "INSERT INTO share_links (stored_file_id, token) SELECT id, path FROM stored_files").await;
            backend.remove("1/a").await;
            backend.put("1/b", b"content of a").await;
            let task = match kind {
                // A store that only counts: no run would move it.
                Kind::Memory => carry(&index, "a", "b").await,
                _ => {
                    let report = run().await;
                    assert_eq!(report.tally.carried, 1, "{report:?}");
                    report.task_id.to_string()
                }
            };
            assert_eq!(paths().await, ["b", "k"], "{kind:?}");
            // Another content is at the old path.
            backend.put("1/a", b"another one").await;
            let kept = restore(&task).await;
            assert_eq!((kept.tally.records_restored, codes(&kept)), (0, vec!["path_taken".to_owned()]), "{kind:?}");
            assert_eq!(paths().await, ["b", "k"], "{kind:?}");
            // The same content is there, or nothing.
            if kind == Kind::Memory {
                backend.put("1/a", b"content of a").await;
                assert_eq!(codes(&restore(&task).await), ["path_taken"], "counted tags prove nothing");
                backend.remove("1/a").await;
            } else {
                backend.put("1/a", b"content of a").await;
                backend.remove("1/b").await;
            }
            let back = restore(&task).await;
            assert_eq!((back.tally.records_restored, back.tally.conflicts), (1, 0), "{kind:?} {back:?}");
            assert_eq!(paths().await, ["a", "k"], "{kind:?}");
            // A server that is gone says nothing.
            if let Backend::S3(server) = &backend {
                let undone = back.task_id.to_string();
                server.faults().refuse_head = Some("1/b".to_owned());
                let kept = restore(&undone).await;
                assert_eq!(codes(&kept), ["path_unknown"], "{kept:?}");
                server.faults().refuse_head = None;
                assert_eq!(restore(&undone).await.tally.records_restored, 1, "an empty path");
            }
            index.close().await;
        });
    }
}

fn codes(report: &RestoreReport) -> Vec<String> {
    report.problems.iter().map(|problem| problem.code.clone()).collect()
}

/// Carries a record of user 1 to another path, as a run does, and returns its task.
async fn carry(index: &Index, from: &str, to: &str) -> String {
    let task = Uuid::now_v7();
    let lease = index.take_lease(task, &json!({}), LeaseTerms::default()).await.unwrap();
    let page = index.records(vec![1]).next().await.unwrap().unwrap();
    let record = (0..page.len()).map(|at| page.get(at)).find(|record| record.path == from).unwrap();
    let object = ObjectFacts {
        key: format!("1/{to}"),
        size: record.size.unwrap(),
        last_modified: Timestamp::from_micros(1_700_000_000_123_456),
        etag: None,
        file_id: None,
        device: None,
        linked: false,
    };
    let (id, version) = (record.id, record.version.to_vec());
    let moves = [Carry { id, user: 1, version, object, path_at: 2, content_type: "text/moved" }];
    assert_eq!(lease.writer().carry(&moves).await.unwrap(), [Carried::Done]);
    lease.release().await;
    task.to_string()
}

/// A link that went to an older record, and moved on with the file, is not brought back to the path of another file.
#[test]
fn law_16_a_link_that_has_moved_on_stays_with_its_file() {
    let playground = with_files(&["a", "k"]);
    playground.sql("DELETE FROM share_links");
    let file = playground.path("files/1/a");
    std::fs::rename(&file, playground.path("away")).unwrap();
    let cleaned = task(&playground.rebuild(&["--mode", "clean", "--force"]).ends(0));
    std::fs::rename(playground.path("away"), &file).unwrap();
    sync(&playground);
    playground
        .sql("INSERT INTO share_links (stored_file_id, token) SELECT id, 'link' FROM stored_files WHERE path = 'a'");
    // The old record takes the place and the link of the new one, and moves on with the file.
    let restored = task(&goes_back(&playground, &cleaned, [1, 1, 0, 0, 0]));
    moved(&playground, &[("a", "z")]);
    playground.write("1/a", "another one");
    sync(&playground);
    assert_eq!(links(&playground), ["link z"]);
    for args in [&["--dry-run"][..], &[], &[]] {
        let ran = restore(&playground, &restored, args).ends(4);
        let mut codes = kept(&ran);
        codes.dedup();
        assert!(codes.contains(&"a link_elsewhere".to_owned()) || args.is_empty(), "{ran:?}");
        assert_eq!(links(&playground), ["link z"], "{ran:?}");
    }
}
