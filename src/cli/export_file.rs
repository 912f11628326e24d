//! Where an export goes: stdout, or a file that is there whole or not at all.

use std::fs::File;
use std::io::{BufWriter, Write as _};
use std::path::{Path, PathBuf};

use tempfile::NamedTempFile;

use super::exit::{Exit, Failure};
use super::output;
use crate::private;

/// Takes the lines of an export.
#[derive(Debug)]
pub(super) enum ExportFile {
    Stdout,
    /// A file beside the one that is meant, which takes its place in the end. Only its owner can read it.
    Beside {
        file: BufWriter<NamedTempFile>,
        path: PathBuf,
        /// Whether something would be replaced.
        replaces: bool,
    },
}

impl ExportFile {
    /// Begins the file `path`; never within the storage at `root`, where only its users write, nor in place of one of the
    /// files of the `index`, or of what is no file.
    pub(super) fn create(path: &Path, root: Option<&Path>, index: &[PathBuf]) -> Result<Self, Failure> {
        if path == Path::new("-") {
            return Ok(Self::Stdout);
        }
        let refused = |why: &str| Failure::new(Exit::Usage, format!("export {path:?} cannot be written: {why}"));
        let name = path.file_name().ok_or_else(|| refused("it is no name of a file"))?;
        let there = path.symlink_metadata();
        let replaces = there.as_ref().is_ok_and(|there| there.len() > 0);
        match there {
            Ok(there) if there.is_dir() => return Err(refused("it is a directory; name a file in it")),
            Ok(there) if !there.is_file() => return Err(refused("it is no ordinary file; use - for stdout")),
            _ => {}
        }
        let parent = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let parent = std::fs::canonicalize(parent).map_err(|e| refused(&e.to_string()))?;
        let target = parent.join(name);
        if index.iter().any(|file| *file == target || std::fs::canonicalize(file).is_ok_and(|file| file == target)) {
            return Err(refused("it is the index; name another file"));
        }
        if root.is_some_and(|root| target.starts_with(root)) {
            return Err(refused("it would lie within the storage; name a place outside of it"));
        }
        let beside = tempfile::Builder::new().prefix(".storm-index-export-").tempfile_in(&parent);
        let file = beside.map_err(|e| refused(&e.to_string()))?;
        private::restrict(file.as_file());
        Ok(Self::Beside { file: BufWriter::new(file), path: target, replaces })
    }

    /// Takes some lines.
    pub(super) fn take(&mut self, lines: &[u8]) -> Result<(), Failure> {
        match self {
            Self::Stdout => {
                output::raw(lines);
                Ok(())
            }
            Self::Beside { file, path, .. } => file.write_all(lines).map_err(|e| lost(path, &e)),
        }
    }

    /// Puts the file in its place, once all of it is on the disk. An `empty` export replaces nothing: the one that is there
    /// may be all that is left of an index that was lost.
    pub(super) fn finish(self, empty: bool) -> Result<(), Failure> {
        let Self::Beside { file, path, replaces } = self else { return Ok(()) };
        if empty && replaces {
            let message = format!("refused: the index has no users, and {path:?} would be replaced; name another file");
            return Err(Failure::new(Exit::Refused, message));
        }
        let file = file.into_inner().map_err(|e| lost(&path, e.error()))?;
        file.as_file().sync_all().map_err(|e| lost(&path, &e))?;
        file.persist(&path).map_err(|e| lost(&path, &e.error))?;
        // So that the name survives a power cut as well; not every file system can.
        let _ = path.parent().map(File::open).transpose().map(|parent| parent.map(|parent| parent.sync_all()));
        Ok(())
    }
}

fn lost(path: &Path, error: &std::io::Error) -> Failure {
    let message = format!("export {path:?} cannot be written: {error}; what was there before is as it was");
    Failure::new(Exit::Failed, message)
}
