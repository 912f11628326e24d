//! `storage mounts`: the file systems below the root of the storage that the index remembers.

use serde::Serialize;

use super::args::Format;
use super::exit::{Exit, Failure};
use super::output;
use super::storage_args::MountsCommand;
use crate::config::Config;
use crate::index::{Access, Index, Mount};

/// A remembered file system, as `storage mounts list` prints it.
#[derive(Debug, Serialize)]
struct Row {
    path: String,
    file_system: String,
    file_system_id: String,
    records: u64,
    last_seen: String,
}

impl From<Mount> for Row {
    fn from(mount: Mount) -> Self {
        let Mount { path, fs_type, fs_id, records, seen_at } = mount;
        Self { path, file_system: fs_type, file_system_id: fs_id, records, last_seen: seen_at.to_text() }
    }
}

pub(super) async fn run(command: MountsCommand, config: &Config) -> Result<Exit, Failure> {
    let access = if matches!(command, MountsCommand::List { .. }) { Access::Read } else { Access::Write };
    let index = super::open_index(config, access).await?;
    let done = match command {
        MountsCommand::List { format } => list(format, &index).await,
        MountsCommand::Forget { path } => forget(&path, &index).await,
    };
    index.close().await;
    done
}

async fn list(format: Format, index: &Index) -> Result<Exit, Failure> {
    let rows: Vec<Row> = index.mounts().await?.into_iter().map(Row::from).collect();
    match format {
        Format::Json => output::json(&rows),
        Format::Text => {
            let row = |r: &Row| vec![r.path.clone(), r.file_system.clone(), r.records.to_string(), r.last_seen.clone()];
            output::table(&["PATH", "FILE SYSTEM", "RECORDS", "LAST SEEN"], &rows.iter().map(row).collect::<Vec<_>>());
        }
    }
    Ok(Exit::Done)
}

async fn forget(path: &str, index: &Index) -> Result<Exit, Failure> {
    let path = path.trim_matches('/');
    if !index.forget_mount(path).await? {
        let message =
            format!("no file system is remembered at {path:?}; `storm-index storage mounts list` shows those that are");
        return Err(Failure::new(Exit::Usage, message));
    }
    output::advise(&format!("the file system at {path:?} is forgotten"));
    Ok(Exit::Done)
}
