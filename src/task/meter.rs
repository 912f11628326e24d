//! What listens to the run of a task: how far it is, and what it finds.

use std::sync::Arc;

use serde::Serialize;
use tokio::time::Instant;

use super::findings::Spool;
use super::live::{Live, State};
use crate::reconcile::{Evidence, FindingKind, Observer, Phase, Progress};

/// How far a task is.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[cfg_attr(feature = "server", derive(poem_openapi::Object))]
pub struct ProgressWire {
    /// What it is busy with: `reading`, `moving` or `deleting`.
    pub phase: String,
    /// How much is done: objects or records, moves, deletions.
    pub done: u64,
    /// How much there is to do, if that can be known.
    pub total: Option<u64>,
    /// How much is done in a second.
    pub rate: f64,
    /// In how many seconds this phase ends, if that can be known.
    pub eta_seconds: Option<f64>,
}

/// Progress over time.
#[derive(Debug, Default)]
pub(super) struct Gauge {
    last: Option<(Progress, Instant, Instant)>,
}

impl Gauge {
    pub(super) fn note(&mut self, progress: Progress) {
        let now = Instant::now();
        let since = match self.last {
            Some((last, since, _)) if last.phase == progress.phase => since,
            Some((_, _, at)) => at,
            None => now,
        };
        self.last = Some((progress, since, now));
    }

    #[expect(clippy::cast_precision_loss, reason = "a rate is an estimate")]
    pub(super) fn read(&self) -> Option<ProgressWire> {
        let (Progress { phase, done, total }, since, at) = self.last?;
        let seconds = (at - since).as_secs_f64();
        let rate = if seconds > 0.0 { done as f64 / seconds } else { 0.0 };
        let left = total.map(|total| total.saturating_sub(done));
        let eta_seconds = left.filter(|_| rate > 0.0).map(|left| (left as f64 / rate * 10.0).round() / 10.0);
        let phase = match phase {
            Phase::Reading => "reading",
            Phase::Moving => "moving",
            Phase::Deleting => "deleting",
        };
        Some(ProgressWire { phase: phase.to_owned(), done, total, rate: rate.round(), eta_seconds })
    }
}

/// Listens to the run of one task.
pub(super) struct Meter {
    pub(super) live: Arc<Live>,
    pub(super) spool: Option<Spool>,
}

impl Meter {
    /// Lets all findings go: some of them would look like all.
    pub(super) fn lose(&mut self) {
        if let Some(spool) = self.spool.take() {
            spool.remove();
        }
    }
}

impl Observer for Meter {
    fn wants(&self, kind: FindingKind) -> bool {
        self.spool.is_some() && kind != FindingKind::Matched
    }

    fn begins(&mut self) {
        self.live.set(State::Running);
    }

    fn finding(&mut self, evidence: &Evidence) {
        if let Some(spool) = &mut self.spool
            && let Err(error) = spool.take(evidence)
        {
            tracing::warn!(%error, "findings cannot be kept any more; make room where --findings points to");
            self.lose();
        }
    }

    fn wants_progress(&self) -> bool {
        true
    }

    fn progress(&mut self, progress: Progress) {
        self.live.note(progress);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn rate_and_rest_follow_from_what_was_done() {
        let mut gauge = Gauge::default();
        assert_eq!(gauge.read(), None);
        gauge.note(Progress { phase: Phase::Reading, done: 0, total: Some(1_000) });
        assert_eq!(gauge.read().unwrap().eta_seconds, None);
        tokio::time::advance(Duration::from_secs(2)).await;
        gauge.note(Progress { phase: Phase::Reading, done: 200, total: Some(1_000) });
        let read = gauge.read().unwrap();
        assert_eq!((read.rate, read.eta_seconds), (100.0, Some(8.0)));
        tokio::time::advance(Duration::from_secs(1)).await;
        gauge.note(Progress { phase: Phase::Deleting, done: 50, total: None });
        let read = gauge.read().unwrap();
        assert_eq!((read.phase.as_str(), read.rate, read.eta_seconds), ("deleting", 50.0, None));
    }
}
