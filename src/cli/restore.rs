//! `restore`: undoing a run.

use serde_json::json;

use super::args::{Format, RestoreArgs};
use super::exit::{Exit, Failure};
use super::output;
use crate::config::Config;
use crate::error::{Error, ErrorKind};
use crate::index::{Access, IndexError, RestoreReport};

pub(super) async fn run(args: RestoreArgs, config: &Config) -> Result<Exit, Failure> {
    let report = match restore(&args, config).await {
        Ok(report) => report,
        Err(error) => {
            let mut report = RestoreReport::new(&args.task, args.dry_run);
            report.fail(&error);
            match Error::from(error) {
                failed if failed.kind() == ErrorKind::Failed => report,
                other => return Err(other.into()),
            }
        }
    };
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

async fn restore(args: &RestoreArgs, config: &Config) -> Result<RestoreReport, IndexError> {
    let access = if args.dry_run { Access::Read } else { Access::Write };
    let index = super::open_index(config, access).await?;
    let report = index.restore(&args.task, args.dry_run, super::lease_terms(config)).await;
    index.close().await;
    report
}

fn summary(report: &RestoreReport) -> String {
    let t = &report.tally;
    let ended = if report.is_whole { "" } else { " FAILED" };
    let (did, dry) =
        if report.dry_run { ("would be restored", " (dry run: nothing was written)") } else { ("restored", "") };
    format!(
        "restore{ended}{dry}: {} records and {} links {did}, {} newer records replaced, {} unchanged, {} conflicts; task {}",
        t.records_restored, t.links_restored, t.records_replaced, t.records_unchanged, t.conflicts, report.of
    )
}
