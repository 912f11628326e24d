//! The end of a user's part of the listing: what has waited for it is decided.

use super::evidence::{self, About, Found};
use super::numbers::Sorted;
use super::plan::{OrphanPlan, SkipReason, plan_orphan};
use super::report::{Action, FindingKind};
use super::run::{Planned, Run, WRITES};
use super::scopes::Scope;
use super::stop::Stop;
use super::waiting::{CAME, DEFERRED, DOUBTED, Decided, Item, LEFT, Marks, Parked};
use crate::index::IndexError;
use crate::model::{ObjectFacts, Orphan, Prefix, RenameProof, Timestamp, UserId};
use crate::storage::{Doubt, content_type_of};

/// How many orphans are decided at a time.
const ORPHANS: usize = 1_000;

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
        // Without an object of the user, the listing is as old as what came last.
        scope.listed_at = scope.listed_at.or(self.as_of);
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
        let (whose, prefix) = (Whose::of(scope), scope.user.prefix.clone());
        let proof = if scope.inodes.have_changed() { RenameProof::Nothing } else { self.proof };
        let mut parked = self.waiting.finish()?;
        let first = self.first_look(&parked, &whose, &prefix).await?;
        let decided = parked.pair(proof, &first.marks)?;
        if decided.too_many > 0 {
            let renames = decided.too_many;
            tracing::warn!(
                user = whose.user,
                renames,
                "too many renames change hands in one chain; they are not followed"
            );
        }
        self.respell(&parked, first.respelled, &whose, &prefix).await?;
        let mut unproven = self.carry_all(&parked, &decided, &whose, &prefix).await?;
        let mut late = self.ask_hidden(&parked, &decided, &whose, &prefix).await?;
        self.settle_items(&parked, &decided, [&first.marks, &unproven.sort()?, &late.sort()?], (&whose, &prefix))
            .await?;
        self.decide_orphans().await
    }

    /// Does with what has not moved what its mode does with what is missing, stale or orphaned.
    async fn settle_items(
        &mut self,
        parked: &Parked,
        decided: &Decided,
        [first, unproven, late]: [&Sorted; 3],
        (whose, prefix): (&Whose, &Prefix),
    ) -> Result<(), Stop> {
        let moved = decided.marks()?;
        let mut items = parked.items.iter()?;
        let [mut first, mut unproven, mut late, mut moved] = [first, unproven, late, &moved].map(Marks::new);
        let mut twins = Marks::new(&decided.candidates);
        while let Some((place, item)) = items.next()? {
            let is_moved = moved.of(place)? & (LEFT | CAME) != 0 && unproven.of(place)? == 0;
            let marks = first.of(place)? | late.of(place)?;
            let twin = twins.first_of(place)?;
            match item {
                // Its record was carried, or one was carried to it, or both.
                _ if is_moved || marks & (LEFT | CAME) != 0 => {}
                Item::Orphan(orphan) if marks & DOUBTED != 0 => self.pass_doubted(&orphan),
                Item::Orphan(orphan) => {
                    if !self.spans.cover(&prefix.key_of(&orphan.path)) {
                        self.report.tally.orphaned += 1;
                        let twin = twin.map(|place| parked.items.get(place)).transpose()?;
                        self.orphans.push((orphan, twin.and_then(|twin| twin.path_of_object(whose.path_at))));
                    }
                }
                Item::Missing(object) if marks & DEFERRED != 0 => self.defer(&object, whose),
                Item::Missing(object) => self.create(object, whose, false)?,
                Item::Stale(record, object, reasons) => self.refresh(record, object, &reasons, whose),
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

    /// Leaves an orphan of which it cannot be said whether its file is there.
    fn pass_doubted(&mut self, orphan: &Orphan) {
        self.scopes.count_unjudged(orphan.user, 1);
    }

    /// Leaves an object without a record: the storage does not say whether it is what a hidden record is of.
    fn defer(&mut self, object: &ObjectFacts, whose: &Whose) {
        self.report.tally.missing += 1;
        self.report.tally.deferred += 1;
        if self.observer.wants(FindingKind::Deferred) {
            let action = if self.policy.adds { Action::Skip } else { Action::None };
            let content_type = content_type_of(&object.key);
            let about = About { user: Some(whose.user), path_at: whose.path_at, content_type };
            let found = Found { kind: FindingKind::Deferred, action, reasons: vec!["no_record", "not_listed"] };
            self.observer.finding(&evidence::of_object(found, about, object, None));
        }
    }

    /// Decides about the orphans at hand: who is protected is asked once for all of them.
    async fn decide_orphans(&mut self) -> Result<(), Stop> {
        let orphans = std::mem::take(&mut self.orphans);
        if orphans.is_empty() {
            return Ok(());
        }
        let ids: Vec<_> = orphans.iter().map(|(o, _)| o.id).collect();
        let protected = self.index.protected(&ids).await?;
        let told = self.observer.wants(FindingKind::Orphaned);
        for (orphan, twin) in orphans {
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
                if told {
                    self.strays.orphan(self.proof.fingerprint(&orphan), self.queue.len())?;
                }
                self.queue.push(&Planned { orphan, plan, shared, twin })?;
            }
        }
        Ok(())
    }
}
