//! `restore`: undoing a run.

use serde_json::json;

use super::args::{Format, RestoreArgs};
use super::exit::{Exit, Failure};
use super::output;
use crate::clock;
use crate::config::Config;
use crate::error::{Error, ErrorKind};
use crate::index::{Access, IndexError, RestoreReport};
use crate::reconcile::StorageLook;
use crate::storage;

pub(super) async fn run(args: RestoreArgs, config: &Config) -> Result<Exit, Failure> {
    let report = restore(&args, config).await?;
    match args.format {
        Format::Json => {
            output::json(&json!({ "task_id": report.task_id, "status": report.status(), "result": report.to_json() }))
        }
        Format::Text => output::line(&summary(&report)),
    }
    if report.dry_run && report.of_runs {
        output::advise(&format!("task {} still runs: these are the numbers of this moment", report.of));
    }
    let problems = report.told();
    for problem in &problems {
        output::complain(&problem.message);
    }
    Ok(if problems.is_empty() { Exit::Done } else { Exit::Failed })
}

async fn restore(args: &RestoreArgs, config: &Config) -> Result<RestoreReport, Error> {
    let started = clock::now();
    let failed = |error: IndexError| {
        let mut report = RestoreReport::new(&args.task, args.dry_run);
        report.fail(&error);
        match Error::from(error) {
            error if error.kind() == ErrorKind::Failed => Ok(report),
            other => Err(other),
        }
    };
    let access = if args.dry_run { Access::Read } else { Access::Write };
    let index = match super::open_index(config, access).await {
        Ok(index) => index,
        Err(error) => return failed(error),
    };
    // A storage is opened only for records that were moved: deletions come back without one.
    let mut look = StorageLook::new(|| {
        let url = config.storage().map_err(|error| error.to_string())?;
        let storage = storage::open(url).map_err(|error| error.to_string())?;
        Ok(super::reconciler(&storage.without_files(index.files()), &index, config))
    });
    let restored = index.restore(&args.task, args.dry_run, super::lease_terms(config), &mut look).await;
    drop(look);
    let report = match restored {
        Ok(report) => Ok(report),
        Err(error) => {
            let report = failed(error);
            if let Ok(report) = &report {
                let id = report.task_id.to_string();
                index.note_task(&id, &report.request(), started, &report.outcome()).await;
            }
            report
        }
    };
    index.close().await;
    report
}

fn summary(report: &RestoreReport) -> String {
    let t = &report.tally;
    let ended = if report.is_whole { String::new() } else { format!(" {}", report.status()) };
    let (did, dry) =
        if report.dry_run { ("would be restored", " (dry run: nothing was written)") } else { ("restored", "") };
    format!(
        "restore{ended}{dry}: {} records and {} links {did}, {} newer records replaced, {} unchanged, {} conflicts; task {}",
        t.records_restored, t.links_restored, t.records_replaced, t.records_unchanged, t.conflicts, report.of
    )
}
