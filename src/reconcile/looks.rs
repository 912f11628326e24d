//! One more look at the storage before a record goes or moves.

use futures::{StreamExt as _, stream};

use crate::storage::{Glance, StorageReader, Trouble, UNREACHABLE};

/// How many objects are asked for at a time.
const GLANCES: usize = 32;

/// Looks for keys, but not for ever: a server that is gone would cost its timeout for each of them.
#[derive(Debug)]
pub(super) struct Looks<'r> {
    storage: &'r StorageReader,
    /// How many looks in a row the server did not answer.
    silent: usize,
}

impl<'r> Looks<'r> {
    pub(super) fn new(storage: &'r StorageReader) -> Self {
        Self { storage, silent: 0 }
    }

    /// Looks for each of `keys`.
    pub(super) async fn look(&mut self, keys: &[String]) -> Vec<Glance> {
        let storage = self.storage;
        let mut glances = Vec::with_capacity(keys.len());
        let mut answers = stream::iter(keys).map(|key| storage.glance(key)).buffered(GLANCES);
        while self.silent < GLANCES {
            let Some(glance) = answers.next().await else { return glances };
            // A server that answers is there, though it may say of one user's files that it will not tell.
            let gone = matches!(&glance, Glance::Unknown(trouble) if trouble.code == UNREACHABLE);
            self.silent = if gone { self.silent + 1 } else { 0 };
            glances.push(glance);
        }
        let message = "not asked any more, since the server stopped answering".to_owned();
        glances.resize(keys.len(), Glance::Unknown(Trouble { code: UNREACHABLE, message }));
        glances
    }
}
