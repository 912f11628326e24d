//! What is told over the network has no path of the server's disk in it, and no address of its database.

use std::path::PathBuf;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use tokio::sync::mpsc;
use url::Url;

use super::paths::without_paths;
use crate::reconcile::{ErrorWire, ResultWire};

/// The time between two looks for a place that is not there yet.
const LOOK: Duration = Duration::from_secs(5);

/// Knows what must not be told.
#[derive(Debug, Clone, Default)]
pub(super) struct Scrub {
    hidden: Arc<RwLock<Vec<(String, &'static str)>>>,
    places: Vec<(PathBuf, &'static str)>,
}

impl Scrub {
    /// Takes the URLs of storage and database, and looks at neither: see [`Scrub::find_places`].
    pub(super) fn new(storage: &str, database: &str) -> Self {
        let mut scrub = Self::default();
        for (url, name) in [(storage, "(storage)"), (database, "(database)")] {
            scrub.hide(url, name);
            let path = match Url::parse(url) {
                Ok(url) if url.scheme() == "file" => url.to_file_path().ok(),
                _ => Some(url.strip_prefix("sqlite:").map_or(url, |path| path.trim_start_matches("//")).into()),
            };
            let path = path.map(|path| path.display().to_string().split('?').next().unwrap_or_default().to_owned());
            let Some(path) = path else { continue };
            scrub.hide(&path, name);
            // Neither a bucket nor a server is a place on this disk.
            if !path.contains("://") && path != ":memory:" {
                if let Ok(absolute) = std::path::absolute(&path) {
                    scrub.hide(&absolute.display().to_string(), name);
                }
                scrub.places.push((path.into(), name));
            }
        }
        scrub
    }

    /// Finds out where the places really are, through links. What is returned waits for one look at each; a place that is
    /// not there is looked for again in the background, and one that hangs keeps nobody but its look.
    pub(super) fn find_places(&self) -> impl Future<Output = ()> + Send + use<> {
        let (looking, mut all) = mpsc::channel::<()>(1);
        for (path, name) in self.places.clone() {
            let (scrub, mut looking) = (self.clone(), Some(looking.clone()));
            tokio::spawn(async move {
                loop {
                    let path = path.clone();
                    let real = tokio::task::spawn_blocking(move || std::fs::canonicalize(path)).await;
                    if let Ok(Ok(real)) = real {
                        return scrub.hide(&real.display().to_string(), name);
                    }
                    drop(looking.take());
                    tokio::time::sleep(LOOK).await;
                }
            });
        }
        async move {
            // Nothing is ever sent: it ends when nobody could any more.
            all.recv().await;
        }
    }

    fn hide(&self, text: &str, name: &'static str) {
        // Messages have it quoted, and what is odd in it escaped.
        let quoted = format!("{text:?}").trim_matches('"').to_owned();
        let mut hidden = self.hidden.write().unwrap_or_else(PoisonError::into_inner);
        for text in [text.to_owned(), quoted] {
            // A single word, or what is shorter still, would be found in everything, and says nothing of the disk.
            let tells = text.contains('/') && text.trim_matches(['/', '.']).len() > 1;
            if tells && !hidden.iter().any(|(known, _)| *known == text) {
                hidden.push((text, name));
            }
        }
        hidden.sort_by_key(|(text, _)| std::cmp::Reverse(text.len()));
    }

    /// Returns `text` without what must not be told.
    pub(super) fn text(&self, text: &str) -> String {
        let hidden = self.hidden.read().unwrap_or_else(PoisonError::into_inner);
        hidden.iter().fold(text.to_owned(), |text, (hidden, name)| text.replace(hidden.as_str(), name))
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

    #[test]
    fn a_relative_path_is_not_told_in_full_either() {
        let here = std::env::current_dir().unwrap();
        let scrub = Scrub::new("data/files", "sqlite://data/i.sqlite3");
        assert_eq!(scrub.text(&format!("{}/data/files/1/a", here.display())), "(storage)/1/a");
        assert_eq!(scrub.text(&format!("{}", here.join("data/i.sqlite3").display())), "(database)");
    }

    #[tokio::test]
    async fn a_place_behind_a_link_is_not_told_once_it_is_there() {
        let dir = tempfile::tempdir().unwrap();
        let (real, link) = (dir.path().canonicalize().unwrap().join("real"), dir.path().join("link"));
        std::fs::create_dir(&real).unwrap();
        std::os::unix::fs::symlink(&real, &link).unwrap();
        let scrub = Scrub::new(link.to_str().unwrap(), "sqlite::memory:");
        scrub.find_places().await;
        assert_eq!(scrub.text(&real.join("1/a").display().to_string()), "(storage)/1/a");
    }
}
