//! A file system in user space that shows a directory in an odd way: names that ignore case, inode numbers that do not
//! last, listings with gaps.
//!
//! It speaks the kernel's protocol itself, read-only: the crates that do cannot give birth times (`FUSE_STATX`).

use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::io::{Read as _, Write as _};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use rustix::fs::{AtFlags, CWD, Statx, StatxFlags, StatxTimestamp, makedev, statx};
use unicode_normalization::UnicodeNormalization as _;

use super::skip::{skip, unless_root};

/// Which names open one file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Names {
    /// Its own alone.
    Exact,
    /// All that differ by case alone.
    AnyCase,
    /// All that differ by Unicode normalisation alone.
    AnyForm,
}

/// Which inode numbers files have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Numbers {
    /// Those of the files below.
    Kept,
    /// Those of the files below, and so much more: another amount at another mount gives files the numbers of others.
    Plus(u64),
    /// The same one for all files.
    One(u64),
}

/// Which birth times files have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Births {
    /// None.
    Untold,
    /// Those of the files below.
    Kept,
    /// Their times of last modification.
    Modified,
}

/// How the directory is shown.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Manners {
    pub(crate) names: Names,
    pub(crate) numbers: Numbers,
    pub(crate) births: Births,
}

impl Manners {
    /// As it is.
    pub(crate) const PLAIN: Self = Self { names: Names::Exact, numbers: Numbers::Kept, births: Births::Untold };
}

/// What goes wrong, by paths below the mount.
#[derive(Debug, Default)]
pub(crate) struct Faults {
    /// Left out of listings, although they open.
    pub(crate) hidden: HashSet<String>,
    /// How many listings leave them out; all without a number.
    pub(crate) hiding: Option<u32>,
    /// Listed, although they do not open.
    pub(crate) closed: HashSet<String>,
    /// Directories of which a listing fails, with the error number.
    pub(crate) unlisted: HashMap<String, i32>,
}

/// A mounted one, which is unmounted with this value.
pub(crate) struct FuseDisk {
    mount: PathBuf,
    faults: Arc<Mutex<Faults>>,
    server: Option<JoinHandle<()>>,
}

impl FuseDisk {
    /// Shows the directory `below` at `mount`. `None`, and the test counts as skipped, on a machine without FUSE or for
    /// users who may not mount.
    pub(crate) fn new(below: &Path, mount: &Path, manners: Manners) -> Option<Self> {
        if !Path::new("/dev/fuse").exists() {
            skip("needs /dev/fuse");
            return None;
        }
        if unless_root("mounting") {
            return None;
        }
        let device = File::options().read(true).write(true).open("/dev/fuse").unwrap();
        let options = "ro,fd=0,rootmode=40000,user_id=0,group_id=0,allow_other";
        let mut command = Command::new("mount");
        command.args(["-i", "-t", "fuse", "-o", options, "odd"]).arg(mount).stdin(device.try_clone().unwrap());
        assert!(command.status().unwrap().success(), "a FUSE file system cannot be mounted");
        let faults: Arc<Mutex<Faults>> = Arc::default();
        let mut server = Server::new(device, below, manners, Arc::clone(&faults));
        let server = Some(std::thread::spawn(move || server.serve()));
        Some(Self { mount: mount.to_owned(), faults, server })
    }

    /// Changes what goes wrong.
    pub(crate) fn fail(&self, faults: Faults) {
        *self.faults.lock().unwrap() = faults;
    }
}

impl Drop for FuseDisk {
    fn drop(&mut self) {
        let unmount = |args: &[&str]| Command::new("umount").args(args).arg(&self.mount).status();
        if !unmount(&["--internal-only"]).is_ok_and(|ended| ended.success()) {
            let _ = unmount(&["--force", "--lazy"]);
        }
        if let Some(server) = self.server.take() {
            let _ = server.join();
        }
    }
}

const ROOT: u64 = 1;
const ENOENT: i32 = 2;
const EIO: i32 = 5;
const ENOSYS: i32 = 38;

/// An answer to one request: what follows its header, or the number of an error.
type Answer = Result<Vec<u8>, i32>;

/// Appends numbers as the kernel lays them out.
trait Wire {
    fn u16(self, number: u16) -> Self;
    fn u32(self, number: u32) -> Self;
    fn u64(self, number: u64) -> Self;
}

impl Wire for Vec<u8> {
    fn u16(mut self, number: u16) -> Self {
        self.extend(number.to_ne_bytes());
        self
    }

    fn u32(mut self, number: u32) -> Self {
        self.extend(number.to_ne_bytes());
        self
    }

    fn u64(mut self, number: u64) -> Self {
        self.extend(number.to_ne_bytes());
        self
    }
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_ne_bytes(bytes[at..at + 4].try_into().unwrap())
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_ne_bytes(bytes[at..at + 8].try_into().unwrap())
}

/// What identifies a file below: device, inode number and birth time.
type Identity = (u64, u64, i64, u32);

struct Server {
    device: File,
    below: PathBuf,
    manners: Manners,
    faults: Arc<Mutex<Faults>>,
    /// Paths below the root, by the number that the kernel knows each node by.
    nodes: HashMap<u64, String>,
    known: HashMap<Identity, u64>,
}

impl Server {
    fn new(device: File, below: &Path, manners: Manners, faults: Arc<Mutex<Faults>>) -> Self {
        let nodes = HashMap::from([(ROOT, String::new())]);
        Self { device, below: below.to_owned(), manners, faults, nodes, known: HashMap::new() }
    }

    /// Answers until it is unmounted.
    fn serve(&mut self) {
        let mut buffer = vec![0; 256 * 1024];
        loop {
            let read = match self.device.read(&mut buffer) {
                Ok(read) => read,
                // ENOENT is a request that was taken back.
                Err(e) if matches!(e.raw_os_error(), Some(ENOENT | 4 | 11)) => continue,
                Err(_) => return,
            };
            let (request, opcode) = (&buffer[..read], u32_at(&buffer, 4));
            // FORGET, INTERRUPT and BATCH_FORGET want no answer.
            if matches!(opcode, 2 | 36 | 42) {
                continue;
            }
            let answer = self.answer(opcode, u64_at(request, 16), &request[40..]);
            let (error, body) = answer.map_or_else(|error| (-error, Vec::new()), |body| (0, body));
            let len = u32::try_from(16 + body.len()).unwrap();
            let mut reply = Vec::new().u32(len).u32(error.cast_unsigned()).u64(u64_at(request, 8));
            reply.extend(body);
            let _ = self.device.write(&reply);
        }
    }

    fn answer(&mut self, opcode: u32, node: u64, body: &[u8]) -> Answer {
        match opcode {
            // LOOKUP
            1 => self.lookup(node, body.strip_suffix(b"\0").unwrap_or(body)),
            // GETATTR
            3 => Ok([vec![0; 16], self.attributes(&self.facts(node)?)].concat()),
            // READLINK
            5 => std::fs::read_link(self.path(node)?).map(|to| to.as_os_str().as_bytes().to_vec()).map_err(number_of),
            // OPEN, OPENDIR
            14 | 27 => self.facts(node).map(|_| vec![0; 16]),
            // READ
            15 => {
                let mut data = vec![0; u32_at(body, 16) as usize];
                let file = File::open(self.path(node)?).map_err(number_of)?;
                let read = file.read_at(&mut data, u64_at(body, 8)).map_err(number_of)?;
                data.truncate(read);
                Ok(data)
            }
            // STATFS
            17 => {
                Ok(Vec::new().u64(0).u64(0).u64(0).u64(0).u64(0).u32(512).u32(255).u32(512).u32(0).u64(0).u64(0).u64(0))
            }
            // RELEASE, FLUSH, RELEASEDIR, DESTROY
            18 | 25 | 29 | 38 => Ok(Vec::new()),
            // INIT: the version and the largest write, which is for the size of the buffer.
            26 => {
                let reply = Vec::new().u32(7).u32(39).u32(u32_at(body, 8)).u32(0).u16(8).u16(6).u32(4096).u32(1);
                Ok([reply, vec![0; 36]].concat())
            }
            // READDIR
            28 => self.list(node, u64_at(body, 8), u32_at(body, 16) as usize),
            // STATX
            52 if self.manners.births != Births::Untold => Ok(self.all_attributes(&self.facts(node)?)),
            _ => Err(ENOSYS),
        }
    }

    fn key(&self, node: u64) -> Result<&str, i32> {
        self.nodes.get(&node).map(String::as_str).ok_or(ENOENT)
    }

    fn path(&self, node: u64) -> Result<PathBuf, i32> {
        Ok(self.below.join(self.key(node)?))
    }

    fn facts(&self, node: u64) -> Result<Statx, i32> {
        facts_of(&self.path(node)?)
    }

    fn lookup(&mut self, parent: u64, name: &[u8]) -> Answer {
        let name = std::str::from_utf8(name).map_err(|_| ENOENT)?;
        let (above, directory) = (self.key(parent)?.to_owned(), self.path(parent)?);
        let name = match directory.join(name).symlink_metadata() {
            Ok(_) => name.to_owned(),
            Err(_) => {
                let same = |one: &str| match self.manners.names {
                    Names::Exact => false,
                    Names::AnyCase => one.to_lowercase() == name.to_lowercase(),
                    Names::AnyForm => one.nfc().eq(name.nfc()),
                };
                names_in(&directory)?.into_iter().find(|one| same(one)).ok_or(ENOENT)?
            }
        };
        let key = below(&above, &name);
        if self.faults.lock().unwrap_or_else(PoisonError::into_inner).closed.contains(&key) {
            return Err(ENOENT);
        }
        let facts = facts_of(&directory.join(&name))?;
        let next = ROOT + 1 + self.known.len() as u64;
        let node = *self.known.entry(identity(&facts)).or_insert(next);
        self.nodes.insert(node, key);
        // Nothing is kept by the kernel: what is looked up again is asked for again.
        let entry = Vec::new().u64(node).u64(0).u64(0).u64(0).u32(0).u32(0);
        Ok([entry, self.attributes(&facts)].concat())
    }

    fn list(&self, node: u64, offset: u64, room: usize) -> Answer {
        let key = self.key(node)?;
        let mut faults = self.faults.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(error) = faults.unlisted.get(key) {
            return Err(*error);
        }
        let mut listing = Vec::new();
        let names = names_in(&self.path(node)?)?;
        let hidden: HashSet<&String> = names.iter().filter(|name| faults.hidden.contains(&below(key, name))).collect();
        let hides = faults.hiding != Some(0);
        for (at, name) in names.iter().enumerate().skip(usize::try_from(offset).unwrap()) {
            if hides && hidden.contains(name) {
                continue;
            }
            let facts = facts_of(&self.path(node)?.join(name))?;
            let mut entry = Vec::new().u64(self.number(&facts)).u64(at as u64 + 1);
            entry = entry.u32(u32::try_from(name.len()).unwrap()).u32(u32::from(facts.stx_mode) >> 12);
            entry.extend(name.as_bytes());
            entry.resize(entry.len().next_multiple_of(8), 0);
            if listing.len() + entry.len() > room {
                break;
            }
            listing.extend(entry);
        }
        // The kernel asks for what comes behind the last name as well; that it is told each time.
        if !hidden.is_empty() && offset == 0 {
            faults.hiding = faults.hiding.map(|left| left.saturating_sub(1));
        }
        Ok(listing)
    }

    fn number(&self, facts: &Statx) -> u64 {
        match self.manners.numbers {
            Numbers::Kept => facts.stx_ino,
            Numbers::Plus(more) => facts.stx_ino + more,
            Numbers::One(number) if facts.stx_mode & 0o170_000 == 0o100_000 => number,
            // That of another directory would make it look like a circle.
            Numbers::One(_) => facts.stx_ino,
        }
    }

    /// `struct fuse_attr`.
    fn attributes(&self, facts: &Statx) -> Vec<u8> {
        let seconds = |time: StatxTimestamp| time.tv_sec.cast_unsigned();
        let mut attr = Vec::new().u64(self.number(facts)).u64(facts.stx_size).u64(facts.stx_blocks);
        let times = [facts.stx_atime, facts.stx_mtime, facts.stx_ctime];
        attr = times.iter().fold(attr, |attr, time| attr.u64(seconds(*time)));
        attr = times.iter().fold(attr, |attr, time| attr.u32(time.tv_nsec));
        let mode = u32::from(facts.stx_mode);
        attr.u32(mode).u32(facts.stx_nlink).u32(facts.stx_uid).u32(facts.stx_gid).u32(0).u32(4096).u32(0)
    }

    /// `struct fuse_statx_out`.
    fn all_attributes(&self, facts: &Statx) -> Vec<u8> {
        let born = match self.manners.births {
            Births::Modified => facts.stx_mtime,
            Births::Kept | Births::Untold => facts.stx_btime,
        };
        let wanted = StatxFlags::BASIC_STATS | StatxFlags::BTIME;
        let head = Vec::new().u64(0).u32(0).u32(0).u64(0).u64(0).u32(wanted.bits()).u32(4096).u64(0);
        let mut all = head.u32(facts.stx_nlink).u32(facts.stx_uid).u32(facts.stx_gid).u16(facts.stx_mode).u16(0);
        all = all.u64(self.number(facts)).u64(facts.stx_size).u64(facts.stx_blocks).u64(0);
        for time in [facts.stx_atime, born, facts.stx_ctime, facts.stx_mtime] {
            all = all.u64(time.tv_sec.cast_unsigned()).u32(time.tv_nsec).u32(0);
        }
        all.resize(288, 0);
        all
    }
}

fn below(above: &str, name: &str) -> String {
    if above.is_empty() { name.to_owned() } else { format!("{above}/{name}") }
}

fn facts_of(path: &Path) -> Result<Statx, i32> {
    let flags = StatxFlags::BASIC_STATS | StatxFlags::BTIME;
    statx(CWD, path, AtFlags::SYMLINK_NOFOLLOW, flags).map_err(|errno| errno.raw_os_error())
}

fn identity(facts: &Statx) -> Identity {
    let device = makedev(facts.stx_dev_major, facts.stx_dev_minor);
    (device, facts.stx_ino, facts.stx_btime.tv_sec, facts.stx_btime.tv_nsec)
}

/// The names in a directory, sorted.
fn names_in(directory: &Path) -> Result<Vec<String>, i32> {
    let entries = std::fs::read_dir(directory).map_err(number_of)?;
    let mut names: Vec<String> = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok()).collect();
    names.sort();
    Ok(names)
}

fn number_of(error: std::io::Error) -> i32 {
    error.raw_os_error().unwrap_or(EIO)
}
