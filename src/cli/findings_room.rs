//! Where findings are kept that go with the server: a directory for temporary files, which the server locks while it lives.

use std::fs::{self, File, Permissions};
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use tempfile::TempDir;

use crate::private;

/// How the names of these directories begin.
const PREFIX: &str = "storm-index-findings-";

/// The file by whose lock it is seen whether the server lives.
const LOCK: &str = "lock";

/// A directory for the findings of this server. It goes with this value; if that cannot be, a later server removes it.
#[derive(Debug)]
pub(super) struct FindingsRoom {
    dir: TempDir,
    _lock: File,
}

impl FindingsRoom {
    /// Makes one, and removes those of servers that are gone.
    pub(super) fn make() -> io::Result<Self> {
        sweep(&std::env::temp_dir());
        let prefix = format!("{PREFIX}{}-", std::process::id());
        let private_mode = Permissions::from_mode(0o700);
        let dir = tempfile::Builder::new().prefix(&prefix).permissions(private_mode).tempdir()?;
        private::restrict_dir(dir.path());
        // It is locked before it has its name, so that nobody finds it without its owner.
        let unnamed = dir.path().join("unnamed");
        let lock = private::create_new(&unnamed)?;
        lock.lock()?;
        fs::rename(unnamed, dir.path().join(LOCK))?;
        Ok(Self { dir, _lock: lock })
    }

    pub(super) fn path(&self) -> &Path {
        self.dir.path()
    }
}

/// Removes the directories whose server is gone: those with a lock that nobody holds, and with nothing but findings in them.
fn sweep(place: &Path) {
    for entry in fs::read_dir(place).into_iter().flatten().flatten() {
        let is_room = entry.file_name().to_str().is_some_and(|name| name.starts_with(PREFIX));
        if is_room && entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            // What cannot be read or removed is somebody else's.
            let _ = sweep_one(&entry.path());
        }
    }
}

fn sweep_one(room: &Path) -> io::Result<()> {
    let lock = File::options().write(true).open(room.join(LOCK))?;
    if lock.try_lock().is_err() {
        return Ok(());
    }
    let files = fs::read_dir(room)?.map(|entry| entry.map(|entry| entry.path())).collect::<io::Result<Vec<_>>>()?;
    let is_ours = |file: &Path| {
        let stem = file.file_stem().and_then(|stem| stem.to_str()).unwrap_or_default();
        let is_task = uuid::Uuid::try_parse(stem).is_ok() && file.extension().is_some_and(|e| e == "ndjson");
        file.is_file() && !file.is_symlink() && (is_task || file.ends_with(LOCK))
    };
    if !files.iter().all(|file| is_ours(file)) {
        return Ok(());
    }
    for file in files.iter().filter(|file| !file.ends_with(LOCK)) {
        fs::remove_file(file)?;
    }
    // The lock goes last: should this be cut short, the next one goes on.
    fs::remove_file(room.join(LOCK))?;
    fs::remove_dir(room)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_certainly_left_behind_is_removed() {
        let place = tempfile::tempdir().unwrap();
        let room = |name: &str, files: &[&str]| {
            let room = place.path().join(name);
            fs::create_dir(&room).unwrap();
            files.iter().for_each(|file| fs::write(room.join(file), "x").unwrap());
            room
        };
        let task = "019ab1f2-6f3e-7c11-b1d5-3f6ad2f9c0de.ndjson";
        let gone = [room("storm-index-findings-1-a", &[LOCK, task]), room("storm-index-findings-1-b", &[LOCK])];
        let alive = room("storm-index-findings-2-c", &[LOCK, task]);
        let lock = File::options().write(true).open(alive.join(LOCK)).unwrap();
        lock.lock().unwrap();
        let others = [
            room("storm-index-findings-3-d", &[task]),
            room("storm-index-findings-3-e", &[LOCK, task, "precious"]),
            room("elsewhere", &[LOCK, task]),
        ];
        let target = room("target", &[LOCK, task]);
        std::os::unix::fs::symlink(&target, place.path().join("storm-index-findings-4-f")).unwrap();
        sweep(place.path());
        assert!(gone.iter().all(|room| !room.exists()));
        for (room, files) in others.iter().zip([1, 3, 2]).chain([(&alive, 2), (&target, 2)]) {
            assert_eq!(fs::read_dir(room).unwrap().count(), files, "{room:?}");
        }
        // Closed it would be locked still, as long as a process that another test starts at this moment has it open as well.
        lock.unlock().unwrap();
        sweep(place.path());
        assert!(!alive.exists());
    }
}
