//! Whether the server can be asked, and what it knows of storage and index.

use std::sync::Arc;
use std::time::Duration;

use poem_openapi::payload::Json;

use super::scrub::Scrub;
use super::wire::{AuditView, Readiness, Ready};
use crate::reconcile::ErrorWire;
use crate::task::{Desk, StandingAudit};

/// How long an answer of the database is waited for.
const PATIENCE: Duration = Duration::from_secs(3);

pub(super) async fn readiness(desk: &Arc<Desk>, audit: Option<&StandingAudit>, scrub: &Scrub) -> Readiness {
    let asked = async {
        let index = desk.index().await.map_err(|error| error.code())?;
        index.ask().await.map_err(|error| error.code())?;
        let last = StandingAudit::last(&index).await;
        Ok::<_, &str>(last)
    };
    let answered = tokio::time::timeout(PATIENCE, asked).await.unwrap_or(Err("database_unavailable"));
    let storage = desk.look_at_storage().await;
    let state = audit.map_or("off", StandingAudit::state).to_owned();
    let (database, last) = match answered {
        Ok(last) => ("ok", last),
        Err(code) => (code, None),
    };
    let (last, age_seconds) = last.unzip();
    let last = last.map(|mut last| {
        last.summary = scrub.text(&last.summary);
        last.result = scrub.result(last.result);
        // Nobody is asked for a key here, so nothing is told that has a name in it.
        let word = |errors: &[ErrorWire]| errors.first().map_or("", |error| error.code.as_str()).to_owned();
        let code = word(&last.result.errors);
        if !code.is_empty() || last.result.refusal.is_some() {
            let code = last.result.refusal.as_ref().map_or(code, |_| "refused".to_owned());
            last.summary = format!("{code}: see the log, or the task {}", last.task_id);
        }
        for error in &mut last.result.errors {
            error.key = None;
            error.message = format!("see the task {}", last.task_id);
        }
        if let Some(refusal) = &mut last.result.refusal {
            refusal.message = format!("see the task {}", last.task_id);
        }
        last
    });
    let is_up = database == "ok";
    let ready = Ready {
        status: if is_up { "ready" } else { "unavailable" }.to_owned(),
        database: database.to_owned(),
        storage: storage.to_owned(),
        audit: AuditView { state, last, age_seconds },
    };
    if is_up { Readiness::Ready(Json(ready)) } else { Readiness::Unavailable(Json(ready)) }
}
