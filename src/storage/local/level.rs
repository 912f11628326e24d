//! One directory, page by page in key order. A directory of usual size is one page; a huge one is sorted in runs on disk
//! and merged, so that the memory of a walk does not grow with it.

use std::cmp::Ordering;
use std::io;

use super::super::sort::{Merge, Runs, Sortable, read_text, write_text};
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
    Runs(Box<Merge<Entry>>),
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
        let (mut runs, mut no_room_for) = (Runs::default(), None);
        let read = place.dir.read(|name, file_type| {
            page.add(place, name, file_type);
            if page.name_bytes() < run {
                return Ok(true);
            }
            page.sort();
            no_room_for = runs.add(entries_of(&page)).err();
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
            runs.add(entries_of(&page)).map_err(no_room)?;
            Rest::Runs(Box::new(runs.merge().map_err(no_room)?))
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
            let Some(Entry { name, kind, reason }) = runs.next().transpose()? else { break };
            if last.as_ref() == Some(&name) {
                continue;
            }
            match reason {
                Some(reason) => page.push_bad(&name, reason),
                None => page.push(&name, kind),
            }
            last = Some(name);
        }
        Ok((page.len() > 0).then_some(page))
    }
}

/// An entry of a directory that is sorted on disk.
#[derive(Debug)]
struct Entry {
    name: Vec<u8>,
    kind: Kind,
    reason: Option<BadReason>,
}

/// Takes the entries of a sorted page.
fn entries_of(page: &Directory) -> impl Iterator<Item = Entry> {
    let entry = |at| Entry { name: page.name(at).to_vec(), kind: page.kind(at), reason: page.reason(at).cloned() };
    (0..page.len()).map(entry)
}

impl Ord for Entry {
    fn cmp(&self, other: &Self) -> Ordering {
        order(&self.name, self.kind).cmp(order(&other.name, other.kind))
    }
}

impl PartialOrd for Entry {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Entry {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Entry {}

impl Sortable for Entry {
    fn weight(&self) -> usize {
        self.name.len()
    }

    fn write(&self, out: &mut impl io::Write) -> io::Result<()> {
        let kind = match self.kind {
            Kind::File => b'f',
            Kind::LinkedFile => b'l',
            Kind::Directory => b'd',
            Kind::LinkedDirectory => b'L',
            Kind::Bad(_) => b'b',
        };
        out.write_all(&[kind])?;
        write_text(out, &self.name)?;
        self.reason.as_ref().map_or(Ok(()), |reason| write_text(out, &serde_json::to_vec(reason)?))
    }

    fn read(from: &mut impl io::Read) -> io::Result<Self> {
        let mut kind = [0];
        from.read_exact(&mut kind)?;
        let name = read_text(from)?;
        let kind = match kind[0] {
            b'f' => Kind::File,
            b'l' => Kind::LinkedFile,
            b'd' => Kind::Directory,
            b'L' => Kind::LinkedDirectory,
            _ => Kind::Bad(0),
        };
        let reason = match kind {
            Kind::Bad(_) => Some(serde_json::from_slice(&read_text(from)?)?),
            _ => None,
        };
        Ok(Self { name, kind, reason })
    }
}

/// Trouble with temporary files says nothing of the directory: above all not that it is gone.
fn no_room(error: io::Error) -> io::Error {
    io::Error::other(format!("too large to sort in memory, and temporary files fail (TMPDIR): {error}"))
}

#[cfg(test)]
mod tests {
    use std::fs::{self, File};
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
