//! One more look at the storage before a record goes.

use crate::model::Prefix;
use crate::storage::{Claim, Glance, MoveProof, REDIRECTED, StorageReader, Trouble};

/// Looks for objects, but not for ever: a server that is gone would cost its timeout for each batch.
#[derive(Debug)]
pub(super) struct Looks<'r> {
    storage: &'r StorageReader,
    /// Whether the server stopped answering.
    silent: bool,
}

impl<'r> Looks<'r> {
    pub(super) fn new(storage: &'r StorageReader) -> Self {
        Self { storage, silent: false }
    }

    /// Looks for each of `paths` below `prefix`.
    pub(super) async fn look(&mut self, prefix: &Prefix, paths: &[String]) -> Vec<Glance> {
        if self.silent {
            return vec![not_asked(); paths.len()];
        }
        let glances = self.storage.glances(prefix, paths).await;
        self.silent = glances.last().is_some_and(|last| *last == not_asked());
        glances
    }

    /// Judges whether the files of records have been renamed.
    pub(super) async fn prove(&mut self, prefix: &Prefix, claims: &[Claim]) -> Vec<MoveProof> {
        if self.silent {
            return vec![MoveProof::NotGone(not_asked()); claims.len()];
        }
        let proofs = self.storage.prove(prefix, claims).await;
        self.silent = proofs.iter().any(|proof| *proof == MoveProof::NotGone(not_asked()));
        proofs
    }
}

fn not_asked() -> Glance {
    Glance::Unknown(StorageReader::not_asked())
}

/// Returns the code of the error for a look that was not answered.
pub(super) fn code_of(why: &Trouble) -> &'static str {
    // The whole endpoint is wrong then, not one object.
    if why.code == REDIRECTED { REDIRECTED } else { "head_failed" }
}
