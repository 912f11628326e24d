//! The loop: one ordered listing routed to users, merged with their records; additions flow, deletions wait.

use super::adoption::Adoption;
use super::apply::{Sink, WriteBatch};
use super::cursor::RecordCursor;
use super::doubts::{Doubts, Shadow};
use super::evidence::{self, About, Found, tell_orphan};
use super::finding::{StaleReason, compare};
use super::merge::{Front, front};
use super::plan::{OrphanPlan, SkipReason, plan_orphan};
use super::queue::DeletionQueue;
use super::report::{Action, FindingKind, Observer, Phase, Progress, Report};
use super::request::Policy;
use super::scopes::{Place, Scopes};
use super::stop::Stop;
use crate::index::{Index, IndexError, NewRecord, Refresh};
use crate::model::{BadEntry, BadReason, Hides, ObjectFacts, Orphan, Timestamp, UserId};
use crate::storage::{Batch, Doubt, Listing, Step, StorageReader, content_type_of};

/// How many additions and refreshes one transaction has.
const WRITES: usize = 10_000;

/// How many orphans are decided at a time.
const ORPHANS: usize = 1_000;

/// A run that is under way.
pub(super) struct Run<'r> {
    pub(super) storage: &'r StorageReader,
    pub(super) index: &'r Index,
    pub(super) one_user: bool,
    pub(super) policy: Policy,
    pub(super) standing: super::identity::Standing,
    pub(super) scopes: Scopes,
    pub(super) adoption: Adoption,
    pub(super) cursor: RecordCursor,
    pub(super) doubts: Doubts,
    /// The last key of the batch before.
    pub(super) last: Option<String>,
    pub(super) sink: Box<dyn Sink>,
    pub(super) writes: WriteBatch,
    pub(super) orphans: Vec<Orphan>,
    pub(super) queue: DeletionQueue,
    /// Whether the index knows that additions of this run are under way.
    pub(super) unsettled: bool,
    pub(super) observer: &'r mut dyn Observer,
    pub(super) report: Report,
    pub(super) total: Option<u64>,
    /// The longest path that the index can hold.
    pub(super) longest_path: usize,
}

impl Run<'_> {
    /// Reads everything, then deletes what may go.
    pub(super) async fn all(&mut self, mut listing: Listing) -> Result<(), Stop> {
        loop {
            match listing.next().await {
                Step::Batch(batch) => self.batch(batch).await?,
                Step::Complete => {
                    while self.scopes.current().is_some() {
                        self.close_scope().await?;
                    }
                    break;
                }
                Step::Incomplete(doubt) => {
                    self.break_off(&doubt).await?;
                    break;
                }
            }
        }
        self.decide_orphans().await?;
        self.flush().await?;
        self.sink.settle().await?;
        self.delete().await
    }

    async fn batch(&mut self, batch: Batch) -> Result<(), Stop> {
        if let Some(last) = &self.last {
            self.doubts.pass(last);
        }
        // All of them first: what they could hide may lie between this batch and the one before.
        for entry in &batch.bad {
            self.bad_entry(entry);
        }
        let last = batch.objects.last().map(|o| o.key.clone());
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
        self.doubts.note(entry);
        if entry.reason.is_failure() {
            self.scopes.distrust(&entry.hides);
            self.report.note(entry.reason.code(), entry.to_string(), Some(entry.shown.clone()));
            return;
        }
        self.report.tally.unindexable += 1;
        if self.observer.wants(FindingKind::Unindexable) {
            let scope = self.scopes.iter().find(|s| entry.shown.starts_with(&s.start));
            self.observer.finding(&evidence::of_entry(entry, scope));
        }
    }

    async fn object(&mut self, object: ObjectFacts) -> Result<(), Stop> {
        loop {
            match self.scopes.place(&object.key) {
                Place::Inside => break,
                Place::Behind => self.close_scope().await?,
                Place::Outside => match self.adoption.take(&object.key) {
                    Some(user) => {
                        self.sink.adopt(&user).await?;
                        if self.policy.deletes {
                            self.sink.unsettle(&[user.id]).await?;
                        }
                        self.report.tally.users_adopted += 1;
                        let complete = !self.doubts.failed_within(&user.prefix.scope());
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
        let (user, path_at, adopted) = (scope.user.id, scope.start.len(), scope.adopted);
        if object.key.len() - path_at > self.longest_path {
            let reason = BadReason::TooLong(self.longest_path);
            self.bad_entry(&BadEntry { shown: object.key, reason, hides: Hides::Nothing });
            return Ok(());
        }
        self.report.tally.objects += 1;
        loop {
            if !adopted && !self.cursor.is_ready() {
                self.cursor.load(user).await?;
            }
            match front(&object.key[path_at..], self.cursor.peek_path()) {
                Front::Record => self.orphan().await?,
                Front::Both => {
                    self.scopes.count_matched();
                    self.pair(object, path_at, user);
                    return Ok(());
                }
                Front::Object => {
                    self.missing(object, path_at, user);
                    return Ok(());
                }
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
            self.cursor.load(user).await?;
            if front(&key[path_at..], self.cursor.peek_path()) != Front::Record {
                return Ok(());
            }
            self.orphan().await?;
        }
    }

    fn unclaimed(&mut self, object: &ObjectFacts) {
        self.report.tally.unclaimed += u64::from(!self.one_user);
        if self.observer.wants(FindingKind::Unclaimed) {
            let about = About { user: None, path_at: 0, content_type: content_type_of(&object.key) };
            let found = Found { kind: FindingKind::Unclaimed, action: Action::None, reasons: vec!["no_user"] };
            self.observer.finding(&evidence::of_object(found, about, object, None));
        }
    }

    fn missing(&mut self, object: ObjectFacts, path_at: usize, user: UserId) {
        self.report.tally.missing += 1;
        let content_type = content_type_of(&object.key);
        let action = if self.policy.adds { Action::Create } else { Action::None };
        if self.observer.wants(FindingKind::Missing) {
            let about = About { user: Some(user), path_at, content_type };
            let found = Found { kind: FindingKind::Missing, action, reasons: vec!["no_record"] };
            self.observer.finding(&evidence::of_object(found, about, &object, None));
        }
        if action == Action::Create {
            let mut first = self.cursor.peek_path().is_none();
            if let Some(scope) = self.scopes.current() {
                scope.added += 1;
                first &= scope.records() == 0;
            }
            self.writes.creates.push(NewRecord { user, object, path_at, content_type, first });
        }
    }

    /// Judges an object and the record that stands at the cursor.
    fn pair(&mut self, object: ObjectFacts, path_at: usize, user: UserId) {
        let content_type = content_type_of(&object.key);
        let record = self.cursor.peek();
        if let Some(damaged) = record.filter(|record| record.damaged) {
            self.damaged(&IndexError::Damaged(damaged.id));
        } else if let Some(record) = record {
            let reasons = compare(&object, content_type, &record, self.storage.etag_meaning());
            let (kind, action) = match (&reasons, self.policy.adds) {
                (None, _) => (FindingKind::Matched, Action::None),
                (Some(_), true) => (FindingKind::Stale, Action::Update),
                (Some(_), false) => (FindingKind::Stale, Action::None),
            };
            if self.observer.wants(kind) {
                let about = About { user: Some(user), path_at, content_type };
                let reasons = reasons.iter().flatten().copied().map(StaleReason::as_str).collect();
                let found = Found { kind, action, reasons };
                self.observer.finding(&evidence::of_object(found, about, &object, Some(&record)));
            }
            self.report.tally.stale += u64::from(kind == FindingKind::Stale);
            if action == Action::Update {
                let (id, version) = (record.id, record.version.to_vec());
                self.writes.updates.push(Refresh { id, version, object, content_type });
            }
        }
        self.pass_record();
    }

    /// Takes the record at the cursor, for which there is no object.
    async fn orphan(&mut self) -> Result<(), Stop> {
        let record = self.cursor.peek();
        if let Some(damaged) = record.filter(|record| record.damaged) {
            self.damaged(&IndexError::Damaged(damaged.id));
        } else if let (Some(record), Some(scope)) = (record, self.scopes.current()) {
            let key = scope.user.prefix.key_of(record.path);
            match self.doubts.shadow(&key) {
                Shadow::None => {
                    self.report.tally.orphaned += 1;
                    self.orphans.push(Orphan::of(scope.user.id, &record));
                }
                Shadow::Itself => {}
                Shadow::Below => {
                    if std::mem::replace(&mut scope.complete, false) {
                        let why = "has records below an entry that could not be entered; its records are not judged";
                        let message = format!("user {} {why}: {key:?}", scope.user.id);
                        self.report.note("hidden_records", message, Some(key));
                    }
                }
            }
        }
        self.pass_record();
        if self.orphans.len() >= ORPHANS { self.decide_orphans().await } else { Ok(()) }
    }

    fn pass_record(&mut self) {
        self.scopes.count_record(|| self.cursor.peek().and_then(|record| record.created_at));
        self.cursor.advance();
        self.report.tally.records += 1;
    }

    /// Ends the current scope: the listing is past it, so its remaining records have no object.
    async fn close_scope(&mut self) -> Result<(), Stop> {
        let Some(scope) = self.scopes.current() else { return Ok(()) };
        scope.walked = true;
        let user = scope.user.id;
        if !scope.adopted {
            loop {
                self.cursor.load(user).await?;
                if self.cursor.peek_path().is_none() {
                    break;
                }
                self.orphan().await?;
            }
            self.leave_user();
        }
        self.scopes.advance();
        Ok(())
    }

    /// Leaves the user at whose end the cursor is.
    fn leave_user(&mut self) {
        if let Some(record) = self.cursor.broken_at() {
            self.damaged(&IndexError::Damaged(record));
            self.scopes.distrust_current();
        }
        if let Some(record) = self.cursor.blob_path() {
            self.damaged(&IndexError::BlobPath(record));
        }
        self.cursor.leave();
    }

    /// Tells of a record that nobody can judge; it is left as it is, and the others are judged.
    fn damaged(&mut self, error: &IndexError) {
        self.report.note(error.code(), error.to_string(), None);
    }

    /// Ends the listing in doubt: what it has not proven absent is counted and left alone.
    async fn break_off(&mut self, doubt: &Doubt) -> Result<(), Stop> {
        match doubt {
            Doubt::OutOfOrder { next, .. } => {
                self.scopes.distrust_all();
                self.report.note("listing_out_of_order", doubt.to_string(), Some(next.clone()));
            }
            Doubt::BrokenOff { trouble, last } => {
                self.scopes.distrust_rest();
                match last {
                    None => self.report.fail(trouble.code, doubt.to_string()),
                    Some(_) => self.report.note(trouble.code, doubt.to_string(), None),
                }
            }
        }
        while let Some(scope) = self.scopes.current() {
            let (user, adopted) = (scope.user.id, scope.adopted);
            if !adopted {
                self.cursor.load(user).await?;
                while self.cursor.peek_path().is_some() {
                    self.pass_record();
                    self.cursor.load(user).await?;
                }
                self.leave_user();
            }
            self.scopes.advance();
        }
        Ok(())
    }

    /// Decides about the orphans at hand: who is protected is asked once for all of them.
    async fn decide_orphans(&mut self) -> Result<(), Stop> {
        let orphans = std::mem::take(&mut self.orphans);
        if orphans.is_empty() {
            return Ok(());
        }
        let ids: Vec<_> = orphans.iter().map(|o| o.id).collect();
        let protected = self.index.protected(&ids).await?;
        for orphan in &orphans {
            let shared = protected.contains(&orphan.id);
            let made = orphan.created_at.map(Timestamp::from_micros);
            match plan_orphan(shared, made, &self.policy) {
                OrphanPlan::Delete => {
                    self.queue.push(orphan)?;
                    self.scopes.count_queued(orphan.user, made);
                }
                OrphanPlan::Skip(reason) => {
                    self.report.tally.skipped += 1;
                    if reason == SkipReason::TooYoung {
                        self.scopes.count_young(orphan.user);
                    }
                    self.tell(orphan, Action::Skip, reason.as_str());
                }
                OrphanPlan::Keep => {
                    let reason = if shared { SkipReason::ActiveShare.as_str() } else { "no_object" };
                    self.tell(orphan, Action::None, reason);
                }
            }
        }
        Ok(())
    }

    fn tell(&mut self, orphan: &Orphan, action: Action, reason: &'static str) {
        // Whose prefix it is takes a search, which only a listener is worth.
        if self.observer.wants(FindingKind::Orphaned) {
            let scope = self.scopes.iter().find(|s| s.user.id == orphan.user);
            let key = scope.map_or_else(|| orphan.path.clone(), |s| s.user.prefix.key_of(&orphan.path));
            tell_orphan(self.observer, orphan, key, action, reason);
        }
    }

    async fn flush(&mut self) -> Result<(), Stop> {
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
