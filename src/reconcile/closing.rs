//! The end of a user's part of the listing: what has waited for it is decided.

use super::evidence::{self, About, Found};
use super::finding::StaleReason;
use super::plan::{OrphanPlan, SkipReason, plan_orphan};
use super::report::{Action, FindingKind, IndexSide};
use super::run::{Run, WRITES};
use super::scopes::Scope;
use super::stop::Stop;
use super::waiting::{Decided, Item, UNDECIDED};
use crate::index::IndexError;
use crate::model::{ObjectFacts, Orphan, Prefix, Timestamp, UserId};
use crate::storage::{Doubt, content_type_of};

/// How many orphans are decided at a time.
const ORPHANS: usize = 1_000;

/// Said of what might be a renamed file.
const UNDECIDED_MOVE: &str = "undecided_move";

/// Whose something is.
#[derive(Debug, Clone)]
pub(super) struct Whose {
    pub(super) user: UserId,
    /// Where in a key of the user the path begins.
    pub(super) path_at: usize,
}

impl Whose {
    pub(super) fn of(scope: &Scope) -> Self {
        Self { user: scope.user.id, path_at: scope.start.len() }
    }
}

impl Run<'_> {
    /// Ends the current scope: the listing is past it, so its remaining records have no object.
    pub(super) async fn close_scope(&mut self) -> Result<(), Stop> {
        let Some(scope) = self.scopes.current() else { return Ok(()) };
        scope.walked = true;
        let user = scope.user.id;
        if !scope.adopted {
            loop {
                self.load(user).await?;
                if self.cursor.peek_path().is_none() {
                    break;
                }
                self.orphan()?;
            }
            self.leave_user();
        }
        self.decide().await?;
        self.scopes.advance();
        Ok(())
    }

    /// Waits for the next record of `user`.
    pub(super) async fn load(&mut self, user: UserId) -> Result<(), Stop> {
        self.cursor.load(user).await?;
        for record in self.cursor.take_unplaced() {
            self.damaged(&IndexError::Damaged(record));
        }
        Ok(())
    }

    /// Leaves the user at whose end the cursor is.
    fn leave_user(&mut self) {
        if let Some(record) = self.cursor.blob_path() {
            self.damaged(&IndexError::BlobPath(record));
        }
        self.cursor.leave();
    }

    /// Ends the listing in doubt: what it has not proven absent is counted and left alone.
    pub(super) async fn break_off(&mut self, doubt: &Doubt) -> Result<(), Stop> {
        self.scopes.distrust_rest();
        if let Doubt::BrokenOff { trouble, last } = doubt {
            match last {
                None => self.report.fail(trouble.code, doubt.to_string()),
                Some(_) => self.report.note(trouble.code, doubt.to_string(), None),
            }
        }
        while let Some(scope) = self.scopes.current() {
            let (user, adopted) = (scope.user.id, scope.adopted);
            if !adopted {
                self.load(user).await?;
                while self.cursor.peek_path().is_some() {
                    self.pass_hidden()?;
                    self.load(user).await?;
                }
                self.leave_user();
            }
            self.decide().await?;
            self.scopes.advance();
        }
        Ok(())
    }

    /// Decides about all that has waited for the end of the current user.
    async fn decide(&mut self) -> Result<(), Stop> {
        let Some(scope) = self.scopes.current() else { return Ok(()) };
        let (whose, prefix, complete) = (Whose::of(scope), scope.user.prefix.clone(), scope.complete);
        let decided = self.waiting.decide(complete)?;
        self.carry(&decided, &whose, &prefix).await?;
        self.settle_items(&decided, &whose, &prefix).await?;
        self.decide_orphans().await
    }

    /// Does with what has not moved what its mode does with what is missing, stale or orphaned.
    async fn settle_items(&mut self, decided: &Decided, whose: &Whose, prefix: &Prefix) -> Result<(), Stop> {
        let (mut items, mut fates) = (decided.items.iter()?, decided.fates());
        while let Some((place, item)) = items.next()? {
            match (item, fates.of(place)?) {
                (Item::Orphan(orphan), 0) => {
                    if !self.spans.cover(&prefix.key_of(&orphan.path)) {
                        self.report.tally.orphaned += 1;
                        self.orphans.push(orphan);
                    }
                }
                (Item::Orphan(orphan), UNDECIDED) => self.defer_orphan(&orphan, prefix),
                (Item::Missing(object), 0) => self.create(object, whose, false)?,
                (Item::Missing(object), UNDECIDED) => self.defer_missing(&object, whose),
                (Item::Stale(record, object, reasons), 0) => self.refresh(record, object, &reasons, whose),
                (Item::Stale(record, object, reasons), UNDECIDED) => {
                    self.defer_stale(&record, &object, &reasons, whose)
                }
                // Its record was carried, or one was carried to it, or both.
                (Item::Orphan(_) | Item::Missing(_) | Item::Stale(..), _) => {}
            }
            if self.orphans.len() >= ORPHANS {
                self.decide_orphans().await?;
            }
            if self.writes.len() >= WRITES {
                self.flush().await?;
            }
        }
        Ok(())
    }

    fn defer_orphan(&mut self, orphan: &Orphan, prefix: &Prefix) {
        self.report.tally.orphaned += 1;
        self.report.tally.deferred += 1;
        self.report.tally.skipped += u64::from(self.policy.deletes);
        self.scopes.count_unjudged(orphan.user, 1);
        if self.observer.wants(FindingKind::Deferred) {
            let action = if self.policy.deletes { Action::Skip } else { Action::None };
            let found = Found { kind: FindingKind::Deferred, action, reasons: vec!["no_object", UNDECIDED_MOVE] };
            self.observer.finding(&evidence::of_orphan(found, orphan, prefix.key_of(&orphan.path)));
        }
    }

    /// Leaves a pair as it is whose record might be the one that has moved.
    fn defer_stale(&mut self, record: &Orphan, object: &ObjectFacts, stale: &[StaleReason], whose: &Whose) {
        self.report.tally.stale += 1;
        self.report.tally.deferred += 1;
        if self.observer.wants(FindingKind::Deferred) {
            let action = if self.policy.adds { Action::Skip } else { Action::None };
            let about =
                About { user: Some(whose.user), path_at: whose.path_at, content_type: content_type_of(&object.key) };
            let reasons = stale.iter().copied().map(StaleReason::as_str).chain([UNDECIDED_MOVE]).collect();
            let found = Found { kind: FindingKind::Deferred, action, reasons };
            let index = Some(IndexSide::from(record));
            self.observer.finding(&evidence::of_object(found, about, object, index));
        }
    }

    fn defer_missing(&mut self, object: &ObjectFacts, whose: &Whose) {
        self.report.tally.missing += 1;
        self.report.tally.deferred += 1;
        if self.observer.wants(FindingKind::Deferred) {
            let action = if self.policy.adds { Action::Skip } else { Action::None };
            let content_type = content_type_of(&object.key);
            let about = About { user: Some(whose.user), path_at: whose.path_at, content_type };
            let found = Found { kind: FindingKind::Deferred, action, reasons: vec!["no_record", UNDECIDED_MOVE] };
            self.observer.finding(&evidence::of_object(found, about, object, None));
        }
    }

    /// Decides about the orphans at hand: who is protected is asked once for all of them.
    async fn decide_orphans(&mut self) -> Result<(), Stop> {
        let orphans = std::mem::take(&mut self.orphans);
        if orphans.is_empty() {
            return Ok(());
        }
        let ids: Vec<_> = orphans.iter().map(|o| o.id).collect();
        let protected = self.index.protected(&ids).await?;
        let told = self.observer.wants(FindingKind::Orphaned);
        for orphan in orphans {
            let shared = protected.contains(&orphan.id);
            let made = orphan.created_at.map(Timestamp::from_micros);
            let plan = plan_orphan(shared, made, &self.policy);
            match plan {
                OrphanPlan::Delete => {
                    self.doomed += 1;
                    self.scopes.count_queued(orphan.user, made);
                }
                OrphanPlan::Skip(reason) => {
                    self.report.tally.skipped += 1;
                    if reason == SkipReason::TooYoung {
                        self.scopes.count_unjudged(orphan.user, 1);
                    }
                }
                OrphanPlan::Keep => {}
            }
            // All are told at the end: only then is it known whether the file is another user's now.
            if told || plan == OrphanPlan::Delete {
                if told && self.moves {
                    self.strays.orphan(orphan.fingerprint(), self.queue.len())?;
                }
                self.queue.push(&(orphan, plan, shared))?;
            }
        }
        Ok(())
    }
}
