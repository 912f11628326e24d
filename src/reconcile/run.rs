//! The loop: one ordered listing routed to users, merged with their records; additions flow, what may have moved and what
//! may have to go waits.

use std::collections::HashSet;

use serde::{Deserialize, Serialize};

use super::adoption::Adoption;
use super::apply::{Sink, WriteBatch};
use super::cancel::Cancel;
use super::cursor::RecordCursor;
use super::doubts::Doubts;
use super::evidence;
use super::excludes::{Excludes, is_noise};
use super::identity::Standing;
use super::looks::Looks;
use super::merge::{Front, front};
use super::mounts::Mounts;
use super::plan::OrphanPlan;
use super::rename::Side;
use super::report::{FindingKind, Observer, Phase, Progress, Report};
use super::request::Policy;
use super::scopes::{Place, Scopes};
use super::spans::Spans;
use super::spool::Spool;
use super::stop::Stop;
use super::strays::Strays;
use super::waiting::Waiting;
use crate::index::Index;
use crate::model::{BadEntry, BadReason, Hides, ObjectFacts, Order, Orphan, RenameProof, Timestamp, UserId};
use crate::storage::{Batch, Doubt, Listing, Step, StorageReader};

/// How many additions and refreshes one transaction has.
pub(super) const WRITES: usize = 10_000;

/// An orphan about which has been decided.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Planned {
    pub(super) orphan: Orphan,
    pub(super) plan: OrphanPlan,
    /// Whether an active share link protects it.
    pub(super) shared: bool,
    /// The path of an object that it might be of.
    pub(super) twin: Option<String>,
}

/// A run that is under way.
pub(super) struct Run<'r> {
    pub(super) storage: &'r StorageReader,
    pub(super) index: &'r Index,
    pub(super) one_user: bool,
    pub(super) policy: Policy,
    pub(super) standing: Standing,
    pub(super) scopes: Scopes,
    pub(super) adoption: Adoption,
    pub(super) cursor: RecordCursor,
    pub(super) doubts: Doubts,
    /// The moment, by the storage's clock, at which the batch was listed.
    pub(super) as_of: Option<Timestamp>,
    /// The last key of the batch before.
    pub(super) last: Option<String>,
    pub(super) sink: Box<dyn Sink>,
    pub(super) writes: WriteBatch,
    /// What waits for the end of the current user.
    pub(super) waiting: Waiting,
    /// Orphans at hand, about which has to be decided, each with the path of an object that it might be of.
    pub(super) orphans: Vec<(Orphan, Option<String>)>,
    /// Orphans that wait for the guard, or to be told.
    pub(super) queue: Spool<Planned>,
    /// How many of them wait for the guard.
    pub(super) doomed: u64,
    pub(super) strays: Strays,
    /// Where the listing went back.
    pub(super) spans: Spans,
    pub(super) excludes: Excludes,
    /// By what renamed files are recognised.
    pub(super) proof: RenameProof,
    /// The file systems below the root.
    pub(super) mounts: Mounts,
    /// Users whose listing was shown to lack objects that are there.
    pub(super) wrong: HashSet<UserId>,
    pub(super) looks: Looks<'r>,
    /// Whether the index knows that additions of this run are under way.
    pub(super) unsettled: bool,
    pub(super) observer: &'r mut dyn Observer,
    pub(super) report: Report,
    pub(super) cancel: Cancel,
    pub(super) total: Option<u64>,
    /// The longest path that the index can hold.
    pub(super) longest_path: usize,
}

impl Run<'_> {
    /// Reads everything, then deletes what may go.
    pub(super) async fn all(&mut self, mut listing: Listing) -> Result<(), Stop> {
        loop {
            let step = tokio::select! {
                biased;
                reason = self.cancel.cancelled() => return Err(reason.into()),
                step = listing.next() => step,
            };
            match step {
                Step::Batch(batch) => self.batch(batch).await?,
                Step::Complete => {
                    while self.scopes.current().is_some() {
                        self.close_scope().await?;
                    }
                    break;
                }
                Step::Incomplete(doubt @ (Doubt::OutOfOrder { .. } | Doubt::Repeated { .. })) => {
                    while self.scopes.current().is_some() {
                        self.close_scope().await?;
                    }
                    self.report.note(doubt.code(), doubt.to_string(), None);
                    break;
                }
                Step::Incomplete(doubt @ Doubt::BrokenOff { .. }) => {
                    self.break_off(&doubt).await?;
                    break;
                }
            }
        }
        self.flush().await?;
        self.sink.settle().await?;
        let learned = listing.learned().filter(|_| self.storage.order().0 == Order::Auto);
        if let (Some(order), Standing::Known(storage)) = (learned, &self.standing) {
            self.sink.remember_order(*storage, order).await?;
        }
        self.delete().await
    }

    async fn batch(&mut self, batch: Batch) -> Result<(), Stop> {
        if let Some(last) = &self.last {
            self.doubts.pass(last);
        }
        // All of them first: what they could hide may lie between this batch and the one before.
        for mount in batch.mounts {
            self.mounts.see(mount);
        }
        for entry in &batch.bad {
            self.bad_entry(entry);
        }
        for span in &batch.late {
            self.spans.add(span);
            self.scopes.distrust_span(span);
        }
        let last = batch.objects.last().map(|o| o.key.clone());
        self.as_of = batch.as_of.or(self.as_of);
        for object in batch.objects {
            self.object(object).await?;
        }
        // A storage may end in any number of entries that are no objects: they carry the listing on as well, or all of
        // them would have to be kept in mind. The odd keys of a page do not: they come before the page itself.
        let entries = batch.bad.iter().filter(|e| e.reason != BadReason::Unaddressable);
        let entry = entries.filter_map(|e| e.hides.first_key()).next_back();
        match entry.filter(|key| last.as_deref().is_none_or(|last| *key > last)) {
            Some(key) => {
                self.pass_records_before(key).await?;
                self.last = Some(key.to_owned());
            }
            None => self.last = last.or(self.last.take()),
        }
        if self.writes.len() >= WRITES {
            self.flush().await?;
        }
        let tally = &self.report.tally;
        let done = if self.total.is_some() { tally.records } else { tally.objects + tally.unclaimed };
        self.observer.progress(Progress { phase: Phase::Reading, done, total: self.total });
        Ok(())
    }

    fn bad_entry(&mut self, entry: &BadEntry) {
        let scope = self.scopes.iter().find(|s| entry.shown.starts_with(&s.start));
        let path = &entry.shown[scope.map_or(0, |s| s.start.len())..];
        let is_tree = matches!(entry.hides, Hides::Tree(_));
        // Patterns are about paths below a prefix: nobody can mean all of a user's files by one.
        let holds_a_user = matches!(&entry.hides, Hides::Tree(top) if self.scopes.has_one_below(top));
        if !holds_a_user && (self.excludes.matches(path) || (is_tree && self.excludes.match_folder(path))) {
            return;
        }
        self.doubts.note(entry);
        if entry.reason.is_failure() && self.may_hide_files(entry) {
            self.scopes.distrust(&entry.hides);
            self.report.note(entry.reason.code(), entry.to_string(), Some(entry.shown.clone()));
            return;
        }
        self.report.tally.unindexable += 1;
        if self.observer.wants(FindingKind::Unindexable) {
            self.observer.finding(&evidence::of_entry(entry, scope));
        }
    }

    /// Tells whether a place that cannot be read may hold files of a user, or of one who is to be registered.
    fn may_hide_files(&self, entry: &BadEntry) -> bool {
        let Hides::Tree(top) = &entry.hides else { return true };
        self.scopes.touches(top) || (self.policy.adopts && !is_noise(top))
    }

    /// Notes that the listing of `user` lacks the object of `key`, which is there.
    pub(super) fn doubt_listing(&mut self, user: UserId, key: &str, since: Option<Timestamp>) {
        let Some(scope) = self.scopes.find(user) else { return };
        scope.complete = false;
        let is_older = since.zip(scope.listed_at).is_some_and(|(since, listed)| since < listed);
        if is_older {
            self.wrong.insert(user);
        }
        let message = format!("{key:?} opens, but its directory does not list it; its record is kept");
        self.report.note("unlisted_name", message, Some(key.to_owned()));
    }

    async fn object(&mut self, object: ObjectFacts) -> Result<(), Stop> {
        loop {
            match self.scopes.place(&object.key) {
                Place::Inside => break,
                Place::Behind => self.close_scope().await?,
                Place::Outside if self.excludes.matches(&object.key) => return Ok(()),
                Place::Outside => match self.adoption.take(&object.key) {
                    Some(user) => {
                        self.sink.adopt(&user).await?;
                        if self.policy.deletes {
                            self.sink.unsettle(&[user.id]).await?;
                        }
                        self.report.tally.users_adopted += 1;
                        let failed = self.doubts.failed_within(&user.prefix.scope());
                        let complete = !failed && !self.spans.cover(&object.key);
                        self.scopes.adopt(user, complete);
                    }
                    None => {
                        self.unclaimed(&object);
                        return Ok(());
                    }
                },
            }
        }
        let Some(scope) = self.scopes.current() else { return Ok(()) };
        scope.walked = true;
        scope.listed_at = scope.listed_at.or(self.as_of);
        let (user, path_at, adopted) = (scope.user.id, scope.start.len(), scope.adopted);
        let left_out = self.excludes.matches(&object.key[path_at..]);
        if left_out && adopted {
            return Ok(());
        }
        if !left_out && object.key.len() - path_at > self.longest_path {
            let reason = BadReason::TooLong(self.longest_path);
            self.bad_entry(&BadEntry { shown: object.key, reason, hides: Hides::Nothing });
            return Ok(());
        }
        if !left_out && i64::try_from(object.size).is_err() {
            let hides = Hides::Key(object.key.clone());
            self.bad_entry(&BadEntry { shown: object.key, reason: BadReason::TooLarge, hides });
            return Ok(());
        }
        self.report.tally.objects += u64::from(!left_out);
        loop {
            if !adopted && !self.cursor.is_ready() {
                self.load(user).await?;
            }
            match front(&object.key[path_at..], self.cursor.peek_path()) {
                Front::Record => self.orphan()?,
                Front::Both if left_out => return self.pass_left_out(Some(&object)),
                Front::Object if left_out => {
                    return Ok(self.waiting.note(self.proof.fingerprint(&object), Side::Twin, 0)?);
                }
                Front::Both => {
                    self.scopes.count_matched(|| self.cursor.peek().and_then(|record| record.created_at));
                    return self.pair(object);
                }
                Front::Object => return self.missing(object),
            }
        }
    }

    /// Takes the records before `key`, to which the listing has come without an object.
    async fn pass_records_before(&mut self, key: &str) -> Result<(), Stop> {
        while self.scopes.place(key) == Place::Behind {
            self.close_scope().await?;
        }
        if self.scopes.place(key) != Place::Inside {
            return Ok(());
        }
        let Some(scope) = self.scopes.current() else { return Ok(()) };
        let (user, path_at, adopted) = (scope.user.id, scope.start.len(), scope.adopted);
        if adopted {
            return Ok(());
        }
        loop {
            self.load(user).await?;
            if front(&key[path_at..], self.cursor.peek_path()) != Front::Record {
                return Ok(());
            }
            self.orphan()?;
        }
    }

    /// Writes what is at hand.
    pub(super) async fn flush(&mut self) -> Result<(), Stop> {
        if self.policy.deletes && !self.unsettled && !self.writes.creates.is_empty() {
            // Before the first addition: should this run be refused or break off, the next one has to know.
            self.unsettled = true;
            self.sink.unsettle(&self.scopes.users()).await?;
        }
        if self.writes.len() > 0 {
            self.sink.write(std::mem::take(&mut self.writes)).await?;
        }
        Ok(())
    }
}
