//! Answers of an S3 server that are no page of a listing, or the wrong one.

use std::collections::BTreeSet;

use storm_index::index::{Access, Index, NewUser};
use storm_index::model::Order;
use storm_index::reconcile::{Mode, Reconciler, Report, Request, Silent};
use storm_index::storage::{Doubt, Step, Storage};

use crate::listing::all;
use crate::support::backend::{Backend, Kind};
use crate::support::database::TestDatabase;
use crate::support::playground::block_on;
use crate::support::s3::S3Server;

fn server(backend: &Backend) -> &S3Server {
    let Backend::S3(server) = backend else { unreachable!() };
    server
}

fn key(n: usize) -> String {
    format!("1/k{n:02}")
}

/// A page of empty folder markers, which are no objects, for these keys.
fn page_of_markers(keys: &[String], end: &str) -> String {
    page_of(keys, end).replace("</Key>", "/</Key>").replace("<Size>1", "<Size>0")
}

/// A page of an object for each of these keys, and how it says that it ends.
fn page_of(keys: &[String], end: &str) -> String {
    let contents = keys.iter().map(|key| {
        format!(
            "<Contents><Key>{key}</Key><LastModified>2026-01-01T00:00:00.000Z</LastModified><ETag>&quot;{key}&quot;</ETag>\
             <Size>1</Size></Contents>"
        )
    });
    let contents: String = contents.collect();
    format!("<ListBucketResult><Name>bucket</Name>{end}{contents}</ListBucketResult>")
}

fn more(token: &str) -> String {
    format!("<IsTruncated>true</IsTruncated><NextContinuationToken>{token}</NextContinuationToken>")
}

const LAST: &str = "<IsTruncated>false</IsTruncated>";

/// Ten keys a page.
fn tens(which: usize) -> Vec<String> {
    (which * 10..(which + 1) * 10).map(key).collect()
}

/// These pages, one after the other, to the end.
fn sequence(pages: &[Vec<String>]) -> Vec<String> {
    let end = |at: usize| if at + 1 < pages.len() { more(&format!("t{at}")) } else { LAST.to_owned() };
    pages.iter().enumerate().map(|(at, keys)| page_of(keys, &end(at))).collect()
}

/// Where a world is; they end outside of it.
type Places = (Backend, TestDatabase);

fn places() -> Places {
    (Backend::new(Kind::FakeS3), TestDatabase::fresh())
}

/// A bucket that says what it is told to say, and an index with sixty records of one user.
struct World<'p> {
    backend: &'p Backend,
    index: Index,
}

impl<'p> World<'p> {
    async fn new((backend, database): &'p Places) -> Self {
        let index = Index::open(&database.url(), Access::Write).await.unwrap();
        index.add_user(NewUser { name: "u".into(), id: Some(1), prefix: None }).await.unwrap();
        let world = Self { backend, index };
        world.answer(sequence(&(0..6).map(tens).collect::<Vec<_>>()));
        assert_eq!(world.run(Mode::Sync).await.tally.created, 60);
        world
    }

    fn answer(&self, pages: impl IntoIterator<Item = String>) {
        server(self.backend).faults().pages = pages.into_iter().collect();
    }

    /// The bucket, which is known to list in byte order.
    fn storage(&self) -> Storage {
        self.backend.storage().with_order(Order::Bytes)
    }

    async fn run(&self, mode: Mode) -> Report {
        let request = Request { force: true, max_delete: Some("100%".parse().unwrap()), ..Request::new(mode) };
        Reconciler::new(&self.storage(), &self.index).run(&request, &mut Silent).await.unwrap()
    }
}

/// Nothing that is no page, and no page that does not say how it goes on, is taken for the end of a listing.
#[test]
fn law_06_what_is_no_page_is_no_end() {
    let places = places();
    block_on(async {
        let world = World::new(&places).await;
        let no_token = |n| page_of(&tens(n), "<IsTruncated>true</IsTruncated>");
        for (answer, word) in [
            ("<html><body>Please log in</body></html>".to_owned(), "<html>"),
            ("<?xml version=\"1.0\"?><Error><Code>InternalError</Code></Error>".to_owned(), "InternalError"),
            (String::new(), "nothing"),
            ("{}".to_owned(), "no XML"),
            ("<Other/>".to_owned(), "<Other>"),
            (page_of(&tens(5), "<EncodingType>url</EncodingType>"), "EncodingType"),
            (page_of(&["<![CDATA[1/k60]]>".to_owned()], LAST), "CDATA"),
            (no_token(5), "NextContinuationToken"),
            (page_of(&tens(5), "<KeyCount>7</KeyCount>"), "KeyCount"),
            (page_of(&[], "<KeyCount>1</KeyCount>"), "KeyCount"),
            (page_of(&tens(5), "<Prefix>2/</Prefix>"), "Prefix"),
        ] {
            // As the only answer, and as that behind a good one.
            for first in [None, Some(page_of(&tens(0), &more("t")))] {
                let listed = if first.is_some() { 10 } else { 0 };
                world.answer(first.into_iter().chain([answer.clone()]));
                let (objects, _, doubt) = all(&world.storage(), None).await;
                assert_eq!(objects.len(), listed, "{answer}");
                assert!(matches!(&doubt, Some(Doubt::BrokenOff { .. })), "{answer}: {doubt:?}");
                assert!(doubt.unwrap().to_string().contains(word), "{answer}");
            }
            let asked = server(world.backend).faults().lists;
            world.answer([page_of(&tens(0), &more("t")), answer.clone()]);
            server(world.backend).faults().blind = true;
            let report = world.run(Mode::Full).await;
            assert_eq!((report.tally.orphaned, report.tally.deleted), (0, 0), "{answer}");
            assert_eq!((report.incomplete_users, report.problems.len()), (vec![1], 1), "{answer}");
            let asked = server(world.backend).faults().lists - asked;
            assert!(asked <= 4, "it is not asked for again and again, but {asked} times");
            // One level, as it is asked for to adopt folders.
            world.answer([answer.clone()]);
            let trouble = world.storage().reader().top_folders().await.unwrap_err();
            assert!(trouble.message.contains(word), "{answer}: {}", trouble.message);
        }
        // What is odd about a page but no doubt.
        let bom = format!("\u{feff}<?xml version=\"1.0\"?>\n{}", page_of(&tens(0), LAST));
        for answer in [bom, page_of(&tens(0), "<KeyCount>10</KeyCount>"), page_of(&tens(0), "")] {
            world.answer([answer.clone()]);
            let (objects, _, doubt) = all(&world.storage(), None).await;
            assert_eq!((objects.len(), doubt), (10, None), "{answer}");
        }
    });
}

/// The answers of one listing are of one bucket, whatever its name; each listing may begin with another one.
#[test]
fn law_06_a_page_of_another_bucket_is_no_page() {
    let places = places();
    block_on(async {
        let world = World::new(&places).await;
        let other = |page: String| page.replace("<Name>bucket</Name>", "<Name>alias</Name>");
        server(world.backend).faults().blind = true;
        world.answer([page_of(&tens(0), &more("t")), other(page_of(&tens(1), LAST))]);
        let (objects, _, doubt) = all(&world.storage(), None).await;
        // It is taken up once behind its last key, and then by pages of one name.
        assert_eq!((objects.len(), doubt), (20, None));
        // Twice: what comes behind is unknown.
        let pages = [page_of(&tens(0), &more("t")), other(page_of(&[], &more("u"))), page_of(&[], &more("v"))];
        world.answer(pages.into_iter().chain([other(page_of(&[], LAST))]));
        let (objects, _, doubt) = all(&world.storage(), None).await;
        assert_eq!(objects.len(), 10);
        assert!(doubt.unwrap().to_string().contains("two buckets"));
    });
}

/// A page that comes again may have come in the place of any other: what lies between it and the next new key is kept, also
/// when the look before the delete is as blind as the listing.
#[test]
fn law_06_a_page_that_comes_again_hides_all_up_to_the_next_new_key() {
    let all_of = |pages: &[usize]| pages.iter().map(|page| tens(*page)).collect::<Vec<_>>();
    let cases = [
        // In the place of the second page, of the last one, of all further ones, and of none.
        (all_of(&[0, 0, 2, 3, 4, 5]), 1..20),
        (all_of(&[0, 1, 2, 3, 4, 4]), 40..60),
        (all_of(&[0, 1, 2, 0]), 0..60),
        (all_of(&[0, 0, 1, 2, 3, 4, 5]), 0..9),
        // One late key in the place of a page, and pages in the wrong order.
        (vec![tens(0), tens(1), vec![key(19)], tens(3), tens(4), tens(5)], 19..30),
        (all_of(&[0, 2, 1, 3, 4, 5]), 10..30),
        (all_of(&[5, 0, 1, 2, 3, 4]), 0..60),
        // What it could not hide goes.
        (all_of(&[0, 2, 2, 4, 5]), 20..40),
    ];
    for (pages, spared) in cases {
        let places = places();
        block_on(async {
            let world = World::new(&places).await;
            server(world.backend).faults().blind = true;
            let listed: BTreeSet<String> = pages.iter().flatten().cloned().collect();
            let gone = (0..60).filter(|n| !listed.contains(&key(*n)) && !spared.contains(n)).count() as u64;
            let answers = sequence(&pages);
            world.answer(answers.clone());
            let dry = Request { dry_run: true, ..Request::new(Mode::Full) };
            let dry = Reconciler::new(&world.storage(), &world.index).run(&dry, &mut Silent).await.unwrap().tally;
            world.answer(answers);
            let report = world.run(Mode::Full).await;
            assert_eq!(
                (report.tally.orphaned, report.tally.deleted, report.tally.skipped),
                (gone, gone, 0),
                "{pages:?}"
            );
            assert_eq!((dry.orphaned, dry.deleted), (gone, gone), "{pages:?}");
            assert_eq!((report.incomplete_users, report.problems.len()), (vec![1], 1), "{pages:?}");
            let left = world.index.count_records(None).await.unwrap();
            assert_eq!(left, 60 - gone, "{pages:?}");
        });
    }
}

/// A page that comes again in the place of another one hides that one also when nothing of it is an object.
#[test]
fn law_06_a_page_of_no_objects_that_comes_again_is_no_page() {
    let places = places();
    block_on(async {
        let world = World::new(&places).await;
        let odd = |end: &str| page_of(&["1/k09//a".to_owned(), "1/k09//b".to_owned()], end);
        let markers = |end: &str| page_of_markers(&["1/k09a".to_owned(), "1/k09b".to_owned()], end);
        let rest = || sequence(&(1..6).map(tens).collect::<Vec<_>>());
        for (page, unindexable) in [(&odd as &dyn Fn(&str) -> String, 2), (&markers, 0)] {
            let twice = |at: usize| [page(&more(&format!("t{at}"))), page(&more(&format!("u{at}")))];
            // Once: the listing is taken up behind its last key.
            world.answer([page_of(&tens(0), &more("s"))].into_iter().chain(twice(0)).chain(rest()));
            server(world.backend).faults().blind = true;
            let report = world.run(Mode::Clean).await;
            assert_eq!((report.tally.orphaned, report.tally.deleted, report.tally.objects), (0, 0, 60), "{report:?}");
            assert_eq!((report.tally.unindexable, report.problems.len()), (unindexable, 0), "{report:?}");
            // And again: what comes behind is unknown.
            world.answer([page_of(&tens(0), &more("s"))].into_iter().chain(twice(0)).chain(twice(1)));
            let report = world.run(Mode::Clean).await;
            assert_eq!((report.tally.orphaned, report.tally.deleted), (0, 0), "{report:?}");
            assert_eq!((report.incomplete_users, report.problems.len()), (vec![1], 1));
            assert!(report.problems[0].message.contains("went back"), "{:?}", report.problems);
        }
    });
}

/// A listing that stands still ends in doubt, whatever its pages have instead of objects; so does one level of it.
#[test]
fn law_06_a_listing_that_never_ends_is_broken_off() {
    let object = |key: &str, size: u32| {
        format!(
            "<Contents><Key>{key}</Key><LastModified>2026-01-01T00:00:00.000Z</LastModified><Size>{size}</Size></Contents>"
        )
    };
    let places = places();
    block_on(async {
        let world = World::new(&places).await;
        let page =
            |token: &str, contents: &str| format!("<ListBucketResult>{}{contents}</ListBucketResult>", more(token));
        let circle = async |pages: Vec<String>, word: &str| {
            world.answer(pages);
            let (objects, _, doubt) = all(&world.storage(), None).await;
            assert!(objects.len() <= 1 && doubt.unwrap().to_string().contains(word));
        };
        // The same place again and again.
        for contents in [String::new(), object("1/dir/", 0), object("1/a//b", 1), object("1/a", 1)] {
            circle(vec![page("t", &contents)], "at the same place").await;
            world.answer([page("t", &contents)]);
            let reader = world.storage().reader();
            assert!(reader.top_folders().await.unwrap_err().message.contains("circle"), "{contents}");
        }
        // Pages without anything are no such thing.
        let empty = (0..100).map(|n| page_of(&[], &more(&format!("e{n}"))));
        world.answer(empty.chain(sequence(&[tens(0)])));
        let (objects, _, doubt) = all(&world.storage(), None).await;
        assert_eq!((objects.len(), doubt), (10, None));
    });
}

/// Keys that nobody can address come out page by page and in order, however many there are with no object between them; a
/// listing that breaks off in their midst tells none of them twice.
#[test]
fn law_14_pages_of_odd_keys_alone_are_told_once() {
    let places = places();
    block_on(async {
        let world = World::new(&places).await;
        let odd = |page: usize| (0..1_000).map(|n| format!("1/odd//{page:02}{n:03}")).collect::<Vec<_>>();
        let pages = |broken: Option<usize>| {
            let first = std::iter::once(page_of(&tens(0), &more("t")));
            let rest = (0..15).map(move |page| match broken {
                Some(at) if at == page => "no page".to_owned(),
                _ => page_of(&odd(page), &if page < 14 { more(&page.to_string()) } else { LAST.to_owned() }),
            });
            first.chain(rest).take(broken.map_or(usize::MAX, |at| at + 2)).collect::<Vec<_>>()
        };
        // Behind the only objects it is taken up once more.
        world.answer(pages(Some(12)).into_iter().chain(pages(None).into_iter().skip(1)));
        let (objects, bad, doubt) = all(&world.storage(), None).await;
        assert_eq!((objects.len(), bad.len(), doubt), (10, 15_000, None));
        assert!(bad.is_sorted_by(|a, b| a.shown < b.shown));
        // Each page comes out before the next one is there.
        world.answer(pages(None));
        let storage = world.storage();
        let mut listing = storage.reader().listing(None, &[]);
        let mut most = 0;
        while let Step::Batch(batch) = listing.next().await {
            most = most.max(batch.bad.len());
        }
        assert!(most <= 1_000, "{most} at a time");
    });
}

/// A server that tells no entity tags says nothing of what a file is, and so does one that tells weak ones: a link stays
/// with its file.
#[test]
fn law_11_no_tag_and_a_weak_one_make_no_move() {
    for tag in ["\"\"", "", "W/\"a\"", "W/\"\""] {
        let places = places();
        block_on(async {
            let page = |key: &str, time: &str| {
                format!(
                    "<ListBucketResult>{LAST}<Contents><Key>{key}</Key><LastModified>{time}</LastModified>\
                     <ETag>{}</ETag><Size>4</Size></Contents></ListBucketResult>",
                    tag.replace('"', "&quot;")
                )
            };
            let world = World::new(&places).await;
            world.answer([page("1/secret", "2026-01-01T00:00:00.000Z")]);
            assert_eq!(world.run(Mode::Full).await.tally.created, 1);
            for _ in 0..2 {
                let again = world.run(Mode::Full).await.tally;
                assert_eq!((again.stale, again.missing), (0, 0), "{tag}");
            }
            world.answer([page("1/invoice", "2026-01-02T00:00:00.000Z")]);
            let tally = world.run(Mode::Sync).await.tally;
            assert_eq!((tally.moved, tally.created, tally.orphaned), (0, 1, 1), "{tag}");
        });
    }
}
