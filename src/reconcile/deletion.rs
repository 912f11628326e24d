//! The second half of a run: everything has been read, the guard speaks once, and each record that may go is looked for
//! once more before it does.

use std::collections::HashMap;

use futures::{StreamExt as _, stream};

use super::apply::Sink;
use super::evidence::tell_orphan;
use super::guard::{Cleared, Verdict};
use super::identity::{Seen, Standing, changed_storage};
use super::plan::SkipReason;
use super::queue::DeletionQueue;
use super::report::{Action, FindingKind, Observer, Phase, Progress, Report};
use super::standing::seen_in;
use super::stop::Stop;
use crate::index::Fate;
use crate::model::{Orphan, Prefix, UserId};
use crate::storage::{Glance, StorageReader, Trouble, UNREACHABLE};

/// How many records one transaction deletes.
const BATCH: usize = 500;

/// How many objects are asked for at a time.
const GLANCES: usize = 32;

/// Carries out the deletions that `verdict` lets through.
pub(super) struct Deletion<'r> {
    pub(super) storage: &'r StorageReader,
    pub(super) standing: Standing,
    pub(super) prefixes: HashMap<UserId, Prefix>,
    pub(super) verdict: Verdict,
    pub(super) sink: &'r mut dyn Sink,
    pub(super) report: &'r mut Report,
    pub(super) observer: &'r mut dyn Observer,
    /// How many looks in a row the server did not answer.
    pub(super) silent: usize,
    /// Whether the storage turned out not to be the right one any more.
    pub(super) stopped: bool,
}

impl Deletion<'_> {
    /// Works through the queue. Tells whether the storage stayed the right one to the end.
    pub(super) async fn run(mut self, queue: DeletionQueue) -> Result<bool, Stop> {
        let total = queue.len();
        if total == 0 || (self.verdict.is_closed() && !self.observer.wants(FindingKind::Orphaned)) {
            return Ok(true);
        }
        let mut batches = queue.into_batches(BATCH)?;
        let mut done = 0;
        loop {
            let orphans = batches.next()?;
            if orphans.is_empty() {
                return Ok(!self.stopped);
            }
            self.batch(&orphans).await?;
            done += orphans.len() as u64;
            self.observer.progress(Progress { phase: Phase::Deleting, done, total: Some(total) });
        }
    }

    async fn batch(&mut self, orphans: &[Orphan]) -> Result<(), Stop> {
        let mut cleared = Vec::with_capacity(orphans.len());
        for orphan in orphans {
            match self.verdict.clear(orphan) {
                Some(may_go) => cleared.push(may_go),
                None => self.tell(orphan, Action::None, "refused"),
            }
        }
        let keys: Vec<String> = cleared.iter().map(|c| self.key_of(c.orphan())).collect();
        let glances = self.look(&keys).await;
        let mut absent: Vec<Cleared<'_>> = Vec::with_capacity(cleared.len());
        for ((may_go, glance), key) in cleared.into_iter().zip(glances).zip(keys) {
            match glance {
                Glance::Absent => absent.push(may_go),
                Glance::Present => self.keep(may_go.orphan(), SkipReason::Reappeared),
                Glance::Unaddressable => self.keep(may_go.orphan(), SkipReason::Unaddressable),
                Glance::Unknown(why) => {
                    self.keep(may_go.orphan(), SkipReason::Unanswered);
                    let message = format!("{key:?} could not be looked for, so its record is kept: {}", why.message);
                    self.report.note("head_failed", message, Some(key));
                }
            }
        }
        if absent.is_empty() {
            return Ok(());
        }
        if !self.is_same_storage().await? {
            absent.iter().for_each(|kept| self.tell(kept.orphan(), Action::None, "refused"));
            return Ok(());
        }
        let fates = self.sink.delete(&absent).await?;
        for (gone, fate) in absent.iter().zip(fates) {
            match fate {
                Fate::Deleted => {
                    self.report.tally.deleted += 1;
                    self.tell(gone.orphan(), Action::Delete, "no_object");
                }
                Fate::Changed => self.keep(gone.orphan(), SkipReason::Changed),
                Fate::Protected => self.keep(gone.orphan(), SkipReason::ActiveShare),
            }
        }
        Ok(())
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

    /// Looks for each of `keys`, but not for ever: a server that is gone would cost its timeout for each of them.
    async fn look(&mut self, keys: &[String]) -> Vec<Glance> {
        let storage = self.storage;
        let mut glances = Vec::with_capacity(keys.len());
        let mut answers = stream::iter(keys).map(|key| storage.glance(key)).buffered(GLANCES);
        while self.silent < GLANCES {
            let Some(glance) = answers.next().await else { return glances };
            let gone = storage.is_remote() && matches!(glance, Glance::Unknown(_));
            self.silent = if gone { self.silent + 1 } else { 0 };
            glances.push(glance);
        }
        let message = "not asked any more, since the server stopped answering".to_owned();
        glances.resize(keys.len(), Glance::Unknown(Trouble { code: UNREACHABLE, message }));
        glances
    }

    fn key_of(&self, orphan: &Orphan) -> String {
        self.prefixes.get(&orphan.user).map_or_else(|| orphan.path.clone(), |prefix| prefix.key_of(&orphan.path))
    }

    fn keep(&mut self, orphan: &Orphan, reason: SkipReason) {
        self.report.tally.skipped += 1;
        self.tell(orphan, Action::Skip, reason.as_str());
    }

    fn tell(&mut self, orphan: &Orphan, action: Action, reason: &'static str) {
        let key = self.key_of(orphan);
        tell_orphan(self.observer, orphan, key, action, reason);
    }
}
