//! Random worlds in which everything goes wrong that can: whatever a run comes to, no link and no record of an object is
//! lost, nothing is deleted that could be hidden, all of it can be undone, and the next good run brings everything in step.
//!
//! `STORM_INDEX_WORLDS` says how many worlds there are instead of what the profile of the tests does, `STORM_INDEX_SEED`
//! with which seed they begin.

mod after;
mod bench;
mod check;
mod world;

use std::sync::Arc;

use storm_index::index::LeaseTerms;
use storm_index::reconcile::{
    Evidence, FindingKind, MaxDelete, Mode, Observer, Progress, Reconciler, Report, Request, Silent, Status,
};

use self::bench::{Bench, Place};
use self::check::Checked;
use self::world::World;
use crate::support::backend::{Backend, Kind};
use crate::support::chaos_store::ChaosStore;
use crate::support::effort::Effort;
use crate::support::playground::block_on;

/// Tells of the world in which something failed.
struct Named<'w>(&'w World);

impl Drop for Named<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            println!("the world of STORM_INDEX_SEED={} fails: {:#?}", self.0.seed, self.0);
        }
    }
}

/// Keeps what is deferred.
#[derive(Default)]
struct Deferred(Vec<String>);

impl Observer for Deferred {
    fn wants(&self, kind: FindingKind) -> bool {
        kind == FindingKind::Deferred
    }
    fn finding(&mut self, evidence: &Evidence) {
        self.0.push(evidence.key.clone());
    }
    fn progress(&mut self, _: Progress) {}
}

/// How many worlds came to what: worlds in which nothing happens would prove nothing.
#[derive(Debug, Default)]
struct Score {
    unable: u64,
    failed: u64,
    refused: u64,
    deleted: u64,
    moved: u64,
    updated: u64,
    created: u64,
    deferred: u64,
    kept: u64,
    incomplete: u64,
}

impl Score {
    fn add(&mut self, report: Option<&Report>) {
        let Some(report) = report else {
            self.unable += 1;
            return;
        };
        let tally = &report.tally;
        for (count, is) in [
            (&mut self.failed, report.status == Status::Failed),
            (&mut self.refused, report.refusal.is_some()),
            (&mut self.deleted, tally.deleted > 0),
            (&mut self.moved, tally.carried > 0),
            (&mut self.updated, tally.updated > 0),
            (&mut self.created, tally.created > 0),
            (&mut self.deferred, tally.deferred > 0),
            (&mut self.kept, tally.skipped > 0),
            (&mut self.incomplete, !report.incomplete_users.is_empty()),
        ] {
            *count += u64::from(is);
        }
    }

    fn least(&self) -> u64 {
        // Only a look that is not answered makes something wait, which few worlds come to.
        let Self { unable, failed, refused, deleted, moved, updated, created, deferred: _, kept, incomplete } = *self;
        let all = [unable, failed, refused, deleted, moved, updated, created, kept, incomplete];
        all.into_iter().min().unwrap_or(0)
    }
}

async fn one_world(bench: &Bench, seed: u64, calm: bool) -> Option<Report> {
    let mut world = World::draw(seed, calm);
    bench.build(&mut world).await;
    let world = world;
    let _named = Named(&world);
    let reconciler = Reconciler::new(&bench.storage(), &bench.index).with_identity(world.identity);
    let raw = bench.raw().await;
    let before = raw.dump();

    // The dry run writes nothing, and has the numbers of the real one.
    let arm = |faults: bool| {
        if let Place::Chaos(store) = &bench.place {
            store.arm(world.objects.clone(), if faults { world.faults.clone() } else { Vec::new() });
            store.state().records =
                world.records.iter().map(|r| (world::key_of(world.prefix(r.user), &r.path), r.id)).collect();
        }
    };
    // Of those that cannot be compared, half do: time is for more worlds.
    let mut dry = None;
    let facts = {
        arm(world.is_repeatable());
        bench.facts().await
    };
    if world.is_repeatable() || seed.is_multiple_of(2) {
        let request = Request { dry_run: true, ..world.request.clone() };
        dry = reconciler.run(&request, &mut Silent).await.ok();
        assert_eq!(bench.raw().await.without_tasks(), raw.without_tasks(), "a dry run wrote more than its own row");
    }
    if let Place::Chaos(store) = &bench.place {
        let state = store.state();
        assert_eq!((&state.diary.forbidden, state.diary.marker_written), (&Vec::new(), false), "a dry run wrote");
        assert_eq!(state.objects, world.objects);
    }

    arm(true);
    let report = reconciler.run(&world.request, &mut Silent).await;
    let after = bench.dump().await;
    let diary = match &bench.place {
        Place::Chaos(store) => Some(store.state().diary.clone()),
        Place::Real(..) => None,
    };
    let journal = match &report {
        Ok(report) => bench.journal(&report.task_id.to_string()).await,
        Err(_) => Vec::new(),
    };
    let facts_after = bench.facts().await;
    let checked = Checked {
        world: &world,
        before: &before,
        after: &after,
        facts: &facts,
        facts_after: &facts_after,
        diary: diary.as_ref(),
        journal: &journal,
    };
    let Ok(report) = report else {
        assert_eq!(after.without_tasks(), before.without_tasks(), "a run that could not begin wrote: {report:?}");
        return None;
    };
    checked.all(&report);
    if let Some(dry) = &dry
        && world.is_repeatable()
    {
        assert_eq!(dry.tally, report.tally, "dry run and real run");
        assert_eq!(dry.refusal.as_ref().map(|r| r.code), report.refusal.as_ref().map(|r| r.code));
        assert_eq!(dry.incomplete_users, report.incomplete_users);
    }
    if !journal.is_empty() {
        after::restores(bench, &checked, &report).await;
    }
    after::converges(bench, &world).await;
    Some(report)
}

/// A run of the kind that brings everything in step.
fn whole(moves: bool) -> Request {
    Request { force: true, max_delete: Some(MaxDelete::Percent(100)), moves, ..Request::new(Mode::Full) }
}

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().unwrap())
}

/// How many parts run beside each other.
const PARTS: u64 = 8;

fn part(n: u64) {
    let all = number("STORM_INDEX_WORLDS").unwrap_or_else(|| Effort::of_this_run().pick(200, 1_000, 10_000));
    let first = number("STORM_INDEX_SEED").unwrap_or(1);
    let (from, to) = (first + all * n / PARTS, first + all * (n + 1) / PARTS);
    println!("chaos: worlds with seeds {from} to {}", to.saturating_sub(1));
    block_on(async {
        let bench = Bench::new(|db| Place::Chaos(Arc::new(ChaosStore::new(Some(db))))).await;
        let mut score = Score::default();
        for seed in from..to {
            score.add(one_world(&bench, seed, false).await.as_ref());
        }
        println!("{score:?}");
        assert!(score.least() >= (to - from) / 100, "something hardly ever happens: {score:?}");
        drop(bench.close().await);
    });
}

macro_rules! parts {
    ($($name:ident $n:literal)*) => {$(
        #[test]
        fn $name() {
            part($n);
        }
    )*};
}

parts! {
    chaos_in_memory_0 0
    chaos_in_memory_1 1
    chaos_in_memory_2 2
    chaos_in_memory_3 3
    chaos_in_memory_4 4
    chaos_in_memory_5 5
    chaos_in_memory_6 6
    chaos_in_memory_7 7
}

/// Storages that work, but are real.
fn real(kind: Kind, count: u64) {
    let first = number("STORM_INDEX_SEED").unwrap_or(1);
    println!("chaos on {kind:?}: worlds with seeds {first} to {}", first + count - 1);
    for seed in first..first + count {
        // A server has a runtime of its own, which must not be made within another one.
        let backend = Backend::new(kind);
        let place = block_on(async {
            let bench = Bench::new(|_| Place::Real(kind, backend)).await;
            one_world(&bench, seed, true).await;
            bench.close().await
        });
        drop(place);
    }
}

#[test]
fn chaos_on_disk() {
    real(Kind::Disk, 40);
}

#[test]
fn chaos_on_s3() {
    real(Kind::S3, 24);
}

/// Terms of leases, for what is done between runs.
fn terms() -> LeaseTerms {
    LeaseTerms::default()
}
