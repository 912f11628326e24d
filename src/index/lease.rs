//! The lease: one run at a time writes into an index.
//!
//! Whoever holds it says so again and again; a holder who falls silent loses it after a while, and one whose process is
//! gone at once, if that can be seen. Every transaction that writes looks first whether the lease is still its own,
//! keeps it from changing hands until it ends, and is a sign of life itself.

use std::sync::Arc;
use std::time::Duration;

use sea_orm::{ConnectionTrait, DatabaseConnection, DbErr, QueryResult};
use serde_json::Value as Json;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use uuid::Uuid;

use super::connect::Index;
use super::dialect::sequence::{Numbered, step_over};
use super::dialect::{Dialect, sql};
use super::error::IndexError;
use super::limit::within;
use super::process::{is_gone, this_machine, this_process};
use super::retry::{is_locked, patiently, unconfirmed};
use super::tasks::{self, Outcome};
use super::writes::Writer;
use crate::clock::Clock;

/// How often a run listens whether it is asked to end.
const LISTENS: Duration = Duration::from_millis(250);

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
    under: Arc<Under>,
    heart: JoinHandle<()>,
    asked_to_end: watch::Receiver<bool>,
    /// The run's clock.
    clock: Clock,
}

/// What a transaction is written under.
#[derive(Debug, Clone)]
pub(super) struct Under {
    /// The run that holds the lease.
    pub(super) task: String,
    /// For how long a sign of life is good.
    pub(super) expiry: Duration,
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
        self.writing()?;
        // Who lives is seen at once, whatever it is writing.
        if let Some(holder) = self.lease_holder().await? {
            return Err(IndexError::Held(holder));
        }
        let under = Arc::new(Under { task: task.to_string(), expiry: terms.expiry });
        match patiently(|| self.take_lease_once(&under, request)).await {
            Err(IndexError::Write(error)) if is_locked(&error) => {
                // Somebody writes without an end. It is no other program as long as there is a run that may be there.
                let row = read(&self.reader, "").await.map_err(IndexError::Read)?;
                return Err(row.unless_vanished().map_or(IndexError::Write(error), IndexError::Held));
            }
            taken => taken?,
        }
        let db = self.writing()?.clone();
        let (ask, asked_to_end) = watch::channel(false);
        let heart = tokio::spawn(beat(db.clone(), Arc::clone(&under), terms.heartbeat, ask));
        step_over(&db, &[Numbered::Records, Numbered::Links]).await;
        Ok(Lease { db, under, heart, asked_to_end, clock: self.clock })
    }

    async fn take_lease_once(&self, under: &Under, request: &Json) -> Result<(), IndexError> {
        let transaction = self.writer()?.begin().await?;
        let words = Dialect::of(&transaction).words();
        // The row is always there, unless somebody has removed it.
        let make = "INSERT INTO lease (id) VALUES (1) ON CONFLICT (id) DO NOTHING";
        transaction.execute_raw(sql(&transaction, make, [])).await.map_err(IndexError::Write)?;
        let row = read(&transaction, words.lock).await.map_err(IndexError::Write)?;
        if let Some(holder) = row.live() {
            return Err(IndexError::Held(holder));
        }
        let (now, task) = (words.seconds, under.task.as_str());
        let take = format!(
            "UPDATE lease SET task_id = ?, holder = ?, machine = ?, process = ?, taken_at = {now}, expires_at = {now} + ? \
             WHERE id = 1"
        );
        let name = format!("process {} on {}", std::process::id(), host());
        let values =
            [task.into(), name.into(), this_machine().into(), this_process().into(), under.expiry.as_secs_f64().into()];
        if let Some(before) = row.holder {
            tasks::bury(&transaction, &before.task_id).await.map_err(IndexError::Write)?;
        }
        transaction.execute_raw(sql(&transaction, &take, values)).await.map_err(IndexError::Write)?;
        tasks::begin(&transaction, task, request).await.map_err(IndexError::Write)?;
        transaction.commit().await.map_err(unconfirmed)
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
        Writer::under(self.db.clone(), Arc::clone(&self.under), self.clock)
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

    /// Notes how the run ended, and gives the lease back with it. Should that fail, the lease expires: as long as it names
    /// the run, whoever takes it next finds a task that has no end, and ends it.
    pub async fn end(self, outcome: &Outcome) {
        if let Err(error) = self.try_end(outcome).await {
            self.give_up(&error);
        }
    }

    /// Notes how the run ended, and gives the lease back with it. Should that fail, the lease is held still, unless it is
    /// lost, and it can be tried again.
    ///
    /// # Errors
    /// When the database does, or the lease is somebody else's by now, whose word on the task counts.
    pub(crate) async fn try_end(&self, outcome: &Outcome) -> Result<(), IndexError> {
        match self.writer().end_task(&self.under.task, outcome).await {
            // An end that nobody has confirmed may be written all the same, and the lease went with it.
            Err(IndexError::LeaseLost) if tasks::has_ended(&self.db, &self.under.task, outcome).await? => Ok(()),
            ended => ended,
        }
    }

    /// Leaves the lease to expire, since the end of its run cannot be written down.
    pub(crate) fn give_up(self, error: &IndexError) {
        // What the run did is done.
        tracing::warn!(%error, "how the run ended could not be written down; the next run notes that it is over");
    }

    /// Gives the lease back without an end of its task. Should that fail, it expires.
    pub async fn release(self) {
        self.heart.abort();
        if let Err(error) = free(&self.db, &self.under.task).await {
            tracing::warn!(%error, "the lease could not be given back; it expires by itself");
        }
    }
}

/// Gives the lease of `task` back, if it has it, once nothing is written under it any more.
pub(super) async fn free(db: &impl ConnectionTrait, task: &str) -> Result<(), DbErr> {
    let free = format!(
        "UPDATE lease SET task_id = NULL, holder = NULL, machine = NULL, process = NULL, taken_at = NULL, \
         expires_at = NULL WHERE id = (SELECT id FROM lease WHERE id = 1 AND task_id = ?{})",
        Dialect::of(db).words().lock
    );
    db.execute_raw(sql(db, &free, [task.into()])).await.map(drop)
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.heart.abort();
    }
}

impl Row {
    /// Returns the holder, unless the lease is as good as free.
    fn live(&self) -> Option<Holder> {
        if self.expired { None } else { self.unless_vanished() }
    }

    /// Returns the holder, unless it is certainly gone.
    fn unless_vanished(&self) -> Option<Holder> {
        let vanished = self.machine == this_machine() && is_gone(&self.process);
        self.holder.clone().filter(|_| !vanished)
    }
}

/// Gives signs of life until the lease is somebody else's, and hears between them whether the run is asked to end.
async fn beat(db: DatabaseConnection, under: Arc<Under>, heartbeat: Duration, ask: watch::Sender<bool>) {
    let mut signed = tokio::time::Instant::now();
    loop {
        tokio::time::sleep(heartbeat.min(LISTENS)).await;
        // Whoever asks waits for the end: it is listened for more often than signs are due.
        let listening = async { Ok(tasks::is_asked_to_end(&db, &under.task).await.unwrap_or(false)) };
        if within(heartbeat, listening).await.unwrap_or(false) {
            ask.send_replace(true);
        }
        if signed.elapsed() < heartbeat {
            continue;
        }
        signed = tokio::time::Instant::now();
        match within(LeaseTerms::of(under.expiry).sign_patience(), renew(&db, &under)).await {
            Ok(()) => {}
            Err(IndexError::LeaseLost) => return,
            // A batch of the run itself is under way, and its end is a sign.
            Err(IndexError::Write(error)) if is_locked(&error) => {
                tracing::debug!(%error, "a sign of life has to wait");
            }
            // The next sign may come through; whoever writes meanwhile looks for itself.
            Err(error) => tracing::warn!(%error, "a sign of life could not be given"),
        }
    }
}

/// Checks that the lease is still held for `task`, and keeps it so until the end of the transaction. Signs of life go past
/// that.
pub(super) async fn check(db: &impl ConnectionTrait, task: &str) -> Result<(), IndexError> {
    let row = db.query_one_raw(sql(db, &held(Dialect::of(db)), [task.into()])).await.map_err(IndexError::Write)?;
    row.map(drop).ok_or(IndexError::LeaseLost)
}

/// Gives a sign of life, as long as the lease is held.
pub(super) async fn renew(db: &impl ConnectionTrait, under: &Under) -> Result<(), IndexError> {
    let values = [under.expiry.as_secs_f64().into(), under.task.as_str().into()];
    let done = db.execute_raw(sql(db, &sign(Dialect::of(db)), values)).await.map_err(IndexError::Write)?;
    if done.rows_affected() == 0 { Err(IndexError::LeaseLost) } else { Ok(()) }
}

/// Finds the lease while it is held, and keeps it; its value is the task.
pub(super) fn held(dialect: Dialect) -> String {
    format!("SELECT 1 FROM lease WHERE id = 1 AND task_id = ?{}", dialect.words().keep_lease)
}

/// Renews the lease; its values are the expiry in seconds and the task. A clock that was set back makes it no lease of the
/// future.
pub(super) fn sign(dialect: Dialect) -> String {
    let now = dialect.words().seconds;
    format!(
        "UPDATE lease SET expires_at = {now} + ?, taken_at = CASE WHEN taken_at > {now} THEN {now} ELSE taken_at END \
         WHERE id = 1 AND task_id = ?"
    )
}

/// By how many seconds clocks may be set back before a lease that was taken later than now counts as one that nobody
/// holds: its holder would have noticed, and until it expired might be for ever.
const LATER: u32 = 60;

async fn read(db: &impl ConnectionTrait, lock: &str) -> Result<Row, DbErr> {
    let now = Dialect::of(db).words().seconds;
    let query = format!(
        "SELECT task_id, holder, machine, process, {now} - taken_at, \
         coalesce(expires_at < {now} OR taken_at > {now} + {LATER}, true) FROM lease WHERE id = 1{lock}"
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
