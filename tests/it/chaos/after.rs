//! After a run: it is undone, and then everything is brought in step.

use std::collections::BTreeSet;

use storm_index::model::Identity;
use storm_index::reconcile::{Reconciler, Report, Silent, Status};
use storm_index::storage::{MARKER, content_type_of};

use super::bench::{Bench, Place};
use super::check::Checked;
use super::world::{MINE, World, key_of, marker_of};
use super::{Deferred, terms, whole};
use crate::support::backend::Kind;
use crate::support::chaos_faults::Entry;
use crate::support::database;
use crate::support::look::MovedBack;

impl Bench {
    /// Ends it; the storage is for the caller to drop.
    pub(super) async fn close(self) -> Place {
        let Self { index, db, place, .. } = self;
        index.close().await;
        db.close().await.unwrap();
        place
    }
}

/// Undoes the run: all that it deleted, changed or moved is as it was, with the same ids.
pub(super) async fn restores(bench: &Bench, checked: &Checked<'_>, report: &Report) {
    let (before, after) = (checked.before, checked.after);
    database::execute(&bench.db, "UPDATE lease SET task_id = NULL").await;
    let task = report.task_id.to_string();
    let edited = checked.diary.map(|diary| diary.edited.clone()).unwrap_or_default();
    // Half of the worlds look first: time is for more worlds.
    let looks = checked.world.seed.is_multiple_of(2);
    let mut dry = None;
    if looks {
        let raw = bench.raw().await;
        dry = Some(bench.index.restore(&task, true, terms(), &mut MovedBack::default()).await.unwrap().tally);
        assert_eq!(bench.raw().await.without_tasks(), raw.without_tasks(), "a dry restore wrote more than its own row");
    }
    let real = bench.index.restore(&task, false, terms(), &mut MovedBack::default()).await.unwrap();
    assert!(dry.is_none_or(|dry| dry == real.tally), "a dry restore and a real one: {dry:?} {real:?}");
    assert!(real.is_whole && real.tally.conflicts == 0, "{real:?}");
    let restored = bench.dump().await;
    for (id, was) in &before.records {
        let now = restored.records.get(id).unwrap_or_else(|| panic!("record {id} does not come back: {was:?}"));
        if edited.contains(id) {
            continue;
        }
        // Where a newer record was in its place, it has the facts of that one.
        let newer = after.records.iter().find(|(other, r)| *other != id && (r.user, &r.path) == (was.user, &was.path));
        let moved_there = newer.filter(|(other, _)| before.records.contains_key(other));
        match newer.filter(|_| moved_there.is_none()) {
            None => assert_eq!(now, was, "record {id} after the restore"),
            Some((_, newer)) => {
                assert_eq!((now.user, &now.path, now.created), (was.user, &was.path, was.created));
                assert_eq!((&now.size, &now.etag, now.modified), (&newer.size, &newer.etag, newer.modified));
            }
        }
    }
    for (token, link) in &before.links {
        assert_eq!(restored.links.get(token), Some(link), "link {token} after the restore");
    }
    for id in restored.records.keys() {
        assert!(before.records.contains_key(id) || after.records.contains_key(id), "record {id} came from nowhere");
    }
    if looks {
        return;
    }
    let again = bench.index.restore(&task, false, terms(), &mut MovedBack::default()).await.unwrap();
    assert_eq!((again.tally.records_restored, again.tally.records_replaced, again.tally.conflicts), (0, 0, 0));
    let now = bench.dump().await;
    assert_eq!((&now.records, &now.links), (&restored.records, &restored.links), "a second restore wrote");
}

/// Without faults, on the right storage, a full run brings index and storage in step, and another one changes nothing.
pub(super) async fn converges(bench: &Bench, world: &World) {
    match &bench.place {
        Place::Chaos(store) => {
            let mut objects = store.state().objects.clone();
            objects.insert(MARKER.to_owned(), Entry { content: marker_of(MINE).into_bytes(), micros: 0 });
            store.arm(objects, Vec::new());
        }
        Place::Real(_, backend) => backend.put(MARKER, marker_of(MINE).as_bytes()).await,
    }
    let bind = format!("UPDATE storage_binding SET storage_id = '{MINE}'; UPDATE lease SET task_id = NULL");
    database::execute(&bench.db, &bind).await;
    let reconciler = Reconciler::new(&bench.storage(), &bench.index).with_identity(Identity::Marker);
    let (before, facts) = (bench.dump().await, bench.facts().await);
    let request = whole(world.converges_with_moves);
    let mut deferred = Deferred::default();
    let report = reconciler.run(&request, &mut deferred).await.unwrap();
    assert_eq!((report.status, &report.refusal), (Status::Successful, &None), "{report:?}");
    assert!(report.problems.is_empty() && report.incomplete_users.is_empty(), "{report:?}");
    let after = bench.dump().await;
    let deferred: BTreeSet<String> = deferred.0.into_iter().collect();
    let users: Vec<(i64, String)> = after
        .users
        .iter()
        .map(|user| (user[0].as_deref().unwrap().parse().unwrap(), user[2].clone().unwrap()))
        .collect();
    let owner = |key: &str| {
        users.iter().find_map(|(id, prefix)| match prefix.is_empty() {
            true => Some((*id, key.to_owned())),
            false => Some((*id, key.strip_prefix(prefix.as_str())?.strip_prefix('/')?.to_owned())),
        })
    };
    let place: std::collections::BTreeMap<_, _> =
        after.records.values().map(|row| ((row.user, row.path.clone()), row)).collect();
    for (key, facts) in &facts {
        let Some(at) = owner(key) else { continue };
        let Some(row) = place.get(&at) else {
            assert!(deferred.contains(key), "{key:?} has no record: {report:?}");
            continue;
        };
        if deferred.contains(key) {
            continue;
        }
        assert_eq!(
            (row.size.clone(), row.content_type.as_deref(), row.modified),
            (Some(facts.size.to_string()), Some(content_type_of(key)), Some(facts.micros)),
            "{key:?}"
        );
        if !matches!(bench.place, Place::Real(Kind::Disk, _)) {
            assert_eq!(row.etag.as_ref(), Some(&facts.etag), "{key:?}");
        }
    }
    let active = |id: &i64| {
        let id = Some(id.to_string());
        after.links.values().any(|link| link[0] == id && super::check::is_active(link))
    };
    for (id, row) in &after.records {
        let prefix = &users.iter().find(|(user, _)| *user == row.user).unwrap().1;
        let key = key_of(prefix, &row.path);
        assert!(facts.contains_key(&key) || active(id) || deferred.contains(&key), "{key:?} has no object: {report:?}");
    }
    for (token, link) in &before.links {
        assert!(!super::check::is_active(link) || after.links.get(token) == Some(link), "link {token} is lost");
    }
    let again = reconciler.run(&request, &mut Silent).await.unwrap().tally;
    let now = bench.dump().await;
    assert_eq!((&now.records, &now.links), (&after.records, &after.links), "another run changes something");
    assert_eq!((again.created, again.updated, again.carried, again.deleted), (0, 0, 0, 0));
}
