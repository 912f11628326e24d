//! `index`: what people made leaves an index, or enters one.

use std::fs::File;
use std::io::{BufRead, BufReader, Read, Seek as _, Write as _};
use std::path::Path;

use serde::Serialize;

use super::args::{Format, IndexCommand};
use super::exit::{Exit, Failure};
use super::export_file::ExportFile;
use super::output;
use crate::config::Config;
use crate::index::{Access, Imported, Index, Line, Unkept};
use crate::storage;

pub(super) async fn run(command: IndexCommand, config: &Config) -> Result<Exit, Failure> {
    match command {
        IndexCommand::Export { file } => {
            let index = super::open_index(config, Access::Read).await?;
            let done = export(&file, config, &index).await;
            index.close().await;
            done
        }
        IndexCommand::Import { file, dry_run, format } => {
            // What is wrong with the file comes before a database is made for it.
            let lines = open(&file)?;
            let access = if dry_run { Access::Read } else { Access::Write };
            let index = super::open_index(config, access).await?;
            let done = import(lines, dry_run, format, &index).await;
            index.close().await;
            done
        }
    }
}

async fn export(path: &Path, config: &Config, index: &Index) -> Result<Exit, Failure> {
    // A storage need not be named, nor be there.
    let storage = config.storage().ok().and_then(|url| storage::open(url).ok());
    let root = storage.as_ref().and_then(storage::Storage::root);
    let mut file = ExportFile::create(path, root, index.files())?;
    let mut export = index.export().await?;
    let (mut users, mut links, mut keys, mut unkept) = (0_u64, 0_u64, 0_u64, 0_u64);
    let mut text = Vec::new();
    while let Some(page) = export.page().await? {
        text.clear();
        for line in &page.lines {
            match line {
                Line::Header(_) => {}
                Line::User(_) => users += 1,
                Line::ShareLink(_) => links += 1,
                Line::ApiKey(_) => keys += 1,
            }
            // Texts and numbers always serialise, and into memory.
            let _ = serde_json::to_writer(&mut text, line);
            text.push(b'\n');
        }
        file.take(&text)?;
        for problem in &page.unkept {
            unkept += 1;
            output::complain(&problem.message);
        }
    }
    file.finish(users + links + keys + unkept == 0)?;
    output::advise(&format!(
        "{users} users, {links} share links and {keys} keys exported; the file holds the tokens of the links"
    ));
    Ok(if unkept == 0 { Exit::Done } else { Exit::Failed })
}

fn open(path: &Path) -> Result<Box<dyn BufRead + Send>, Failure> {
    if path == Path::new("-") {
        return Ok(Box::new(BufReader::new(std::io::stdin())));
    }
    let refused = |why: &str| Failure::new(Exit::Usage, format!("file {path:?} cannot be read: {why}"));
    let file = File::open(path).map_err(|e| refused(&e.to_string()))?;
    if file.metadata().is_ok_and(|m| m.is_dir()) {
        return Err(refused("it is a directory"));
    }
    Ok(Box::new(BufReader::new(file)))
}

async fn import(lines: impl BufRead, dry_run: bool, format: Format, index: &Index) -> Result<Exit, Failure> {
    let mut problems = Problems::default();
    let imported = index.import(lines, dry_run, &mut |unkept| problems.take(&unkept, format)).await?;
    match format {
        Format::Json => print(dry_run, &imported, &mut problems)?,
        Format::Text => {
            let (users, links, keys) = (imported.users, imported.links, imported.keys);
            if dry_run {
                output::line("dry run: nothing is written");
            }
            output::line(&format!(
                "users: {} in the file, {} registered, {} renamed, {} there already, {} in conflict",
                users.in_file, users.registered, users.renamed, users.present, users.conflicts
            ));
            output::line(&format!(
                "share links: {} in the file, {} imported, {} there already, {} without record, {} in conflict",
                links.in_file, links.imported, links.present, links.without_record, links.conflicts
            ));
            output::line(&format!(
                "keys: {} in the file, {} imported, {} there already, {} revoked, {} without user, {} in conflict",
                keys.in_file, keys.imported, keys.present, keys.revoked, keys.without_owner, keys.conflicts
            ));
        }
    }
    Ok(if problems.count == 0 { Exit::Done } else { Exit::Failed })
}

/// What could not be imported: told at once, and for the document kept on disk, however much it is.
#[derive(Debug, Default)]
struct Problems {
    count: u64,
    spool: Option<File>,
    trouble: Option<std::io::Error>,
}

impl Problems {
    fn take(&mut self, unkept: &Unkept, format: Format) {
        output::complain(&unkept.message);
        self.count += 1;
        if format == Format::Json && self.trouble.is_none() {
            self.trouble = self.spool(unkept).err();
        }
    }

    fn spool(&mut self, unkept: &Unkept) -> std::io::Result<()> {
        let file = match self.spool.take() {
            Some(file) => file,
            None => tempfile::tempfile()?,
        };
        let mut text = if self.count == 1 { Vec::new() } else { vec![b','] };
        serde_json::to_writer(&mut text, unkept)?;
        self.spool.insert(file).write_all(&text)
    }
}

/// Prints the document, its problems as they come from the disk.
fn print(dry_run: bool, imported: &Imported, problems: &mut Problems) -> Result<(), Failure> {
    #[derive(Serialize)]
    struct Document<'d> {
        dry_run: bool,
        #[serde(flatten)]
        imported: &'d Imported,
        problems: [(); 0],
    }
    let lost =
        |e: std::io::Error| Failure::new(Exit::Failed, format!("the problems cannot be kept for the result: {e}"));
    if let Some(trouble) = problems.trouble.take() {
        return Err(lost(trouble));
    }
    let document = serde_json::to_string(&Document { dry_run, imported, problems: [] }).unwrap_or_default();
    let (head, tail) = document.split_at(document.len().saturating_sub(2));
    output::raw(head.as_bytes());
    if let Some(spool) = &mut problems.spool {
        spool.rewind().map_err(lost)?;
        let mut part = vec![0; 64 * 1024];
        loop {
            let length = spool.read(&mut part).map_err(lost)?;
            if length == 0 {
                break;
            }
            output::raw(&part[..length]);
        }
    }
    output::line(tail);
    Ok(())
}
