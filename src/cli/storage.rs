//! `storage`: whether this is the storage that the index is about.

use std::path::PathBuf;

use serde::Serialize;
use uuid::Uuid;

use super::abilities::{Abilities, abilities_of};
use super::args::Format;
use super::exit::{Exit, Failure};
use super::exposed::{Exposed, exposed};
use super::output;
use super::storage_args::StorageCommand;
use crate::clock;
use crate::config::Config;
use crate::error::Error;
use crate::index::{Access, Index, IndexError};
use crate::model::UnreadableMarker;
use crate::reconcile::{self, Outlook, RunVerdict};
use crate::storage::{MARKER, Marker, MarkerError, MarkerState, Storage, marker_document};

/// What `status` tells.
#[derive(Debug, Serialize)]
struct Status {
    /// `found`, `absent`, `damaged`, `unknown`, or `unchecked` where markers are not asked for.
    marker: &'static str,
    /// The id of the storage, if it has one.
    storage_id: Option<String>,
    /// The id that the index is bound to.
    bound_to: Option<String>,
    /// `go`, `refused` or `failed`.
    run: &'static str,
    /// Why, in one stable word.
    code: Option<&'static str>,
    /// Why, in one line.
    message: Option<String>,
    /// What can be done with the storage.
    #[serde(flatten)]
    abilities: Abilities,
    /// What storm-index keeps and others than its owner can read.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    readable_by_others: Vec<Exposed>,
}

pub(super) async fn run(command: StorageCommand, config: &Config) -> Result<Exit, Failure> {
    match command {
        StorageCommand::Status { findings, format } => status(findings, format, config).await,
        StorageCommand::Bind { print: true, .. } => print(config).await,
        StorageCommand::Bind { force, .. } => {
            let storage = open(config)?;
            let index = super::open_index(config, if force { Access::Write } else { Access::Read }).await?;
            let done = bind(&storage, &index, force).await;
            index.close().await;
            done
        }
        StorageCommand::Mounts(command) => super::mounts::run(command, config).await,
    }
}

fn open(config: &Config) -> Result<Storage, Failure> {
    Ok(super::open_storage(config.storage()?, config).map_err(Error::from)?)
}

async fn status(findings: Option<PathBuf>, format: Format, config: &Config) -> Result<Exit, Failure> {
    let storage = open(config)?;
    let index = super::open_index(config, Access::Read).await?;
    let storage = storage.without_files(index.files());
    let outlook = super::reconciler(&storage, &index, config).outlook().await;
    let abilities = abilities_of(&storage.reader(), &index).await;
    let files = index.files().to_vec();
    // The last one who closes the database removes its side files.
    index.close().await;
    let (mut status, exit) = told(outlook?, abilities?);
    status.readable_by_others = exposed(&files, findings.or_else(|| config.serve.findings.clone()).as_deref());
    match format {
        Format::Json => output::json(&status),
        Format::Text => {
            let known = |id: &Option<String>| id.clone().unwrap_or_else(|| "-".to_owned());
            let rows = [("marker", status.marker.to_owned()), ("storage", known(&status.storage_id))];
            let more = [("bound to", known(&status.bound_to)), ("a run", run_word(exit).to_owned())];
            for (name, value) in rows.into_iter().chain(more).chain(status.abilities.rows()) {
                output::line(&format!("{name:>10}  {}", output::visible(&value)));
            }
            for Exposed { path, mode, fix } in &status.readable_by_others {
                for (name, value) in
                    [("exposed", format!("others can read {path} (mode {mode})")), ("fix", fix.clone())]
                {
                    output::line(&format!("{name:>10}  {}", output::visible(&value)));
                }
            }
        }
    }
    if let Some(message) = &status.message {
        output::complain(message);
    }
    Ok(exit)
}

fn run_word(exit: Exit) -> &'static str {
    match exit {
        Exit::Done => "would go",
        Exit::Refused => "would be refused",
        _ => "would fail",
    }
}

fn told(outlook: Outlook, abilities: Abilities) -> (Status, Exit) {
    let (marker, storage) = match outlook.marker {
        None => ("unchecked", None),
        Some(MarkerState::Found(id)) => ("found", Some(id.to_string())),
        Some(MarkerState::Absent) => ("absent", None),
        Some(MarkerState::Damaged(_)) => ("damaged", None),
        Some(MarkerState::Unknown(_)) => ("unknown", None),
    };
    let (run, exit, code, message) = match outlook.verdict {
        RunVerdict::Go => ("go", Exit::Done, None, None),
        RunVerdict::Refused(refusal) => ("refused", Exit::Refused, Some(refusal.code.as_str()), Some(refusal.message)),
        RunVerdict::Trouble(trouble) => ("failed", Exit::Failed, Some(trouble.code), Some(trouble.message)),
    };
    let bound_to = outlook.bound.map(|id| id.to_string());
    let readable_by_others = Vec::new();
    (Status { marker, storage_id: storage, bound_to, run, code, message, abilities, readable_by_others }, exit)
}

/// What binding does: to an id that is there, or to one that the storage is given.
enum Plan {
    Take(Uuid),
    /// Its own id again, by which the owner marks the right storage anew; a new one for an index that has none.
    Mark(Uuid),
}

async fn plan(marker: &Marker, bound: Option<Uuid>) -> Result<Plan, Failure> {
    let id = bound.unwrap_or_else(Uuid::now_v7);
    match marker.read().await {
        MarkerState::Found(id) => Ok(Plan::Take(id)),
        MarkerState::Absent => Ok(Plan::Mark(id)),
        MarkerState::Damaged(what) => Err(occupied(what, bound.is_some())),
        MarkerState::Unknown(trouble) => Err(Failure::new(Exit::Failed, trouble.message)),
    }
}

/// Says that nothing is bound to a storage that has another object in the place of its marker.
fn occupied(what: UnreadableMarker, is_bound: bool) -> Failure {
    Failure::new(Exit::Refused, reconcile::unreadable_marker(what, is_bound).message)
}

async fn bind(storage: &Storage, index: &Index, force: bool) -> Result<Exit, Failure> {
    if let Some(holder) = index.lease_holder().await? {
        return Err(IndexError::Held(holder).into());
    }
    let bound = bound_to(index).await?;
    let marker = storage.marker();
    let plan = plan(&marker, bound).await?;
    if !force {
        let is_done = matches!(plan, Plan::Take(id) if Some(id) == bound);
        let then = if is_done { "nothing has to be done" } else { "nothing was changed. Do it with --force" };
        return Err(Failure::new(Exit::Usage, format!("{}; {then}", explain(&plan, bound))));
    }
    let id = match plan {
        Plan::Take(id) => id,
        Plan::Mark(id) => marker.write(id, clock::now()).await.map_err(|e| match e {
            MarkerError::Occupied(what) => occupied(what, bound.is_some()),
            MarkerError::Redirected(trouble) => Failure::new(Exit::Failed, trouble.message),
            MarkerError::Unreadable(_) | MarkerError::Unwritable(_) => {
                let message = format!("{e}; have its owner upload what `storm-index storage bind --print` prints");
                Failure::new(Exit::Failed, message)
            }
        })?,
    };
    index.writer()?.bind(id).await?;
    output::advise(&format!("the index is bound to storage {id}"));
    Ok(Exit::Done)
}

/// Returns what the index is bound to; what is no id is nothing, since binding mends it.
async fn bound_to(index: &Index) -> Result<Option<Uuid>, Failure> {
    match index.binding().await {
        Err(IndexError::BadBinding(_)) => Ok(None),
        other => Ok(other?),
    }
}

fn explain(plan: &Plan, bound: Option<Uuid>) -> String {
    let now = bound.map_or_else(|| "to no storage".to_owned(), |id| format!("to storage {id}"));
    match plan {
        Plan::Take(id) if Some(*id) == bound => format!("the index is bound to this storage, {id}, already"),
        Plan::Take(id) => {
            format!("the index is bound {now}; this would bind it to storage {id}, as this one's marker says")
        }
        Plan::Mark(id) => {
            let which = if bound == Some(*id) { format!("the same id, {id}") } else { "a new id".to_owned() };
            format!(
                "the index is bound {now}, and this storage has no marker; this would write {MARKER} with {which}, and bind the \
                 index to it"
            )
        }
    }
}

async fn print(config: &Config) -> Result<Exit, Failure> {
    let index = super::open_index(config, Access::Read).await?;
    let bound = bound_to(&index).await;
    index.close().await;
    let id = bound?.unwrap_or_else(Uuid::now_v7);
    output::raw(marker_document(id, clock::now()).as_bytes());
    output::advise(&format!(
        "upload this as {MARKER} to the top of the storage, if it has none; the next run takes its id"
    ));
    Ok(Exit::Done)
}
