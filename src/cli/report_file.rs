//! `--report`: every finding in a file.

use std::fs::{File, TryLockError};
use std::io::{BufWriter, Write as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use super::exit::{Exit, Failure};
use crate::private;
use crate::reconcile::{Evidence, csv_header, csv_line};

/// A file that takes one JSON object, or one row, a line.
#[derive(Debug)]
pub(super) struct ReportFile {
    file: BufWriter<File>,
    path: PathBuf,
    is_csv: bool,
    /// Whether it has what an earlier run has left.
    is_old: bool,
    trouble: Option<std::io::Error>,
}

impl ReportFile {
    /// Checks that the name says a format that can be written, in a directory that is there.
    pub(super) fn check_name(path: &Path) -> Result<(), Failure> {
        let parent = path.parent().filter(|p| !p.as_os_str().is_empty());
        if let Some(parent) = parent.filter(|parent| !parent.is_dir()) {
            let message = format!("report {path:?} cannot be written: {parent:?} is no directory");
            return Err(Failure::new(Exit::Usage, message));
        }
        if path.extension().is_some_and(|e| e == "ndjson" || e == "csv") {
            return Ok(());
        }
        Err(Failure::new(Exit::Usage, format!("report {path:?}: the name has to end in .ndjson or .csv")))
    }

    /// Makes the file, or takes the one that is there, as it is until [`ReportFile::begin`]; never within the storage at
    /// `root`, where only its users write, nor in place of one of the files of the `index`.
    pub(super) fn create(path: &Path, root: Option<&Path>, index: &[PathBuf]) -> Result<Self, Failure> {
        let refused = |e: std::io::Error| Failure::new(Exit::Usage, format!("report {path:?} cannot be written: {e}"));
        let parent = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let target = match std::fs::canonicalize(path) {
            Ok(target) => target,
            // Where a link to nothing would lead nobody can check.
            Err(_) if path.is_symlink() => {
                let message = format!("report {path:?} is a link that cannot be followed; name a file");
                return Err(Failure::new(Exit::Usage, message));
            }
            Err(_) => std::fs::canonicalize(parent).map_err(refused)?,
        };
        if index.iter().any(|file| std::fs::canonicalize(file).is_ok_and(|file| file == target)) {
            return Err(Failure::new(Exit::Usage, format!("report {path:?} is the index; name another file")));
        }
        if root.is_some_and(|root| target.starts_with(root)) {
            let message = format!("report {path:?} would lie within the storage; name a place outside of it");
            return Err(Failure::new(Exit::Usage, message));
        }
        // A file with several names may well be an object by another one.
        if root.is_some() && std::fs::metadata(path).is_ok_and(|m| m.is_file() && m.nlink() > 1) {
            let message =
                format!("report {path:?} is a hard link, perhaps to a file of the storage; name another file");
            return Err(Failure::new(Exit::Usage, message));
        }
        let file = private::open(path).map_err(refused)?;
        let is_csv = path.extension().is_some_and(|e| e == "csv");
        Ok(Self { file: BufWriter::new(file), path: path.to_owned(), is_csv, is_old: true, trouble: None })
    }

    /// Empties the file for the findings of a run that may begin. Two runs at a time would write over each other: the first
    /// one has the file, and the other one's report is not whole.
    pub(super) fn begin(&mut self) {
        if std::mem::take(&mut self.is_old) {
            self.trouble = self.empty().err();
        }
    }

    fn empty(&mut self) -> std::io::Result<()> {
        let file = self.file.get_ref();
        if file.metadata()?.is_file() {
            match file.try_lock() {
                Err(TryLockError::WouldBlock) => return Err(std::io::Error::other("another run is writing it")),
                // Not every file system has locks.
                Ok(()) | Err(TryLockError::Error(_)) => file.set_len(0)?,
            }
        }
        if self.is_csv { self.file.write_all(csv_header().as_bytes()) } else { Ok(()) }
    }

    /// Takes a finding. Trouble is told at the end: a run that is under way is worth more than its report.
    pub(super) fn take(&mut self, evidence: &Evidence) {
        if self.trouble.is_none() && self.is_csv {
            let line = serde_json::to_value(evidence).map(|finding| csv_line(&finding)).map_err(std::io::Error::from);
            self.trouble = line.and_then(|line| self.file.write_all(line.as_bytes())).err();
        } else if self.trouble.is_none() {
            let written = serde_json::to_writer(&mut self.file, evidence).map_err(std::io::Error::from);
            self.trouble = written.and_then(|()| self.file.write_all(b"\n")).err();
        }
    }

    /// Writes out what is left. Returns what went wrong, if anything did.
    pub(super) fn finish(mut self) -> Option<String> {
        let trouble = self.trouble.take().or_else(|| self.file.flush().err())?;
        Some(format!("report {:?} is not whole: {trouble}", self.path))
    }
}
