//! What is told over the network has no path of the server's disk in it, and no address of its database.

use url::Url;

use super::paths::without_paths;
use crate::reconcile::{ErrorWire, ResultWire};

/// Knows what must not be told.
#[derive(Debug, Clone, Default)]
pub(super) struct Scrub(Vec<(String, &'static str)>);

impl Scrub {
    /// Takes the URLs of storage and database.
    pub(super) fn new(storage: &str, database: &str) -> Self {
        let mut hidden = Vec::new();
        for (url, name) in [(storage, "(storage)"), (database, "(database)")] {
            let path = match Url::parse(url) {
                Ok(url) if url.scheme() == "file" => url.to_file_path().ok(),
                _ => Some(url.strip_prefix("sqlite:").map_or(url, |path| path.trim_start_matches("//")).into()),
            };
            let path = path.map(|path| path.display().to_string().split('?').next().unwrap_or_default().to_owned());
            let real = path.as_deref().and_then(|path| std::fs::canonicalize(path).ok());
            let real = real.map(|real| real.display().to_string());
            hidden.extend([Some(url.to_owned()), real, path].into_iter().flatten().map(|text| (text, name)));
        }
        // Messages have it quoted, and what is odd in it escaped.
        let quoted = |text: &str| format!("{text:?}").trim_matches('"').to_owned();
        let escaped: Vec<_> = hidden.iter().map(|(text, name)| (quoted(text), *name)).collect();
        hidden.extend(escaped);
        // A single word, or what is shorter still, would be found in everything, and says nothing of the disk.
        hidden.retain(|(text, _)| text.contains('/') && text.trim_matches(['/', '.']).len() > 1);
        hidden.sort_by_key(|(text, _)| std::cmp::Reverse(text.len()));
        Self(hidden)
    }

    /// Returns `text` without what must not be told.
    pub(super) fn text(&self, text: &str) -> String {
        self.0.iter().fold(text.to_owned(), |text, (hidden, name)| text.replace(hidden.as_str(), name))
    }

    /// Cleans the messages of a result.
    pub(super) fn result(&self, mut result: ResultWire) -> ResultWire {
        result.errors.iter_mut().for_each(|error| error.message = without_paths(&self.text(&error.message)));
        if let Some(refusal) = &mut result.refusal {
            refusal.message = without_paths(&self.text(&refusal.message));
        }
        result
    }

    /// Cleans messages.
    pub(super) fn errors(&self, mut errors: Vec<ErrorWire>) -> Vec<ErrorWire> {
        errors.iter_mut().for_each(|error| error.message = without_paths(&self.text(&error.message)));
        errors
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_path_of_the_disk_is_told() {
        let scrub = Scrub::new("/srv/files", "sqlite:///var/lib/i.sqlite3?mode=rwc");
        assert_eq!(scrub.text("storage \"/srv/files\" does not exist"), "storage \"(storage)\" does not exist");
        assert_eq!(
            scrub.text("\"sqlite:///var/lib/i.sqlite3?mode=rwc\" /var/lib/i.sqlite3"),
            "\"(database)\" (database)"
        );
        assert_eq!(
            Scrub::new("file:///srv/a%20b", "postgres://u@h/d").text("/srv/a b/x at postgres://u@h/d"),
            "(storage)/x at (database)"
        );
        assert_eq!(Scrub::new("/", ".").text("a/b."), "a/b.");
        assert_eq!(Scrub::new("files", "i.sqlite3").text("3 files in i.sqlite3"), "3 files in i.sqlite3");
        let odd = "/srv/q\"uo\tte";
        assert_eq!(Scrub::new(odd, "sqlite:i").text(&format!("storage {odd:?}")), "storage \"(storage)\"");
    }
}
