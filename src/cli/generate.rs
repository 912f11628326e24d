//! What is generated from the arguments: completion scripts and the manual page.

use std::io;

use clap::{Command, CommandFactory as _};
use clap_mangen::Man;

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
    let page = page().map_err(|e| Failure::new(Exit::Failed, format!("the manual page cannot be made: {e}")))?;
    output::raw(page.as_bytes());
    Ok(Exit::Done)
}

/// Makes one page of all commands.
fn page() -> io::Result<String> {
    let command = Args::command();
    let man = Man::new(command.clone());
    let mut page = text(|into| {
        man.render_title(into)?;
        man.render_name_section(into)?;
        man.render_synopsis_section(into)?;
        man.render_description_section(into)?;
        man.render_options_section(into)
    })?;
    for sub in command.get_subcommands() {
        describe(sub, command.get_name(), &mut page)?;
    }
    page += &text(|into| {
        man.render_extra_section(into)?;
        man.render_version_section(into)
    })?;
    Ok(page)
}

/// Describes a command and those below it, each in a section of its own. The options of every command come before all.
fn describe(command: &Command, above: &str, page: &mut String) -> io::Result<()> {
    let name = format!("{above} {}", command.get_name());
    if command.has_subcommands() {
        return command.get_subcommands().try_for_each(|sub| describe(sub, &name, page));
    }
    let has_arguments = command.get_arguments().next().is_some();
    let man = Man::new(command.clone().bin_name(&name));
    let parts = text(|into| {
        man.render_synopsis_section(into)?;
        man.render_description_section(into)?;
        if has_arguments { man.render_options_section(into) } else { Ok(()) }
    })?;
    *page += &format!(".SH \"{}\"\n{}", name.to_uppercase(), parts.replace(".SH ", ".SS "));
    Ok(())
}

fn text(render: impl FnOnce(&mut Vec<u8>) -> io::Result<()>) -> io::Result<String> {
    let mut into = Vec::new();
    render(&mut into)?;
    Ok(String::from_utf8_lossy(&into).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn leaves(command: &Command, above: &str, into: &mut Vec<(String, Command)>) {
        let name = format!("{above} {}", command.get_name()).trim().to_owned();
        if !command.has_subcommands() {
            into.push((name.clone(), command.clone()));
        }
        command.get_subcommands().for_each(|sub| leaves(sub, &name, into));
    }

    #[test]
    fn the_page_has_every_option_of_every_command_and_names_no_other_page() {
        let page = page().unwrap().replace('\\', "");
        let mut all = Vec::new();
        leaves(&Args::command(), "", &mut all);
        assert!(all.len() > 20, "{all:?}");
        for (name, command) in &all {
            let section = page.split(&format!(".SH \"{}\"", name.to_uppercase())).nth(1);
            let section = section.unwrap_or_else(|| panic!("{name} is not on the page")).split(".SH ").next().unwrap();
            for arg in command.get_arguments() {
                let told = arg.get_long().map_or_else(|| arg.get_id().to_string(), |long| format!("--{long}"));
                let is_there = section.to_lowercase().contains(&told.to_lowercase());
                assert!(is_there, "{name}: {told} is not in {section}");
            }
        }
        assert!(page.contains("--lease-expiry") && page.contains("Exit codes"), "{page}");
        assert!(!page.contains("(1)"), "{page}");
    }
}
