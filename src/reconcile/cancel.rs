//! A word that a run should end before its end: it does so at its next border between two batches.

use std::sync::Arc;

use thiserror::Error;
use tokio::sync::watch;

/// Why a run should end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum CancelReason {
    /// Somebody asked for it.
    #[error("the run was cancelled; what it had written by then stays, and is complete in itself")]
    Asked,
    /// The program is about to end.
    #[error("the program was shut down while the task ran; what was written by then stays, so run it again")]
    ShutDown,
}

impl CancelReason {
    /// Returns one stable word for it.
    pub fn code(self) -> &'static str {
        match self {
            Self::Asked => "cancelled",
            Self::ShutDown => "shut_down",
        }
    }
}

/// The word, shared by those who give it and the run that heeds it. The first reason given counts.
#[derive(Debug, Clone)]
pub struct Cancel(Arc<watch::Sender<Option<CancelReason>>>);

impl Default for Cancel {
    fn default() -> Self {
        Self(Arc::new(watch::Sender::new(None)))
    }
}

impl Cancel {
    /// Gives the word.
    pub fn cancel(&self, reason: CancelReason) {
        self.0.send_if_modified(|given| given.is_none() && given.replace(reason).is_none());
    }

    /// Returns the reason, once the word was given.
    pub fn reason(&self) -> Option<CancelReason> {
        *self.0.borrow()
    }

    /// Waits for the word.
    pub async fn cancelled(&self) -> CancelReason {
        let mut given = self.0.subscribe();
        loop {
            if let Some(reason) = *given.borrow_and_update() {
                return reason;
            }
            if given.changed().await.is_err() {
                // Unreachable while `self` keeps the other end.
                std::future::pending::<()>().await;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_first_reason_counts_and_wakes_who_waits() {
        let cancel = Cancel::default();
        assert_eq!(cancel.reason(), None);
        let waiting = {
            let cancel = cancel.clone();
            tokio::spawn(async move { cancel.cancelled().await })
        };
        cancel.cancel(CancelReason::ShutDown);
        cancel.cancel(CancelReason::Asked);
        assert_eq!((waiting.await.unwrap(), cancel.reason()), (CancelReason::ShutDown, Some(CancelReason::ShutDown)));
    }
}
