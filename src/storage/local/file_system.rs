//! File systems: which one a directory is on, and whether an inode number there lasts as long as its file.

use std::collections::HashMap;
use std::ffi::OsString;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStringExt as _;
use std::sync::{Mutex, PoisonError};

use rustix::fs::{AtFlags, StatxFlags, fstatfs, fstatvfs, statfs, statx};

use super::dir::Dir;
use crate::model::FileSystem;

const OVERLAY: u64 = 0x794c_7630;

/// File systems that keep inode numbers, by the number that `statfs` has for each.
const KEEPING: [(u64, &str); 8] = [
    (0xef53, "ext4"),
    (0x5846_5342, "xfs"),
    (0x9123_683e, "btrfs"),
    (0x2fc1_2fc1, "zfs"),
    (0xf2f5_2010, "f2fs"),
    (0xca45_1a4e, "bcachefs"),
    (0x0102_1994, "tmpfs"),
    (OVERLAY, "overlay"),
];

/// File systems that do not, or not always.
const OTHERS: [(u64, &str); 8] = [
    (0x6573_5546, "fuse"),
    (0x6969, "nfs"),
    (0xff53_4d42, "cifs"),
    (0xfe53_4d42, "smb2"),
    (0x4d44, "vfat"),
    (0x2011_bab0, "exfat"),
    (0x7366_746e, "ntfs3"),
    (0x0102_1997, "9p"),
];

/// What is known of the file systems below a root.
#[derive(Debug, Default)]
pub(super) struct FileSystems {
    /// Whether the owner says that all of them keep their inode numbers.
    declared: bool,
    known: Mutex<HashMap<u64, FileSystem>>,
}

impl FileSystems {
    /// Begins to learn; all inode numbers last if that is `declared`.
    pub(super) fn new(declared: bool) -> Self {
        Self { declared, known: Mutex::default() }
    }

    /// Returns the file system of a directory.
    ///
    /// # Errors
    /// When the system does not tell.
    pub(super) fn of(&self, dir: &Dir) -> io::Result<FileSystem> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(found) = known.get(&dir.device) {
            return Ok(found.clone());
        }
        let found = self.look(dir, dir.device)?;
        known.insert(dir.device, found.clone());
        Ok(found)
    }

    /// Returns the file system that something open on `device` is on, asked for anew.
    ///
    /// # Errors
    /// When the system does not tell.
    pub(super) fn look(&self, fd: impl AsFd, device: u64) -> io::Result<FileSystem> {
        // The type is a signed number on some machines; its lower half is what counts.
        #[expect(clippy::cast_sign_loss, reason = "a number that is only compared")]
        let kind = fstatfs(&fd)?.f_type as u64 & 0xffff_ffff;
        let id = fstatvfs(&fd)?.f_fsid;
        let name = KEEPING.iter().chain(&OTHERS).find(|(known, _)| *known == kind);
        let name = name.map_or_else(|| format!("{kind:#x}"), |(_, name)| (*name).to_owned());
        let keeps = self.declared || is_keeping(kind) && (kind != OVERLAY || overlay_keeps(device));
        let born = statx(&fd, c"", AtFlags::EMPTY_PATH, StatxFlags::BTIME)?.stx_mask;
        let tells_birth = StatxFlags::from_bits_retain(born).contains(StatxFlags::BTIME);
        Ok(FileSystem { kind: name, id: format!("{id:x}"), keeps_inodes: keeps, tells_birth })
    }
}

fn is_keeping(kind: u64) -> bool {
    KEEPING.iter().any(|(known, _)| *known == kind)
}

/// Tells whether the layer of an overlay that takes the writes keeps inode numbers: its path stands among the options of
/// the mount. One that cannot be seen from here is not known to.
fn overlay_keeps(device: u64) -> bool {
    let Ok(mounts) = std::fs::read("/proc/self/mountinfo") else { return false };
    let upper = upper_layer(&mounts, rustix::fs::major(device), rustix::fs::minor(device));
    #[expect(clippy::cast_sign_loss, reason = "a number that is only compared")]
    let kind = upper.and_then(|upper| statfs(upper).ok()).map(|layer| layer.f_type as u64 & 0xffff_ffff);
    kind.is_some_and(|kind| kind != OVERLAY && is_keeping(kind))
}

/// Finds the upper layer of the overlay that is the device `major:minor` in a table of mounts, as proc(5) describes it.
fn upper_layer(mounts: &[u8], major: u32, minor: u32) -> Option<OsString> {
    let number = format!("{major}:{minor}");
    for line in mounts.split(|b| *b == b'\n') {
        let fields: Vec<&[u8]> = line.split(|b| *b == b' ').collect();
        if fields.get(2) != Some(&number.as_bytes()) {
            continue;
        }
        let Some(options) = fields.iter().position(|f| *f == b"-").and_then(|at| fields.get(at + 3)) else { continue };
        let upper = options.split(|b| *b == b',').find_map(|option| option.strip_prefix(b"upperdir="));
        return upper.map(|path| OsString::from_vec(unescaped(path)));
    }
    None
}

/// Resolves `\040` and the like.
fn unescaped(text: &[u8]) -> Vec<u8> {
    let mut plain = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((first, tail)) = rest.split_first() {
        let octal = tail.get(..3).filter(|_| *first == b'\\').and_then(|digits| std::str::from_utf8(digits).ok());
        match octal.and_then(|digits| u8::from_str_radix(digits, 8).ok()) {
            Some(byte) => {
                plain.push(byte);
                rest = &tail[3..];
            }
            None => {
                plain.push(*first);
                rest = tail;
            }
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_upper_layer_stands_in_the_table_of_mounts() {
        let mounts = b"22 1 254:0 / / rw,relatime - ext4 /dev/vda rw\n\
                       40 22 0:33 / /m rw shared:1 - overlay overlay rw,lowerdir=/l,upperdir=/a\\040b,workdir=/w\n\
                       41 22 0:34 / /n ro - overlay overlay ro,lowerdir=/l:/k\n";
        assert_eq!(upper_layer(mounts, 0, 33), Some("/a b".into()));
        assert_eq!(upper_layer(mounts, 0, 34), None);
        assert_eq!(upper_layer(mounts, 254, 0), None);
        assert_eq!(upper_layer(mounts, 9, 9), None);
    }

    #[test]
    fn a_declaration_counts_where_the_kind_does_not() {
        let proc = std::fs::File::open("/proc").unwrap();
        let dir = Dir::try_from(proc).unwrap();
        assert!(!FileSystems::new(false).of(&dir).unwrap().keeps_inodes);
        assert!(FileSystems::new(true).of(&dir).unwrap().keeps_inodes);
    }
}
