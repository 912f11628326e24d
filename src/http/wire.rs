//! What the API answers.

use poem_openapi::payload::{Json, PlainText};
use poem_openapi::{ApiResponse, Enum, Object, ResponseContent};
use serde::Serialize;
use serde_json::Value;
use serde_json::value::RawValue;

use super::scrub::Scrub;
use crate::index::Task;
use crate::reconcile::{Answer, ErrorWire, ResultWire};
use crate::task::{AuditResult, Finding, Live, ProgressWire, State};

/// The answer to a request for a run.
#[derive(Debug, Clone, Object)]
#[oai(example)]
pub(super) struct Answered {
    /// The id of the task.
    pub task_id: String,
    /// `READY`, `RUNNING`, `SUCCESSFUL`, `FAILED` or `CANCELLED`.
    pub status: String,
    /// What it came to; null until it has ended.
    pub result: Option<ResultWire>,
}

impl poem_openapi::types::Example for Answered {
    fn example() -> Self {
        Self { task_id: "019ab1f2-6f3e-7c11-b1d5-3f6ad2f9c0de".to_owned(), status: "RUNNING".to_owned(), result: None }
    }
}

impl Answered {
    pub(super) fn of(answer: &Answer, scrub: &Scrub) -> Self {
        let result = Some(scrub.result(answer.result.clone()));
        Self { task_id: answer.task_id.clone(), status: answer.status.clone(), result }
    }
}

/// A task.
#[derive(Debug, Clone, Serialize, Object)]
pub(super) struct TaskView {
    /// The id: the name of the column.
    pub id: String,
    /// The same, by the name with which a rebuild answers.
    pub task_id: String,
    /// `READY`, `RUNNING`, `SUCCESSFUL`, `FAILED` or `CANCELLED`.
    pub status: String,
    /// What was asked.
    pub request: Option<Value>,
    /// How far it is, or was.
    pub progress: Option<ProgressWire>,
    /// What it came to, as the rebuild answers it; null until it has ended.
    pub result: Option<Value>,
    /// What went wrong.
    pub errors: Vec<ErrorWire>,
    /// When it was accepted.
    pub created_at: String,
    /// When it began.
    pub started_at: Option<String>,
    /// When it ended.
    pub finished_at: Option<String>,
}

impl TaskView {
    pub(super) fn of(task: Task, live: Option<ProgressWire>, scrub: &Scrub) -> Self {
        let value = |raw: Option<Box<RawValue>>| {
            raw.and_then(|raw| serde_json::from_str::<Value>(raw.get()).ok()).filter(|value| !value.is_null())
        };
        let errors = value(task.errors).and_then(|errors| serde_json::from_value(errors).ok()).unwrap_or_default();
        let result = value(task.result).map(|result| match serde_json::from_value::<ResultWire>(result.clone()) {
            Ok(known) => serde_json::to_value(scrub.result(known)).unwrap_or(result),
            // What another kind of task came to.
            Err(_) => result,
        });
        let stored = || value(task.progress).and_then(progress);
        Self {
            id: task.id,
            task_id: task.task_id,
            status: task.status,
            request: value(task.request),
            progress: live.or_else(stored),
            result,
            errors: scrub.errors(errors),
            created_at: task.created_at,
            started_at: task.started_at,
            finished_at: task.finished_at,
        }
    }

    /// Says that it runs, if it does so here: its row may hear of it a moment later than those who wait for it.
    pub(super) fn begin(&mut self, live: Option<&Live>) {
        if self.status == TaskState::Ready.as_str() && live.is_some_and(|live| matches!(live.state(), State::Running)) {
            self.status = TaskState::Running.as_str().to_owned();
        }
    }

    /// Tells whether nothing more happens to it.
    pub(super) fn has_ended(&self) -> bool {
        !matches!(self.status.as_str(), "READY" | "RUNNING")
    }
}

fn progress(value: Value) -> Option<ProgressWire> {
    Some(ProgressWire {
        phase: value["phase"].as_str()?.to_owned(),
        done: value["done"].as_u64()?,
        total: value["total"].as_u64(),
        rate: value["rate"].as_f64().unwrap_or_default(),
        eta_seconds: value["eta_seconds"].as_f64(),
    })
}

/// A page of tasks, the newest first.
#[derive(Debug, Clone, Object)]
pub(super) struct TaskPage {
    /// The tasks.
    pub tasks: Vec<TaskView>,
    /// The `before` of the next page; null on the last one.
    pub next: Option<String>,
}

/// A page of findings.
#[derive(Debug, Clone, Object)]
pub(super) struct FindingPage {
    /// The findings, in the order in which they were made.
    pub findings: Vec<Finding>,
    /// The `after` of the next page; null when there is nothing more. While the task runs there may always be more.
    pub next: Option<u64>,
}

/// The states of a task.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Enum)]
#[oai(rename_all = "UPPERCASE")]
pub(super) enum TaskState {
    /// Accepted, not begun.
    Ready,
    /// Under way.
    Running,
    /// Ended, refusals and problems with single entries included.
    Successful,
    /// Could not reach its end.
    Failed,
    /// Asked to end before.
    Cancelled,
}

impl TaskState {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Ready => "READY",
            Self::Running => "RUNNING",
            Self::Successful => "SUCCESSFUL",
            Self::Failed => "FAILED",
            Self::Cancelled => "CANCELLED",
        }
    }
}

/// The kinds of findings.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Enum)]
#[oai(rename_all = "lowercase")]
pub(super) enum Kind {
    /// An object without a record.
    Missing,
    /// A record without an object.
    Orphaned,
    /// Both, but their facts differ.
    Stale,
    /// A renamed file.
    Moved,
    /// What might be a renamed file, which cannot be decided.
    Deferred,
    /// An object under no user's prefix.
    Unclaimed,
    /// An entry that cannot be a record.
    Unindexable,
}

impl Kind {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Missing => "missing",
            Self::Orphaned => "orphaned",
            Self::Stale => "stale",
            Self::Moved => "moved",
            Self::Deferred => "deferred",
            Self::Unclaimed => "unclaimed",
            Self::Unindexable => "unindexable",
        }
    }
}

/// Whether the server can be asked.
#[derive(Debug, Clone, Serialize, Object)]
pub(super) struct Ready {
    /// `ready`, or `unavailable` without the database.
    pub status: String,
    /// `ok`, or a stable word for what is wrong.
    pub database: String,
    /// `ok`, or a stable word for what is wrong. A storage that is missing, or not the one of the
    /// index (`wrong_storage`), is told, and stops nothing.
    pub storage: String,
    /// The standing audit.
    pub audit: AuditView,
}

/// The standing audit.
#[derive(Debug, Clone, Serialize, Object)]
pub(super) struct AuditView {
    /// On this server: `off`, `waiting`, `running`, `done` or `failed`.
    pub state: String,
    /// What the last one of any server came to.
    pub last: Option<AuditResult>,
    /// How many seconds ago that was.
    pub age_seconds: Option<f64>,
}

/// Whether the server lives.
#[derive(Debug, Clone, Serialize, Object)]
pub(super) struct Alive {
    /// `alive`.
    pub status: String,
    /// The version of the program.
    pub version: String,
}

#[derive(ApiResponse)]
pub(super) enum Rebuilt {
    /// The task has ended within the wait, well or not: its `status` says which.
    #[oai(status = 200)]
    Ended(
        Json<Answered>,
        /// The preference that was heeded.
        #[oai(header = "Preference-Applied")]
        Option<String>,
    ),
    /// The task goes on; `Location` says where to ask for it.
    #[oai(status = 202)]
    Accepted(
        Json<Answered>,
        /// Where the task is.
        #[oai(header = "Location")]
        String,
        /// The preference that was heeded.
        #[oai(header = "Preference-Applied")]
        Option<String>,
    ),
}

#[derive(ApiResponse)]
pub(super) enum Cancelled {
    /// The task had been cancelled before.
    #[oai(status = 200)]
    Already(Json<TaskView>),
    /// The task was asked to end; it does so at its next border between two batches.
    #[oai(status = 202)]
    Asked(Json<TaskView>),
}

#[derive(ResponseContent)]
pub(super) enum Findings {
    Json(Json<FindingPage>),
    #[oai(content_type = "application/x-ndjson")]
    Ndjson(PlainText<String>),
    #[oai(content_type = "text/csv")]
    Csv(PlainText<String>),
}

#[derive(ApiResponse)]
pub(super) enum FindingsFound {
    /// A page of findings, as `Accept` wants them: JSON, NDJSON or CSV.
    #[oai(status = 200)]
    Page(
        Findings,
        /// The next page, `rel="next"`.
        #[oai(header = "Link")]
        Option<String>,
    ),
}

#[derive(ApiResponse)]
pub(super) enum Readiness {
    /// The database answers.
    #[oai(status = 200)]
    Ready(Json<Ready>),
    /// The database does not answer.
    #[oai(status = 503)]
    Unavailable(Json<Ready>),
}
