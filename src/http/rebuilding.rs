//! A request for a run -> the task, and its end if that comes within the wait, whoever carries it out.

use std::time::Duration;

use poem::http::StatusCode;
use tokio::time::{Instant, sleep, timeout_at};
use uuid::Uuid;

use super::api::Api;
use super::problem::Problem;
use super::wire::{Answered, TaskView};
use crate::index::Claim;
use crate::reconcile::{ErrorWire, Mode, Report, Request as Run, RequestWire, ResultWire};
use crate::task::{Live, State, TaskError};

/// How long is waited at the least for a task to begin that may be refused then: that is said at once, even to those who do
/// not wait.
const BEGINNING: Duration = Duration::from_secs(2);

/// The time between two looks at a task that another process carries out.
const LOOK: Duration = Duration::from_millis(200);

/// The most patterns that a request may exclude.
pub(super) const MOST_EXCLUDES: usize = 500;

/// Until when something is waited for.
struct Until {
    begun: Instant,
    ended: Instant,
}

impl Api {
    /// Reads what is asked. Patterns are compiled on a thread of their own, where nobody waits for it.
    pub(super) async fn read(&self, asked: RequestWire) -> Result<Run, Problem> {
        let patterns = asked.exclude.len();
        if patterns > MOST_EXCLUDES {
            let detail = format!("{patterns} patterns to exclude are too many; send at most {MOST_EXCLUDES}");
            return Err(Problem::new(StatusCode::BAD_REQUEST, "invalid_exclude", detail));
        }
        let reading = tokio::task::spawn_blocking(move || Run::try_from(asked)).await;
        reading
            .map_or(Err(TaskError::Closing), |run| run.map_err(TaskError::from))
            .map_err(|error| self.problem(&error))
    }

    /// Hands a run in, and waits for its end. Tells whether it has come.
    pub(super) async fn carry_out(
        &self,
        run: Run,
        claim: Option<Claim>,
        wait: Duration,
    ) -> Result<(Answered, bool), TaskError> {
        let least = if self.may_be_refused(&run).await { BEGINNING } else { Duration::ZERO };
        let (now, patience) = (Instant::now(), wait.max(least));
        let until = Until { begun: now + patience, ended: now + wait };
        loop {
            let id = self.desk.submit(run.clone(), claim.clone(), patience).await?;
            let answered = match self.desk.live(id) {
                Some(live) => self.wait_here(&live, &until).await,
                None => self.wait_elsewhere(id, &until).await,
            };
            match answered {
                // The first request under this key could not begin, and its task is forgotten: this one is the first now.
                Err(error) if error.code() == "unknown_task" => {}
                answered => return answered,
            }
        }
    }

    /// Tells whether a run may come to nothing as it begins: there is another one that writes, a folder that cannot become a
    /// user, or no such user.
    async fn may_be_refused(&self, run: &Run) -> bool {
        run.writes() || run.adopt || !self.desk.knows(run.user).await
    }

    async fn wait_here(&self, live: &Live, until: &Until) -> Result<(Answered, bool), TaskError> {
        let mut state = match timeout_at(until.ended, live.ended()).await {
            Ok(state) => state,
            Err(_) => timeout_at(until.begun, live.begun()).await.unwrap_or_else(|_| live.state()),
        };
        if matches!(state, State::Ready | State::Running) && !live.promise() {
            state = live.ended().await;
        }
        let going_on =
            |status: &str| Answered { task_id: live.id.to_string(), status: status.to_owned(), result: None };
        match state {
            State::Ready => Ok((going_on("READY"), false)),
            State::Running => Ok((going_on("RUNNING"), false)),
            State::Refused(error) => Err(error),
            State::Ended(answer) => Ok((Answered::of(&answer, &self.scrub), true)),
        }
    }

    /// Waits for a task that is not carried out here, or not any more.
    async fn wait_elsewhere(&self, id: Uuid, until: &Until) -> Result<(Answered, bool), TaskError> {
        loop {
            let view = TaskView::of(self.desk.task(&id.to_string()).await?, None, &self.scrub);
            if view.has_ended() {
                let result = Some(result_of(&view));
                return Ok((Answered { task_id: view.task_id, status: view.status, result }, true));
            }
            let until = if view.status == "READY" { until.begun } else { until.ended };
            if Instant::now() >= until || self.desk.closing().reason().is_some() {
                return Ok((Answered { task_id: view.task_id, status: view.status, result: None }, false));
            }
            sleep(LOOK).await;
        }
    }
}

/// Returns what a task came to. One whose process vanished has left nothing but why it failed.
fn result_of(view: &TaskView) -> ResultWire {
    let stored = view.result.clone().and_then(|result| serde_json::from_value(result).ok());
    stored.unwrap_or_else(|| {
        let asked = view.request.clone().unwrap_or_default();
        let mode = asked["mode"].as_str().and_then(|mode| mode.parse().ok()).unwrap_or(Mode::Audit);
        let mut report = Report::new(mode, asked["dry_run"] == true);
        for ErrorWire { code, message, key } in view.errors.clone() {
            report.note(&code, message, key);
        }
        ResultWire::from(&report)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_are_compiled_where_nobody_waits_for_it() {
        let asked = |patterns: usize| RequestWire {
            exclude: (0..patterns).map(|n| format!("[a-z]?{n}*{{x,y}}")).collect(),
            ..RequestWire::from(&Run::new(Mode::Audit))
        };
        let runtime = tokio::runtime::Builder::new_current_thread().max_blocking_threads(1).build().unwrap();
        runtime.block_on(async {
            let api = Api::nowhere();
            // As long as the only other thread is busy, nothing is compiled but on the spot.
            let (free, busy) = std::sync::mpsc::channel::<()>();
            tokio::task::spawn_blocking(move || busy.recv());
            let mut reading = Box::pin(api.read(asked(MOST_EXCLUDES)));
            assert!(futures::poll!(&mut reading).is_pending(), "it was compiled on the spot");
            drop(free);
            assert_eq!(reading.await.unwrap().exclude.patterns().len(), MOST_EXCLUDES);
            let problem = api.read(asked(MOST_EXCLUDES + 1)).await.unwrap_err();
            assert!(problem.code == "invalid_exclude" && problem.detail.contains("501"), "{problem:?}");
        });
    }

    #[tokio::test]
    async fn only_what_may_be_refused_is_waited_for() {
        let api = Api::nowhere();
        for (mode, dry_run, adopt, want) in [
            (Mode::Audit, false, false, false),
            (Mode::Audit, false, true, true),
            (Mode::Full, true, false, false),
            (Mode::Sync, true, true, true),
            (Mode::Sync, false, false, true),
            (Mode::Full, false, false, true),
        ] {
            let run = Run { dry_run, adopt, ..Run::new(mode) };
            assert_eq!(api.may_be_refused(&run).await, want, "{mode} {dry_run} {adopt}");
        }
    }
}
