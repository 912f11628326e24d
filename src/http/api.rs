//! The operations: each asks the desk, and says what came of it.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use futures::stream::{BoxStream, StreamExt as _, unfold};
use poem::Request;
use poem::http::StatusCode;
use poem::web::sse::Event;
use poem_openapi::auth::Bearer;
use poem_openapi::param::{Header, Path, Query};
use poem_openapi::payload::{EventStream, Json, PlainText};
use poem_openapi::{OpenApi, SecurityScheme, Tags};
use uuid::Uuid;

use super::auth::Caller;
use super::body::Strict;
use super::findings;
use super::health;
use super::prefer::preference;
use super::problem::{NO_KEY, NO_PLACE, Problem};
use super::refusals::{CancelRefused, MetricsRefused, PageRefused, RebuildRefused, TaskRefused};
use super::scrub::Scrub;
use super::wire::{Alive, Cancelled, FindingsFound, Kind, Readiness, Rebuilt, TaskPage, TaskState, TaskView};
use crate::index::{Claim, LeaseTerms, Task};
use crate::model::{Identity, InodeNumbers, Order};
use crate::reconcile::RequestWire;
use crate::task::{Desk, Settings, StandingAudit, TaskError};

/// The time between two looks at a task that another process carries out.
const LOOK: Duration = Duration::from_secs(1);

/// The parts of the API.
#[derive(Tags)]
enum Part {
    /// Bringing the index in step with the storage.
    Index,
    /// What runs were asked, how far they are, and what they came to.
    Tasks,
    /// For those who operate the server. No key is needed.
    Operations,
}

/// An admin's key, as `storm-index key create --admin` makes it.
#[derive(SecurityScheme)]
#[oai(rename = "AdminKey", ty = "bearer", bearer_format = "sk_…", checker = "caller")]
struct AdminKey(Caller);

/// Returns whom the door has let in.
async fn caller(request: &Request, _bearer: Bearer) -> poem::Result<Caller> {
    let caller = request.extensions().get::<Caller>().copied();
    caller.ok_or_else(|| Problem::new(StatusCode::UNAUTHORIZED, "key_missing", NO_KEY).into_error())
}

/// The operations.
#[derive(Debug, Clone)]
pub(super) struct Api {
    pub(super) desk: Arc<Desk>,
    pub(super) audit: Option<Arc<StandingAudit>>,
    pub(super) scrub: Scrub,
}

impl Api {
    /// Sets operations up that nobody can call, but that can be described.
    pub(super) fn nowhere() -> Self {
        let settings = Settings {
            storage: "memory:///".to_owned(),
            database: "sqlite::memory:".to_owned(),
            readers: 1,
            identity: Identity::default(),
            order: Order::default(),
            inode_numbers: InodeNumbers::default(),
            lease_terms: LeaseTerms::default(),
            findings: PathBuf::new(),
        };
        Self { desk: Desk::new(settings), audit: None, scrub: Scrub::default() }
    }
}

#[OpenApi]
impl Api {
    /// Compare index and storage, and bring the index in step
    ///
    /// `audit` reports only; `sync` adds missing records and refreshes stale ones; `clean` deletes orphaned records;
    /// `full` does both. `clean` and `full` need `force`, unless it is a dry run. No file is ever written, moved or
    /// deleted, and no record with an active share link.
    ///
    /// Answers 200 when the task has ended within the wait (`Prefer: wait=N` seconds, 10 unless told), also when it
    /// `FAILED`; else 202, and the task goes on. `Prefer: respond-async` does not wait, but up to 2 seconds for the
    /// beginning of a run that may be refused then: one that writes or adopts.
    ///
    /// With an `Idempotency-Key`, the same body within 24 hours is the same task.
    #[oai(path = "/api/v1/index/rebuild", method = "post", tag = "Part::Index", operation_id = "rebuildIndex")]
    async fn rebuild(
        &self,
        key: AdminKey,
        /// `wait=N` (seconds, at most 300) or `respond-async` (RFC 7240).
        #[oai(name = "Prefer")]
        prefer: Header<Option<String>>,
        /// Any text that is new for a new request.
        #[oai(name = "Idempotency-Key", validator(min_length = 1, max_length = 255))]
        idempotency_key: Header<Option<String>>,
        body: Strict<RequestWire>,
    ) -> Result<Rebuilt, RebuildRefused> {
        let claim = idempotency_key.0.map(|text| claim(&key, text, &body.0));
        let run = self.read(body.0).await?;
        let preference = preference(prefer.0.as_deref());
        let (answered, ended) =
            self.carry_out(run, claim, preference.wait).await.map_err(|error| self.problem(&error))?;
        if ended {
            return Ok(Rebuilt::Ended(Json(answered), preference.applied));
        }
        let location = format!("/api/v1/index/tasks/{}", answered.task_id);
        Ok(Rebuilt::Accepted(Json(answered), location, preference.applied))
    }

    /// List tasks, the newest first
    #[oai(path = "/api/v1/index/tasks", method = "get", tag = "Part::Tasks", operation_id = "listTasks")]
    async fn tasks(
        &self,
        _key: AdminKey,
        /// Only those of this state.
        status: Query<Option<TaskState>>,
        /// Only those older than this task: the `next` of the page before.
        before: Query<Option<Uuid>>,
        /// How many.
        #[oai(default = "fifty", validator(minimum(value = "1"), maximum(value = "500")))]
        limit: Query<u32>,
    ) -> Result<Json<TaskPage>, PageRefused> {
        let only = status.0.map(TaskState::as_str);
        let before = before.0.map(|id| id.to_string());
        // One more than is told, to know whether there is another page.
        let found = self.desk.tasks(only, before.as_deref(), limit.0 + 1).await;
        let mut tasks = found.map_err(|error| self.problem(&error))?;
        let more = tasks.len() > limit.0 as usize;
        tasks.truncate(limit.0 as usize);
        let next = tasks.last().filter(|_| more).map(|task| task.id.clone());
        let mut tasks: Vec<TaskView> = tasks.into_iter().map(|task| self.tell(task)).collect();
        tasks.retain(|task| only.is_none_or(|only| task.status == only));
        Ok(Json(TaskPage { tasks, next }))
    }

    /// Show a task
    #[oai(path = "/api/v1/index/tasks/:id", method = "get", tag = "Part::Tasks", operation_id = "getTask")]
    async fn task(
        &self,
        _key: AdminKey,
        /// The task.
        id: Path<Uuid>,
    ) -> Result<Json<TaskView>, TaskRefused> {
        Ok(Json(self.view(id.0).await?))
    }

    /// Ask a task to end
    ///
    /// It ends at its next border between two batches; what it has written by then stays, and is complete in itself.
    #[oai(path = "/api/v1/index/tasks/:id/cancel", method = "post", tag = "Part::Tasks", operation_id = "cancelTask")]
    async fn cancel(
        &self,
        _key: AdminKey,
        /// The task.
        id: Path<Uuid>,
    ) -> Result<Cancelled, CancelRefused> {
        let task = self.desk.cancel(&id.0.to_string()).await.map_err(|error| self.problem(&error))?;
        let view = self.tell(task);
        Ok(if view.has_ended() { Cancelled::Already(Json(view)) } else { Cancelled::Asked(Json(view)) })
    }

    /// Watch a task
    ///
    /// Server-sent events: the task, each time that something about it has changed, as `progress`, and at its end as `end`,
    /// which is the last event.
    #[oai(path = "/api/v1/index/tasks/:id/events", method = "get", tag = "Part::Tasks", operation_id = "watchTask")]
    async fn events(
        &self,
        _key: AdminKey,
        /// The task.
        id: Path<Uuid>,
    ) -> Result<EventStream<BoxStream<'static, TaskView>>, TaskRefused> {
        let first = self.view(id.0).await?;
        let (api, id) = (self.clone(), id.0);
        let stream = unfold((Some(first.clone()), Some(first)), move |(next, last)| {
            let api = api.clone();
            async move {
                let view = match (next, last) {
                    (Some(first), _) => first,
                    (None, Some(last)) if !last.has_ended() => api.change(id, &last).await?,
                    _ => return None,
                };
                Some((view.clone(), (None, Some(view))))
            }
        });
        let stream = EventStream::new(stream.boxed()).keep_alive(Duration::from_secs(15));
        Ok(stream.to_event(|view: TaskView| {
            let name = if view.has_ended() { "end" } else { "progress" };
            Event::message(serde_json::to_string(&view).unwrap_or_default()).event_type(name)
        }))
    }

    /// List what a task has found
    ///
    /// As JSON, as NDJSON (`Accept: application/x-ndjson`) or as CSV (`Accept: text/csv`), a page at a time. The findings of
    /// tasks that run and of the last 20 others are kept, by the server that carried them out.
    #[oai(
        path = "/api/v1/index/tasks/:id/findings",
        method = "get",
        tag = "Part::Tasks",
        operation_id = "listFindings"
    )]
    #[allow(clippy::too_many_arguments, reason = "each is a parameter of the operation")]
    async fn findings(
        &self,
        _key: AdminKey,
        /// The task.
        id: Path<Uuid>,
        /// Only those of this kind.
        kind: Query<Option<Kind>>,
        /// From here on: the `next` of the page before.
        #[oai(default, validator(minimum(value = "0"), maximum(value = "9007199254740991")))]
        after: Query<u64>,
        /// How many.
        #[oai(default = "hundred", validator(minimum(value = "1"), maximum(value = "1000")))]
        limit: Query<u32>,
        /// `application/json`, `application/x-ndjson` or `text/csv`.
        #[oai(name = "Accept")]
        accept: Header<Option<String>>,
    ) -> Result<FindingsFound, PageRefused> {
        let (id, only) = (id.0.to_string(), kind.0.map(|kind| kind.as_str().to_owned()));
        let found = self.desk.findings(&id, only, after.0, limit.0 as usize).await;
        let page = found
            .map_err(|error| self.problem(&error))?
            .ok_or_else(|| Problem::new(StatusCode::BAD_REQUEST, "invalid_parameter", NO_PLACE))?;
        let link = page.next.map(|next| {
            let kind = kind.0.map(|kind| format!("&kind={}", kind.as_str())).unwrap_or_default();
            let limit = limit.0;
            format!("</api/v1/index/tasks/{id}/findings?after={next}&limit={limit}{kind}>; rel=\"next\"")
        });
        Ok(FindingsFound::Page(findings::body(page, accept.0.as_deref()), link))
    }

    /// Tell whether the server lives
    #[oai(path = "/health/live", method = "get", tag = "Part::Operations", operation_id = "live")]
    async fn live(&self) -> Json<Alive> {
        Json(Alive { status: "alive".to_owned(), version: env!("CARGO_PKG_VERSION").to_owned() })
    }

    /// Tell whether the server can be asked
    ///
    /// 503 only without the database. Storage and last audit are told as well, and stop nothing.
    #[oai(path = "/health/ready", method = "get", tag = "Part::Operations", operation_id = "ready")]
    async fn ready(&self) -> Readiness {
        health::readiness(&self.desk, self.audit.as_deref(), &self.scrub).await
    }

    /// Tell what Prometheus wants to know
    #[oai(path = "/metrics", method = "get", tag = "Part::Operations", operation_id = "metrics")]
    async fn metrics(&self) -> Result<PlainText<String>, MetricsRefused> {
        Ok(PlainText(super::metrics::render(&self.desk).await))
    }
}

fn fifty() -> u32 {
    50
}

fn hundred() -> u32 {
    100
}

/// Says what is asked under an `Idempotency-Key`: what it means, however it is written.
fn claim(key: &AdminKey, text: String, asked: &RequestWire) -> Claim {
    let meaning = serde_json::to_vec(asked).unwrap_or_default();
    Claim { api_key: key.0.key, key: text, body_hash: blake3::hash(&meaning).to_hex().to_string() }
}

impl Api {
    pub(super) fn problem(&self, error: &TaskError) -> Problem {
        if error.is_failure() {
            tracing::warn!(%error, code = error.code(), "a request could not be carried out");
        }
        Problem::of_task(error, &self.scrub)
    }

    /// Returns a task as it stands, wherever it is carried out.
    async fn view(&self, id: Uuid) -> Result<TaskView, Problem> {
        // Asked before the row: of one that ends in between, the row knows more.
        let live = self.desk.live(id);
        let task = self.desk.task(&id.to_string()).await.map_err(|error| self.problem(&error))?;
        let mut view = TaskView::of(task, live.as_ref().and_then(|live| live.progress()), &self.scrub);
        view.begin(live.as_deref());
        Ok(view)
    }

    /// Tells of a row as it stands.
    fn tell(&self, task: Task) -> TaskView {
        let live = Uuid::try_parse(&task.id).ok().and_then(|id| self.desk.live(id));
        let mut view = TaskView::of(task, None, &self.scrub);
        view.begin(live.as_deref());
        view
    }

    /// Waits until something about a task has changed; `None` when nobody can say any more.
    async fn change(&self, id: Uuid, last: &TaskView) -> Option<TaskView> {
        loop {
            let ended = async {
                match self.desk.live(id) {
                    Some(live) => drop(live.ended().await),
                    None => std::future::pending().await,
                }
            };
            let closing = self.desk.closing();
            let leaving = tokio::select! {
                () = ended => false,
                () = tokio::time::sleep(LOOK) => false,
                _ = closing.cancelled(), if self.desk.live(id).is_none() => true,
            };
            let view = self.view(id).await.ok()?;
            // It may have ended here a moment ago; what goes on elsewhere is not watched any longer.
            if leaving && !view.has_ended() {
                return None;
            }
            if view.status != last.status || view.progress != last.progress {
                return Some(view);
            }
        }
    }
}
