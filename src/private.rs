//! Files and directories that only their owner can read, whatever the umask is. What exists already keeps its mode.

use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

/// The mode of a file.
const FILE: u32 = 0o600;

/// The mode of a directory.
const DIRECTORY: u32 = 0o700;

/// The bits of a mode that say who may do what.
const ACCESS: u32 = 0o777;

/// How many symbolic links are followed to a file that does not exist; as many as Linux follows.
const MOST_LINKS: u32 = 40;

/// Makes the file `path` and opens it for writing.
///
/// # Errors
/// As the system's; of the kind `AlreadyExists` if there is something of that name.
pub(crate) fn create_new(path: &Path) -> io::Result<File> {
    // At no moment is the mode wider than it is to be; a umask can only have taken bits away.
    let file = OpenOptions::new().write(true).create_new(true).mode(FILE).open(path)?;
    restrict(&file);
    Ok(file)
}

/// Opens the file `path` for writing, with what it contains; makes it if there is none.
///
/// # Errors
/// As the system's.
#[cfg(feature = "cli")]
pub(crate) fn open(path: &Path) -> io::Result<File> {
    match create_new(path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => OpenOptions::new().write(true).open(path),
        made => made,
    }
}

/// Makes an empty file `path` if there is none; where `path` is a symbolic link to nothing, the file that it names.
///
/// # Errors
/// As the system's.
pub(crate) fn touch(path: &Path) -> io::Result<()> {
    let mut path = path.to_owned();
    for _ in 0..MOST_LINKS {
        match create_new(&path) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => match target_of(&path) {
                Some(target) if !path.exists() => path = target,
                _ => return Ok(()),
            },
            made => return made.map(drop),
        }
    }
    Err(io::Error::other("too many symbolic links"))
}

/// Returns where a symbolic link leads.
fn target_of(link: &Path) -> Option<PathBuf> {
    let target = fs::read_link(link).ok()?;
    Some(link.parent().map_or_else(|| target.clone(), |parent| parent.join(&target)))
}

/// Makes the directory `path` and those above it that are missing.
///
/// # Errors
/// As the system's.
pub(crate) fn create_dir_all(path: &Path) -> io::Result<()> {
    if path.as_os_str().is_empty() || path.is_dir() {
        return Ok(());
    }
    match create_dir(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let parent = path.parent().ok_or(error)?;
            create_dir_all(parent)?;
            create_dir(path)
        }
        made => made,
    }
}

fn create_dir(path: &Path) -> io::Result<()> {
    match DirBuilder::new().mode(DIRECTORY).create(path) {
        Ok(()) => {
            restrict_dir(path);
            Ok(())
        }
        // Another program may have made it meanwhile.
        Err(_) if path.is_dir() => Ok(()),
        Err(error) => Err(error),
    }
}

/// Gives a file that was just made its mode. A file system without modes keeps its own; [`mode_for_others`] tells.
pub(crate) fn restrict(file: &File) {
    if let Ok(found) = file.metadata()
        && let Some(mode) = changed(found.permissions().mode(), FILE)
    {
        let _ = file.set_permissions(mode);
    }
}

/// Gives a directory that was just made its mode; see [`restrict`].
pub(crate) fn restrict_dir(path: &Path) {
    if let Ok(found) = fs::metadata(path)
        && let Some(mode) = changed(found.permissions().mode(), DIRECTORY)
    {
        let _ = fs::set_permissions(path, mode);
    }
}

/// Returns what `mode` has to become so that access is `wanted`, if it is not. Set-group-ID and the like stay.
fn changed(mode: u32, wanted: u32) -> Option<Permissions> {
    (mode & ACCESS != wanted).then(|| Permissions::from_mode((mode & 0o7777 & !ACCESS) | wanted))
}

/// Returns the mode of a file or directory that others than its owner can read, or look into.
#[cfg(feature = "cli")]
pub(crate) fn mode_for_others(path: &Path) -> Option<u32> {
    let found = fs::metadata(path).ok()?;
    let reading = if found.is_dir() { 0o055 } else { 0o044 };
    Some(found.permissions().mode() & 0o7777).filter(|mode| mode & reading != 0)
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;
    use std::os::unix::fs::symlink;

    use super::*;

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o7777
    }

    #[test]
    fn what_is_made_is_private_and_what_exists_keeps_its_mode() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        create_dir_all(&at("a/b/c")).unwrap();
        for made in ["a", "a/b", "a/b/c"] {
            assert_eq!(mode(&at(made)), 0o700, "{made}");
        }
        open(&at("a/new")).unwrap();
        assert_eq!(mode(&at("a/new")), 0o600);
        for name in ["a", "a/new"] {
            fs::set_permissions(at(name), Permissions::from_mode(0o755)).unwrap();
        }
        create_dir_all(&at("a/d")).unwrap();
        open(&at("a/new")).unwrap().write_all(b"x").unwrap();
        touch(&at("a/new")).unwrap();
        assert_eq!((mode(&at("a")), mode(&at("a/new")), mode(&at("a/d"))), (0o755, 0o755, 0o700));
        assert_eq!(fs::read(at("a/new")).unwrap(), b"x");
        assert_eq!(create_new(&at("a/new")).unwrap_err().kind(), io::ErrorKind::AlreadyExists);
        assert!(create_dir_all(&at("a/new")).is_err() && create_dir_all(&at("a/new/x")).is_err());
    }

    #[test]
    fn links_to_nothing_are_followed_and_circles_are_not() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        symlink("second", at("first")).unwrap();
        symlink(at("file"), at("second")).unwrap();
        touch(&at("first")).unwrap();
        assert_eq!(mode(&at("file")), 0o600);
        assert!(at("first").is_symlink() && at("second").is_symlink());
        symlink("y", at("x")).unwrap();
        symlink("x", at("y")).unwrap();
        assert!(touch(&at("x")).is_err());
    }

    #[test]
    fn access_is_changed_and_nothing_else() {
        for (mode, wanted, want) in [
            (0o100_400, FILE, Some(0o600)),
            (0o100_644, FILE, Some(0o600)),
            (0o100_600, FILE, None),
            (0o042_500, DIRECTORY, Some(0o2700)),
            (0o042_700, DIRECTORY, None),
        ] {
            assert_eq!(changed(mode, wanted).map(|mode| mode.mode()), want, "{mode:o}");
        }
    }

    #[cfg(feature = "cli")]
    #[test]
    fn what_others_can_read_is_told() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("file");
        fs::write(&file, "x").unwrap();
        for (path, mode, want) in [
            (&file, 0o600, None),
            (&file, 0o611, None),
            (&file, 0o640, Some(0o640)),
            (&file, 0o604, Some(0o604)),
            (&dir.path().to_owned(), 0o700, None),
            (&dir.path().to_owned(), 0o711, Some(0o711)),
            (&dir.path().to_owned(), 0o2750, Some(0o2750)),
            (&dir.path().join("none"), 0, None),
        ] {
            let _ = fs::set_permissions(path, Permissions::from_mode(mode));
            assert_eq!(mode_for_others(path), want, "{mode:o}");
        }
    }
}
