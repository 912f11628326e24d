//! One directory, page by page in key order. A directory of usual size is one page; a huge one is sorted in runs on disk
//! and merged, so that the memory of a walk does not grow with it.

use std::fs::File;
use std::io::{self, BufReader, BufWriter, Read as _, Seek as _, SeekFrom, Write as _};

use super::directory::{Directory, Kind, Place, order};
use crate::model::BadReason;

/// How many bytes of names are sorted at a time.
const RUN: usize = 4 << 20;

/// How many entries a page of a merge has at the most.
const PAGE: usize = 16_384;

/// A directory that has been read.
#[derive(Debug)]
pub(super) struct Level {
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
    /// Reads the directory at `place`.
    ///
    /// # Errors
    /// When it is too large for memory, and temporary files fail. A failure of the directory itself keeps what was read and
    /// is told in `failed`.
    pub(super) fn read(place: &Place) -> io::Result<Self> {
        Self::read_in_runs(place, RUN)
    }

    fn read_in_runs(place: &Place, run: usize) -> io::Result<Self> {
        let mut page = Directory::default();
        let (mut runs, mut no_room_for) = (Vec::new(), None);
        let read = place.dir.read(|name, file_type| {
            page.add(place, name, file_type);
            if page.name_bytes() < run {
                return Ok(true);
            }
            page.sort();
            match Run::write(&page) {
                Ok(sorted) => runs.push(sorted),
                Err(error) => no_room_for = Some(error),
            }
            page.clear();
            Ok(no_room_for.is_none())
        });
        page.sort();
        if let Some(error) = no_room_for {
            return Err(no_room(error));
        }
        let rest = if runs.is_empty() {
            Rest::Page(Some(page))
        } else {
            runs.push(Run::write(&page).map_err(no_room)?);
            Rest::Runs(runs)
        };
        Ok(Self { rest, failed: read.err() })
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
        let mut page = Directory::default();
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
                Kind::LinkedFile => b'l',
                Kind::Directory => b'd',
                Kind::LinkedDirectory => b'L',
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
                b'l' => Kind::LinkedFile,
                b'd' => Kind::Directory,
                b'L' => Kind::LinkedDirectory,
                _ => Kind::Bad(0),
            };
            let reason = match kind {
                Kind::Bad(_) => Some(serde_json::from_slice(&read_text(&mut self.file)?)?),
                _ => None,
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
    use std::fs;
    use std::path::Path;
    use std::sync::Arc;

    use super::super::beneath::Wall;
    use super::super::dir::Dir;
    use super::super::directory::Spot;
    use super::super::root::Root;
    use super::*;

    type Listed = Vec<(Vec<u8>, String)>;

    fn entries(root: &Path, run: usize) -> Listed {
        let dir = Arc::new(Dir::try_from(File::open(root).unwrap()).unwrap());
        let wall = Wall::new(Arc::clone(&dir), String::new(), &Root::open(root).unwrap());
        let spot = Spot { key: String::new(), wall: Some(Arc::new(wall)), is_linked: false };
        let place = Place { dir, spot: Arc::new(spot) };
        let mut level = Level::read_in_runs(&place, run).unwrap();
        let mut all = Vec::new();
        while let Some(page) = level.next_page().unwrap() {
            for at in 0..page.len() {
                let kind = page.reason(at).map_or_else(|| format!("{:?}", page.kind(at)), |bad| bad.code().to_owned());
                all.push((page.name(at).to_vec(), kind));
            }
        }
        assert!(level.failed.is_none());
        all
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
                std::os::unix::fs::symlink(format!("f{n}"), root.join(format!("l{n}"))).unwrap();
                std::os::unix::fs::symlink("f0-0", root.join(format!("m{n}"))).unwrap();
            }
        }
        let whole = entries(&root, usize::MAX);
        assert_eq!(whole.len(), 450);
        for (kind, count) in
            [("File", 300), ("Directory", 30), ("reserved_name", 30), ("control_character", 30), ("LinkedFile", 30)]
        {
            assert_eq!(whole.iter().filter(|(_, found)| found == kind).count(), count, "{kind}");
        }
        for run in [1, 50, 1_000] {
            assert_eq!(entries(&root, run), whole, "runs of {run} bytes");
        }
    }
}
