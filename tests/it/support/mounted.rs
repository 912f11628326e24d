//! File systems that root can mount.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::skip::{skip, unless_root};

/// A mounted file system, which is unmounted with this value.
pub(crate) struct Mounted(PathBuf);

impl Mounted {
    /// Mounts one; the arguments are those of `mount` before the directory. `None`, and the test counts as skipped, where
    /// that is not possible.
    pub(crate) fn new(args: &[&str], at: &Path) -> Option<Self> {
        if unless_root("mounting") {
            return None;
        }
        std::fs::create_dir_all(at).unwrap();
        let ran = Command::new("mount").args(args).arg(at).output().unwrap();
        if !ran.status.success() {
            skip(&format!("mount {args:?}: {}", String::from_utf8_lossy(&ran.stderr).trim()));
            return None;
        }
        Some(Self(at.to_owned()))
    }

    /// Mounts one in memory.
    pub(crate) fn tmpfs(at: &Path) -> Option<Self> {
        Self::new(&["-t", "tmpfs", "-o", "size=16m", "tmpfs"], at)
    }

    /// Makes an ext4 file system in a file, and mounts it.
    pub(crate) fn ext4(image: &Path, at: &Path) -> Option<Self> {
        std::fs::File::create(image).unwrap().set_len(32 << 20).unwrap();
        let made = Command::new("mkfs.ext4").args(["-q", "-F"]).arg(image).output();
        if !made.as_ref().is_ok_and(|made| made.status.success()) {
            skip(&format!("needs mkfs.ext4: {made:?}"));
            return None;
        }
        Self::new(&["-o", "loop", "-t", "ext4", image.to_str().unwrap()], at)
    }

    /// Mounts an overlay of `lower` with the directories `upper` and `work` below `layers`.
    pub(crate) fn overlay(lower: &Path, layers: &Path, at: &Path) -> Option<Self> {
        let (upper, work) = (layers.join("upper"), layers.join("work"));
        for directory in [lower, &upper, &work] {
            std::fs::create_dir_all(directory).unwrap();
        }
        let (lower, upper, work) = (lower.display(), upper.display(), work.display());
        let layers = format!("lowerdir={lower},upperdir={upper},workdir={work}");
        Self::new(&["-t", "overlay", "-o", &layers, "overlay"], at)
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        let unmount = |args: &[&str]| Command::new("umount").args(args).arg(&self.0).status();
        if !unmount(&[]).is_ok_and(|ended| ended.success()) {
            let _ = unmount(&["--lazy"]);
        }
    }
}
