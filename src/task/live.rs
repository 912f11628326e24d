//! A task that is carried out here.

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
}

impl Live {
    pub(super) fn new(id: Uuid) -> Self {
        let gauge = Mutex::new(Gauge::default());
        Self { id, cancel: Cancel::default(), state: watch::Sender::new(State::Ready), gauge }
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
