//! Links: followed within a user's prefix, never out of it.
//!
//! The system resolves a path below the directory of the prefix and refuses to leave it (`openat2`). Where it cannot, or
//! where a link is absolute, the path is resolved here, one segment after the other, by the same rule.

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Component, Path};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::fs::{FileType, Mode, OFlags, ResolveFlags, openat, openat2, readlinkat};
use rustix::io::Errno;

use super::dir::{Dir, facts_of, type_of};
use super::root::Root;
use crate::model::RESERVED_FOLDER;

/// How many links one path may lead through, as on Linux itself.
const MOST_LINKS: usize = 40;

/// The directory of a user's prefix, which no link leads out of.
#[derive(Debug, Clone)]
pub(super) struct Wall {
    /// The directory.
    pub(super) dir: Arc<Dir>,
    /// What all keys within begin with: empty, or ending in `/`.
    pub(super) key: String,
    /// Where the directory is, for links that are absolute: without links, and as it was named.
    paths: [Arc<Path>; 2],
}

/// Why a path cannot be opened.
#[derive(Debug)]
pub(super) enum Refused {
    /// A link leads out of the prefix.
    Outside,
    /// Links lead in a circle.
    Loop,
    /// There is nothing: the name is missing, or a file stands where a directory would have to be.
    Absent,
    /// The system does not say.
    Failed(io::Error),
}

impl From<Errno> for Refused {
    fn from(errno: Errno) -> Self {
        match errno {
            Errno::NOENT | Errno::NOTDIR => Self::Absent,
            Errno::LOOP => Self::Loop,
            other => Self::Failed(other.into()),
        }
    }
}

impl From<io::Error> for Refused {
    fn from(error: io::Error) -> Self {
        Errno::from_io_error(&error).map_or_else(|| Self::Failed(error), Self::from)
    }
}

/// Whether `openat2` is missing (an older kernel) or forbidden (a container's filter); found out by its first answer.
static HAS_NO_OPENAT2: AtomicBool = AtomicBool::new(false);

impl Wall {
    /// Puts a wall around `dir`, whose keys begin with `key`, in a storage whose root is at `root`.
    pub(super) fn new(dir: Arc<Dir>, key: String, root: &Root) -> Self {
        let paths = [root.path(), root.named()].map(|root| root.join(key.trim_end_matches('/')).into());
        Self { dir, key, paths }
    }

    /// Opens what `path`, which begins at the prefix, leads to, only for asking about it; links are followed.
    pub(super) fn open(&self, path: &str) -> Result<OwnedFd, Refused> {
        self.open_as(path, OFlags::PATH)
    }

    /// Opens the directory that `path` leads to; the empty path is the prefix itself.
    pub(super) fn open_dir(&self, path: &str) -> Result<Dir, Refused> {
        if path.is_empty() {
            return Ok(self.dir.try_clone()?);
        }
        let fd = self.open_as(path, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NONBLOCK)?;
        Ok(Dir::new(fd, None)?)
    }

    fn open_as(&self, path: &str, flags: OFlags) -> Result<OwnedFd, Refused> {
        // With the whole storage as prefix, what belongs to storm-index lies within it, and has to be recognised by name.
        if !self.key.is_empty() && !HAS_NO_OPENAT2.load(Ordering::Relaxed) {
            let how = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS;
            loop {
                match openat2(self.dir.as_fd(), path, flags | OFlags::CLOEXEC, Mode::empty(), how) {
                    Ok(fd) => return Ok(fd),
                    // Something was renamed on the way meanwhile.
                    Err(Errno::AGAIN | Errno::INTR) => {}
                    Err(Errno::NOSYS | Errno::PERM) => {
                        HAS_NO_OPENAT2.store(true, Ordering::Relaxed);
                        break;
                    }
                    // A link that leads out, or is absolute; or a path that is too long for one call.
                    Err(Errno::XDEV | Errno::NAMETOOLONG) => break,
                    Err(errno) => return Err(errno.into()),
                }
            }
        }
        self.step_by_step(path, flags)
    }

    /// Resolves `path` one segment after the other.
    fn step_by_step(&self, path: &str, flags: OFlags) -> Result<OwnedFd, Refused> {
        let mut rest: VecDeque<Vec<u8>> = segments(path.as_bytes()).collect();
        // The directories on the way from the prefix to here; the prefix itself is not among them.
        let mut open: Vec<OwnedFd> = Vec::new();
        let mut links = 0;
        while let Some(segment) = rest.pop_front() {
            if segment == b".." {
                // Above the prefix is outside of it.
                open.pop().ok_or(Refused::Outside)?;
                continue;
            }
            if self.key.is_empty() && open.is_empty() && segment == RESERVED_FOLDER.as_bytes() {
                return Err(Refused::Outside);
            }
            let above = open.last().map_or_else(|| self.dir.as_fd(), AsFd::as_fd);
            let nofollow = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let entry = openat(above, segment.as_slice(), nofollow, Mode::empty())?;
            match type_of(&facts_of(&entry)?) {
                FileType::Symlink => {
                    links += 1;
                    if links > MOST_LINKS {
                        return Err(Refused::Loop);
                    }
                    let target = readlinkat(&entry, c"", Vec::new())?.into_bytes();
                    let target = match target.strip_prefix(b"/") {
                        Some(_) => {
                            open.clear();
                            self.within(&target)?
                        }
                        None => target,
                    };
                    for segment in segments(&target).collect::<Vec<_>>().into_iter().rev() {
                        rest.push_front(segment);
                    }
                }
                FileType::Directory => open.push(entry),
                // A file, with something that is to be below it.
                _ if !rest.is_empty() => return Err(Refused::Absent),
                _ if flags.contains(OFlags::DIRECTORY) => return Err(Refused::Absent),
                _ => return Ok(entry),
            }
        }
        let end = open.last().map_or_else(|| self.dir.as_fd(), AsFd::as_fd);
        let flags = if flags.contains(OFlags::DIRECTORY) { flags } else { flags | OFlags::DIRECTORY };
        Ok(openat(end, c".", flags | OFlags::CLOEXEC, Mode::empty())?)
    }

    /// Makes an absolute path into one that begins at the prefix, if it leads there.
    fn within(&self, target: &[u8]) -> Result<Vec<u8>, Refused> {
        let below = |path: &Path| {
            let mut rest = segments(target);
            let mut wanted = path.components().filter(|c| matches!(c, Component::Normal(_)));
            wanted.all(|c| rest.next().as_deref() == Some(c.as_os_str().as_bytes())).then(|| rest.collect::<Vec<_>>())
        };
        let rest = self.paths.iter().find_map(|path| below(path)).ok_or(Refused::Outside)?;
        Ok(rest.join(&b'/'))
    }
}

/// The segments of a path, without empty ones and `.`.
fn segments(path: &[u8]) -> impl Iterator<Item = Vec<u8>> {
    path.split(|b| *b == b'/').filter(|s| !s.is_empty() && *s != b".").map(<[u8]>::to_vec)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;

    fn wall(root: &Path, key: &str) -> Wall {
        let dir = fs::File::open(root.join(key.trim_end_matches('/'))).unwrap();
        Wall::new(Arc::new(Dir::try_from(dir).unwrap()), key.to_owned(), &Root::open(root).unwrap())
    }

    fn answer(result: Result<OwnedFd, Refused>) -> String {
        match result {
            Ok(fd) => match type_of(&facts_of(&fd).unwrap()) {
                FileType::Directory => "directory".to_owned(),
                _ => facts_of(&fd).unwrap().stx_size.to_string(),
            },
            Err(Refused::Failed(error)) => panic!("{error}"),
            Err(refused) => format!("{refused:?}"),
        }
    }

    #[test]
    fn law_17_no_link_leads_out_of_a_prefix() {
        let dir = tempfile::tempdir().unwrap();
        let root = fs::canonicalize(dir.path()).unwrap();
        for folder in ["1/a/b", "2", "12", ".storm-index"] {
            fs::create_dir_all(root.join(folder)).unwrap();
        }
        for (file, content) in [("1/a/one", "1"), ("2/secret", "22"), ("12/secret", "333"), ("top", "4444")] {
            fs::write(root.join(file), content).unwrap();
        }
        fs::write(root.join(".storm-index/identity.json"), "55555").unwrap();
        let here = |path: &str| root.join(path).display().to_string();
        for (link, target) in [
            ("1/plain", "a/one".to_owned()),
            ("1/a/b/up", "../../a/one".to_owned()),
            ("1/folder", "a/b/..".to_owned()),
            ("1/absolute", here("1/a/one")),
            ("1/dots", here("1/./a/../a/one")),
            ("1/chain", "absolute".to_owned()),
            ("1/other", "../2/secret".to_owned()),
            ("1/other-folder", "../2".to_owned()),
            ("1/around", "../1/a/one".to_owned()),
            ("1/other-absolute", here("2/secret")),
            ("1/lookalike", here("12/secret")),
            ("1/far", "/etc/passwd".to_owned()),
            ("1/nothing-outside", "../2/nothing".to_owned()),
            ("1/broken", "a/nothing".to_owned()),
            ("1/circle", "circle".to_owned()),
            ("1/below-file", "a/one/x".to_owned()),
            ("marker", ".storm-index/identity.json".to_owned()),
            ("marker-around", "1/../.storm-index/identity.json".to_owned()),
        ] {
            symlink(target, root.join(link)).unwrap();
        }
        let (user, whole) = (wall(&root, "1/"), wall(&root, ""));
        for (wall, path, want) in [
            (&user, "a/one", "1"),
            (&user, "a", "directory"),
            (&user, "plain", "1"),
            (&user, "a/b/up", "1"),
            (&user, "folder/one", "1"),
            (&user, "folder", "directory"),
            (&user, "absolute", "1"),
            (&user, "dots", "1"),
            (&user, "chain", "1"),
            (&user, "other", "Outside"),
            (&user, "other-folder/secret", "Outside"),
            (&user, "around", "Outside"),
            (&user, "other-absolute", "Outside"),
            (&user, "lookalike", "Outside"),
            (&user, "far", "Outside"),
            (&user, "nothing-outside", "Outside"),
            (&user, "broken", "Absent"),
            (&user, "nothing", "Absent"),
            (&user, "a/one/x", "Absent"),
            (&user, "below-file", "Absent"),
            (&user, "circle", "Loop"),
            (&whole, "1/other", "2"),
            (&whole, "1/around", "1"),
            (&whole, "1/far", "Outside"),
            (&whole, "marker", "Outside"),
            (&whole, "marker-around", "Outside"),
            (&whole, ".storm-index/identity.json", "Outside"),
        ] {
            assert_eq!(answer(wall.open(path)), want, "{path}");
            // Where the kernel has no `openat2`, the answer is the same.
            assert_eq!(answer(wall.step_by_step(path, OFlags::PATH)), want, "{path}, step by step");
            assert_eq!(wall.open_dir(path).is_ok(), want == "directory", "{path} as a directory");
        }
    }
}
