//! Law 10: what a run did to the index can be undone.

use serde_json::{Value, json};
use storm_index::index::{Access, Carry, Index, LeaseTerms, NewUser};
use storm_index::model::{ObjectFacts, RecordId, Timestamp};
use storm_index::reconcile::{Mode, Request};
use uuid::Uuid;

use crate::support::database::{self, TestDatabase, column};
use crate::support::look::{MovedBack, Unasked};
use crate::support::playground::{Playground, Ran, block_on};

/// User 1 with files `a` to `e` in step; `d` has a dead link and `e` an active one.
fn in_step() -> Playground {
    let playground = Playground::with_user();
    for name in ["a", "b", "c", "d", "e"] {
        playground.write(&format!("1/{name}"), "x");
    }
    sync(&playground);
    playground.sql(
        "INSERT INTO share_links (stored_file_id, token, is_active) SELECT id, 'dead', false FROM stored_files WHERE path = 'd'; \
         INSERT INTO share_links (stored_file_id, token) SELECT id, 'alive' FROM stored_files WHERE path = 'e'",
    );
    playground
}

fn task(ran: &Ran) -> String {
    ran.json()["task_id"].as_str().unwrap().to_owned()
}

fn sync(playground: &Playground) -> String {
    task(&playground.rebuild(&["--mode", "sync"]).ends(0))
}

fn clean(playground: &Playground) -> String {
    task(&playground.rebuild(&["--mode", "clean", "--force", "--max-delete", "100%"]).ends(0))
}

fn restore(playground: &Playground, task: &str, args: &[&str]) -> Ran {
    playground.run(&[&["restore", task, "--format", "json"], args].concat())
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

/// The numbers of a restore: restored, replaced, links, unchanged, conflicts.
fn numbers(ran: &Ran) -> [u64; 5] {
    let result = ran.result();
    ["records_restored", "records_replaced", "links_restored", "records_unchanged", "conflicts"]
        .map(|key| result[key].as_u64().unwrap_or_else(|| panic!("{key} {result}")))
}

fn codes(ran: &Ran) -> Vec<String> {
    let errors = ran.result()["errors"].clone();
    errors.as_array().unwrap().iter().map(|e| e["code"].as_str().unwrap().to_owned()).collect()
}

fn query(playground: &Playground, query: &str) -> Vec<String> {
    block_on(async { column(&playground.database().await, query).await })
}

/// The journal, which a dry run leaves alone as well.
fn diary(playground: &Playground) -> Vec<String> {
    query(playground, "SELECT CAST(id AS TEXT) FROM journal ORDER BY 1")
}

/// Carries the records at some paths to others, as a run does, and returns its task.
fn carry(playground: &Playground, moves: &[(&str, &str)]) -> String {
    let task = Uuid::now_v7();
    block_on(async {
        let index = Index::open(&playground.index.url(), Access::Write).await.unwrap();
        let lease = index.take_lease(task, &json!({}), LeaseTerms::default()).await.unwrap();
        let page = index.records(vec![1]).next().await.unwrap().unwrap();
        let moves: Vec<Carry> = moves
            .iter()
            .map(|(from, to)| {
                let record = (0..page.len()).map(|at| page.get(at)).find(|r| r.path == *from).unwrap();
                let last_modified = Timestamp::from_micros(1_700_000_000_123_456);
                let object = ObjectFacts {
                    key: format!("1/{to}"),
                    size: 7,
                    last_modified,
                    etag: None,
                    file_id: None,
                    device: None,
                    linked: false,
                };
                let (id, version): (RecordId, _) = (record.id, record.version.to_vec());
                Carry { id, user: 1, version, object, path_at: 2, content_type: "text/moved" }
            })
            .collect();
        let fates = lease.writer().carry(&moves).await.unwrap();
        assert!(fates.iter().all(|fate| *fate == storm_index::index::Carried::Done), "{fates:?}");
        lease.release().await;
        index.close().await;
    });
    task.to_string()
}

#[test]
fn law_10_deletions_come_back_with_ids_and_links() {
    let playground = in_step();
    let before = playground.dump();
    for name in ["a", "b", "d", "e"] {
        playground.remove(&format!("1/{name}"));
    }
    let task = clean(&playground);
    assert_eq!(playground.paths(), ["1/c", "1/e"]);
    let (cleaned, diary_before) = (playground.dump(), diary(&playground));
    let dry = restore(&playground, &task, &["--dry-run"]).ends(0);
    assert_eq!((playground.dump(), diary(&playground)), (cleaned, diary_before), "a dry run writes nothing");
    let real = restore(&playground, &task, &[]).ends(0);
    assert_eq!((numbers(&dry), numbers(&real)), ([3, 0, 1, 0, 0], [3, 0, 1, 0, 0]));
    assert_eq!(playground.dump(), before);
    // Twice is once.
    let again = restore(&playground, &task, &[]).ends(0);
    assert_eq!((numbers(&again), playground.dump()), ([0, 0, 0, 3, 0], before));
    // It left a row like any run.
    let id = real.json()["task_id"].as_str().unwrap().to_owned();
    let row = playground.run(&["task", "show", &id, "--format", "json"]).ends(0).json();
    assert_eq!((&row["status"], &row["request"]["restore"]), (&json!("SUCCESSFUL"), &json!(task)));
    assert_eq!(row["result"], real.result());
    assert!(playground.run(&["task", "list"]).ends(0).out.contains("restore"));
    let text = playground.run(&["restore", &task]).ends(0);
    assert!(text.out.contains("3 unchanged") && text.err.is_empty(), "{text:?}");
}

#[test]
fn law_10_refreshes_are_undone() {
    let playground = in_step();
    playground.sql("UPDATE stored_files SET size = NULL, etag = 'old', content_type = 'x/y' WHERE path IN ('a', 'e')");
    let before = playground.dump();
    let task = sync(&playground);
    assert_ne!(playground.dump(), before);
    assert_eq!(numbers(&restore(&playground, &task, &[]).ends(0)), [2, 0, 0, 0, 0]);
    assert_eq!(playground.dump(), before);
    assert_eq!(numbers(&restore(&playground, &task, &[]).ends(0)), [0, 0, 0, 2, 0]);
    // What a later run has changed once more is no person's doing.
    sync(&playground);
    assert_eq!(numbers(&restore(&playground, &task, &[]).ends(0)), [2, 0, 0, 0, 0]);
    assert_eq!(playground.dump(), before);
}

/// Moves, swaps and chains are undone where the files have been moved back as well.
#[test]
fn law_10_moves_swaps_and_chains_are_undone() {
    let playground = in_step();
    // Files of one size and time that change names are in step: nothing tells that they have.
    for (n, name) in ["a", "b", "c", "d", "e"].iter().enumerate() {
        playground.write(&format!("1/{name}"), &"x".repeat(n + 2));
    }
    sync(&playground);
    let before = playground.dump();
    for moves in [
        &[("a", "z")][..],
        &[("a", "b"), ("b", "a")],
        &[("a", "b"), ("b", "c"), ("c", "z"), ("d", "e"), ("e", "d")],
        &[("a", "b"), ("b", "e"), ("e", "a")],
    ] {
        rename(&playground, moves);
        let task = sync(&playground);
        let moved = playground.dump();
        assert_ne!(moved, before);
        let back: Vec<(&str, &str)> = moves.iter().map(|(from, to)| (*to, *from)).collect();
        rename(&playground, &back);
        let restored = restore(&playground, &task, &[]).ends(0);
        assert_eq!(numbers(&restored), [moves.len() as u64, 0, 0, 0, 0], "{moves:?}");
        assert_eq!(playground.dump(), before, "{moves:?}");
        // And the restore itself is undone and done again.
        rename(&playground, moves);
        restore(&playground, restored.json()["task_id"].as_str().unwrap(), &[]).ends(0);
        assert_eq!(playground.dump(), moved, "{moves:?}");
        rename(&playground, &back);
        restore(&playground, &task, &[]).ends(0);
        assert_eq!(playground.dump(), before, "{moves:?}");
    }
}

/// The disk was away, everything was cleaned, then it came back: every path has a new record.
#[test]
fn law_10_after_a_disk_was_away_the_old_records_take_the_places_of_the_new() {
    let playground = in_step();
    let ids = "SELECT path || ' ' || CAST(id AS TEXT) FROM stored_files ORDER BY path";
    let before = query(&playground, ids);
    for name in ["a", "b", "c", "d"] {
        playground.remove(&format!("1/{name}"));
    }
    let cleaned = clean(&playground);
    for name in ["a", "b", "c", "d"] {
        playground.write(&format!("1/{name}"), "longer");
    }
    sync(&playground);
    playground.share(1, "d");
    playground.share(1, "a");
    let newer = playground.dump();
    let links = "SELECT path || ' ' || CASE WHEN token IN ('dead', 'alive') THEN token ELSE 'new' END FROM share_links \
                 JOIN stored_files ON stored_files.id = stored_file_id ORDER BY 1";
    let dry = restore(&playground, &cleaned, &["--dry-run"]).ends(0);
    assert_eq!(playground.dump(), newer);
    let real = restore(&playground, &cleaned, &[]).ends(0);
    assert_eq!((numbers(&dry), numbers(&real)), ([4, 4, 1, 0, 0], [4, 4, 1, 0, 0]));
    assert_eq!(query(&playground, ids), before, "the old ids, and no other record");
    assert_eq!(query(&playground, links), ["a new", "d dead", "d new", "e alive"]);
    // With the facts of today: the next run has nothing to do.
    let audit = playground.in_step();
    assert_eq!((&audit["stale_in_db"], &audit["files_in_db"]), (&json!(0), &json!(5)));
    let restored = playground.dump();
    assert_eq!(numbers(&restore(&playground, &cleaned, &[]).ends(0)), [0, 0, 0, 4, 0]);
    assert_eq!(playground.dump(), restored);
    // Undone, the newer records are there again with their links, and done again the older ones.
    let undone = restore(&playground, &task(&real), &[]).ends(0);
    assert_eq!(numbers(&undone)[4], 0, "{undone:?}");
    assert_eq!(playground.dump(), newer);
    restore(&playground, &task(&undone), &[]).ends(0);
    assert_eq!(playground.dump(), restored);
}

/// A newer record of the same file gives its place and its links to the moved one; a second restore changes nothing.
#[test]
fn law_10_a_moved_record_takes_its_old_place_back_from_a_newer_record_of_its_file() {
    let playground = in_step();
    rename(&playground, &[("e", "z")]);
    let task = sync(&playground);
    rename(&playground, &[("z", "e")]);
    playground.done(&Request { moves: false, ..Request::new(Mode::Sync) });
    playground.share(1, "e");
    let id = query(&playground, "SELECT CAST(stored_file_id AS TEXT) FROM share_links WHERE token = 'alive'");
    assert_eq!(numbers(&restore(&playground, &task, &[]).ends(0)), [1, 1, 0, 0, 0]);
    let owners = "SELECT CAST(stored_file_id AS TEXT) FROM share_links WHERE token <> 'dead'";
    assert_eq!(query(&playground, owners), [id[0].clone(), id[0].clone()]);
    let restored = playground.dump();
    playground.in_step();
    assert_eq!(numbers(&restore(&playground, &task, &[]).ends(0)), [0, 0, 0, 1, 0]);
    assert_eq!(playground.dump(), restored);
}

#[test]
fn law_10_a_restore_is_undone_but_never_an_active_link() {
    let playground = in_step();
    for name in ["a", "d"] {
        playground.remove(&format!("1/{name}"));
    }
    let cleaned = clean(&playground);
    let after_clean = playground.dump();
    let restored = task(&restore(&playground, &cleaned, &[]).ends(0));
    let undone = restore(&playground, &restored, &[]).ends(0);
    assert_eq!((numbers(&undone), playground.dump()), ([2, 0, 0, 0, 0], after_clean));
    let restored = task(&restore(&playground, &cleaned, &[]).ends(0));
    playground.share(1, "d");
    let undone = restore(&playground, &restored, &[]).ends(4);
    assert_eq!((numbers(&undone), codes(&undone)), ([1, 0, 0, 0, 1], vec!["record_shared".to_owned()]));
    assert_eq!(playground.paths(), ["1/b", "1/c", "1/d", "1/e"]);
}

#[test]
fn law_10_what_a_person_did_meanwhile_is_a_told_conflict() {
    let playground = in_step();
    playground.sql("UPDATE stored_files SET size = NULL WHERE path IN ('a', 'b', 'c')");
    let refreshed = sync(&playground);
    playground.sql(
        "UPDATE stored_files SET content_type = 'by/hand' WHERE path = 'a'; DELETE FROM stored_files WHERE path = 'b'",
    );
    let ran = restore(&playground, &refreshed, &[]).ends(4);
    assert_eq!(
        (numbers(&ran), codes(&ran)),
        ([1, 0, 0, 0, 2], vec!["record_edited".to_owned(), "record_gone".to_owned()])
    );
    assert_eq!(query(&playground, "SELECT content_type FROM stored_files WHERE path = 'a'"), ["by/hand"]);
    assert_eq!(query(&playground, "SELECT path FROM stored_files WHERE size IS NULL"), ["c"]);
    let text = playground.run(&["restore", &refreshed]).ends(4);
    assert_eq!(text.err.lines().count(), 2, "{text:?}");
    assert!(text.err.contains("\"a\"") && text.err.contains("by hand"), "{text:?}");

    // Somebody else has the token by now: the record comes back, the link does not.
    playground.remove("1/d");
    let cleaned = clean(&playground);
    playground
        .sql("INSERT INTO share_links (stored_file_id, token) SELECT id, 'dead' FROM stored_files WHERE path = 'c'");
    let dry = restore(&playground, &cleaned, &["--dry-run"]).ends(4);
    let ran = restore(&playground, &cleaned, &[]).ends(4);
    assert_eq!((numbers(&ran), codes(&ran)), ([1, 0, 0, 0, 1], vec!["token_taken".to_owned()]));
    assert_eq!((numbers(&dry), codes(&dry)), (numbers(&ran), codes(&ran)));
    assert_eq!(
        query(
            &playground,
            "SELECT path FROM share_links JOIN stored_files ON stored_files.id = stored_file_id WHERE token = 'dead'"
        ),
        ["c"]
    );
    // When the other link is gone, the next restore brings the rest.
    playground.sql("DELETE FROM share_links WHERE token = 'dead'");
    assert_eq!(numbers(&restore(&playground, &cleaned, &[]).ends(0)), [0, 0, 1, 1, 0]);
    // Who keeps a person's doing keeps others from coming back to its place.
    let swapped = carry(&playground, &[("c", "d"), ("d", "c")]);
    playground.sql("UPDATE stored_files SET size = 99 WHERE path = 'd'");
    let before = playground.dump();
    let ran = restore(&playground, &swapped, &[]).ends(4);
    assert_eq!((numbers(&ran), playground.dump()), ([0, 0, 0, 0, 2], before));
}

#[test]
fn law_10_a_user_who_is_gone_is_a_told_conflict() {
    let playground = in_step();
    playground.add_user("bob", 2);
    playground.write("2/x", "x");
    sync(&playground);
    playground.remove("2/x");
    playground.remove("1/a");
    let cleaned = clean(&playground);
    playground.run(&["user", "remove", "bob"]).ends(0);
    let ran = restore(&playground, &cleaned, &[]).ends(4);
    assert_eq!((numbers(&ran), codes(&ran)), ([1, 0, 0, 0, 1], vec!["user_gone".to_owned()]));
    let error = ran.result()["errors"][0].clone();
    assert_eq!((&error["user_id"], &error["path"]), (&json!(2), &json!("x")));
    playground.add_user("bob", 2);
    assert_eq!(numbers(&restore(&playground, &cleaned, &[]).ends(0)), [1, 0, 0, 1, 0]);
}

#[test]
fn law_12_a_restore_takes_the_lease() {
    let playground = in_step();
    playground.remove("1/a");
    let cleaned = clean(&playground);
    let before = (playground.dump(), diary(&playground));
    playground.sql(
        "UPDATE lease SET task_id = 'theirs', holder = 'process 1 on far', machine = 'far', process = '1 1', \
         taken_at = 0, expires_at = 9e9",
    );
    restore(&playground, &cleaned, &[]).ends(5).complains(&["theirs"]);
    restore(&playground, "nothing", &[]).ends(2).complains(&["nothing", "task list"]);
    restore(&playground, &cleaned, &["--dry-run"]).ends(0);
    assert_eq!((playground.dump(), diary(&playground)), before);
}

/// Far more than a batch, one long chain across all batches, and as many newer records.
#[test]
fn law_10_thousands_are_undone_in_batches() {
    let database = TestDatabase::fresh();
    block_on(async {
        let index = Index::open(&database.url(), Access::Write).await.unwrap();
        index.add_user(NewUser { name: "u".into(), id: Some(1), prefix: None }).await.unwrap();
        let other = database.connect().await;
        let digits = (0..10).map(|n| format!("SELECT {n} AS n")).collect::<Vec<_>>().join(" UNION ALL ");
        let thousand = format!(
            "(SELECT a.n * 100 + b.n * 10 + c.n AS n FROM ({digits}) AS a, ({digits}) AS b, ({digits}) AS c) AS t"
        );
        let fill = format!(
            "INSERT INTO stored_files (user_id, path, name, size) \
             SELECT 1, 'f' || substr(CAST(10000 + d.n * 1000 + t.n AS TEXT), 2), '', 1 FROM {thousand}, ({digits}) AS d \
             WHERE d.n < 4 ORDER BY 2"
        );
        database::execute(&other, &fill).await;
        let state = "SELECT CAST(id AS TEXT) || path || CAST(size AS TEXT) || CAST(updated_at AS TEXT) FROM stored_files ORDER BY id";
        let before = column(&other, state).await;
        let task = Uuid::now_v7();
        let lease = index.take_lease(task, &json!({}), LeaseTerms::default()).await.unwrap();
        let page = index.records(vec![1]).next().await.unwrap().unwrap();
        assert_eq!(page.len(), 4_000);
        let moves: Vec<Carry> = (0..4_000)
            .map(|at| {
                let last_modified = Timestamp::from_micros(1_700_000_000_123_456);
                let object = ObjectFacts {
                    key: format!("1/f{:04}", at + 1),
                    size: 7,
                    last_modified,
                    etag: None,
                    file_id: None,
                    device: None,
                    linked: false,
                };
                Carry {
                    id: page.get(at).id,
                    user: 1,
                    version: page.get(at).version.to_vec(),
                    object,
                    path_at: 2,
                    content_type: "x",
                }
            })
            .collect();
        lease.writer().carry(&moves).await.unwrap();
        lease.release().await;
        let task = task.to_string();
        let mut look = MovedBack::default();
        for dry_run in [true, false] {
            let report = index.restore(&task, dry_run, LeaseTerms::default(), &mut look).await.unwrap();
            assert_eq!((report.tally.records_restored, report.tally.conflicts), (4_000, 0), "{report:?}");
            assert_eq!(report.tally.records_unchanged, 0);
        }
        assert_eq!(look.0, 8_000, "each record is asked for once");
        assert_eq!(column(&other, state).await, before);
        let report = index.restore(&task, false, LeaseTerms::default(), &mut Unasked).await.unwrap();
        assert_eq!((report.tally.records_restored, report.tally.records_unchanged), (0, 4_000));
        // What is wrong with thousands is told a hundred times and counted.
        database::execute(&other, "UPDATE stored_files SET size = 3; DELETE FROM tasks WHERE request LIKE '%restore%'")
            .await;
        let report = index.restore(&task, false, LeaseTerms::default(), &mut Unasked).await.unwrap();
        assert_eq!((report.tally.conflicts, report.problems.len()), (4_000, 100));
        let told: Vec<Value> = report.to_json()["errors"].as_array().unwrap().clone();
        assert_eq!(told.last().unwrap()["message"], "and 3900 more problems");
        index.close().await;
    });
}

/// The journal keeps what is young enough, and everything when nobody says otherwise.
#[test]
fn law_10_the_journal_is_trimmed_only_on_request() {
    let playground = in_step();
    for name in ["a", "b"] {
        playground.remove(&format!("1/{name}"));
    }
    clean(&playground);
    let entries = || query(&playground, "SELECT path FROM journal ORDER BY id");
    playground.sql("UPDATE journal SET created_at = '2020-01-01T00:00:00+00:00' WHERE path = 'a'");
    sync(&playground);
    playground.rebuild(&["--journal-keep", "30d"]).ends(0);
    assert_eq!(entries(), ["a", "b"], "an audit writes nothing");
    playground.rebuild(&["--mode", "sync", "--journal-keep", "30d"]).ends(0);
    assert_eq!(entries(), ["b"]);
    playground.rebuild(&["--mode", "sync", "--journal-keep", "soon"]).ends(2);
    playground.rebuild(&["--mode", "sync", "--journal-keep", "0"]).ends(0);
    assert_eq!(entries(), [""; 0]);
}

/// What had ended by itself is as it was: whatever the database reads as past is past.
#[test]
fn law_10_links_that_had_expired_come_back_as_they_were() {
    let playground = in_step();
    let ends: &[&str] = if database::on_postgres() {
        &["-infinity", "0044-03-15 BC", "2020-01-01", "2020-01-01 00:00+01"]
    } else {
        &[
            "2020-01-01",
            "2020-01-01 00:00",
            "2020-01-01T00:00",
            "2020-01-01 00:00+01:00",
            "2020-01-01T00:00Z",
            "2020-01-01 24:00",
            "2020-01-01  00:00:00.5 +01:00",
        ]
    };
    for (n, end) in ends.iter().enumerate() {
        playground.sql(&format!(
            "INSERT INTO share_links (stored_file_id, token, expires_at) SELECT id, 't{n}', '{end}' FROM stored_files \
             WHERE path = 'a'"
        ));
    }
    let before = playground.dump();
    playground.remove("1/a");
    let cleaned = clean(&playground);
    assert_eq!(numbers(&restore(&playground, &cleaned, &[]).ends(0)), [1, 0, ends.len() as u64, 0, 0]);
    assert_eq!(playground.dump(), before);
}

/// No run takes an active link along; should a line of the journal say otherwise, its owner has ended it since.
#[test]
fn law_10_no_link_comes_back_to_life() {
    let playground = in_step();
    playground.remove("1/d");
    let cleaned = clean(&playground);
    let mut links = vec![
        (json!({"token": "ended", "is_active": true, "expires_at": "2020-01-01T00:00:00+00:00"}), true),
        (json!({"token": "endless", "is_active": true, "expires_at": null}), false),
        (json!({"token": "later", "is_active": true, "expires_at": "2999-01-01T00:00:00+00:00"}), false),
        (json!({"token": "off", "is_active": false, "expires_at": null}), false),
    ];
    if !database::on_postgres() {
        links.push((json!({"token": "odd", "is_active": 1, "expires_at": "next tuesday"}), false));
        links.push((json!({"token": "number", "is_active": 1, "expires_at": 7}), false));
    }
    for (n, (link, _)) in links.iter_mut().enumerate() {
        link["id"] = json!(100 + n);
        link["created_at"] = json!("2026-01-01T00:00:00+00:00");
    }
    let text = json!(links.iter().map(|(link, _)| link).collect::<Vec<_>>()).to_string();
    playground.sql(&format!("UPDATE journal SET links = '{text}' WHERE path = 'd'"));
    restore(&playground, &cleaned, &[]).ends(0);
    for (link, want) in links {
        let token = link["token"].as_str().unwrap();
        let on =
            format!("SELECT CASE WHEN is_active THEN 'on' ELSE 'off' END FROM share_links WHERE token = '{token}'");
        assert_eq!(query(&playground, &on), [if want { "on" } else { "off" }], "{link}");
    }
}

/// Also what storm-index would have put there otherwise.
#[test]
fn law_10_name_and_parent_come_back_as_they_were() {
    let playground = in_step();
    playground.sql(
        "INSERT INTO stored_files (user_id, path, name, parent_path, size) VALUES (1, 'x/B.txt', 'My B', 'elsewhere', 3); \
         INSERT INTO stored_files (user_id, path, size) VALUES (1, 'x/C.txt', 4)",
    );
    let names =
        || query(&playground, "SELECT path || '|' || name || '|' || parent_path FROM stored_files ORDER BY path");
    let before = names();
    assert_eq!(before[5..], ["x/B.txt|My B|elsewhere", "x/C.txt||"]);
    let cleaned = clean(&playground);
    restore(&playground, &cleaned, &[]).ends(0);
    assert_eq!(names(), before);
    // A refresh sets them right, and that is undone like the rest.
    playground.write("1/x/B.txt", "more than 3");
    playground.write("1/x/C.txt", "more than 4");
    let refreshed = sync(&playground);
    let right = ["x/B.txt|B.txt|x", "x/C.txt|C.txt|x"];
    assert_eq!(names()[5..], right);
    assert_eq!(numbers(&restore(&playground, &refreshed, &[]).ends(0)), [2, 0, 0, 0, 0]);
    assert_eq!(names(), before);
    // The lines of earlier versions know neither: they follow from the path.
    let again = sync(&playground);
    let strip = |column: &str| match database::on_postgres() {
        true => format!("{column} = CAST(CAST({column} AS jsonb) - 'name' - 'parent_path' AS text)"),
        false => format!("{column} = json_remove({column}, '$.name', '$.parent_path')"),
    };
    playground.sql(&format!("UPDATE journal SET {}, {}", strip("before"), strip("after")));
    assert_eq!(numbers(&restore(&playground, &again, &[]).ends(0)), [2, 0, 0, 0, 0]);
    assert_eq!(names()[5..], right);
    assert_eq!(
        query(&playground, "SELECT CAST(size AS TEXT) FROM stored_files WHERE path LIKE 'x/%' ORDER BY path"),
        ["3", "4"]
    );
}
