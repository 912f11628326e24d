//! The standing audit: made by one of several servers, at the start and again by a schedule, in the background. Nothing
//! waits for it, and nothing it finds stops a server.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::time::Instant;
use uuid::Uuid;

use super::desk::Desk;
use super::live::State;
use super::schedule::Schedule;
use crate::clock;
use crate::index::{AuditTurn, Index, within};
use crate::reconcile::{Answer, Mode, Request, ResultWire};

/// How long the turn of a server lives without a sign of it.
const TURN: Duration = Duration::from_secs(30);

/// The time between two looks whether it is our turn.
const LOOK: Duration = Duration::from_secs(2);

/// What an audit came to.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "server", derive(poem_openapi::Object))]
pub struct AuditResult {
    /// The task.
    pub task_id: String,
    /// `SUCCESSFUL`, `FAILED` or `CANCELLED`.
    pub status: String,
    /// When it ended.
    pub finished_at: String,
    /// How many seconds it took.
    pub seconds: f64,
    /// One line for people.
    pub summary: String,
    /// Whether index and storage differ; `null` where nobody can say: it was refused, or it failed or was incomplete and
    /// what it saw agrees.
    pub drift: Option<bool>,
    /// The numbers.
    pub result: ResultWire,
}

/// Makes the standing audit.
#[derive(Debug)]
pub struct StandingAudit {
    desk: Arc<Desk>,
    holder: String,
    state: Mutex<&'static str>,
}

impl StandingAudit {
    /// Begins in the background: at once, if `at_start`, and again by the schedule.
    pub fn begin(desk: &Arc<Desk>, at_start: bool, schedule: Option<Schedule>) -> Arc<Self> {
        let state = Mutex::new(if at_start { "waiting" } else { "off" });
        let audit = Arc::new(Self { desk: Arc::clone(desk), holder: Uuid::now_v7().to_string(), state });
        tokio::spawn(Arc::clone(&audit).keep(Instant::now(), at_start, schedule));
        audit
    }

    /// Returns how it stands: `off`, `waiting`, `running`, `done` or `failed`.
    pub fn state(&self) -> &'static str {
        *self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn set(&self, state: &'static str) {
        *self.state.lock().unwrap_or_else(PoisonError::into_inner) = state;
    }

    async fn keep(self: Arc<Self>, begun: Instant, at_start: bool, schedule: Option<Schedule>) {
        let stopped = self.desk.closing().clone();
        let work = async {
            if at_start {
                self.once("startup audit", begun, Duration::ZERO).await;
            }
            while let Some((wait, slack)) = schedule.as_ref().and_then(|s| Some((s.next()?, s.slack()))) {
                tokio::time::sleep(wait).await;
                self.once("audit", Instant::now(), slack).await;
            }
        };
        tokio::select! {
            () = work => return,
            _ = stopped.cancelled() => {}
        }
        // Another server need not wait until this one counts as gone.
        if let Ok(index) = self.desk.index().await {
            let _ = within(self.desk.patience(), index.end_audit(&self.holder)).await;
        }
    }

    /// Makes an audit, unless another server has made one since `slack` before it was `due`.
    async fn once(&self, name: &str, due: Instant, slack: Duration) {
        let mut since = None;
        let index = loop {
            let waited = async {
                let index = self.desk.index().await.ok()?;
                let from = match since {
                    Some(since) => since,
                    // By the database's clock, which several servers share; it may have been away for long.
                    None => {
                        let ago = due.elapsed() + slack;
                        *since.insert(index.database_time().await.ok()? - ago.as_secs_f64())
                    }
                };
                let turn = within(self.desk.patience(), index.take_audit(&self.holder, from, TURN)).await;
                turn.inspect_err(|error| tracing::warn!(%error, "whose turn the {name} is cannot be seen"))
                    .ok()
                    .map(|turn| (index, turn))
            };
            match waited.await {
                Some((index, AuditTurn::Ours)) => break index,
                Some((index, AuditTurn::Done)) => {
                    if Self::last(&index).await.is_some_and(|(last, _)| last.status == "SUCCESSFUL") {
                        tracing::info!("{name}: another server has just made one");
                        self.set("done");
                        return;
                    }
                    // What failed there may be well here.
                    since = Some(f64::MAX);
                    continue;
                }
                Some((_, AuditTurn::Theirs)) | None => {}
            }
            self.set("waiting");
            tokio::time::sleep(LOOK).await;
        };
        self.set("running");
        let kept = async {
            loop {
                tokio::time::sleep(TURN / 6).await;
                let _ = within(self.desk.patience(), index.take_audit(&self.holder, f64::MAX, TURN)).await;
            }
        };
        let made = tokio::select! {
            made = self.make(name) => made,
            () = kept => None,
        };
        if let Err(error) = within(self.desk.patience(), index.end_audit(&self.holder)).await {
            tracing::warn!(%error, "the turn of the {name} could not be given back; it ends by itself");
        }
        self.set(if made.is_some_and(|made| made.status == "SUCCESSFUL") { "done" } else { "failed" });
    }

    async fn make(&self, name: &str) -> Option<AuditResult> {
        let begun = Instant::now();
        let id = match self.desk.submit(Request::new(Mode::Audit), None, Duration::ZERO).await {
            Ok(id) => id,
            Err(error) => {
                tracing::warn!(code = error.code(), "{name} failed: {error}");
                return None;
            }
        };
        let ended = match self.desk.live(id) {
            Some(live) => live.ended().await,
            None => return self.read(id, begun).await,
        };
        match ended {
            State::Ended(answer) => {
                let made = told(answer.task_id.clone(), &answer.status, answer.result.clone(), begun);
                if made.is_sound() {
                    tracing::info!(task_id = made.task_id, drift = made.drift, "{name}: {}", made.summary);
                } else {
                    tracing::warn!(task_id = made.task_id, drift = made.drift, "{name}: {}", made.summary);
                }
                Some(made)
            }
            State::Refused(error) => {
                tracing::warn!(code = error.code(), "{name} failed: {error}");
                None
            }
            State::Ready | State::Running => None,
        }
    }

    /// Reads what an audit came to that ended before anybody could look.
    async fn read(&self, id: Uuid, begun: Instant) -> Option<AuditResult> {
        let task = self.desk.task(&id.to_string()).await.ok()?;
        let result = serde_json::from_str(task.result?.get()).ok()?;
        let made = told(task.id, &task.status, result, begun);
        tracing::info!(task_id = made.task_id, drift = made.drift, "audit: {}", made.summary);
        Some(made)
    }

    /// Returns what the last audit of any server came to, and how many seconds ago that was.
    pub async fn last(index: &Index) -> Option<(AuditResult, f64)> {
        let last = index.last_audit().await.ok()??;
        Some((serde_json::from_str(&last.result).ok()?, last.age))
    }
}

impl AuditResult {
    /// Tells whether its numbers are the whole truth: it reached its end, nothing was refused, and nothing kept from it.
    pub fn is_sound(&self) -> bool {
        let result = &self.result;
        let is_whole = result.errors.is_empty() && result.incomplete_users.is_empty();
        self.status == "SUCCESSFUL" && result.refusal.is_none() && is_whole
    }
}

impl Desk {
    /// Notes what a task came to as the last audit, if it is one of everything.
    pub(super) async fn note_audit(&self, index: &Index, request: &Request, answer: &Answer, begun: Instant) {
        let of_everything = request.mode == Mode::Audit
            && request.user.is_none()
            && !request.adopt
            && request.exclude.patterns().is_empty();
        // One that was asked to end says nothing about the storage.
        let asked = answer.status == "CANCELLED" || answer.result.errors.iter().any(|e| e.code == "shut_down");
        if !of_everything || asked {
            return;
        }
        let made = told(answer.task_id.clone(), &answer.status, answer.result.clone(), begun);
        let Ok(text) = serde_json::to_string(&made) else { return };
        if let Err(error) = within(self.patience(), index.note_audit(&text)).await {
            tracing::warn!(%error, "what the audit came to could not be noted");
        }
    }
}

fn told(task_id: String, status: &str, result: ResultWire, begun: Instant) -> AuditResult {
    let differ =
        result.missing_in_db + result.orphaned_in_db + result.stale_in_db + result.moved_in_db + result.deferred;
    let mut summary = format!(
        "{} missing, {} orphaned, {} stale, {} moved; {} files in the storage, {} in the index",
        result.missing_in_db,
        result.orphaned_in_db,
        result.stale_in_db,
        result.moved_in_db,
        result.files_on_disk,
        result.files_in_db
    );
    if result.unclaimed_on_disk > 0 {
        summary = format!("{summary}; {} more belong to no user", result.unclaimed_on_disk);
    }
    if status == "SUCCESSFUL" && differ == 0 && result.refusal.is_none() {
        summary = format!("index and storage agree; {summary}");
    }
    if let Some(refusal) = &result.refusal {
        summary = format!("refused: {}; {summary}", refusal.message);
    }
    if let Some(error) = result.errors.first() {
        let more = result.errors.len() - 1;
        let more = if more == 0 { String::new() } else { format!(" (and {more} more)") };
        summary = format!(
            "{}: {}{more}; {summary}",
            if status == "SUCCESSFUL" { "incomplete" } else { "failed" },
            error.message
        );
    }
    let seconds = (begun.elapsed().as_secs_f64() * 1_000.0).round() / 1_000.0;
    let status = status.to_owned();
    let mut told =
        AuditResult { task_id, status, finished_at: clock::now().to_text(), seconds, summary, drift: None, result };
    // A difference that was seen is one, but for a storage that is not the right one.
    let is_known = told.is_sound() || (differ > 0 && told.result.refusal.is_none());
    told.drift = is_known.then_some(differ > 0);
    told
}
