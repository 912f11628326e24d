//! The journal is written with what it tells of, and records move in bulk without losing their identity.

use std::fmt::Write as _;

use sea_orm::DatabaseConnection;
use serde_json::{Value, json};
use storm_index::index::{
    Access, Candidate, Carried, Carry, Fate, Index, IndexError, LeaseTerms, NewRecord, NewUser, Refresh, Writer,
};
use storm_index::model::{ObjectFacts, RecordId, Timestamp};
use uuid::Uuid;

use crate::support::database::{TestDatabase, column, execute, rows};
use crate::support::playground::block_on;

fn object(path: &str, size: u64) -> ObjectFacts {
    let last_modified = Timestamp::from_micros(1_700_000_000_123_456);
    ObjectFacts {
        key: format!("1/{path}"),
        size,
        last_modified,
        etag: Some("t".into()),
        file_id: None,
        device: None,
        linked: false,
    }
}

/// Records of user 1 at `paths`, all of size 1; a record's id is its place, counted from 1.
async fn with(database: &TestDatabase, paths: impl Iterator<Item = String>) -> (Index, DatabaseConnection) {
    let index = Index::open(&database.url(), Access::Write).await.unwrap();
    index.add_user(NewUser { name: "u".into(), id: Some(1), prefix: None }).await.unwrap();
    let creates: Vec<NewRecord> = paths
        .map(|path| NewRecord {
            user: 1,
            object: object(&path, 1),
            path_at: 2,
            content_type: "text/plain",
            first: true,
        })
        .collect();
    index.writer().unwrap().write(&creates, &[]).await.unwrap();
    (index, database.connect().await)
}

/// All records as (id, version), in the order of their paths.
async fn versions(index: &Index) -> Vec<(RecordId, Vec<u8>)> {
    let (mut all, mut pages) = (Vec::new(), index.records(vec![1]));
    while let Some(page) = pages.next().await.unwrap() {
        all.extend((0..page.len()).map(|at| (page.get(at).id, page.get(at).version.to_vec())));
    }
    all
}

async fn version_of(index: &Index, id: RecordId) -> Vec<u8> {
    versions(index).await.into_iter().find(|(other, _)| *other == id).unwrap().1
}

async fn carry(index: &Index, writer: &Writer, moves: &[(RecordId, &str)]) -> Vec<Carried> {
    let versions = versions(index).await;
    let version = |id| versions.iter().find(|(other, _)| *other == id).unwrap().1.clone();
    let moves: Vec<Carry> = moves
        .iter()
        .map(|&(id, to)| Carry {
            id,
            user: 1,
            version: version(id),
            object: object(to, 7),
            path_at: 2,
            content_type: "text/moved",
        })
        .collect();
    writer.carry(&moves).await.unwrap()
}

async fn places(db: &DatabaseConnection) -> Vec<String> {
    column(db, "SELECT CAST(id AS TEXT) || ' ' || path FROM stored_files ORDER BY id").await
}

async fn journal(db: &DatabaseConnection) -> Vec<Vec<Value>> {
    let query = "SELECT coalesce(task_id, '-'), action, CAST(record_id AS TEXT), path, new_path, before, after, links \
                 FROM journal ORDER BY id";
    let told = |cell: Option<String>| match cell {
        Some(text) if text.starts_with(['{', '[']) => serde_json::from_str(&text).unwrap(),
        other => json!(other),
    };
    rows(db, query).await.into_iter().map(|row| row.into_iter().map(told).collect()).collect()
}

#[test]
fn law_10_changes_and_deletions_are_journaled_with_images_and_links() {
    let database = TestDatabase::fresh();
    block_on(async {
        let (index, db) = with(&database, ["a", "b", "d/c"].into_iter().map(str::to_owned)).await;
        execute(&db, "INSERT INTO share_links (stored_file_id, token, is_active) VALUES (2, 'dead', false)").await;
        execute(&db, "UPDATE stored_files SET size = NULL, etag = 'x\"y' WHERE id = 1").await;
        let task = Uuid::now_v7();
        let lease = index.take_lease(task, &json!({}), LeaseTerms::default()).await.unwrap();
        let writer = lease.writer();
        let refresh =
            |id, version| Refresh { id, version, object: object("a", 5), path_at: 2, content_type: "text/new" };
        let now = version_of(&index, 1).await;
        // The one that somebody has changed meanwhile is not journaled, as it is not written.
        let updates = [refresh(1, now), refresh(2, b"another".to_vec())];
        assert_eq!(writer.write(&[], &updates).await.unwrap().updated, 1);
        let second = version_of(&index, 2).await;
        let stale = Candidate { id: 3, user: 1, version: b"another" };
        let fates = writer.delete(&[Candidate { id: 2, user: 1, version: &second }, stale]).await.unwrap();
        assert_eq!(fates, [Fate::Deleted, Fate::Changed]);
        assert_eq!(carry(&index, &writer, &[(3, "e/f")]).await, [Carried::Done]);
        lease.release().await;

        let journal = journal(&db).await;
        let told = |at: usize| journal[at].iter().map(|v| v.as_str().unwrap_or("")).collect::<Vec<_>>();
        let task = task.to_string();
        assert_eq!(told(0)[..4], [&task, "update", "1", "a"]);
        assert_eq!(told(1)[..4], [&task, "delete", "2", "b"]);
        assert_eq!(told(2)[..5], [&task, "move", "3", "d/c", "e/f"]);
        assert_eq!(journal.len(), 3);
        let (before, after) = (&journal[0][5], &journal[0][6]);
        assert_eq!((&before["size"], &before["etag"], &before["id"]), (&Value::Null, &json!("x\"y"), &json!(1)));
        assert_eq!(
            (&after["size"], &after["content_type"], &after["etag"]),
            (&json!(5), &json!("text/new"), &json!("t"))
        );
        assert_eq!(after["last_modified"], "2023-11-14T22:13:20.123456+00:00");
        assert_eq!((&before["created_at"], &before["user_id"]), (&after["created_at"], &json!(1)));
        assert_ne!(before["updated_at"], after["updated_at"]);
        let (gone, links) = (&journal[1][5], &journal[1][7]);
        assert_eq!((&gone["path"], &journal[1][6]), (&json!("b"), &Value::Null));
        assert_eq!((&links[0]["token"], links.as_array().unwrap().len()), (&json!("dead"), 1));
        let (before, after) = (&journal[2][5], &journal[2][6]);
        assert_eq!((&before["path"], &after["path"], &after["size"]), (&json!("d/c"), &json!("e/f"), &json!(7)));
        let record = rows(&db, "SELECT name, parent_path, content_type FROM stored_files WHERE id = 3").await;
        assert_eq!(record[0], ["f", "e", "text/moved"].map(|text| Some(text.to_owned())));
        index.close().await;
    });
}

/// A batch that fails leaves neither the change nor a word of it.
#[test]
fn law_10_a_failing_batch_journals_nothing() {
    let database = TestDatabase::fresh();
    block_on(async {
        let (index, db) = with(&database, ["a", "b"].into_iter().map(str::to_owned)).await;
        let before = places(&db).await;
        let refuse = if crate::support::database::on_postgres() {
            "CREATE FUNCTION no() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE 'no'; END $$; \
             CREATE TRIGGER no BEFORE UPDATE OR DELETE ON stored_files FOR EACH ROW WHEN (OLD.id = 2) EXECUTE FUNCTION no()"
        } else {
            "CREATE TRIGGER no BEFORE UPDATE ON stored_files WHEN OLD.id = 2 BEGIN SELECT RAISE(ABORT, 'no'); END; \
             CREATE TRIGGER no2 BEFORE DELETE ON stored_files WHEN OLD.id = 2 BEGIN SELECT RAISE(ABORT, 'no'); END"
        };
        execute(&db, refuse).await;
        let writer = index.writer().unwrap();
        let versions = versions(&index).await;
        let refreshes: Vec<Refresh> = versions
            .iter()
            .map(|(id, v)| Refresh {
                id: *id,
                version: v.clone(),
                object: object("a", 5),
                path_at: 2,
                content_type: "x",
            })
            .collect();
        let carries: Vec<Carry> = versions
            .iter()
            .map(|(id, v)| Carry {
                id: *id,
                user: 1,
                version: v.clone(),
                object: object(&format!("c{id}"), 5),
                path_at: 2,
                content_type: "x",
            })
            .collect();
        let candidates: Vec<Candidate<'_>> =
            versions.iter().map(|(id, v)| Candidate { id: *id, user: 1, version: v }).collect();
        assert!(matches!(writer.write(&[], &refreshes).await, Err(IndexError::Write(_))));
        assert!(matches!(writer.carry(&carries).await, Err(IndexError::Write(_))));
        assert!(matches!(writer.delete(&candidates).await, Err(IndexError::Write(_))));
        assert_eq!((journal(&db).await.len(), places(&db).await), (0, before));
        index.close().await;
    });
}

#[test]
fn law_11_chains_swaps_and_circles_are_carried() {
    let database = TestDatabase::fresh();
    block_on(async {
        let (index, db) = with(&database, (1..=9).map(|n| format!("f{n}"))).await;
        execute(&db, "INSERT INTO share_links (stored_file_id, token) SELECT id, 't' || path FROM stored_files").await;
        let links = "SELECT CAST(stored_file_id AS TEXT) || token FROM share_links ORDER BY 1";
        let linked = column(&db, links).await;
        let created = "SELECT CAST(created_at AS TEXT) FROM stored_files ORDER BY id";
        let made = column(&db, created).await;
        let writer = index.writer().unwrap();
        // A chain to a free place, a swap, a circle of three, and one that stays where it is.
        let moves = [(1, "f2"), (2, "g"), (3, "f4"), (4, "f3"), (5, "f6"), (6, "f7"), (7, "f5"), (8, "f8")];
        assert_eq!(carry(&index, &writer, &moves).await, [Carried::Done; 8]);
        let want = ["1 f2", "2 g", "3 f4", "4 f3", "5 f6", "6 f7", "7 f5", "8 f8", "9 f9"];
        assert_eq!(places(&db).await, want);
        assert_eq!((column(&db, links).await, column(&db, created).await), (linked, made));
        assert_eq!(journal(&db).await.len(), 8);
        let sizes = column(&db, "SELECT CAST(size AS TEXT) FROM stored_files ORDER BY id").await;
        assert_eq!(sizes, ["7", "7", "7", "7", "7", "7", "7", "7", "1"]);
        index.close().await;
    });
}

#[test]
fn law_11_who_cannot_leave_keeps_others_from_moving() {
    let database = TestDatabase::fresh();
    block_on(async {
        let (index, db) = with(&database, (1..=9).map(|n| format!("f{n}"))).await;
        let writer = index.writer().unwrap();
        let versions = versions(&index).await;
        execute(&db, "UPDATE stored_files SET size = 2 WHERE id IN (3, 7)").await;
        execute(&db, "DELETE FROM stored_files WHERE id = 8").await;
        let moves: Vec<Carry> = [(1, "f2"), (2, "f3"), (3, "g"), (4, "f5"), (6, "f7"), (7, "f6"), (8, "h"), (9, "i")]
            .into_iter()
            .map(|(id, to)| Carry {
                id,
                user: 1,
                version: versions.iter().find(|(other, _)| *other == id).unwrap().1.clone(),
                object: object(to, 7),
                path_at: 2,
                content_type: "x",
            })
            .collect();
        use Carried::{Changed, Done, Taken};
        assert_eq!(writer.carry(&moves).await.unwrap(), [Taken, Taken, Changed, Taken, Taken, Changed, Changed, Done]);
        assert_eq!(places(&db).await, ["1 f1", "2 f2", "3 f3", "4 f4", "5 f5", "6 f6", "7 f7", "9 i"]);
        assert_eq!(journal(&db).await.len(), 1);
        // A user's records never move to another user.
        let foreign = Carry { user: 2, ..moves[0].clone() };
        assert_eq!(writer.carry(&[foreign]).await.unwrap(), [Changed]);
        index.close().await;
    });
}

#[test]
fn law_11_ten_thousand_shared_records_are_carried_at_once() {
    let database = TestDatabase::fresh();
    block_on(async {
        let (index, db) = with(&database, (0..10_000).map(|n| format!("f{n:05}"))).await;
        execute(&db, "INSERT INTO share_links (stored_file_id, token) SELECT id, path FROM stored_files").await;
        // One tangle: everybody takes the next one's place, and the last one the first one's.
        let moves: Vec<Carry> = versions(&index)
            .await
            .into_iter()
            .enumerate()
            .map(|(n, (id, version))| {
                let mut path = String::new();
                write!(path, "f{:05}", (n + 1) % 10_000).unwrap();
                Carry { id, user: 1, version, object: object(&path, 7), path_at: 2, content_type: "x" }
            })
            .collect();
        let fates = index.writer().unwrap().carry(&moves).await.unwrap();
        assert!(fates.iter().all(|fate| *fate == Carried::Done));
        let wrong = "SELECT CAST(count(*) AS TEXT) FROM stored_files JOIN share_links ON stored_file_id = stored_files.id \
                     WHERE CAST(substr(path, 2) AS INTEGER) = (CAST(substr(token, 2) AS INTEGER) + 1) % 10000";
        assert_eq!(column(&db, wrong).await, ["10000"]);
        index.close().await;
    });
}
