//! Storages that list in any order: complete, learned once, and in doubt where keys come more than once.

use std::collections::BTreeSet;
use std::sync::Arc;

use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt as _};
use serde_json::Value;
use storm_index::index::{Access, Index, NewUser};
use storm_index::model::Order;
use storm_index::reconcile::{Mode, Reconciler, Report, Request, Silent, Status};
use storm_index::storage::{OrderSource, Storage};

use crate::listing::all;
use crate::support::backend::{Backend, Kind};
use crate::support::database::TestDatabase;
use crate::support::effort::Effort;
use crate::support::faults::{Fault, FaultStore};
use crate::support::playground::{Playground, Ran, block_on};
use crate::support::skip::skip;

/// Folders beside files and folders whose names begin alike.
const BESIDE: [&str; 6] = ["photos/a.jpg", "photos/b.jpg", "photos-old/c.jpg", "photos.zip", "notes/x", "notes.txt"];

/// Two users' files in a store, and an index.
struct World {
    store: Arc<InMemory>,
    index: Index,
    _database: TestDatabase,
}

impl World {
    async fn with(keys: impl IntoIterator<Item = impl AsRef<str>>) -> Self {
        let database = TestDatabase::fresh();
        let index = Index::open(&database.url(), Access::Write).await.unwrap();
        for user in [1, 2] {
            index.add_user(NewUser { name: user.to_string(), id: Some(user), prefix: None }).await.unwrap();
        }
        let world = Self { store: Arc::default(), index, _database: database };
        for key in keys {
            world.put(key.as_ref()).await;
        }
        world
    }

    async fn put(&self, key: &str) {
        self.store.put(&Path::parse(key).unwrap(), "x".into()).await.unwrap();
    }

    async fn remove(&self, key: &str) {
        self.store.delete(&Path::parse(key).unwrap()).await.unwrap();
    }

    /// The store, of whose order nothing is known, and whose listing is distorted.
    fn storage(&self, fault: Option<Fault>) -> Storage {
        let inner = Arc::clone(&self.store);
        Storage::new(match fault {
            Some(fault) => Arc::new(FaultStore { inner, fault }) as Arc<dyn ObjectStore>,
            None => inner,
        })
    }

    async fn run(&self, storage: &Storage, mode: Mode) -> Report {
        let request = Request { force: true, ..Request::new(mode) };
        Reconciler::new(storage, &self.index).run(&request, &mut Silent).await.unwrap()
    }

    async fn order(&self) -> Option<Order> {
        self.index.listing_order().await.unwrap()
    }
}

fn of_both_users() -> Vec<String> {
    ["1", "2"].iter().flat_map(|user| BESIDE.map(|path| format!("{user}/{path}"))).collect()
}

#[test]
fn law_01_a_storage_without_an_order_is_indexed_completely() {
    for fault in [Fault::ByFolder, Fault::Shuffle(3), Fault::Shuffle(4)] {
        block_on(async {
            let world = World::with(of_both_users()).await;
            let storage = world.storage(Some(fault));
            let report = world.run(&storage, Mode::Sync).await;
            assert_eq!((report.tally.created, report.problems.len()), (12, 0), "{fault:?} {:?}", report.problems);
            assert_eq!(world.order().await, Some(Order::None), "{fault:?}");
            let again = world.run(&storage, Mode::Full).await;
            assert!(again.problems.is_empty() && !again.tally.has_drift(), "{fault:?} {again:?}");
            world.remove("1/photos-old/c.jpg").await;
            world.remove("2/notes/x").await;
            let clean = world.run(&storage, Mode::Clean).await;
            assert_eq!((clean.tally.deleted, clean.problems.len()), (2, 0), "{fault:?}");
            assert_eq!(world.index.count_records(None).await.unwrap(), 10);
        });
    }
}

/// A store whose listing is in byte order almost to its end.
#[test]
fn law_06_a_disorder_that_shows_late_costs_nothing() {
    block_on(async {
        let keys = (0..20_000).map(|n| format!("1/f{n:05}"));
        let world = World::with(keys.chain(["2/z/a".to_owned(), "2/z-b".to_owned()])).await;
        let report = world.run(&world.storage(Some(Fault::ByFolder)), Mode::Sync).await;
        assert_eq!((report.tally.created, report.problems.len()), (20_002, 0), "{:?}", report.problems);
        assert_eq!(world.order().await, Some(Order::None));
    });
}

#[test]
fn the_order_is_learned_once_and_forgotten_with_the_storage() {
    block_on(async {
        // Nothing tells.
        let world = World::with(["1/a", "1/b", "2/c"]).await;
        world.run(&world.storage(None), Mode::Sync).await;
        assert_eq!(world.order().await, None);
        // A run that only looks writes nothing.
        world.put("1/a-b").await;
        world.put("1/a/b").await;
        world.run(&world.storage(None), Mode::Audit).await;
        assert_eq!(world.order().await, None);
        world.run(&world.storage(None), Mode::Sync).await;
        assert_eq!(world.order().await, Some(Order::Bytes));
        // What a setting says is not learned, and what is learned stays.
        world.run(&world.storage(None).with_order(Order::None), Mode::Sync).await;
        assert_eq!(world.order().await, Some(Order::Bytes));
        let id = world.index.binding().await.unwrap().unwrap();
        let lease = world.index.writer().unwrap();
        lease.remember_order(uuid::Uuid::from_u128(1), Order::None).await.unwrap();
        assert_eq!(world.order().await, Some(Order::Bytes), "of another storage");
        lease.bind(id).await.unwrap();
        assert_eq!(world.order().await, None);
        // Nor does a listing that happens to be in byte order change what an earlier one has shown.
        world.run(&world.storage(None).with_order(Order::None), Mode::Sync).await;
        assert_eq!(world.order().await, None);
        world.run(&world.storage(Some(Fault::ByFolder)), Mode::Sync).await;
        world.run(&world.storage(None), Mode::Sync).await;
        assert_eq!(world.order().await, Some(Order::None));
    });
}

#[test]
fn law_06_a_break_on_a_storage_in_byte_order_names_the_setting() {
    block_on(async {
        let world = World::with(of_both_users()).await;
        world.run(&world.storage(None), Mode::Sync).await;
        assert_eq!(world.order().await, Some(Order::Bytes));
        world.remove("1/photos-old/c.jpg").await;
        for storage in
            [world.storage(Some(Fault::ByFolder)), world.storage(Some(Fault::ByFolder)).with_order(Order::Bytes)]
        {
            let report = world.run(&storage, Mode::Audit).await;
            assert_eq!((report.status, report.problems.len()), (Status::Successful, 1), "{:?}", report.problems);
            let problem = &report.problems[0];
            assert_eq!(problem.code, "listing_out_of_order");
            assert!(problem.message.contains("--order none") && problem.message.contains("order = \"none\""));
        }
        // The setting has the last word.
        let storage = world.storage(Some(Fault::ByFolder)).with_order(Order::None);
        assert_eq!(storage.reader().order(), (Order::None, OrderSource::Setting));
        let report = world.run(&storage, Mode::Clean).await;
        assert_eq!((report.tally.deleted, report.problems.len()), (1, 0), "{:?}", report.problems);
    });
}

/// A page that comes again may have come in the place of another one, wherever that would have stood.
#[test]
fn law_06_keys_that_come_more_than_once_forbid_all_deletions() {
    block_on(async {
        let world = World::with(of_both_users()).await;
        let sound = world.storage(Some(Fault::ByFolder));
        world.run(&sound, Mode::Sync).await;
        world.remove("1/photos-old/c.jpg").await;
        world.remove("2/notes.txt").await;
        world.put("1/new").await;
        let report = world.run(&world.storage(Some(Fault::Again(0, 3))), Mode::Full).await;
        assert_eq!((report.tally.deleted, report.tally.orphaned, report.tally.created), (0, 0, 1), "{report:?}");
        assert_eq!((report.incomplete_users.as_slice(), report.problems.len()), (&[1, 2][..], 1));
        assert_eq!(report.problems[0].code, "listing_repeated", "{:?}", report.problems);
        assert!(report.problems[0].message.contains("3 keys"), "{:?}", report.problems);
        let report = world.run(&sound, Mode::Full).await;
        assert_eq!((report.tally.deleted, report.problems.len()), (2, 0));
    });
}

#[test]
fn law_06_a_listing_without_an_order_that_breaks_off_forbids_all_deletions() {
    block_on(async {
        let world = World::with(of_both_users()).await;
        let sound = world.storage(None).with_order(Order::None);
        world.run(&sound, Mode::Sync).await;
        world.remove("1/notes.txt").await;
        world.put("1/a").await;
        let cut = world.storage(Some(Fault::FailAfter(8))).with_order(Order::None);
        let report = world.run(&cut, Mode::Full).await;
        assert_eq!((report.tally.deleted, report.tally.orphaned, report.tally.created), (0, 0, 1), "{report:?}");
        assert_eq!((report.incomplete_users.as_slice(), report.problems.len()), (&[1, 2][..], 1));
        assert_eq!(world.run(&sound, Mode::Full).await.tally.deleted, 1);
    });
}

/// Ten million keys take some minutes and 3 GB of temporary files.
#[test]
fn law_14_the_memory_does_not_grow_with_the_listing() {
    // What is measured is the memory of the whole process.
    if std::env::var_os("NEXTEST").is_none() {
        return skip("needs a process of its own, which cargo nextest gives it");
    }
    let most = Effort::of_this_run().pick(100_000, 200_000, 10_000_000);
    let peak = || -> u64 {
        let status = std::fs::read_to_string("/proc/self/status").unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
        line.trim().trim_end_matches(" kB").parse().unwrap()
    };
    block_on(async {
        let mut peaks = Vec::new();
        for keys in [most / 10, most] {
            let storage = Storage::new(Arc::new(crate::support::endless::Scattered { keys }));
            let mut listing = storage.reader().listing(None, &[]);
            let (mut last, mut count) = (String::new(), 0);
            loop {
                match listing.next().await {
                    storm_index::storage::Step::Batch(batch) => {
                        for object in batch.objects {
                            assert!(object.key > last);
                            (last, count) = (object.key, count + 1);
                        }
                    }
                    storm_index::storage::Step::Complete => break,
                    storm_index::storage::Step::Incomplete(doubt) => panic!("{doubt}"),
                }
            }
            assert_eq!(count, keys);
            peaks.push(peak());
        }
        println!("peaks: {peaks:?} kB");
        assert!(peaks[1] < peaks[0] + 32 * 1024, "{peaks:?} kB");
    });
}

/// Pages of an S3 server that lists folder by folder, with folder markers and keys that no path can hold among them.
#[test]
fn an_s3_server_that_lists_by_folder_is_listed_completely() {
    let backend = Backend::new(Kind::FakeS3);
    let Backend::S3(server) = &backend else { unreachable!() };
    server.faults().by_folder = true;
    let mut keys = BTreeSet::new();
    for folder in ["p", "p-old", "p.zip", "p0"] {
        keys.extend((0..1_500).map(|n| format!("{folder}/{n:04}")));
        // More than a page of markers alone: behind `p/` they go back, by their bytes.
        (0..2_100).for_each(|n| server.put(&format!("{folder}/marks/{n:04}/"), b""));
        server.put(&format!("{folder}/odd//key"), b"x");
    }
    keys.iter().for_each(|key| server.put(key, b"x"));
    block_on(async {
        let (objects, bad, doubt) = all(&backend.storage(), None).await;
        assert_eq!(doubt, None);
        assert_eq!(objects.into_iter().map(|o| o.key).collect::<Vec<_>>(), keys.into_iter().collect::<Vec<_>>());
        assert_eq!(bad.len(), 4);
        let folders: BTreeSet<String> = backend.storage().reader().top_folders().await.unwrap().into_iter().collect();
        assert_eq!(folders, ["p", "p-old", "p.zip", "p0"].map(str::to_owned).into());
        // As long as it is known to list in byte order, it is not believed.
        assert!(all(&backend.storage().with_order(Order::Bytes), None).await.2.is_some());
    });
}

fn on(backend: &Backend, playground: &Playground, args: &[&str]) -> Ran {
    let (bucket, variables) = backend.bucket();
    let mut command = playground.command();
    command.env("STORAGE_URL", format!("s3://{bucket}")).envs(variables).args(args).output().unwrap().into()
}

fn status(backend: &Backend, playground: &Playground, args: &[&str]) -> Value {
    on(backend, playground, &[&["storage", "status", "--format", "json"], args].concat()).ends(0).json()
}

#[test]
fn storage_status_shows_the_order_and_by_what_it_is_known() {
    let (playground, backend) = (Playground::new(), Backend::new(Kind::FakeS3));
    let Backend::S3(server) = &backend else { unreachable!() };
    BESIDE.iter().for_each(|key| server.put(key, b"x"));
    on(&backend, &playground, &["user", "add", "all", "--prefix", ""]).ends(0);
    let order = |args: &[&str]| {
        let status = status(&backend, &playground, args);
        (status["order"].as_str().unwrap().to_owned(), status["order_by"].as_str().map(str::to_owned))
    };
    let by = |order: &str, by: &str| (order.to_owned(), Some(by.to_owned()));
    assert_eq!(order(&[]), ("unknown".to_owned(), None));
    assert_eq!(order(&["--order", "none"]), by("none", "setting"));
    on(&backend, &playground, &["rebuild", "--mode", "sync"]).ends(0);
    assert_eq!(order(&[]), by("bytes", "listing"));
    let text = on(&backend, &playground, &["storage", "status"]).ends(0).out;
    assert!(text.contains("order  bytes, as a listing has shown"), "{text}");
    assert!(text.contains("renames  recognised by size and entity tag"), "{text}");
    std::fs::write(playground.path("c.toml"), "order = \"none\"\n").unwrap();
    assert_eq!(order(&["--config", "c.toml"]), by("none", "setting"));
    assert_eq!(order(&["--config", "c.toml", "--order", "bytes"]), by("bytes", "setting"));
    assert_eq!(order(&["--config", "c.toml", "--order", "auto"]), by("bytes", "listing"));
    // The bucket moves to a server that lists by folder.
    server.faults().by_folder = true;
    let ran = on(&backend, &playground, &["rebuild"]).ends(4);
    assert!(ran.err.contains("--order none"), "{ran:?}");
    on(&backend, &playground, &["rebuild", "--order", "none"]).ends(0);
    on(&backend, &playground, &["storage", "bind", "--force"]).ends(0);
    on(&backend, &playground, &["rebuild", "--mode", "sync"]).ends(0);
    assert_eq!(order(&[]), by("none", "listing"));
    on(&backend, &playground, &["rebuild", "--order", "sorted"]).ends(2);
}

#[test]
fn storage_status_shows_what_a_local_disk_can_do() {
    let playground = Playground::with_user();
    playground.write("1/a", "x");
    playground.sync();
    let status = playground.run(&["storage", "status", "--format", "json"]).ends(0).json();
    assert_eq!((&status["order"], &status["order_by"], &status["parts"]), (&"bytes".into(), &"kind".into(), &1.into()));
    assert_eq!((&status["renames"], status["file_systems"].as_array().unwrap().len()), (&"file".into(), 1));
    let system = &status["file_systems"][0];
    assert_eq!(system["renames"].as_bool().unwrap(), system["why"].is_null(), "{system}");
    // The owner's word counts on any file system that tells when a file was created.
    let stable = playground.run(&["storage", "status", "--format", "json", "--inode-numbers", "stable"]).ends(0).json();
    let why = stable["file_systems"][0]["why"].as_str().unwrap_or_default().to_owned();
    assert!(!why.contains("inode"), "{stable}");
    let text = playground.run(&["storage", "status"]).ends(0).out;
    assert!(text.contains("order  bytes\n") && text.contains("not indexed") && text.contains("the root: "), "{text}");
}

#[test]
fn remembered_mounts_are_listed_and_forgotten() {
    let playground = Playground::with_user();
    assert_eq!(
        playground.run(&["storage", "mounts", "list", "--format", "json"]).ends(0).json(),
        serde_json::json!([])
    );
    playground.sql(
        "INSERT INTO mounts (path, fs_type, fs_id, records, seen_at) VALUES \
         ('1/usb', 'ext4', 'a1', 7, '2026-01-02 03:04:05+00:00'), ('1/nas', 'nfs', 'b2', 3, '2026-01-02 03:04:05+00:00')",
    );
    let listed = playground.run(&["storage", "mounts", "list", "--format", "json"]).ends(0).json();
    assert_eq!(listed[0]["path"], "1/nas");
    assert_eq!(listed[1]["file_system"], "ext4");
    assert_eq!((&listed[1]["records"], &listed[1]["last_seen"]), (&7.into(), &"2026-01-02T03:04:05+00:00".into()));
    let text = playground.run(&["storage", "mounts", "list"]).ends(0).out;
    let lines: Vec<Vec<&str>> = text.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(lines[0], ["PATH", "FILE", "SYSTEM", "RECORDS", "LAST", "SEEN"]);
    assert_eq!(lines[1][..3], ["1/nas", "nfs", "3"]);
    playground.run(&["storage", "mounts", "forget", "1/us"]).ends(2).complains(&["1/us", "mounts list"]);
    playground.run(&["storage", "mounts", "forget", "1/usb/"]).ends(0);
    playground.run(&["storage", "mounts", "forget", "1/usb"]).ends(2);
    let left = playground.run(&["storage", "mounts", "list", "--format", "json"]).ends(0).json();
    assert_eq!((left.as_array().unwrap().len(), &left[0]["path"]), (1, &"1/nas".into()));
}
