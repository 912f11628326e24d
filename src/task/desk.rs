//! The desk: where tasks are handed in. Knows where storage and index are, and what is under way here.

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Semaphore, watch};
use tracing::Instrument as _;
use uuid::Uuid;

use super::error::TaskError;
use super::findings::{self, FindingsPage};
use super::live::{Live, State};
use super::look::Looks;
use crate::index::{Access, Claim, Index, IndexError, LeaseTerms, Taken, Task, within};
use crate::model::{Identity, InodeNumbers, Order, UserId};
use crate::reconcile::{Cancel, CancelReason, Request, RequestWire};

/// How many runs are carried out at a time. One of them may write.
const AT_A_TIME: usize = 8;

/// How many tasks are accepted at a time.
const MOST: usize = 256;

/// How long a first answer of the database is waited for.
const PATIENCE: Duration = Duration::from_secs(5);

/// How long the database may take to say goodbye.
const FAREWELL: Duration = Duration::from_secs(3);

/// The time between two words on how far a task is.
pub(super) const TICK: Duration = Duration::from_secs(1);

/// How long a run that only looks may take to end by itself when it was asked to.
pub(super) const GRACE: Duration = Duration::from_secs(2);

/// Where storage and index are, and how runs are made on them.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The URL of the storage.
    pub storage: String,
    /// The URL of the database.
    pub database: String,
    /// How many connections to the database read at a time.
    pub readers: u32,
    /// By what the storage is known again.
    pub identity: Identity,
    /// In which order the storage lists its keys.
    pub order: Order,
    /// Whether inode numbers last.
    pub inode_numbers: InodeNumbers,
    /// How long a lease lives.
    pub lease_terms: LeaseTerms,
    /// Where findings are kept.
    pub findings: PathBuf,
}

type Opened = Option<Result<Index, Arc<IndexError>>>;

/// Where tasks are handed in.
#[derive(Debug)]
pub struct Desk {
    /// Where storage and index are.
    pub settings: Settings,
    index: watch::Sender<Opened>,
    live: Mutex<BTreeMap<Uuid, Arc<Live>>>,
    left: watch::Sender<usize>,
    pub(super) places: Arc<Semaphore>,
    closing: Cancel,
    /// What is seen of the storage by whoever asks how the server is.
    pub(super) looks: Looks,
}

impl Desk {
    /// Opens the desk. Whether the database answers is seen from now on, in the background.
    pub fn open(settings: Settings) -> Arc<Self> {
        let desk = Self::new(settings);
        tokio::spawn(Arc::clone(&desk).keep_index());
        desk
    }

    /// Sets a desk up at which nobody sits: it has no index.
    pub fn new(settings: Settings) -> Arc<Self> {
        Arc::new(Self {
            settings,
            index: watch::Sender::new(None),
            live: Mutex::default(),
            left: watch::Sender::new(0),
            places: Arc::new(Semaphore::new(AT_A_TIME)),
            closing: Cancel::default(),
            looks: Looks::default(),
        })
    }

    /// Opens the index, however often that has to be tried; then ends the tasks of those who are gone, again and again.
    async fn keep_index(self: Arc<Self>) {
        let Settings { database, readers, .. } = &self.settings;
        let index = loop {
            match Index::open_with(database, Access::Write, *readers).await {
                Ok(index) => break index,
                Err(error) => {
                    let told = self.index.borrow().is_some();
                    if !told {
                        tracing::error!(%error, code = error.code(), "the index cannot be opened; it is tried again");
                    }
                    self.index.send_replace(Some(Err(Arc::new(error))));
                }
            }
            tokio::time::sleep(TICK).await;
        };
        self.index.send_replace(Some(Ok(index.clone())));
        loop {
            match within(self.patience(), index.bury_vanished(|id| self.is_here(id))).await {
                Ok(0) => {}
                Ok(buried) => tracing::warn!(buried, "tasks whose process is gone are ended as FAILED"),
                Err(error) => tracing::warn!(%error, "tasks could not be looked through"),
            }
            tokio::time::sleep(self.settings.lease_terms.heartbeat).await;
        }
    }

    /// Returns the index.
    ///
    /// # Errors
    /// When the database has not answered yet.
    pub async fn index(&self) -> Result<Index, TaskError> {
        let mut opened = self.index.subscribe();
        let waited = tokio::time::timeout(PATIENCE, opened.wait_for(Option::is_some)).await;
        match waited.as_ref().map(|opened| opened.as_deref()) {
            Ok(Ok(Some(Ok(index)))) => Ok(index.clone()),
            Ok(Ok(Some(Err(error)))) => Err(TaskError::NoIndex(Some(Arc::clone(error)))),
            _ => Err(TaskError::NoIndex(None)),
        }
    }

    /// Returns the index, if the database has answered before.
    pub(super) fn opened(&self) -> Option<Index> {
        self.index.borrow().as_ref().and_then(|opened| opened.as_ref().ok()).cloned()
    }

    fn is_here(&self, id: &str) -> bool {
        Uuid::try_parse(id).is_ok_and(|id| self.live(id).is_some())
    }

    /// How long one short statement is waited for.
    pub(super) fn patience(&self) -> Duration {
        self.settings.lease_terms.patience()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<Uuid, Arc<Live>>> {
        self.live.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns the task `id`, if it is carried out here.
    pub fn live(&self, id: Uuid) -> Option<Arc<Live>> {
        self.lock().get(&id).cloned()
    }

    /// Returns the word that the desk closes.
    pub fn closing(&self) -> &Cancel {
        &self.closing
    }

    /// Hands a task in, and returns it once it has begun, or after `wait`; with a `claim`, the task that was handed in
    /// before under the same. Whoever hands it in may go away: it is carried out.
    ///
    /// # Errors
    /// When it cannot begin.
    pub async fn submit(
        self: &Arc<Self>,
        request: Request,
        claim: Option<Claim>,
        wait: Duration,
    ) -> Result<Uuid, TaskError> {
        request.check()?;
        if self.closing.reason().is_some() {
            return Err(TaskError::Closing);
        }
        let index = self.index().await?;
        let desk = Arc::clone(self);
        let handed_in = tokio::spawn(async move { desk.accept(index, request, claim, wait).await }.in_current_span());
        handed_in.await.unwrap_or(Err(TaskError::Closing))
    }

    async fn accept(
        self: Arc<Self>,
        index: Index,
        request: Request,
        claim: Option<Claim>,
        wait: Duration,
    ) -> Result<Uuid, TaskError> {
        let live = Arc::new(Live::new(Uuid::now_v7()));
        let id = live.id;
        {
            let mut all = self.lock();
            if all.len() >= MOST {
                return Err(TaskError::TooMany);
            }
            all.insert(id, Arc::clone(&live));
            self.left.send_replace(all.len());
        }
        let asked = RequestWire::from(&request).to_json();
        let alive = self.settings.lease_terms.expiry;
        let accepting = async { index.accept_task(&id.to_string(), &asked, claim.as_ref(), alive).await };
        let taken = within(self.patience(), accepting).await;
        let before = match taken {
            Ok(Taken::New) => None,
            Ok(Taken::Before(task)) => Some(Uuid::try_parse(&task).map_err(|_| IndexError::UnknownTask(task).into())),
            Ok(Taken::Clash) => Some(Err(TaskError::KeyReused)),
            Err(error) => Some(Err(error.into())),
        };
        if let Some(before) = before {
            self.remove(id);
            return before;
        }
        let span = tracing::info_span!("task", task_id = %id);
        tokio::spawn(Arc::clone(&self).carry_out(Arc::clone(&live), index, request).instrument(span));
        match tokio::time::timeout(wait, live.begun()).await {
            Ok(State::Refused(error)) => Err(error),
            _ => Ok(id),
        }
    }

    pub(super) fn remove(&self, id: Uuid) {
        let mut all = self.lock();
        all.remove(&id);
        self.left.send_replace(all.len());
    }

    /// Returns the task `id`, whoever carries it out.
    ///
    /// # Errors
    /// When there is none, or the index cannot be read.
    pub async fn task(&self, id: &str) -> Result<Task, TaskError> {
        Ok(self.index().await?.task(id).await?)
    }

    /// Returns the newest tasks.
    ///
    /// # Errors
    /// When the index cannot be read.
    pub async fn tasks(&self, status: Option<&str>, before: Option<&str>, most: u32) -> Result<Vec<Task>, TaskError> {
        Ok(self.index().await?.tasks_page(status, before, most).await?)
    }

    /// Tells whether a user is there, or none is named.
    pub async fn knows(&self, user: Option<UserId>) -> bool {
        let Some(user) = user else { return true };
        match self.index().await {
            Ok(index) => within(self.patience(), index.user(user)).await.is_ok(),
            Err(_) => false,
        }
    }

    /// Asks the task `id` to end, whoever carries it out.
    ///
    /// # Errors
    /// When there is none, it has ended otherwise, or the index cannot be written.
    pub async fn cancel(&self, id: &str) -> Result<Task, TaskError> {
        let index = self.index().await?;
        let task = within(self.patience(), index.cancel_task(id, |id| self.is_here(id))).await?;
        if let Some(live) = Uuid::try_parse(id).ok().and_then(|id| self.live(id)) {
            live.cancel.cancel(CancelReason::Asked);
        }
        match task.status.as_str() {
            "SUCCESSFUL" | "FAILED" => Err(TaskError::Ended(task.id, task.status)),
            _ => Ok(task),
        }
    }

    /// Returns a page of what the task `id` has found.
    ///
    /// # Errors
    /// When there is no such task, or its findings are not kept here. `None` for a place that cannot be.
    pub async fn findings(
        &self,
        id: &str,
        kind: Option<String>,
        after: u64,
        most: usize,
    ) -> Result<Option<FindingsPage>, TaskError> {
        let task = self.task(id).await?;
        let gone = || TaskError::NoFindings(task.id.clone());
        let id = Uuid::try_parse(&task.id).map_err(|_| gone())?;
        // The row says so a moment before the last findings are in their file.
        let has_ended = task.finished_at.is_some() && self.live(id).is_none();
        let dir = self.settings.findings.clone();
        let reading =
            tokio::task::spawn_blocking(move || findings::page(&dir, id, kind.as_deref(), after, most, has_ended));
        match reading.await {
            Ok(Ok(page)) => Ok(Some(page)),
            Ok(Err(error)) if error.kind() == io::ErrorKind::InvalidInput => Ok(None),
            // It waits for its turn.
            _ if self.live(id).is_some_and(|live| matches!(live.state(), State::Ready)) => {
                Ok(Some(FindingsPage { findings: Vec::new(), next: Some(after) }))
            }
            _ => Err(gone()),
        }
    }

    /// Closes the desk: what is under way is asked to end, and waited for.
    pub async fn close(&self, patience: Duration) {
        self.closing.cancel(CancelReason::ShutDown);
        self.lock().values().for_each(|live| live.cancel.cancel(CancelReason::ShutDown));
        let mut left = self.left.subscribe();
        if tokio::time::timeout(patience, left.wait_for(|left| *left == 0)).await.is_err() {
            tracing::warn!("a task did not end in time; its row is ended by whoever looks next");
        }
    }

    /// Closes the index, for which a database that is silent is not waited for long.
    pub async fn leave(&self) {
        if let Some(index) = self.opened()
            && tokio::time::timeout(FAREWELL, index.close()).await.is_err()
        {
            tracing::warn!("the database does not hear the farewell");
        }
    }
}
