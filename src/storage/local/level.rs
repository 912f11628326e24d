//! One directory, page by page in key order. A directory of usual size is one page; a huge one is sorted in runs on disk
//! and merged, so that the memory of a walk does not grow with it.

use std::fs::{self, File};
use std::io::{self, BufReader, BufWriter, Read as _, Seek as _, SeekFrom, Write as _};
use std::os::unix::ffi::OsStringExt as _;
use std::path::{Path, PathBuf};

use super::directory::{Directory, Kind, order};
use crate::model::BadReason;

/// How many bytes of names are sorted at a time.
const RUN: usize = 4 << 20;

/// How many entries a page of a merge has at the most.
const PAGE: usize = 16_384;

/// A directory that has been read.
#[derive(Debug)]
pub(super) struct Level {
    path: PathBuf,
    key: String,
    rest: Rest,
    /// Set when the system could not tell all entries.
    pub(super) failed: Option<io::Error>,
}

#[derive(Debug)]
enum Rest {
    Page(Option<Directory>),
    Runs(Vec<Run>),
}

impl Level {
    /// Reads the directory at `path`, whose keys begin with `key`, within the storage at `root`.
    ///
    /// # Errors
    /// When the directory cannot be opened. A failure in the middle keeps what was read and is told in `failed`.
    pub(super) fn read(root: &Path, path: PathBuf, key: String) -> io::Result<Self> {
        Self::read_in_runs(root, path, key, RUN)
    }

    fn read_in_runs(root: &Path, path: PathBuf, key: String, run: usize) -> io::Result<Self> {
        let entries = fs::read_dir(&path)?;
        let mut page = Directory::new(path.clone(), key.clone());
        let (mut runs, mut failed) = (Vec::new(), None);
        for entry in entries {
            let told = entry.and_then(|entry| Ok((entry.file_type()?, entry.file_name().into_vec())));
            match told {
                Ok((file_type, name)) => page.add(root, &name, file_type),
                // Vanished between the name and its type: as if it had never been there.
                Err(e) if e.kind() == io::ErrorKind::NotFound => {}
                Err(e) => {
                    failed = Some(e);
                    break;
                }
            }
            if page.name_bytes() >= run {
                page.sort();
                runs.push(Run::write(&page).map_err(no_room)?);
                page.clear();
            }
        }
        page.sort();
        let rest = if runs.is_empty() {
            Rest::Page(Some(page))
        } else {
            runs.push(Run::write(&page).map_err(no_room)?);
            Rest::Runs(runs)
        };
        Ok(Self { path, key, rest, failed })
    }

    /// Returns the next entries in order; none at the end.
    ///
    /// # Errors
    /// When the runs on disk cannot be read back.
    pub(super) fn next_page(&mut self) -> io::Result<Option<Directory>> {
        let runs = match &mut self.rest {
            Rest::Page(page) => return Ok(page.take()),
            Rest::Runs(runs) => runs,
        };
        let mut page = Directory::new(self.path.clone(), self.key.clone());
        let mut last: Option<Vec<u8>> = None;
        while page.len() < PAGE {
            let heads = runs.iter().enumerate().filter_map(|(at, run)| run.head.as_ref().map(|head| (at, head)));
            let least = heads.min_by(|(_, a), (_, b)| order(&a.name, a.kind).cmp(order(&b.name, b.kind)));
            let Some((at, _)) = least else { break };
            let Some(head) = runs[at].next()? else { break };
            if last.as_ref() == Some(&head.name) {
                continue;
            }
            match head.reason {
                Some(reason) => page.push_bad(&head.name, reason),
                None => page.push(&head.name, head.kind),
            }
            last = Some(head.name);
        }
        Ok((page.len() > 0).then_some(page))
    }
}

/// A sorted part of a directory, in an unnamed temporary file.
#[derive(Debug)]
struct Run {
    file: BufReader<File>,
    left: usize,
    head: Option<Head>,
}

#[derive(Debug)]
struct Head {
    name: Vec<u8>,
    kind: Kind,
    reason: Option<BadReason>,
}

impl Run {
    fn write(page: &Directory) -> io::Result<Self> {
        let mut file = BufWriter::new(tempfile::tempfile()?);
        for at in 0..page.len() {
            let kind = match page.kind(at) {
                Kind::File => b'f',
                Kind::Directory => b'd',
                Kind::Bad(_) => b'b',
            };
            file.write_all(&[kind])?;
            write_text(&mut file, page.name(at))?;
            if let Some(reason) = page.reason(at) {
                write_text(&mut file, &serde_json::to_vec(reason)?)?;
            }
        }
        let mut file = file.into_inner().map_err(io::IntoInnerError::into_error)?;
        file.seek(SeekFrom::Start(0))?;
        let mut run = Self { file: BufReader::new(file), left: page.len(), head: None };
        run.next()?;
        Ok(run)
    }

    /// Takes the entry at the head, and reads the one behind it.
    fn next(&mut self) -> io::Result<Option<Head>> {
        let taken = self.head.take();
        if let Some(left) = self.left.checked_sub(1) {
            self.left = left;
            let mut kind = [0];
            self.file.read_exact(&mut kind)?;
            let name = read_text(&mut self.file)?;
            let kind = match kind[0] {
                b'f' => Kind::File,
                b'd' => Kind::Directory,
                _ => Kind::Bad(0),
            };
            let reason = match kind {
                Kind::Bad(_) => Some(serde_json::from_slice(&read_text(&mut self.file)?)?),
                Kind::File | Kind::Directory => None,
            };
            self.head = Some(Head { name, kind, reason });
        }
        Ok(taken)
    }
}

/// Trouble with temporary files says nothing of the directory: above all not that it is gone.
fn no_room(error: io::Error) -> io::Error {
    io::Error::other(format!("too large to sort in memory, and temporary files fail (TMPDIR): {error}"))
}

fn write_text(file: &mut impl io::Write, text: &[u8]) -> io::Result<()> {
    let len = u32::try_from(text.len()).map_err(io::Error::other)?;
    file.write_all(&len.to_le_bytes())?;
    file.write_all(text)
}

fn read_text(file: &mut impl io::Read) -> io::Result<Vec<u8>> {
    let mut len = [0; 4];
    file.read_exact(&mut len)?;
    let mut text = vec![0; usize::try_from(u32::from_le_bytes(len)).map_err(io::Error::other)?];
    file.read_exact(&mut text)?;
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    type Listed = Vec<(Vec<u8>, &'static str)>;

    fn entries(root: &Path, run: usize) -> (Listed, usize) {
        let mut level = Level::read_in_runs(root, root.to_path_buf(), String::new(), run).unwrap();
        let (mut all, mut pages) = (Vec::new(), 0);
        while let Some(page) = level.next_page().unwrap() {
            pages += 1;
            for at in 0..page.len() {
                let kind = match page.kind(at) {
                    Kind::File => "file",
                    Kind::Directory => "directory",
                    Kind::Bad(_) => page.reason(at).unwrap().code(),
                };
                all.push((page.name(at).to_vec(), kind));
            }
        }
        assert!(level.failed.is_none());
        (all, pages)
    }

    #[test]
    fn law_14_runs_on_disk_give_what_one_page_gives() {
        let dir = tempfile::tempdir().unwrap();
        let root = fs::canonicalize(dir.path()).unwrap();
        for n in 0..300 {
            fs::write(root.join(format!("f{}-{n}", n * 7 % 31)), "").unwrap();
            if n % 10 == 0 {
                fs::create_dir(root.join(format!("f{n}"))).unwrap();
                fs::write(root.join(format!("f{n}#{n}")), "").unwrap();
                fs::write(root.join(format!("f\n{n}")), "").unwrap();
            }
        }
        let (whole, _) = entries(&root, usize::MAX);
        assert_eq!(whole.len(), 390);
        assert!(whole.iter().filter(|(_, kind)| *kind == "reserved_name").count() == 30);
        for run in [1, 50, 1_000] {
            assert_eq!(entries(&root, run).0, whole, "runs of {run} bytes");
        }
    }
}
