//! Law 19: for deleting, a link is dead only when the database's clock and the run's both say so; for opening its file, it is
//! dead as soon as one of them does.

use std::sync::Arc;

use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt as _};
use serde_json::json;
use storm_index::clock::{self, Clock};
use storm_index::index::{Access, Candidate, Fate, Index, LeaseTerms, Line, NewLink, NewUser};
use storm_index::model::Timestamp;
use storm_index::reconcile::{Mode, Reconciler, Report, Request, Silent};
use storm_index::storage::Storage;

use crate::support::database::{self, TestDatabase, column, execute};
use crate::support::look::Unasked;
use crate::support::playground::{Playground, block_on};

const HOUR: i64 = 3_600_000_000;

fn in_hours(hours: i64) -> Timestamp {
    Timestamp::from_micros(clock::now().micros() + hours * HOUR)
}

/// A storage in memory and an index of it, whose run goes by a clock that is some hours ahead.
struct World {
    store: Arc<InMemory>,
    database: TestDatabase,
    index: Index,
}

impl World {
    async fn new(ahead: i64, keys: &[&str]) -> Self {
        let database = TestDatabase::fresh();
        let index = Index::open(&database.url(), Access::Write).await.unwrap();
        let index = index.with_clock(Clock::ahead_by(ahead * HOUR));
        index.add_user(NewUser { name: "ann".to_owned(), id: Some(1), prefix: None }).await.unwrap();
        let world = Self { store: Arc::new(InMemory::new()), database, index };
        for key in keys {
            world.put(key).await;
        }
        world.run(Mode::Sync).await;
        world
    }

    async fn put(&self, key: &str) {
        self.store.put(&Path::parse(key).unwrap(), "x".into()).await.unwrap();
    }

    async fn remove(&self, key: &str) {
        self.store.delete(&Path::parse(key).unwrap()).await.unwrap();
    }

    async fn run(&self, mode: Mode) -> Report {
        let storage = Storage::new(Arc::clone(&self.store) as Arc<dyn ObjectStore>);
        let max_delete = Some("100%".parse().unwrap());
        let request = Request { force: true, max_delete, ..Request::new(mode) };
        Reconciler::new(&storage, &self.index).run(&request, &mut Silent).await.unwrap()
    }

    async fn share(&self, path: &str, token: &str, ends_at: Timestamp) {
        let (path, token) = (path.to_owned(), token.into());
        self.index.create_link(NewLink { user: 1, path, token, expires_at: Some(ends_at) }).await.unwrap();
    }

    async fn column(&self, query: &str) -> Vec<String> {
        column(&self.database.connect().await, query).await
    }
}

/// The end of the link and by how much the run's clock is ahead, in hours from now; whether the link keeps its record, and
/// whether it opens its file.
const TABLE: [(i64, i64, bool, bool); 8] = [
    (2, 0, true, true),
    (2, 1, true, true),
    (2, 3, true, false),
    (2, -3, true, true),
    (-1, 0, false, false),
    (-1, 3, false, false),
    (-1, -3, true, false),
    (-4, -3, false, false),
];

#[test]
fn law_19_a_link_keeps_its_record_while_one_of_two_clocks_calls_it_active() {
    for (ends, ahead, keeps, opens) in TABLE {
        block_on(async {
            let world = World::new(ahead, &["1/a", "1/b"]).await;
            world.share("a", "t", in_hours(ends)).await;
            let case = format!("ends in {ends} h, clock {ahead} h ahead");
            let links = world.index.placed_links(None).await.unwrap();
            assert_eq!(links[0].link.is_active, opens, "{case}");
            let record = links[0].link.stored_file_id;
            assert_eq!(world.index.links_of(record).await.unwrap()[0].is_active, opens, "{case}");
            assert_eq!(world.index.protected(&[record]).await.unwrap().contains(&record), keeps, "{case}");
            world.remove("1/a").await;
            let tally = world.run(Mode::Clean).await.tally;
            assert_eq!((tally.deleted, tally.skipped), (u64::from(!keeps), u64::from(keeps)), "{case}");
            let left = world.column("SELECT token FROM share_links").await;
            assert_eq!(left.len(), usize::from(keeps), "{case}");
            assert_eq!(world.index.remove_user("ann").await.is_err(), keeps, "{case}");
        });
    }
}

/// A link that is made between the first look and the deletion is judged by the same two clocks.
#[test]
fn law_19_the_deletion_itself_asks_both_clocks() {
    for (ends, ahead, keeps, _) in TABLE {
        block_on(async {
            let world = World::new(ahead, &["1/a"]).await;
            let page = world.index.records(vec![1]).next().await.unwrap().unwrap();
            let record = page.get(0);
            let candidate = Candidate { id: record.id, user: 1, version: record.version };
            world.share("a", "t", in_hours(ends)).await;
            let fates = world.index.writer().unwrap().delete(&[candidate]).await.unwrap();
            let want = if keeps { Fate::Protected } else { Fate::Deleted };
            assert_eq!(fates, [want], "ends in {ends} h, clock {ahead} h ahead");
        });
    }
}

/// A restore puts an old record in the place of a newer one, whose links it takes over; and the undoing of that restore keeps
/// those that keep their record.
#[test]
fn law_19_a_restore_loses_no_link_that_one_clock_calls_active() {
    for (ends, ahead, keeps, _) in TABLE {
        block_on(async {
            let world = World::new(ahead, &["1/a"]).await;
            world.remove("1/a").await;
            let cleaned = world.run(Mode::Clean).await.task_id.to_string();
            let restored = world.index.restore(&cleaned, false, LeaseTerms::default(), &mut Unasked).await.unwrap();
            world.share("a", "t", in_hours(ends)).await;
            let undone = restored.task_id.to_string();
            world.index.restore(&undone, false, LeaseTerms::default(), &mut Unasked).await.unwrap();
            let left = world.column("SELECT token FROM share_links").await;
            assert_eq!(left.len(), usize::from(keeps), "ends in {ends} h, clock {ahead} h ahead");
        });
    }
}

/// What an export says of the end of a link does not depend on the time, and an import takes it as it stands.
#[test]
fn law_19_an_export_keeps_the_ends_of_links_whatever_the_clocks_say() {
    for (ends, ahead, _, opens) in TABLE {
        block_on(async {
            let world = World::new(ahead, &["1/a"]).await;
            let end = in_hours(ends);
            world.share("a", "t", end).await;
            let (mut export, mut lines) = (world.index.export().await.unwrap(), Vec::new());
            while let Some(page) = export.page().await.unwrap() {
                lines.extend(page.lines);
            }
            let links: Vec<_> = lines.iter().filter(|line| matches!(line, Line::ShareLink(_))).collect();
            let [Line::ShareLink(link)] = links[..] else { panic!("{lines:?}") };
            assert_eq!((link.is_active, link.expires_at.clone()), (true, Some(end.to_text())), "{ends} {ahead}");
            execute(&world.database.connect().await, "DELETE FROM share_links").await;
            let file: String = lines.iter().map(|line| serde_json::to_string(line).unwrap() + "\n").collect();
            let mut told = |problem| panic!("{problem:?}");
            world.index.import(std::io::Cursor::new(file), false, &mut told).await.unwrap();
            let links = world.index.placed_links(None).await.unwrap();
            assert_eq!((links[0].link.is_active, links[0].link.expires_at.clone()), (opens, Some(end.to_text())));
        });
    }
}

/// Both clocks were wrong when a run took a link along: a restore brings it back active. One that had not ended by then was
/// ended by its owner.
#[test]
fn law_19_a_restore_revives_what_wrong_clocks_have_ended() {
    for (taken, want) in [("2999-06-01T00:00:00+00:00", "on"), ("2998-06-01T00:00:00+00:00", "off")] {
        let playground = Playground::with_user();
        playground.write("1/d", "x");
        playground.sync();
        playground
            .sql("INSERT INTO share_links (stored_file_id, token, is_active) SELECT id, 't', false FROM stored_files");
        playground.remove("1/d");
        let cleaned = playground.rebuild(&["--mode", "clean", "--force"]).ends(0).json();
        let link = json!([{"id": 100, "token": "later", "is_active": true, "expires_at": "2999-01-01T00:00:00+00:00",
                           "created_at": "2026-01-01T00:00:00+00:00"}]);
        playground.sql(&format!("UPDATE journal SET links = '{link}', created_at = '{taken}' WHERE path = 'd'"));
        playground.run(&["restore", cleaned["task_id"].as_str().unwrap()]).ends(0);
        let state = block_on(async {
            let db = playground.database().await;
            database::column(&db, "SELECT CASE WHEN is_active THEN 'on' ELSE 'off' END FROM share_links").await
        });
        assert_eq!(state, [want], "taken at {taken}");
    }
}
