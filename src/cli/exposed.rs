//! Files of storm-index that others than their owner can read.

use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::private;

/// A file or directory that others than its owner can read.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub(super) struct Exposed {
    /// Its path.
    pub(super) path: String,
    /// Its mode, in octal digits.
    pub(super) mode: String,
    /// The command that makes it private.
    pub(super) fix: String,
}

/// Returns those of the index's files, and of the server's directory of findings, that others can read.
pub(super) fn exposed(files: &[PathBuf], findings: Option<&Path>) -> Vec<Exposed> {
    let files = files.iter().map(|file| (file.as_path(), "chmod go-rwx"));
    let all = files.chain(findings.map(|directory| (directory, "chmod -R go-rwx")));
    let told = |(path, command): (&Path, &str)| {
        let mode = private::mode_for_others(path)?;
        let path = path.display().to_string();
        Some(Exposed { fix: format!("{command} -- {}", quoted(&path)), mode: format!("{mode:04o}"), path })
    };
    all.filter_map(told).collect()
}

/// Quotes a path for a shell, where that is needed.
fn quoted(path: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "/._-+:,@".contains(c);
    if !path.is_empty() && path.chars().all(is_plain) {
        return path.to_owned();
    }
    format!("'{}'", path.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_quoted_for_a_shell() {
        for (path, want) in [
            ("/srv/a-b.sqlite3", "/srv/a-b.sqlite3"),
            ("/srv/my index", "'/srv/my index'"),
            ("it's", r"'it'\''s'"),
            ("$(x)", "'$(x)'"),
            ("", "''"),
        ] {
            assert_eq!(quoted(path), want);
        }
    }
}
