//! The second half of a run: everything has been read, the guard speaks once, and each record that may go is looked for
//! once more before it does.

use std::collections::{HashMap, HashSet};

use super::apply::Sink;
use super::cancel::Cancel;
use super::evidence::{Found, of_orphan};
use super::guard::{Cleared, Verdict};
use super::identity::{Seen, Standing, changed_storage};
use super::looks::{Looks, code_of};
use super::plan::{OrphanPlan, SkipReason};
use super::report::{Action, Evidence, FindingKind, Observer, Phase, Progress, Report};
use super::run::Planned;
use super::spans::Spans;
use super::spool::Spool;
use super::standing::seen_in;
use super::stop::Stop;
use super::strays::Strays;
use crate::index::Fate;
use crate::model::{Orphan, Prefix, Timestamp, UserId};
use crate::storage::{Glance, StorageReader};

/// How many records one transaction deletes.
const BATCH: usize = 500;

/// An orphan that may go.
struct Doomed {
    orphan: Orphan,
    /// Whether its file may be another user's now.
    strayed: bool,
    /// The path of an object that it might be of.
    twin: Option<String>,
}

/// Carries out the deletions that `verdict` lets through, and tells of all orphans.
pub(super) struct Deletion<'d, 'r> {
    pub(super) storage: &'r StorageReader,
    pub(super) standing: Standing,
    pub(super) looks: &'d mut Looks<'r>,
    pub(super) prefixes: HashMap<UserId, Prefix>,
    pub(super) verdict: Verdict,
    pub(super) spans: &'d Spans,
    pub(super) sink: &'d mut dyn Sink,
    pub(super) report: &'d mut Report,
    pub(super) observer: &'d mut dyn Observer,
    pub(super) cancel: Cancel,
    /// Whether the storage turned out not to be the right one any more.
    pub(super) stopped: bool,
    /// Users with a record that was let through, and of which nobody could say whether it may go.
    pub(super) undecided: HashSet<UserId>,
    /// The moment, by the storage's clock, at which the listing came to each user.
    pub(super) listed_at: HashMap<UserId, Timestamp>,
    /// Users whose listing was shown to lack objects that are there: nothing more of theirs is deleted.
    pub(super) wrong: &'d mut HashSet<UserId>,
}

impl Deletion<'_, '_> {
    /// Works through the queue, in which so many are `doomed`. Returns the users of whom not everything could be decided;
    /// nothing when the storage did not stay the right one to the end.
    pub(super) async fn run(
        mut self,
        mut queue: Spool<Planned>,
        mut strays: Strays,
        doomed: u64,
    ) -> Result<Option<HashSet<UserId>>, Stop> {
        if queue.len() == 0 || (self.verdict.is_closed() && !self.observer.wants(FindingKind::Orphaned)) {
            return Ok(Some(self.undecided));
        }
        let (queue, strays) = (queue.finish()?, strays.find()?);
        let (mut items, mut strays) = (queue.iter()?, strays.iter());
        let (mut number, mut done) = (0, 0);
        loop {
            self.cancel.reason().map_or(Ok(()), Err)?;
            let planned = items.batch(BATCH)?;
            if planned.is_empty() {
                return Ok((!self.stopped).then_some(self.undecided));
            }
            let mut batch: Vec<Doomed> = Vec::with_capacity(planned.len());
            for Planned { orphan, plan, shared, twin } in planned {
                let strayed = strays.of(number, orphan.user)?;
                let doomed = Doomed { orphan, strayed, twin };
                number += 1;
                let why = if shared { SkipReason::ActiveShare.as_str() } else { "no_object" };
                match plan {
                    OrphanPlan::Keep => self.tell(&doomed, Action::None, why),
                    OrphanPlan::Skip(reason) => self.tell(&doomed, Action::Skip, reason.as_str()),
                    OrphanPlan::Delete if self.spans.cover(&self.key_of(&doomed.orphan)) => {
                        self.keep(&doomed, SkipReason::Hidden);
                    }
                    OrphanPlan::Delete => batch.push(doomed),
                }
            }
            if !batch.is_empty() {
                self.batch(&batch).await?;
                done += batch.len() as u64;
                self.observer.progress(Progress { phase: Phase::Deleting, done, total: Some(doomed) });
            }
        }
    }

    async fn batch(&mut self, orphans: &[Doomed]) -> Result<(), Stop> {
        let mut cleared = Vec::with_capacity(orphans.len());
        for doomed in orphans {
            match self.verdict.clear(&doomed.orphan) {
                Some(may_go) => cleared.push((may_go, doomed)),
                None => self.tell(doomed, Action::None, "refused"),
            }
        }
        let (mut absent, mut told): (Vec<Cleared<'_>>, Vec<&Doomed>) = (Vec::new(), Vec::new());
        // Users come one after the other.
        while let Some(user) = cleared.first().map(|(_, doomed)| doomed.orphan.user) {
            let count = cleared.iter().take_while(|(_, doomed)| doomed.orphan.user == user).count();
            let of_user: Vec<_> = cleared.drain(..count).collect();
            let Some(prefix) = self.prefixes.get(&user).cloned() else { continue };
            let paths: Vec<String> = of_user.iter().map(|(c, _)| c.orphan().path.clone()).collect();
            let glances = self.looks.look(&prefix, &paths).await;
            let mut gone = Vec::new();
            for ((may_go, doomed), glance) in of_user.into_iter().zip(glances) {
                match glance {
                    Glance::Absent => gone.push((may_go, doomed)),
                    other => self.stay(doomed, other).await,
                }
            }
            for (may_go, doomed) in gone {
                if self.wrong.contains(&user) {
                    self.keep(doomed, SkipReason::ListingWrong);
                } else {
                    absent.push(may_go);
                    told.push(doomed);
                }
            }
        }
        if absent.is_empty() {
            return Ok(());
        }
        if !self.is_same_storage().await? {
            told.into_iter().for_each(|kept| self.tell(kept, Action::None, "refused"));
            return Ok(());
        }
        let fates = self.sink.delete(&absent).await?;
        for (doomed, fate) in told.into_iter().zip(fates) {
            match fate {
                Fate::Deleted => {
                    self.report.tally.deleted += 1;
                    self.tell(doomed, Action::Delete, "no_object");
                }
                Fate::Changed => self.keep(doomed, SkipReason::Changed),
                Fate::Protected => self.keep(doomed, SkipReason::ActiveShare),
            }
        }
        Ok(())
    }

    /// Keeps an orphan that is not gone, and says why.
    async fn stay(&mut self, doomed: &Doomed, glance: Glance) {
        let (user, key) = (doomed.orphan.user, self.key_of(&doomed.orphan));
        match glance {
            Glance::Absent | Glance::Unaddressable => self.keep(doomed, SkipReason::Unaddressable),
            Glance::Present { since } => {
                let is_older = since.zip(self.listed_at.get(&user).copied()).is_some_and(|(since, at)| since < at);
                if is_older && self.storage.is_remote() && !self.is_listed_now(&key).await {
                    self.doubt_listing(user, &key);
                }
                self.keep(doomed, SkipReason::Reappeared);
            }
            Glance::Respelled { .. } => self.keep(doomed, SkipReason::Reappeared),
            Glance::Unlisted { .. } => {
                self.doubt_listing(user, &key);
                self.keep(doomed, SkipReason::Unlisted);
            }
            Glance::Unknown(why) => {
                self.keep(doomed, SkipReason::Unanswered);
                let message = format!("{key:?} could not be looked for, so its record is kept: {}", why.message);
                self.report.note(code_of(&why), message, Some(key));
            }
        }
    }

    /// Tells whether a listing of the place shows the object of `key` now; trouble is no proof that it does not.
    async fn is_listed_now(&self, key: &str) -> bool {
        self.storage.is_listed(key).await.unwrap_or(true)
    }

    /// Notes that the listing of `user` lacked an object that is there: nothing more of the user's is deleted on its word.
    fn doubt_listing(&mut self, user: UserId, key: &str) {
        if self.wrong.insert(user) {
            let message = format!(
                "the listing of user {user} is wrong: it lacks {key:?}, which is there; nothing more of this user's is deleted"
            );
            self.report.note_always("listing_wrong", message);
        }
    }

    /// Asks for the marker once more: on another storage, or none, every record would be an orphan. If its answer is not
    /// what it was, nothing is deleted any more.
    async fn is_same_storage(&mut self) -> Result<bool, Stop> {
        let Standing::Known(id) = self.standing else { return Ok(true) };
        match seen_in(self.storage.read_marker().await) {
            Ok(seen) if seen == Seen::Id(id) => return Ok(true),
            Ok(seen) => self.report.refusal = Some(changed_storage(id, seen)),
            Err(trouble) => {
                let message = format!("{}; nothing more was deleted", trouble.message);
                self.report.note_always("marker_unreadable", message);
            }
        }
        self.stopped = true;
        // What the run has added for them may be this other storage's.
        let kept = self.verdict.close();
        self.sink.unsettle(&kept).await?;
        Ok(false)
    }

    fn key_of(&self, orphan: &Orphan) -> String {
        self.prefixes.get(&orphan.user).map_or_else(|| orphan.path.clone(), |prefix| prefix.key_of(&orphan.path))
    }

    fn keep(&mut self, doomed: &Doomed, reason: SkipReason) {
        self.report.tally.skipped += 1;
        if matches!(
            reason,
            SkipReason::Unanswered
                | SkipReason::Hidden
                | SkipReason::Changed
                | SkipReason::Unlisted
                | SkipReason::ListingWrong
        ) {
            self.undecided.insert(doomed.orphan.user);
        }
        self.tell(doomed, Action::Skip, reason.as_str());
    }

    fn tell(&mut self, Doomed { orphan, strayed, twin }: &Doomed, action: Action, reason: &'static str) {
        if self.observer.wants(FindingKind::Orphaned) {
            let further = strayed.then_some("moved_to_user").into_iter().chain(twin.as_ref().map(|_| "twin"));
            let reasons = std::iter::once(reason).chain(further).collect();
            let found = Found { kind: FindingKind::Orphaned, action, reasons };
            let told = Evidence { candidate: twin.clone(), ..of_orphan(found, orphan, self.key_of(orphan)) };
            self.observer.finding(&told);
        }
    }
}
