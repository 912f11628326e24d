//! A task that is carried out here.

use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::watch;
use uuid::Uuid;

use super::error::TaskError;
use super::meter::{Gauge, ProgressWire};
use crate::reconcile::{Answer, Cancel, Progress};

/// How a task stands.
#[derive(Debug, Clone)]
pub enum State {
    /// Accepted; nothing was done yet.
    Ready,
    /// Under way.
    Running,
    /// It could not begin.
    Refused(TaskError),
    /// It has ended.
    Ended(Arc<Answer>),
}

/// A task that is carried out here.
#[derive(Debug)]
pub struct Live {
    /// The id.
    pub id: Uuid,
    /// The word that it should end.
    pub cancel: Cancel,
    state: watch::Sender<State>,
    gauge: Mutex<Gauge>,
    /// Whether its row has to stay, or is to go.
    row: AtomicU8,
}

/// What may become of the row of a task.
const OPEN: u8 = 0;
/// Somebody was told where to ask for it.
const TOLD: u8 = 1;
/// It could not begin, and nobody knows of it.
const FORGOTTEN: u8 = 2;

impl Live {
    pub(super) fn new(id: Uuid) -> Self {
        let gauge = Mutex::new(Gauge::default());
        let (state, row) = (watch::Sender::new(State::Ready), AtomicU8::new(OPEN));
        Self { id, cancel: Cancel::default(), state, gauge, row }
    }

    /// Returns how it stands.
    pub fn state(&self) -> State {
        self.state.borrow().clone()
    }

    /// Waits until it is past being `READY`.
    pub async fn begun(&self) -> State {
        self.until(|state| !matches!(state, State::Ready)).await
    }

    /// Waits until it has ended, or was refused.
    pub async fn ended(&self) -> State {
        self.until(|state| matches!(state, State::Refused(_) | State::Ended(_))).await
    }

    async fn until(&self, is_so: impl FnMut(&State) -> bool) -> State {
        let mut states = self.state.subscribe();
        let state = states.wait_for(is_so).await.map(|state| state.clone());
        // The other end is this value's own.
        state.unwrap_or_else(|_| self.state())
    }

    /// Sees to it that its row stays, for somebody who is told of it before its end. `false` when it is being refused at
    /// this moment, and there will be no row.
    pub fn promise(&self) -> bool {
        self.row.compare_exchange(OPEN, TOLD, Ordering::AcqRel, Ordering::Acquire) != Err(FORGOTTEN)
    }

    /// Tells whether its row may go; from then on it cannot be promised.
    pub(super) fn forget(&self) -> bool {
        self.row.compare_exchange(OPEN, FORGOTTEN, Ordering::AcqRel, Ordering::Acquire).is_ok()
    }

    pub(super) fn set(&self, state: State) {
        self.state.send_replace(state);
    }

    pub(super) fn note(&self, progress: Progress) {
        self.gauge.lock().unwrap_or_else(PoisonError::into_inner).note(progress);
    }

    /// Returns how far it is.
    pub fn progress(&self) -> Option<ProgressWire> {
        self.gauge.lock().unwrap_or_else(PoisonError::into_inner).read()
    }
}
