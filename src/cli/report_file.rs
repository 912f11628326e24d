//! `--report`: every finding in a file.

use std::fs::File;
use std::io::{BufWriter, Write as _};
use std::path::{Path, PathBuf};

use super::exit::{Exit, Failure};
use crate::reconcile::Evidence;

/// A file that takes one JSON object a line.
#[derive(Debug)]
pub(super) struct ReportFile {
    file: BufWriter<File>,
    path: PathBuf,
    trouble: Option<std::io::Error>,
}

impl ReportFile {
    /// Makes the file, or empties it.
    pub(super) fn create(path: &Path) -> Result<Self, Failure> {
        if path.extension().is_none_or(|e| e != "ndjson") {
            let message = format!("report {path:?}: the name has to end in .ndjson");
            return Err(Failure::new(Exit::Usage, message));
        }
        let file = File::create(path)
            .map_err(|e| Failure::new(Exit::Usage, format!("report {path:?} cannot be written: {e}")))?;
        Ok(Self { file: BufWriter::new(file), path: path.to_owned(), trouble: None })
    }

    /// Takes a finding. Trouble is told at the end: a run that is under way is worth more than its report.
    pub(super) fn take(&mut self, evidence: &Evidence) {
        if self.trouble.is_none() {
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
