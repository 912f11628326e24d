//! Where actions land: the only room that causes a write. The preview has no handle that could.

use async_trait::async_trait;
use tokio::task::JoinHandle;
use uuid::Uuid;

use super::guard::Cleared;
use crate::index::{
    Candidate, Carried, Carry, Fate, IndexError, Merging, Mount, NewIdentity, NewRecord, Refresh, User, Writer, Written,
};
use crate::model::{Order, UserId};

/// Records to be made and brought up to date, in key order.
#[derive(Debug, Default)]
pub(super) struct WriteBatch {
    pub(super) creates: Vec<NewRecord>,
    pub(super) updates: Vec<Refresh>,
    pub(super) identities: Vec<NewIdentity>,
}

impl WriteBatch {
    pub(super) fn len(&self) -> usize {
        self.creates.len() + self.updates.len() + self.identities.len()
    }
}

/// Takes actions that have been decided.
#[async_trait]
pub(super) trait Sink: Send {
    /// Registers a user.
    async fn adopt(&mut self, user: &User) -> Result<(), IndexError>;
    /// Takes a batch of additions and refreshes. It may still be under way when this returns.
    async fn write(&mut self, batch: WriteBatch) -> Result<(), IndexError>;
    /// Carries records to where their files are now.
    async fn carry(&mut self, moves: &[Carry]) -> Result<Vec<Carried>, IndexError>;
    /// Gives the links of records to others, and deletes the former. Returns which went.
    async fn merge(&mut self, twins: &[Merging]) -> Result<Vec<bool>, IndexError>;
    /// Remembers file systems that were seen, and forgets others.
    async fn remember_mounts(&mut self, seen: &[Mount], gone: &[String]) -> Result<(), IndexError>;
    /// Remembers the order in which the storage of the id `storage` lists.
    async fn remember_order(&mut self, storage: Uuid, order: Order) -> Result<(), IndexError>;
    /// Deletes records that the guard has cleared.
    async fn delete(&mut self, cleared: &[Cleared<'_>]) -> Result<Vec<Fate>, IndexError>;
    /// Keeps for the next run that additions for `users` are from a run that has not ended well.
    async fn unsettle(&mut self, users: &[UserId]) -> Result<(), IndexError>;
    /// Keeps for the next run that all is well with `users`.
    async fn settle_users(&mut self, users: &[UserId]) -> Result<(), IndexError>;
    /// Waits for what is under way, and returns what was written in all.
    async fn settle(&mut self) -> Result<Written, IndexError>;
}

/// Writes into the index; one batch is written while the next one is put together.
#[derive(Debug)]
pub(super) struct IndexSink {
    writer: Writer,
    under_way: Option<JoinHandle<Result<Written, IndexError>>>,
    written: Written,
}

impl IndexSink {
    pub(super) fn new(writer: Writer) -> Self {
        Self { writer, under_way: None, written: Written::default() }
    }
}

#[async_trait]
impl Sink for IndexSink {
    async fn adopt(&mut self, user: &User) -> Result<(), IndexError> {
        self.writer.adopt_user(user).await
    }

    async fn write(&mut self, batch: WriteBatch) -> Result<(), IndexError> {
        self.settle().await?;
        let writer = self.writer.clone();
        self.under_way = Some(tokio::spawn(async move {
            let mut written = Written::default();
            if !batch.creates.is_empty() || !batch.updates.is_empty() {
                written = writer.write(&batch.creates, &batch.updates).await?;
            }
            if !batch.identities.is_empty() {
                written.identified = writer.identify(&batch.identities).await?;
            }
            Ok(written)
        }));
        Ok(())
    }

    async fn carry(&mut self, moves: &[Carry]) -> Result<Vec<Carried>, IndexError> {
        self.settle().await?;
        self.writer.carry(moves).await
    }

    async fn merge(&mut self, twins: &[Merging]) -> Result<Vec<bool>, IndexError> {
        self.settle().await?;
        self.writer.merge(twins).await
    }

    async fn remember_mounts(&mut self, seen: &[Mount], gone: &[String]) -> Result<(), IndexError> {
        self.settle().await?;
        self.writer.remember_mounts(seen, gone).await
    }

    async fn remember_order(&mut self, storage: Uuid, order: Order) -> Result<(), IndexError> {
        self.writer.remember_order(storage, order).await
    }

    async fn delete(&mut self, cleared: &[Cleared<'_>]) -> Result<Vec<Fate>, IndexError> {
        self.settle().await?;
        let candidates: Vec<Candidate<'_>> = cleared
            .iter()
            .map(|c| Candidate { id: c.orphan().id, user: c.orphan().user, version: c.orphan().version.as_bytes() })
            .collect();
        self.writer.delete(&candidates).await
    }

    async fn unsettle(&mut self, users: &[UserId]) -> Result<(), IndexError> {
        self.settle().await?;
        self.writer.unsettle(users).await
    }

    async fn settle_users(&mut self, users: &[UserId]) -> Result<(), IndexError> {
        self.settle().await?;
        self.writer.settle(users).await
    }

    async fn settle(&mut self) -> Result<Written, IndexError> {
        if let Some(batch) = self.under_way.take() {
            let written = batch.await.map_err(|_| IndexError::WriterStopped)??;
            self.written.created += written.created;
            self.written.updated += written.updated;
            self.written.identified += written.identified;
        }
        Ok(self.written)
    }
}

/// Counts what would be written, and cannot write.
#[derive(Debug, Default)]
pub(super) struct Preview {
    written: Written,
}

#[async_trait]
impl Sink for Preview {
    async fn adopt(&mut self, _user: &User) -> Result<(), IndexError> {
        Ok(())
    }

    async fn write(&mut self, batch: WriteBatch) -> Result<(), IndexError> {
        self.written.created += batch.creates.len() as u64;
        self.written.updated += batch.updates.len() as u64;
        self.written.identified += batch.identities.len() as u64;
        Ok(())
    }

    async fn carry(&mut self, moves: &[Carry]) -> Result<Vec<Carried>, IndexError> {
        Ok(vec![Carried::Done; moves.len()])
    }

    async fn merge(&mut self, twins: &[Merging]) -> Result<Vec<bool>, IndexError> {
        Ok(vec![true; twins.len()])
    }

    async fn remember_mounts(&mut self, _seen: &[Mount], _gone: &[String]) -> Result<(), IndexError> {
        Ok(())
    }

    async fn remember_order(&mut self, _storage: Uuid, _order: Order) -> Result<(), IndexError> {
        Ok(())
    }

    async fn delete(&mut self, cleared: &[Cleared<'_>]) -> Result<Vec<Fate>, IndexError> {
        Ok(vec![Fate::Deleted; cleared.len()])
    }

    async fn unsettle(&mut self, _users: &[UserId]) -> Result<(), IndexError> {
        Ok(())
    }

    async fn settle_users(&mut self, _users: &[UserId]) -> Result<(), IndexError> {
        Ok(())
    }

    async fn settle(&mut self) -> Result<Written, IndexError> {
        Ok(self.written)
    }
}
