//! A SeaweedFS server, which lists folder by folder: everything in a bucket is indexed, and stays so. Without such a server
//! (`scripts/throwaway-seaweedfs.sh`) these tests say that they did nothing.

use std::collections::BTreeSet;

use storm_index::index::{Access, Index, NewUser};
use storm_index::model::Order;
use storm_index::reconcile::{Mode, Reconciler, Report, Request, Silent};

use crate::support::backend::{Backend, Kind};
use crate::support::database::{self, TestDatabase};
use crate::support::garage::is_seaweedfs;
use crate::support::playground::block_on;
use crate::support::skip::skip;

/// Names that sort, escape and compare in every awkward way, as far as this server can hold them: a folder and a file of
/// one name it cannot.
const ODD: [&str; 46] = [
    "a-b",
    "a/b",
    "a0",
    "a b/c d",
    "a!/x",
    "a.b",
    "a.b/c",
    "plus+plus",
    "%41",
    "%2F",
    "hash#tag",
    "x#12",
    "caf\u{e9}",
    "cafe\u{301}",
    "\u{1f389}",
    "\u{1f389}/x",
    "\u{1f389}-/y",
    ".hidden",
    ".dir/.file",
    "images/1",
    "images-3/1",
    "images2/1",
    "images.zip",
    "B",
    "b",
    "~",
    "\u{ff5e}",
    "\u{10000}",
    "q?x=1&y=2",
    "semi;colon",
    "quote\"'",
    "<xml>&amp;",
    "...",
    "..x",
    "x..",
    "trailing /x",
    " leading",
    "tree/a-b",
    "tree/a/b",
    "tree/a0",
    "tree/a!",
    "tree-/a",
    "deep/1/2/3/4/5/6/7/8/9",
    "deep/1-",
    "#12a",
    "100%",
];

struct World {
    backend: Backend,
    index: Index,
    _database: TestDatabase,
}

impl World {
    async fn with(keys: &[&str]) -> Option<Self> {
        if !is_seaweedfs() {
            skip("needs SeaweedFS; see scripts/throwaway-seaweedfs.sh");
            return None;
        }
        let (backend, database) = (Backend::new(Kind::S3), TestDatabase::fresh());
        let index = Index::open(&database.url(), Access::Write).await.unwrap();
        let all = NewUser { name: "all".into(), id: Some(1), prefix: Some(String::new()) };
        index.add_user(all).await.unwrap();
        for key in keys {
            backend.put(key, key.as_bytes()).await;
        }
        Some(Self { backend, index, _database: database })
    }

    async fn run(&self, mode: Mode) -> Report {
        let request = Request { force: mode != Mode::Audit, ..Request::new(mode) };
        let report = Reconciler::new(&self.backend.storage(), &self.index).run(&request, &mut Silent).await.unwrap();
        assert!(report.problems.is_empty(), "{mode}: {:?}", report.problems);
        report
    }

    async fn paths(&self) -> BTreeSet<String> {
        let db = self._database.connect().await;
        database::column(&db, "SELECT path FROM stored_files").await.into_iter().collect()
    }
}

async fn is_complete(keys: &[&str], gone: &[&str]) {
    let Some(world) = World::with(keys).await else { return };
    let want: BTreeSet<String> = keys.iter().map(|key| (*key).to_owned()).collect();
    let report = world.run(Mode::Sync).await;
    assert_eq!((report.tally.created, report.tally.unindexable), (keys.len() as u64, 0));
    assert_eq!(world.paths().await, want);
    assert_eq!(world.index.listing_order().await.unwrap(), Some(Order::None));
    for mode in [Mode::Sync, Mode::Audit, Mode::Full] {
        let again = world.run(mode).await;
        assert!(!again.tally.has_drift() && again.tally.created + again.tally.updated == 0, "{mode}: {again:?}");
    }
    for key in gone {
        world.backend.remove(key).await;
    }
    let clean = world.run(Mode::Clean).await;
    assert_eq!((clean.tally.deleted, clean.tally.skipped), (gone.len() as u64, 0));
    let left: BTreeSet<String> = want.into_iter().filter(|key| !gone.contains(&key.as_str())).collect();
    assert_eq!(world.paths().await, left);
    assert!(!world.run(Mode::Audit).await.tally.has_drift());
}

#[test]
fn folders_beside_names_that_begin_alike_are_indexed_completely() {
    let keys = ["photos/a.jpg", "photos/b.jpg", "photos-old/c.jpg", "photos.zip", "notes/x", "notes.txt"];
    block_on(is_complete(&keys, &["photos-old/c.jpg", "notes/x"]));
}

#[test]
fn odd_names_are_indexed_completely() {
    block_on(is_complete(&ODD, &["a/b", "tree/a-b", "\u{1f389}/x", "100%", "a b/c d"]));
}

/// More than a page, so that the listing goes on behind a key in the order of the server.
#[test]
fn many_pages_are_indexed_completely() {
    let keys: Vec<String> = (0..1_300).flat_map(|n| [format!("m/{n:04}"), format!("m-{}/{n:04}", n % 7)]).collect();
    let keys: Vec<&str> = keys.iter().map(String::as_str).collect();
    block_on(is_complete(&keys, &["m-3/0003", "m/0000", "m/1299"]));
}
