//! The lease: one run at a time writes into an index.
//!
//! Whoever holds it says so again and again; a holder who falls silent loses it after a while, and one whose process is
//! gone at once, if that can be seen. Every transaction that writes looks first whether the lease is still its own, and
//! keeps it from changing hands until it ends.

use std::time::Duration;

use sea_orm::{ConnectionTrait, DatabaseConnection, DbErr, QueryResult};
use serde_json::Value as Json;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use uuid::Uuid;

use super::connect::Index;
use super::dialect::{Dialect, sql};
use super::error::IndexError;
use super::process::{is_gone, this_machine, this_process};
use super::tasks;
use super::writes::Writer;

/// How long a lease lives without a sign of its holder, and how often the holder gives one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LeaseTerms {
    /// After so long a silence the lease is free.
    pub expiry: Duration,
    /// The time between two signs.
    pub heartbeat: Duration,
}

impl LeaseTerms {
    /// A lease of this length, with six signs of life in it.
    pub fn of(expiry: Duration) -> Self {
        Self { expiry, heartbeat: expiry / 6 }
    }
}

impl Default for LeaseTerms {
    /// Thirty seconds and five.
    fn default() -> Self {
        Self::of(Duration::from_secs(30))
    }
}

/// Who holds a lease.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Holder {
    /// The run.
    pub task_id: String,
    /// Host and process, for people.
    pub name: String,
    /// How many seconds ago it was taken.
    pub age: u64,
}

/// A lease that is held. Dropped without [`Lease::release`] it ends with its process, or expires.
#[derive(Debug)]
pub struct Lease {
    db: DatabaseConnection,
    task: String,
    heart: JoinHandle<()>,
    asked_to_end: watch::Receiver<bool>,
}

/// What the row says.
struct Row {
    holder: Option<Holder>,
    machine: String,
    process: String,
    expired: bool,
}

impl Index {
    /// Takes the lease for the run `task`, which from now on runs, and notes what was asked of it.
    ///
    /// # Errors
    /// When another run holds it, or the index cannot be written.
    pub async fn take_lease(&self, task: Uuid, request: &Json, terms: LeaseTerms) -> Result<Lease, IndexError> {
        let writer = self.writer()?;
        let transaction = writer.begin().await?;
        let words = Dialect::of(&transaction).words();
        // The row is always there, unless somebody has removed it.
        let make = "INSERT INTO lease (id) VALUES (1) ON CONFLICT (id) DO NOTHING";
        transaction.execute_raw(sql(&transaction, make, [])).await.map_err(IndexError::Write)?;
        let row = read(&transaction, words.lock).await.map_err(IndexError::Write)?;
        if let Some(holder) = row.live() {
            return Err(IndexError::Held(holder));
        }
        let (now, task) = (words.seconds, task.to_string());
        let take = format!(
            "UPDATE lease SET task_id = ?, holder = ?, machine = ?, process = ?, taken_at = {now}, expires_at = {now} + ? \
             WHERE id = 1"
        );
        let process = this_process();
        let name = format!("process {} on {}", std::process::id(), host());
        let values = [
            task.as_str().into(),
            name.into(),
            this_machine().into(),
            process.into(),
            terms.expiry.as_secs_f64().into(),
        ];
        if let Some(before) = row.holder {
            tasks::bury(&transaction, &before.task_id).await.map_err(IndexError::Write)?;
        }
        transaction.execute_raw(sql(&transaction, &take, values)).await.map_err(IndexError::Write)?;
        tasks::begin(&transaction, &task, request).await.map_err(IndexError::Write)?;
        transaction.commit().await.map_err(IndexError::Write)?;
        let db = self.writing()?.clone();
        let (ask, asked_to_end) = watch::channel(false);
        let heart = tokio::spawn(beat(db.clone(), task.clone(), terms, ask));
        Ok(Lease { db, task, heart, asked_to_end })
    }

    /// Returns who holds the lease, if anybody does.
    ///
    /// # Errors
    /// When the index cannot be read.
    pub async fn lease_holder(&self) -> Result<Option<Holder>, IndexError> {
        Ok(read(&self.reader, "").await.map_err(IndexError::Read)?.live())
    }
}

impl Lease {
    /// Returns the handle that writes as long as the lease is held.
    pub fn writer(&self) -> Writer {
        Writer::under(self.db.clone(), self.task.clone())
    }

    /// Waits until somebody asks the run that holds the lease to end.
    pub fn asked_to_end(&self) -> impl Future<Output = ()> + Send + use<> {
        let mut asked = self.asked_to_end.clone();
        async move {
            if asked.wait_for(|asked| *asked).await.is_err() {
                // Nobody can ask any more.
                std::future::pending::<()>().await;
            }
        }
    }

    /// Gives the lease back, if the end of its task has not. Should that fail, it expires.
    pub async fn release(self) {
        self.heart.abort();
        if let Err(error) = free(&self.db, &self.task).await {
            tracing::warn!(%error, "the lease could not be given back; it expires by itself");
        }
    }
}

/// Gives the lease of `task` back, if it has it.
pub(super) async fn free(db: &impl ConnectionTrait, task: &str) -> Result<(), DbErr> {
    let free = "UPDATE lease SET task_id = NULL, holder = NULL, machine = NULL, process = NULL, taken_at = NULL, \
                expires_at = NULL WHERE id = 1 AND task_id = ?";
    db.execute_raw(sql(db, free, [task.into()])).await.map(drop)
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.heart.abort();
    }
}

impl Row {
    /// Returns the holder, unless the lease is as good as free.
    fn live(&self) -> Option<Holder> {
        let vanished = self.machine == this_machine() && is_gone(&self.process);
        self.holder.clone().filter(|_| !self.expired && !vanished)
    }
}

/// Gives signs of life until the lease is somebody else's, and hears whether the run is asked to end.
async fn beat(db: DatabaseConnection, task: String, terms: LeaseTerms, ask: watch::Sender<bool>) {
    let now = Dialect::of(&db).words().seconds;
    let sign = format!("UPDATE lease SET expires_at = {now} + ? WHERE id = 1 AND task_id = ?");
    loop {
        tokio::time::sleep(terms.heartbeat).await;
        let values = [terms.expiry.as_secs_f64().into(), task.as_str().into()];
        match db.execute_raw(sql(&db, &sign, values)).await {
            Ok(done) if done.rows_affected() == 0 => return,
            Ok(_) => {
                if tasks::is_asked_to_end(&db, &task).await.unwrap_or(false) {
                    ask.send_replace(true);
                }
            }
            // The next sign may come through; whoever writes meanwhile looks for itself.
            Err(error) => tracing::warn!(%error, "a sign of life could not be given"),
        }
    }
}

/// Finds the lease while it is held for a task.
pub(super) const HELD: &str = "SELECT 1 FROM lease WHERE id = 1 AND task_id = ?";

/// Checks that the lease is still held for `task`, and keeps it so until the end of the transaction.
pub(super) async fn check(db: &impl ConnectionTrait, task: &str) -> Result<(), IndexError> {
    let look = format!("{HELD}{}", Dialect::of(db).words().lock);
    let row = db.query_one_raw(sql(db, &look, [task.into()])).await.map_err(IndexError::Write)?;
    row.map(drop).ok_or(IndexError::LeaseLost)
}

async fn read(db: &impl ConnectionTrait, lock: &str) -> Result<Row, DbErr> {
    let now = Dialect::of(db).words().seconds;
    let query = format!(
        "SELECT task_id, holder, machine, process, {now} - taken_at, coalesce(expires_at < {now}, true) FROM lease \
         WHERE id = 1{lock}"
    );
    let Some(row) = db.query_one_raw(sql(db, &query, [])).await? else {
        return Ok(Row { holder: None, machine: String::new(), process: String::new(), expired: true });
    };
    let text = |at: usize| Ok::<_, DbErr>(row.try_get_by_index::<Option<String>>(at)?.unwrap_or_default());
    let holder = match row.try_get_by_index::<Option<String>>(0)? {
        Some(task_id) => Some(Holder { task_id, name: text(1)?, age: age(&row)? }),
        None => None,
    };
    Ok(Row { holder, machine: text(2)?, process: text(3)?, expired: row.try_get_by_index(5)? })
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "whole seconds, clamped at 0, are meant")]
fn age(row: &QueryResult) -> Result<u64, DbErr> {
    Ok(row.try_get_by_index::<Option<f64>>(4)?.unwrap_or_default().max(0.0) as u64)
}

/// Returns the name of this host, as far as it can be known.
fn host() -> String {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    if name.trim().is_empty() { "this host".to_owned() } else { name.trim().to_owned() }
}
