//! One conformance suite for listings, run on every storage.

use std::collections::BTreeMap;
use std::sync::Arc;

use object_store::ObjectStoreExt as _;
use object_store::memory::InMemory;
use object_store::path::Path;
use storm_index::model::{BadEntry, ObjectFacts, Order, Prefix};
use storm_index::storage::{Doubt, Glance, Step, Storage};

use crate::support::backend::{Backend, Kind};
use crate::support::faults::{Fault, FaultStore};
use crate::support::playground::block_on;

/// Looks for a key of a user who owns the whole storage.
pub(crate) async fn look(storage: &Storage, key: &str) -> Glance {
    storage.reader().glance(&Prefix::parse("").unwrap(), key).await
}

/// Everything that a listing says.
pub(crate) async fn all(storage: &Storage, scope: Option<&str>) -> (Vec<ObjectFacts>, Vec<BadEntry>, Option<Doubt>) {
    let prefix = scope.map(|s| Prefix::parse(s).unwrap());
    let walls = [prefix.clone().unwrap_or_else(|| Prefix::parse("").unwrap())];
    let mut listing = storage.reader().listing(prefix.as_ref(), &walls);
    let (mut objects, mut bad) = (Vec::new(), Vec::new());
    loop {
        match listing.next().await {
            Step::Batch(batch) => {
                objects.extend(batch.objects);
                bad.extend(batch.bad);
            }
            Step::Complete => return (objects, bad, None),
            Step::Incomplete(doubt) => return (objects, bad, Some(doubt)),
        }
    }
}

fn nasty() -> BTreeMap<String, usize> {
    let long = ["x".repeat(240), "y".repeat(240), "z".repeat(240), "w".repeat(240), "end".to_owned()].join("/");
    let mut keys: Vec<String> = [
        "a",
        "a-b",
        "a0",
        "a b/c d",
        "plus+plus",
        "%41",
        "%2F",
        "hash#tag",
        "a#b",
        "caf\u{e9}",
        "cafe\u{301}",
        "\u{1f389}",
        ".hidden",
        ".dir/.file",
        "images/1",
        "images2/1",
        "images-3/1",
        "B",
        "~",
        "\u{ff5e}",
        "\u{10000}",
        "q?x=1&y=2",
        "semi;colon",
        "quote\"'",
        "back\\slash",
        "<xml>&amp;",
        "...",
        "..x",
        "x..",
        "trailing ",
        " leading",
        "tree/a-b",
        "tree/a/b",
        "tree/a0",
        "tree/a!",
        "deep/1/2/3/4/5/6/7/8/9",
        "#12a",
        "x#",
        "100%",
    ]
    .map(str::to_owned)
    .to_vec();
    keys.push(long);
    keys.extend((0..2_500).map(|n| format!("many/file-{n}")));
    keys.into_iter().enumerate().map(|(n, key)| (key, n % 50)).collect()
}

async fn suite(backend: &Backend, kind: Kind) {
    let mut keys = nasty();
    for (key, size) in &keys {
        backend.put(key, &vec![b'x'; *size]).await;
    }
    // What is hidden, and what is no object.
    backend.put(".storm-index/identity.json", b"{}").await;
    match backend {
        Backend::Disk(root) => std::fs::create_dir_all(root.path().join("empty/emptier")).unwrap(),
        Backend::S3(_) | Backend::Bucket(_) => {
            for marker in ["empty/", "images/", "tree/", "tree/a/", "zz/"] {
                backend.put(marker, b"").await;
            }
        }
        Backend::Memory(_) => {}
    }
    // A file and a folder of one name: not on a disk.
    if kind != Kind::Disk {
        backend.put("a/b", b"both").await;
        keys.insert("a/b".to_owned(), 4);
    }
    let storage = backend.storage();
    let (objects, bad, doubt) = all(&storage, None).await;
    assert_eq!((bad, doubt), (vec![], None));
    assert!(objects.windows(2).all(|pair| pair[0].key.as_bytes() < pair[1].key.as_bytes()), "byte order");
    let listed: BTreeMap<String, usize> =
        objects.iter().map(|o| (o.key.clone(), usize::try_from(o.size).unwrap())).collect();
    assert_eq!(listed.len(), objects.len());
    for (key, size) in &keys {
        assert_eq!(listed.get(key), Some(size), "{key:?}");
    }
    assert_eq!(listed.len(), keys.len());
    for object in &objects {
        let etag = object.etag.as_deref().unwrap();
        assert!(!etag.is_empty() && !etag.contains('"'), "{etag}");
    }
    // A scope has whole segments.
    for (scope, count) in
        [("images", 1), ("images2", 1), ("many", 2_500), ("tree", 4), ("nothing", 0), ("deep/1/2", 1), ("a0", 0)]
    {
        let (objects, bad, doubt) = all(&storage, Some(scope)).await;
        assert_eq!((objects.len(), bad.len(), doubt), (count, 0, None), "{scope}");
        assert!(objects.iter().all(|o| o.key.starts_with(&format!("{scope}/"))), "{scope}");
    }
    // One look agrees with the listing.
    for key in keys.keys().filter(|k| !k.starts_with("many/")) {
        assert!(matches!(look(&storage, key).await, Glance::Present { .. }), "{key:?}");
    }
    for absent in ["nothing", "a-b/c", "images", "many/file-2500", "A", &"n".repeat(300)] {
        assert_eq!(look(&storage, absent).await, Glance::Absent, "{absent:?}");
    }
    for impossible in ["a//b", "/a", "a/", "a/../b", "a\nb", ""] {
        assert_eq!(look(&storage, impossible).await, Glance::Unaddressable, "{impossible:?}");
    }
}

#[test]
fn conformance_in_memory() {
    block_on(suite(&Backend::new(Kind::Memory), Kind::Memory));
}

#[test]
fn conformance_on_disk() {
    block_on(suite(&Backend::new(Kind::Disk), Kind::Disk));
}

#[test]
fn conformance_on_s3() {
    let mut backend = Backend::new(Kind::S3);
    block_on(suite(&backend, Kind::S3));
    if let Backend::S3(server) = &backend {
        assert!(server.faults().lists >= 3, "pages turned");
    }
    // The same below a prefix of the bucket, which is no part of the keys.
    block_on(backend.put("images/odd//key", b""));
    backend.narrow("images");
    block_on(async {
        let storage = backend.storage();
        let (objects, bad, doubt) = all(&storage, None).await;
        assert_eq!(objects.iter().map(|o| o.key.as_str()).collect::<Vec<_>>(), ["1"]);
        assert_eq!((bad.len(), bad[0].shown.as_str(), doubt), (1, "odd//key", None));
        assert!(matches!(look(&storage, "1").await, Glance::Present { .. }));
    });
}

#[test]
fn law_06_a_distorted_listing_is_never_complete() {
    block_on(async {
        for (fault, good) in [
            (Fault::FailAfter(0), 0),
            (Fault::FailAfter(7), 7),
            (Fault::Repeat(3), 10),
            (Fault::Swap(5), 9),
            (Fault::Swap(0), 9),
            (Fault::Circle(4), 4),
        ] {
            let inner = Arc::new(InMemory::new());
            for n in 0..10 {
                inner.put(&Path::parse(format!("k{n}")).unwrap(), "x".into()).await.unwrap();
            }
            let storage = Storage::new(Arc::new(FaultStore { inner, fault })).with_order(Order::Bytes);
            let (objects, _, doubt) = all(&storage, None).await;
            assert_eq!(objects.len(), good, "{fault:?}");
            match (fault, doubt.unwrap()) {
                (Fault::FailAfter(n), Doubt::BrokenOff { last, .. }) => assert_eq!(last.is_some(), n > 0),
                (Fault::Circle(_), Doubt::BrokenOff { last, trouble }) => {
                    assert_eq!((last.as_deref(), trouble.code), (Some("k3"), "listing_out_of_order"));
                }
                (Fault::Repeat(_), Doubt::OutOfOrder { last, next }) => assert_eq!(last, next),
                (Fault::Swap(_), Doubt::OutOfOrder { last, next }) => assert!(last > next),
                (_, doubt) => panic!("{fault:?}: {doubt:?}"),
            }
        }
    });
}

/// A listing that breaks off is taken up again behind its last key; nothing is told twice, and nothing is left out.
#[test]
fn law_06_a_listing_that_breaks_off_is_taken_up_once() {
    block_on(async {
        for n in [1, 5, 9, 10] {
            let inner = Arc::new(InMemory::new());
            for n in 0..10 {
                inner.put(&Path::parse(format!("k{n}")).unwrap(), "x".into()).await.unwrap();
            }
            let storage =
                Storage::new(Arc::new(FaultStore { inner, fault: Fault::FailOnce(n) })).with_order(Order::Bytes);
            let (objects, _, doubt) = all(&storage, None).await;
            assert_eq!((objects.len(), doubt), (10, None), "{n}");
        }
    });
}

#[test]
fn an_answer_that_is_cut_off_on_the_wire_is_asked_for_again() {
    let backend = Backend::new(Kind::FakeS3);
    let Backend::S3(server) = &backend else { unreachable!() };
    for n in 0..50 {
        server.put(&format!("k{n:02}"), b"x");
    }
    let url = server.url().replace(&server.endpoint(), &format!("http://{}", server.cut_once_after(2_000)));
    block_on(async {
        let (objects, bad, doubt) = all(&storm_index::storage::open(&url).unwrap(), None).await;
        assert_eq!((objects.len(), bad.len(), doubt), (50, 0, None));
    });
    assert_eq!(server.faults().lists, 2, "the same page, twice");
}
