//! What tasks have found: a file each, a JSON object a line, read a page at a time from any place in it.

use std::fs::File;
use std::io::{self, BufRead as _, BufReader, BufWriter, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::private;
use crate::reconcile::Evidence;

/// Of how many tasks findings are kept that have ended.
const KEPT: usize = 20;

/// The most bytes that one page is made of, so that memory stays flat whatever the paths are.
const LONGEST_PAGE: u64 = 4 << 20;

/// A finding.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "server", derive(poem_openapi::Object))]
pub struct Finding {
    /// What it is: `missing`, `orphaned`, `stale`, `moved`, `deferred`, `unclaimed` or `unindexable`.
    pub kind: String,
    /// Whose it is; null for what nobody owns.
    pub user_id: Option<i64>,
    /// The path below the user's prefix; the whole key for what nobody owns.
    pub path: String,
    /// Why, in stable words.
    pub reasons: Vec<String>,
    /// What was done about it, or in a dry run would be: `create`, `update`, `move`, `delete`, `skip` or `none`.
    pub action: String,
    /// What the storage says.
    pub storage: Option<serde_json::Value>,
    /// What the index says.
    pub index: Option<serde_json::Value>,
}

/// Some findings.
#[derive(Debug, Clone, PartialEq)]
pub struct FindingsPage {
    /// The findings, in the order in which they were made.
    pub findings: Vec<Finding>,
    /// Where the next page begins, if there may be one.
    pub next: Option<u64>,
}

/// Takes the findings of a task.
#[derive(Debug)]
pub(super) struct Spool {
    file: BufWriter<File>,
    path: PathBuf,
}

impl Spool {
    /// Makes the file of `task` in `dir`, and lets those go of tasks that have ended before the last ones did. Those of tasks
    /// that `live` knows stay.
    pub(super) fn create(dir: &Path, task: Uuid, live: impl Fn(Uuid) -> bool) -> io::Result<Self> {
        let files = std::fs::read_dir(dir)?.flatten().map(|entry| entry.path());
        let is_findings = |file: &PathBuf| file.extension().is_some_and(|e| e == "ndjson");
        let ended = |file: &PathBuf| id_of(file).is_some_and(|id| id != task && !live(id));
        let mut files: Vec<PathBuf> = files.filter(is_findings).filter(ended).collect();
        // By their last word; the ids of tasks are in the order of time, too.
        files.sort_by_cached_key(|file| (std::fs::metadata(file).and_then(|file| file.modified()).ok(), file.clone()));
        let old = files.len().saturating_sub(KEPT);
        files.iter().take(old).for_each(|file| drop(std::fs::remove_file(file)));
        let path = path(dir, task);
        let file = private::open(&path)?;
        file.set_len(0)?;
        Ok(Self { file: BufWriter::new(file), path })
    }

    pub(super) fn take(&mut self, evidence: &Evidence) -> io::Result<()> {
        serde_json::to_writer(&mut self.file, evidence)?;
        self.file.write_all(b"\n")
    }

    /// Removes them.
    pub(super) fn remove(self) {
        let _ = std::fs::remove_file(&self.path);
    }

    /// Lets the findings go that wait in memory.
    pub(super) fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

fn id_of(file: &Path) -> Option<Uuid> {
    Uuid::try_parse(file.file_stem()?.to_str()?).ok()
}

fn path(dir: &Path, task: Uuid) -> PathBuf {
    dir.join(format!("{task}.ndjson"))
}

/// Removes the findings of a task that could not begin.
pub(super) fn forget(dir: &Path, task: Uuid) {
    let _ = std::fs::remove_file(path(dir, task));
}

/// Reads up to `most` findings of a `kind`, if one is named, from the place `after` on.
///
/// # Errors
/// When there is no file, or it cannot be read. A place in the middle of a line is an error of the kind `InvalidInput`.
pub(super) fn page(
    dir: &Path,
    task: Uuid,
    kind: Option<&str>,
    after: u64,
    most: usize,
    has_ended: bool,
) -> io::Result<FindingsPage> {
    let mut file = File::open(path(dir, task))?;
    let length = file.metadata()?.len();
    let no_place = || io::Error::from(io::ErrorKind::InvalidInput);
    if after > length {
        return Err(no_place());
    }
    if after > 0 {
        let mut before = [0_u8; 1];
        file.seek(SeekFrom::Start(after - 1))?;
        io::Read::read_exact(&mut file, &mut before)?;
        if before != *b"\n" {
            return Err(no_place());
        }
    }
    file.seek(SeekFrom::Start(after))?;
    let (mut lines, mut at, mut findings) = (BufReader::new(file), after, Vec::new());
    let mut line = Vec::new();
    while findings.len() < most && at - after < LONGEST_PAGE {
        line.clear();
        let read = lines.read_until(b'\n', &mut line)?;
        if read == 0 || line.last() != Some(&b'\n') {
            // The end, or a line that is just being written.
            return Ok(FindingsPage { findings, next: (!has_ended).then_some(at) });
        }
        at += read as u64;
        let finding: Finding = serde_json::from_slice(&line)?;
        if kind.is_none_or(|kind| kind == finding.kind) {
            findings.push(finding);
        }
    }
    let more = at < length || !has_ended;
    Ok(FindingsPage { findings, next: more.then_some(at) })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(n: usize, kind: &str) -> String {
        format!(
            r#"{{"kind":"{kind}","user_id":1,"path":"p{n}","reasons":[],"action":"none","storage":null,"index":null}}"#
        )
    }

    #[test]
    fn pages_follow_each_other_without_gap() {
        let dir = tempfile::tempdir().unwrap();
        let task = Uuid::now_v7();
        let lines: Vec<String> = (0..10).map(|n| line(n, if n % 2 == 0 { "missing" } else { "stale" })).collect();
        std::fs::write(path(dir.path(), task), lines.join("\n") + "\n").unwrap();
        for (kind, want) in [(None, 10), (Some("stale"), 5), (Some("moved"), 0)] {
            let (mut after, mut seen) = (0, Vec::new());
            loop {
                let page = page(dir.path(), task, kind, after, 3, true).unwrap();
                seen.extend(page.findings.into_iter().map(|f| f.path));
                let Some(next) = page.next else { break };
                after = next;
            }
            assert_eq!(seen.len(), want, "{kind:?}");
        }
        let error = page(dir.path(), task, None, 3, 1, true).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
        assert!(page(dir.path(), task, None, 1 << 40, 1, true).is_err());
        // While the task runs there may always be more, and half a line is none.
        std::fs::write(path(dir.path(), task), format!("{}\n{}", lines[0], &lines[1][..9])).unwrap();
        let first = page(dir.path(), task, None, 0, 9, false).unwrap();
        assert_eq!((first.findings.len(), first.next), (1, Some(lines[0].len() as u64 + 1)));
    }

    #[test]
    fn old_findings_make_room() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("somebody's.ndjson"), "x").unwrap();
        let tasks: Vec<Uuid> = (0..KEPT + 5).map(|_| Uuid::now_v7()).collect();
        for task in &tasks {
            Spool::create(dir.path(), *task, |task| task == tasks[1]).unwrap();
        }
        // The last ones, the one that begins, the one that lives, and what is none.
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), KEPT + 3);
        let is_there = |at: usize| path(dir.path(), tasks[at]).exists();
        assert!(is_there(KEPT + 4) && is_there(1) && !is_there(0) && !is_there(2));
    }
}
