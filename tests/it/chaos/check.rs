//! What has to be so after a run, whatever happened.

use std::collections::{BTreeMap, BTreeSet};

use storm_index::model::Identity;
use storm_index::reconcile::{MaxDelete, Mode, RefusalCode, Report, Status};
use storm_index::storage::content_type_of;
use uuid::Uuid;

use super::bench::{AllFacts, Dump, Facts, Noted, Row, micros};
use super::world::{World, key_of};
use crate::support::chaos_faults::{Diary, Fault, Told};

pub(super) struct Checked<'c> {
    pub(super) world: &'c World,
    pub(super) before: &'c Dump,
    pub(super) after: &'c Dump,
    pub(super) facts: &'c AllFacts,
    pub(super) facts_after: &'c AllFacts,
    /// What the storage was asked; real ones have none.
    pub(super) diary: Option<&'c Diary>,
    pub(super) journal: &'c [Noted],
}

/// Tells whether a link, as it was dumped, is active. No end that a test writes lies between then and now.
pub(super) fn is_active(link: &[Option<String>]) -> bool {
    let on = matches!(link[2].as_deref(), Some("1" | "true"));
    on && link[3].as_deref().is_none_or(|end| !end.starts_with("2020-01-01"))
}

/// Returns the id that a marker names.
fn id_in(marker: &str) -> Option<Uuid> {
    let value: serde_json::Value = serde_json::from_str(marker).ok()?;
    value["storage_id"].as_str()?.parse().ok()
}

impl Checked<'_> {
    pub(super) fn all(&self, report: &Report) {
        self.storage();
        self.standing(report);
        self.links();
        self.gone();
        self.limits(report);
        self.changed();
        self.made();
        self.noted();
        self.numbers(report);
    }

    fn key(&self, row: &Row) -> String {
        key_of(self.world.prefix(row.user), &row.path)
    }

    fn meddled(&self, key: &str) -> bool {
        self.diary.is_some_and(|diary| diary.meddled.contains(key))
    }

    fn gone_rows(&self) -> impl Iterator<Item = (&i64, &Row)> {
        self.before.records.iter().filter(|(id, _)| !self.after.records.contains_key(id))
    }

    /// The records that the run can see at all.
    fn seen(&self, user: i64) -> impl Iterator<Item = &Row> {
        self.before.records.values().filter(move |row| row.user == user && !self.world.is_excluded(&row.path))
    }

    /// No object was written, and the marker only by a run that writes.
    fn storage(&self) {
        if let Some(diary) = self.diary {
            assert_eq!(diary.forbidden, [""; 0]);
            assert!(!diary.marker_written || self.world.request.writes());
        }
        for (key, facts) in self.facts {
            assert!(self.meddled(key) || self.facts_after.get(key) == Some(facts), "object {key:?} is not what it was");
        }
        for key in self.facts_after.keys() {
            assert!(self.meddled(key) || self.facts.contains_key(key), "object {key:?} was made");
        }
    }

    /// On a storage that is not the right one, and by a run that only looks, nothing at all is changed.
    fn standing(&self, report: &Report) {
        let (world, request) = (self.world, &self.world.request);
        if !request.writes() {
            assert_eq!(self.after.without_tasks(), self.before.without_tasks(), "a run that only looks wrote");
            return;
        }
        if world.identity == Identity::None {
            return;
        }
        let turned = world.faults.iter().find_map(|fault| match fault {
            Fault::Marker { after: 0, says } => Some(says.clone()),
            _ => None,
        });
        let there = world.objects.get(storm_index::storage::MARKER);
        let there = there.map(|entry| String::from_utf8_lossy(&entry.content).into_owned());
        let unchanged = || assert_eq!(self.after.without_tasks(), self.before.without_tasks(), "{report:?}");
        let Some(says) = turned.unwrap_or(Some(there)) else {
            assert_eq!(report.status, Status::Failed);
            return unchanged();
        };
        if says.is_some() && says.as_deref().and_then(id_in).is_none() {
            assert_eq!(report.refusal.as_ref().map(|r| r.code), Some(RefusalCode::MarkerUnreadable));
            return unchanged();
        }
        let (seen, has_records) = (says.as_deref().and_then(id_in), !world.records.is_empty());
        match world.bound {
            Some(bound) if has_records && seen != Some(bound) => {
                assert_eq!(report.refusal.as_ref().map(|r| r.code), Some(RefusalCode::WrongStorage));
                unchanged();
            }
            None if has_records => {
                let matched = self.before.records.values().filter(|row| {
                    let facts = self.facts.get(&self.key(row));
                    facts.is_some_and(|facts| row.size.as_ref().is_none_or(|size| *size == facts.size.to_string()))
                });
                if 2 * matched.count() < world.records.len() {
                    assert!(report.refusal.is_some() || report.status == Status::Failed, "{report:?}");
                    unchanged();
                }
            }
            _ => {}
        }
    }

    /// Every active link is there and belongs to the record to which it belonged.
    fn links(&self) {
        for (token, link) in &self.before.links {
            let record: i64 = link[0].as_deref().unwrap().parse().unwrap();
            let stays = self.after.records.contains_key(&record);
            assert!(!is_active(link) || stays, "the record {record} of the active link {token} is gone");
            assert_eq!(self.after.links.get(token), stays.then_some(link), "link {token}");
        }
        let late = |diary: &Diary| diary.shared.clone();
        for record in self.diary.map(late).unwrap_or_default() {
            assert!(self.after.records.contains_key(&record), "record {record}, which was just shared, is gone");
        }
        for token in self.after.links.keys() {
            assert!(self.before.links.contains_key(token) || token.starts_with("late"), "link {token} was made");
        }
    }

    /// What was deleted could be deleted.
    fn gone(&self) {
        let (world, request) = (self.world, &self.world.request);
        let any = self.gone_rows().next().is_some();
        let may = matches!(request.mode, Mode::Clean | Mode::Full) && request.force && !request.dry_run;
        assert!(!any || may, "deleted without consent");
        for (id, row) in self.gone_rows() {
            let key = self.key(row);
            assert!(
                !self.facts_after.contains_key(&key) || self.meddled(&key),
                "record {id} of the object {key:?} is gone"
            );
            assert!(world.is_in_scope(row.user) && !world.is_excluded(&row.path), "{key:?} was not in scope");
            assert!(request.min_age.is_zero() || row.created < micros("2050-01-01T00:00:00+00:00"), "{key:?} is young");
            let Some(diary) = self.diary else { continue };
            assert!(diary.absent.contains(&key), "nobody said that {key:?} is not there");
            assert!(!diary.edited.contains(id), "{key:?} was edited, and is gone");
            let told = diary.listing();
            assert!(!is_hidden(told, &key), "{key:?} could have been hidden");
        }
        let Some(diary) = self.diary else { return };
        assert!(!any || !diary.stolen, "deleted without the lease");
        if any && world.identity == Identity::Marker {
            let said = diary.marker.clone().flatten();
            let (id, bound) = (said.as_deref().and_then(id_in), &self.after.binding);
            assert!(id.is_some() && id.map(|id| id.to_string()) == *bound, "deleted on {said:?}, bound to {bound:?}");
        }
        for id in &diary.edited {
            let (row, was) = (&self.after.records[id], &self.before.records[id]);
            assert_eq!((row.content_type.as_deref(), &row.path), (Some("by/hand"), &was.path), "an edit is lost");
        }
    }

    fn limits(&self, report: &Report) {
        let mut gone: BTreeMap<i64, usize> = BTreeMap::new();
        self.gone_rows().for_each(|(_, row)| *gone.entry(row.user).or_default() += 1);
        let all: usize = gone.values().sum();
        let scope = || self.world.users.iter().filter(|(user, _)| self.world.is_in_scope(*user));
        let records: usize = scope().map(|(user, _)| self.seen(*user).count()).sum();
        let over = |gone: usize, of: usize, percent: usize| gone * 100 > of * percent;
        let mut shares: Vec<(usize, usize)> = vec![(all, records)];
        for (user, gone) in &gone {
            let of = self.seen(*user).count();
            shares.push((*gone, of));
            let all_of_many = self.world.request.max_delete.is_none() && of > 10 && *gone == of;
            assert!(!all_of_many, "all of user {user}'s records are gone");
            if self.world.identity == Identity::None {
                let matched = |row: &&Row| {
                    let key = self.key(row);
                    self.facts.contains_key(&key) || self.meddled(&key)
                };
                // What has moved proves the storage as well, also where it is not carried.
                let moved = usize::try_from(report.tally.moved).unwrap();
                let matched = self.seen(*user).filter(matched).count() + moved;
                assert!(2 * matched >= of, "user {user} has not proven the storage: {matched} of {of}");
            }
        }
        for (gone, of) in shares {
            match self.world.request.max_delete {
                Some(MaxDelete::Count(most)) => assert!(gone as u64 <= most, "{gone} of {of}"),
                Some(MaxDelete::Percent(percent)) => assert!(!over(gone, of, usize::from(percent)), "{gone} of {of}"),
                None => assert!(gone <= 100 || !over(gone, of, 50), "{gone} of {of}"),
            }
        }
    }

    /// What stayed is as it was, has the facts of today, or is where its file is now.
    fn changed(&self) {
        let (world, request) = (self.world, &self.world.request);
        let adds = matches!(request.mode, Mode::Sync | Mode::Full);
        for (id, was) in &self.before.records {
            let Some(now) = self.after.records.get(id).filter(|now| *now != was) else { continue };
            if self.diary.is_some_and(|diary| diary.edited.contains(id)) {
                continue;
            }
            let (from, to) = (self.key(was), self.key(now));
            assert!(adds, "{from:?} was changed by {}", request.mode);
            // A file may be renamed out of what is excluded, and nothing else there is changed.
            let is_excluded = world.is_excluded(&was.path) && now.path == was.path;
            assert!(world.is_in_scope(was.user) && !is_excluded && !world.is_excluded(&now.path));
            assert_eq!((now.user, now.created), (was.user, was.created), "{from:?}");
            let has_facts = self.facts.get(&to).is_some_and(|facts| has(now, facts, &to));
            assert!(has_facts || self.meddled(&to), "{to:?} has not the facts of its object: {now:?}");
            if now.path == was.path {
                continue;
            }
            assert!(request.moves, "{from:?} was moved");
            let same = (&now.size, &now.etag) == (&was.size, &was.etag);
            assert!(same, "{from:?} was moved to another content at {to:?}");
            let still = self.facts_after.get(&from).filter(|facts| Some(&facts.etag) == was.etag.as_ref());
            assert!(still.is_none() || self.meddled(&from), "{from:?} is where it was");
            self.moved_alone(was);
        }
    }

    /// On an object store, only what one record and one object of a user have has moved; the names of one file on a disk all
    /// lead to it.
    fn moved_alone(&self, was: &Row) {
        let carry = |row: &&Row| row.size == was.size && row.etag == was.etag;
        let key = self.key(was);
        let Some(diary) = self.diary else { return };
        assert!(was.size.as_deref() != Some("0"), "nothing empty moves");
        let of_user = self.before.records.values().filter(|row| row.user == was.user);
        assert_eq!(of_user.filter(carry).count(), 1, "{key:?} was not the only record of its content");
        // What came late is left out of the run.
        let mut last = "";
        let told = diary.listing().keys.iter().filter(|(key, ..)| {
            let is_new = key.as_str() > last;
            last = last.max(key);
            is_new
        });
        let start = key_of(self.world.prefix(was.user), "");
        let objects: BTreeSet<&str> = told
            .filter(|(key, size, etag)| {
                let path = key.strip_prefix(&start).filter(|path| !self.world.is_excluded(path));
                path.is_some() && was.size == Some(size.to_string()) && was.etag.as_ref() == Some(etag)
            })
            .map(|(key, ..)| key.as_str())
            .collect();
        assert_eq!(objects.len(), 1, "{key:?} was moved, though its content is at {objects:?}");
    }

    fn made(&self) {
        let (world, request) = (self.world, &self.world.request);
        let known: BTreeSet<&str> = self.before.users.iter().filter_map(|user| user[0].as_deref()).collect();
        let mut prefixes: BTreeMap<i64, String> = BTreeMap::new();
        for user in &self.after.users {
            let (id, prefix) = (user[0].as_deref().unwrap(), user[2].clone().unwrap());
            assert!(known.contains(id) || request.adopt, "user {id} was made");
            prefixes.insert(id.parse().unwrap(), prefix);
        }
        assert!(self.before.users.iter().all(|user| self.after.users.contains(user)), "a user is gone");
        for (id, row) in self.after.records.iter().filter(|(id, _)| !self.before.records.contains_key(id)) {
            let key = key_of(&prefixes[&row.user], &row.path);
            assert!(matches!(request.mode, Mode::Sync | Mode::Full), "{key:?} was made by {}", request.mode);
            assert!(world.is_in_scope(row.user) && !world.is_excluded(&row.path), "{key:?} is not in scope");
            let has_facts = self.facts.get(&key).is_some_and(|facts| has(row, facts, &key));
            assert!(has_facts || self.meddled(&key), "record {id} has not the facts of {key:?}");
        }
    }

    /// Whatever was deleted, changed or moved is in the journal as it was, and nothing else is.
    fn noted(&self) {
        let mut noted: BTreeMap<i64, &Noted> = BTreeMap::new();
        for line in self.journal {
            assert!(noted.insert(line.record, line).is_none(), "record {} is in the journal twice", line.record);
        }
        assert_eq!(self.after.journal, self.journal.len() as u64, "the journal has lines of nobody's");
        for (id, was) in &self.before.records {
            let now = self.after.records.get(id);
            let action = match now {
                None => "delete",
                Some(now) if now.path != was.path => "move",
                Some(now) if now != was => "update",
                Some(_) => {
                    assert!(!noted.contains_key(id), "record {id} is in the journal, and is what it was");
                    continue;
                }
            };
            if self.diary.is_some_and(|diary| diary.edited.contains(id)) {
                continue;
            }
            let line = noted.get(id).unwrap_or_else(|| panic!("the {action} of record {id} is not in the journal"));
            assert_eq!((line.action.as_str(), &image(&line.before)), (action, was), "record {id} in the journal");
            assert_eq!(now, (action != "delete").then(|| image(&line.after)).as_ref(), "record {id} in the journal");
            let links = self.before.links.iter().filter(|(_, link)| link[0] == Some(id.to_string()));
            let tokens: BTreeSet<&str> = links.map(|(token, _)| token.as_str()).collect();
            let said = line.links.as_array().cloned().unwrap_or_default();
            let said: BTreeSet<&str> = said.iter().map(|link| link["token"].as_str().unwrap()).collect();
            assert!(action != "delete" || said == tokens, "links of record {id}: {said:?} {tokens:?}");
        }
    }

    /// What is counted was done; without faults and moves, what there is to do is counted too.
    fn numbers(&self, report: &Report) {
        let (world, tally) = (self.world, report.tally);
        if !world.request.writes() {
            return;
        }
        let (mut moved, mut updated) = (0, 0);
        for (id, was) in &self.before.records {
            match self.after.records.get(id) {
                Some(now) if now.path != was.path => moved += 1,
                Some(now) if now != was && now.content_type.as_deref() != Some("by/hand") => updated += 1,
                _ => {}
            }
        }
        let made = self.after.records.keys().filter(|id| !self.before.records.contains_key(id)).count() as u64;
        let gone = self.gone_rows().count() as u64;
        assert_eq!(
            (tally.created, tally.updated, tally.carried, tally.deleted),
            (made, updated, moved, gone),
            "{report:?}"
        );
        let refused = report.refusal.as_ref().map(|r| r.code);
        let whole = [RefusalCode::WrongStorage, RefusalCode::StorageUnbound, RefusalCode::MarkerUnreadable];
        let began = !refused.is_some_and(|code| whole.contains(&code));
        if world.faults.is_empty() && !world.request.moves && !world.request.adopt && began {
            let ours = |user: i64, path: &str| world.is_in_scope(user) && !world.is_excluded(path);
            let objects: BTreeSet<&str> = self
                .facts
                .keys()
                .filter(|key| world.owner(key).is_some_and(|(user, path)| ours(user, path)))
                .map(String::as_str)
                .collect();
            let records: BTreeSet<String> =
                self.before.records.values().filter(|r| ours(r.user, &r.path)).map(|r| self.key(r)).collect();
            let both = records.iter().filter(|key| objects.contains(key.as_str())).count();
            let want = (objects.len(), records.len(), objects.len() - both, records.len() - both);
            let told =
                [tally.objects, tally.records, tally.missing, tally.orphaned].map(|n| usize::try_from(n).unwrap());
            assert_eq!(told, [want.0, want.1, want.2, want.3], "{report:?}");
        }
    }
}

fn has(row: &Row, facts: &Facts, key: &str) -> bool {
    row.size == Some(facts.size.to_string())
        && row.etag.as_ref() == Some(&facts.etag)
        && row.modified == Some(facts.micros)
        && row.content_type.as_deref() == Some(content_type_of(key))
}

/// Reads a record out of the journal.
fn image(value: &serde_json::Value) -> Row {
    let text = |name: &str| value[name].as_str().map(str::to_owned);
    let time = |name: &str| text(name).as_deref().and_then(micros);
    Row {
        user: value["user_id"].as_i64().unwrap(),
        path: text("path").unwrap(),
        size: value["size"].as_i64().map(|size| size.to_string()),
        content_type: text("content_type"),
        etag: text("etag"),
        modified: time("last_modified"),
        created: time("created_at"),
        updated: time("updated_at"),
    }
}

/// Where a listing went back, both ends included.
fn spans(told: &Told) -> Vec<(&str, &str)> {
    let (mut last, mut spans) = (None::<&str>, Vec::new());
    for (key, ..) in &told.keys {
        match last.filter(|last| key.as_str() <= *last) {
            Some(last) => spans.push((key.as_str(), last)),
            None => last = Some(key),
        }
    }
    spans
}

/// Tells whether `key` could be in the storage, though it was not told.
fn is_hidden(told: &Told, key: &str) -> bool {
    let behind = told.keys.iter().all(|(last, ..)| last.as_str() < key);
    (told.failed || told.circles) && behind || spans(told).iter().any(|(from, to)| *from <= key && key <= *to)
}
