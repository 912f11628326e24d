//! `migrate`: the schema's state.

use super::args::{Format, MigrateCommand};
use super::exit::{Exit, Failure};
use super::output;
use crate::config::Config;
use crate::index::{Access, Index};

pub(super) async fn run(command: MigrateCommand, config: &Config) -> Result<Exit, Failure> {
    match command {
        MigrateCommand::Up => {
            let behind = Index::migrations(&config.database).await?.iter().filter(|step| !step.applied).count();
            Index::open(&config.database, Access::Write).await?.close().await;
            output::line(&format!("{behind} steps applied; the schema is up to date"));
        }
        MigrateCommand::Status { format } => {
            let steps = Index::migrations(&config.database).await?;
            match format {
                Format::Json => output::json(&steps),
                Format::Text => {
                    let word = |applied| if applied { "applied" } else { "pending" };
                    let rows: Vec<_> = steps.iter().map(|s| vec![s.name.clone(), word(s.applied).to_owned()]).collect();
                    output::table(&["STEP", "STATE"], &rows);
                }
            }
        }
    }
    Ok(Exit::Done)
}
