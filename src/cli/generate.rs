//! What is generated from the arguments: completion scripts and the manual page.

use clap::CommandFactory as _;

use super::args::Args;
use super::exit::{Exit, Failure};
use super::output;

pub(super) fn completions(shell: clap_complete::Shell) -> Result<Exit, Failure> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Args::command(), "storm-index", &mut script);
    output::raw(&script);
    Ok(Exit::Done)
}

pub(super) fn man() -> Result<Exit, Failure> {
    let mut page = Vec::new();
    clap_mangen::Man::new(Args::command())
        .render(&mut page)
        .map_err(|e| Failure::new(Exit::Failed, format!("the manual page cannot be made: {e}")))?;
    output::raw(&page);
    Ok(Exit::Done)
}
