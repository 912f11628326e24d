//! Random worlds against a model: what a run must count and leave behind follows from one `match` on what is in the
//! storage, in the index, equal, and shared.

use std::collections::{BTreeMap, BTreeSet};

use sea_orm::DatabaseConnection;
use storm_index::index::{Access, Index, NewUser};
use storm_index::reconcile::{Mode, Reconciler, Report, Request, Silent, Status};

use crate::support::backend::{Backend, Kind};
use crate::support::database::{self, TestDatabase};
use crate::support::playground::block_on;
use crate::support::random::Random;

/// Paths that sort, escape and compare in every awkward way, and fit beside each other on a disk.
const PATHS: &[&str] = &[
    "a-b",
    "a/b",
    "a0",
    "a/b c",
    "a+b",
    "%41",
    "A",
    "a%2Fb",
    "a#b",
    "caf\u{e9}",
    "cafe\u{301}",
    "\u{1f389}/party.txt",
    ".hidden",
    ".config/x.json",
    "deep/er/and/deeper.pdf",
    "deep.er",
    "deep-er",
    "z'; DROP TABLE users; --",
    "quote\"d",
    "back\\slash",
    "~tilde",
    "[x]{y}",
    "b.txt",
    "b.TXT",
    "\u{ff5e}",
    "\u{10000}",
    "x#1y",
    "trailing ",
    " leading",
    "comma,semi;colon",
];

const USERS: &[(i64, &str)] = &[(1, "1"), (2, "images"), (3, "images2"), (10, "10"), (4, "teams/alpha")];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Link {
    None,
    Active,
    Expired,
    Revoked,
    /// An end that cannot be read, which counts as active.
    Garbled,
}

#[derive(Debug, Clone, Copy)]
struct Cell {
    stored: bool,
    indexed: bool,
    equal: bool,
    link: Link,
}

type World = BTreeMap<(i64, &'static str), Cell>;

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
struct Numbers {
    objects: u64,
    records: u64,
    missing: u64,
    orphaned: u64,
    stale: u64,
    created: u64,
    updated: u64,
    deleted: u64,
    skipped: u64,
    refused: bool,
}

fn draw(random: &mut Random) -> World {
    let (stored, indexed) = (20 + random.below(75), 20 + random.below(75));
    let mut world = World::new();
    for (user, _) in USERS {
        for path in PATHS {
            let cell = Cell {
                stored: random.chance(stored),
                indexed: random.chance(indexed),
                equal: random.chance(70),
                link: *random.pick(&[
                    Link::None,
                    Link::None,
                    Link::Active,
                    Link::Expired,
                    Link::Revoked,
                    Link::Garbled,
                ]),
            };
            world.insert((*user, path), cell);
        }
    }
    world
}

/// The model: numbers and surviving paths.
fn expect(world: &World, request: &Request) -> (Numbers, BTreeSet<(i64, &'static str)>) {
    let (adds, deletes) =
        (matches!(request.mode, Mode::Sync | Mode::Full), matches!(request.mode, Mode::Clean | Mode::Full));
    let (mut n, mut left) = (Numbers::default(), BTreeSet::new());
    let mut doomed: BTreeMap<i64, (u64, u64)> = BTreeMap::new();
    for ((user, path), cell) in world {
        let live = matches!(cell.link, Link::Active | Link::Garbled);
        n.objects += u64::from(cell.stored);
        n.records += u64::from(cell.indexed);
        let of = doomed.entry(*user).or_default();
        of.1 += u64::from(cell.indexed);
        if cell.indexed {
            left.insert((*user, *path));
        }
        match (cell.stored, cell.indexed, cell.equal) {
            (true, true, true) | (false, false, _) => {}
            (true, true, false) => {
                n.stale += 1;
                n.updated += u64::from(adds);
            }
            (true, false, _) => {
                n.missing += 1;
                n.created += u64::from(adds);
                if adds {
                    left.insert((*user, *path));
                }
            }
            (false, true, _) => {
                n.orphaned += 1;
                if deletes && live {
                    n.skipped += 1;
                } else if deletes {
                    of.0 += 1;
                }
            }
        }
    }
    let all: u64 = doomed.values().map(|(gone, _)| gone).sum();
    n.refused = doomed.values().any(|(gone, of)| (*gone > 100 && gone * 2 > *of) || (*of > 10 && gone == of))
        || (all > 100 && all * 2 > n.records);
    if !n.refused {
        n.deleted = all;
        if deletes {
            left.retain(|at| {
                world[at].stored || !world[at].indexed || matches!(world[at].link, Link::Active | Link::Garbled)
            });
        }
    }
    if request.dry_run {
        left = world.iter().filter(|(_, c)| c.indexed).map(|(at, _)| *at).collect();
    }
    (n, left)
}

fn numbers(report: &Report) -> Numbers {
    let t = report.tally;
    Numbers {
        objects: t.objects,
        records: t.records,
        missing: t.missing,
        orphaned: t.orphaned,
        stale: t.stale,
        created: t.created,
        updated: t.updated,
        deleted: t.deleted,
        skipped: t.skipped,
        refused: report.refusal.is_some(),
    }
}

fn key(user: i64, path: &str) -> String {
    let (_, prefix) = USERS.iter().find(|(id, _)| *id == user).unwrap();
    format!("{prefix}/{path}")
}

/// Makes `world` real: indexed files are synced while they are all there, then both sides are changed by hand.
async fn build(world: &World, backend: &Backend, index: &Index, db: &DatabaseConnection, random: &mut Random) {
    for (id, prefix) in USERS {
        let user = NewUser { name: format!("user {id}"), id: Some(*id), prefix: Some((*prefix).to_owned()) };
        index.add_user(user).await.unwrap();
    }
    for ((user, path), _) in world.iter().filter(|(_, c)| c.indexed) {
        backend.put(&key(*user, path), path.as_bytes()).await;
    }
    let report = Reconciler::new(&backend.storage(), index).run(&Request::new(Mode::Sync), &mut Silent).await.unwrap();
    assert_eq!(report.status, Status::Successful, "{report:?}");
    for (n, ((user, path), cell)) in world.iter().enumerate() {
        match (cell.stored, cell.indexed) {
            (false, true) => backend.remove(&key(*user, path)).await,
            // Of a size that no other file has: where a file is that has just gone, a disk may put it, at the same moment.
            (true, false) => backend.put(&key(*user, path), &[b'n'; 99]).await,
            _ => {}
        }
        if !cell.indexed {
            continue;
        }
        let record = format!("user_id = {user} AND path = '{}'", path.replace('\'', "''"));
        if !cell.equal {
            let change = *random.pick(&[
                "size = size + 1",
                "size = NULL",
                "content_type = 'x/y'",
                "last_modified = NULL",
                "last_modified = '2001-01-01 00:00:00'",
                "etag = NULL",
                "content_type = NULL",
            ]);
            database::execute(db, &format!("UPDATE stored_files SET {change} WHERE {record}")).await;
        }
        let (active, expires) = match cell.link {
            Link::None => continue,
            Link::Active => ("true", *random.pick(&["NULL", "'2999-01-01T00:00:00+00:00'"])),
            Link::Expired => ("true", "'2020-01-01T00:00:00+00:00'"),
            Link::Revoked => ("false", "NULL"),
            Link::Garbled if database::on_postgres() => ("true", "'infinity'"),
            Link::Garbled => (
                "true",
                *random.pick(&[
                    "'next tuesday'",
                    "'3000'",
                    "'12:00'",
                    "'1600000000'",
                    "'2020-02-31'",
                    "x'323030302d30312d3031'",
                ]),
            ),
        };
        let link = format!(
            "INSERT INTO share_links (stored_file_id, token, is_active, expires_at) \
             SELECT id, 't{n}', {active}, {expires} FROM stored_files WHERE {record}"
        );
        database::execute(db, &link).await;
    }
}

async fn left_in(db: &DatabaseConnection) -> BTreeSet<(i64, String)> {
    let rows = database::rows(db, "SELECT CAST(user_id AS TEXT), path FROM stored_files").await;
    rows.into_iter().map(|r| (r[0].clone().unwrap().parse().unwrap(), r[1].clone().unwrap())).collect()
}

async fn one_world(kind: Kind, seed: u64) {
    one_world_on(&Backend::new(kind), kind, seed).await;
}

async fn one_world_on(backend: &Backend, kind: Kind, seed: u64) {
    let mut random = Random::new(seed);
    let world = draw(&mut random);
    let request = Request { force: true, ..Request::new(*random.pick(&Mode::ALL)) };
    // What depends on an order must not depend on the database's own.
    let database = if seed.is_multiple_of(2) { TestDatabase::in_language_order() } else { TestDatabase::fresh() };
    let index = Index::open(&database.url(), Access::Write).await.unwrap();
    let db = database.connect().await;
    build(&world, backend, &index, &db, &mut random).await;
    let before = left_in(&db).await;
    let links = "SELECT token FROM share_links WHERE token IN (SELECT token FROM share_links) ORDER BY token";
    let links_before = database::column(&db, links).await;
    let reconciler = Reconciler::new(&backend.storage(), &index);

    // Law 5: the dry run writes nothing and has the numbers of the real one.
    let dry = Request { dry_run: true, force: false, ..request.clone() };
    let (want, _) = expect(&world, &dry);
    let report = reconciler.run(&dry, &mut Silent).await.unwrap();
    assert_eq!(numbers(&report), want, "dry run, seed {seed}, {kind:?}, {dry:?}");
    assert_eq!(left_in(&db).await, before, "a dry run wrote, seed {seed}");
    assert_eq!(database::column(&db, links).await, links_before, "seed {seed}");

    let (want, left) = expect(&world, &request);
    let report = reconciler.run(&request, &mut Silent).await.unwrap();
    assert_eq!(numbers(&report), want, "seed {seed}, {kind:?}, {request:?}");
    assert!(report.problems.is_empty(), "seed {seed}: {report:?}");
    let left: BTreeSet<(i64, String)> = left.into_iter().map(|(user, path)| (user, path.to_owned())).collect();
    assert_eq!(left_in(&db).await, left, "rows, seed {seed}, {kind:?}, {request:?}");

    // Law 2: every active link is there, and opens the file that it opened.
    let dangling = "SELECT token FROM share_links WHERE stored_file_id NOT IN (SELECT id FROM stored_files)";
    assert_eq!(database::column(&db, dangling).await, [""; 0], "seed {seed}");
    for (n, (at, cell)) in world.iter().enumerate() {
        if cell.indexed && matches!(cell.link, Link::Active | Link::Garbled) {
            let opens = format!(
                "SELECT path FROM share_links JOIN stored_files f ON f.id = stored_file_id WHERE token = 't{n}'"
            );
            assert_eq!(database::column(&db, &opens).await, [at.1], "a link is lost, seed {seed}");
        }
    }

    // Law 1: a second run changes nothing.
    let rows =
        database::rows(&db, "SELECT CAST(id AS TEXT), path, CAST(updated_at AS TEXT) FROM stored_files ORDER BY id")
            .await;
    let again = reconciler.run(&request, &mut Silent).await.unwrap().tally;
    assert_eq!((again.created, again.updated, again.deleted), (0, 0, 0), "seed {seed}");
    let now =
        database::rows(&db, "SELECT CAST(id AS TEXT), path, CAST(updated_at AS TEXT) FROM stored_files ORDER BY id")
            .await;
    assert_eq!(now, rows, "seed {seed}");
    if request.mode == Mode::Full && !want.refused {
        assert_eq!((again.missing, again.stale, again.orphaned), (0, 0, again.skipped), "seed {seed}");
    }
    index.close().await;
}

async fn worlds(kind: Kind, count: u64) {
    let from = std::env::var("STORM_INDEX_SEED").ok().map_or(1, |seed| seed.parse().unwrap());
    let count = std::env::var("STORM_INDEX_WORLDS").ok().map_or(count, |count| count.parse().unwrap());
    println!("{kind:?}: worlds with seeds {from} to {}", from + count - 1);
    for seed in from..from + count {
        one_world(kind, seed).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn law_01_02_04_05_08_random_worlds_in_memory() {
    worlds(Kind::Memory, 40).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn law_01_02_04_05_08_random_worlds_on_disk() {
    worlds(Kind::Disk, 40).await;
}

/// A server has its own runtime, which must not be dropped within another one: hence a thread that may wait.
#[test]
fn law_01_02_04_05_08_random_worlds_on_s3() {
    let from = std::env::var("STORM_INDEX_SEED").ok().map_or(1, |seed| seed.parse().unwrap());
    println!("S3: worlds with seeds {from} to {}", from + 11);
    for seed in from..from + 12 {
        let backend = Backend::new(Kind::S3);
        block_on(one_world_on(&backend, Kind::S3, seed));
    }
}
