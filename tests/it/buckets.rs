//! What buckets may hold and paths may not, over many pages: on the server in this process, and on a real one.

use std::collections::BTreeSet;

use crate::listing::all;
use crate::support::backend::{Backend, Kind};
use crate::support::playground::block_on;
use storm_index::model::{BadEntry, BadReason};

/// How many keys a server puts into one answer.
const PAGE: usize = 1000;

async fn fill(backend: &Backend, keys: impl IntoIterator<Item = &String>) {
    for key in keys {
        backend.put(key, if key.ends_with('/') { b"" } else { b"content" }).await;
    }
}

fn names(bad: &[BadEntry]) -> BTreeSet<&str> {
    assert!(bad.iter().all(|b| b.reason == BadReason::Unaddressable), "{bad:?}");
    bad.iter().map(|b| b.shown.as_str()).collect()
}

#[test]
fn every_kind_of_odd_key_is_told_and_hides_nothing_else() {
    let mut backend = Backend::new(Kind::S3);
    let odd = [
        "/lead", "a//b", "a/./b", "a/../b", "./a", "../a", "a/.", "a/..", "tab\tx", "nl\nx", "cr\rx", "x\u{1}y",
        "x\u{7f}y", "\u{1f}", "a///b", "&//<", "é//é",
    ];
    let good = ["a", "a/b", "...", "a/...", "&amp;", "<x>", "a%2F%2Fb", "%00", "é/é", "lead", "a b+c"];
    let below = |key: &&str| format!("some/where/{key}");
    block_on(async {
        fill(&backend, &odd.iter().chain(&good).map(below).collect::<Vec<_>>()).await;
        fill(&backend, &["some/where/".to_owned(), "some/where/a/".to_owned(), "some/where-else".to_owned()]).await;
        // Not a marker: it has content.
        backend.put("some/where/full/", b"content").await;
        backend.narrow("some/where");
        let storage = backend.storage();
        let (objects, bad, doubt) = all(&storage, None).await;
        assert_eq!(doubt, None);
        assert_eq!(objects.iter().map(|o| o.key.as_str()).collect::<BTreeSet<_>>(), good.into());
        let want: BTreeSet<&str> = odd.into_iter().chain(["full/"]).collect();
        assert_eq!((names(&bad), bad.len()), (want.clone(), want.len()));
        // One level, as it is asked for to adopt folders, goes past them as well.
        let folders: BTreeSet<String> = storage.reader().top_folders().await.unwrap().into_iter().collect();
        assert_eq!(folders, ["&", "a", "full", "é"].map(str::to_owned).into());
    });
}

/// Pages begin and end with what is left out, and there are pages of nothing else: the listing goes on behind each, once.
#[test]
fn pages_turn_at_markers_and_odd_keys() {
    let backend = Backend::new(Kind::S3);
    let mut keys: Vec<String> = (0..3 * PAGE + 100).map(|n| format!("k/{n:05}")).collect();
    // The last of a page, and the first of the next.
    for (at, odd) in [(PAGE - 1, "/"), (PAGE, "//x"), (2 * PAGE - 1, "//x"), (2 * PAGE, "/"), (3 * PAGE - 1, "/../x")] {
        keys[at].push_str(odd);
    }
    // More than a page of markers alone, and more than a page of odd keys alone.
    keys.extend((0..2 * PAGE).map(|n| format!("m/{n:05}/")));
    keys.extend((0..PAGE + 10).map(|n| format!("o//{n:05}")));
    keys.push("z".to_owned());
    assert!(keys.is_sorted());
    block_on(async {
        fill(&backend, &keys).await;
        let (objects, bad, doubt) = all(&backend.storage(), None).await;
        assert_eq!(doubt, None);
        let odd = |key: &&String| key.contains("//") || key.contains("/../");
        let want: Vec<&String> = keys.iter().filter(|key| !odd(key) && !key.ends_with('/')).collect();
        assert_eq!(objects.iter().map(|o| &o.key).collect::<Vec<_>>(), want);
        assert_eq!(bad.len(), PAGE + 13);
        assert_eq!(names(&bad), keys.iter().filter(odd).map(String::as_str).collect());
        // Nor does it go round in a circle where it starts behind a marker.
        let (objects, bad, doubt) = all(&backend.storage(), Some("k")).await;
        assert_eq!((objects.len(), bad.len(), doubt), (3 * PAGE + 95, 3, None));
        let (objects, bad, doubt) = all(&backend.storage(), Some("m")).await;
        assert_eq!((objects.len(), bad.len(), doubt), (0, 0, None));
    });
}

/// A page of odd keys alone gives a listing nothing to go on with, so that another one comes in between.
#[test]
fn two_listings_at_a_time_tell_each_its_own_odd_keys() {
    let backend = Backend::new(Kind::S3);
    block_on(async {
        for user in ["1", "2"] {
            fill(&backend, (0..4 * PAGE).map(|n| format!("{user}/a//{n:05}")).collect::<Vec<_>>().iter()).await;
            backend.put(&format!("{user}/b"), b"content").await;
        }
        let storage = backend.storage();
        let (one, two) = tokio::join!(all(&storage, Some("1")), all(&storage, Some("2")));
        for ((objects, bad, doubt), user) in [(one, "1/"), (two, "2/")] {
            assert_eq!((objects.len(), bad.len(), doubt), (1, 4 * PAGE, None), "{user}");
            assert!(bad.iter().all(|b| b.shown.starts_with(user)), "{user}");
        }
    });
}
