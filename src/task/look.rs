//! Looks at the storage for those who ask how the server is: one at a time, shared by all who come meanwhile.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, timeout, timeout_at};

use super::desk::{Desk, GRACE, TICK};
use crate::reconcile::{Reconciler, Refusal};
use crate::storage::{self, MarkerState, Storage};

/// How long a look at the storage is good for.
const LOOKED: Duration = Duration::from_secs(3);

/// What is said of a storage that does not answer.
const SILENT: &str = "storage_silent";

/// A look, under way or over.
#[derive(Debug, Clone)]
struct Look {
    begun: Instant,
    /// What was seen, and when.
    seen: watch::Receiver<Option<(&'static str, Instant)>>,
}

impl Look {
    fn begin(looking: impl Future<Output = &'static str> + Send + 'static) -> Self {
        let (told, seen) = watch::channel(None);
        let begun = Instant::now();
        tokio::spawn(async move {
            let word = looking.await;
            told.send_replace(Some((word, Instant::now())));
        });
        Self { begun, seen }
    }

    /// Tells whether none is to be begun beside it or after it. One that hangs is not followed by others that hang.
    fn is_good(&self) -> bool {
        let seen = *self.seen.borrow();
        match seen {
            Some((_, at)) => at.elapsed() < LOOKED,
            // One that broke down is over, and has said nothing.
            None => self.seen.has_changed().is_ok(),
        }
    }

    /// Waits for what is seen, until it takes too long.
    async fn word(mut self) -> &'static str {
        match timeout_at(self.begun + GRACE, self.seen.wait_for(Option::is_some)).await {
            Ok(Ok(seen)) => seen.map_or(SILENT, |(word, _)| word),
            _ => SILENT,
        }
    }
}

/// The last look at the storage.
#[derive(Debug, Default)]
pub(super) struct Looks(Mutex<Option<Look>>);

impl Looks {
    /// Returns what the last look has seen, or sees; it is made by `looking` if there is none, or an old one.
    async fn ask(&self, looking: impl Future<Output = &'static str> + Send + 'static) -> &'static str {
        let look = {
            let mut last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            let good = last.clone().filter(Look::is_good);
            good.unwrap_or_else(|| last.insert(Look::begin(looking)).clone())
        };
        look.word().await
    }
}

impl Desk {
    /// Asks the storage for its marker: `ok` if it answers and is the one that the index is about, or one stable word for
    /// what is wrong. A word that is only seconds old is told again.
    pub async fn look_at_storage(self: &Arc<Self>) -> &'static str {
        let desk = Arc::clone(self);
        self.looks.ask(async move { desk.look().await }).await
    }

    async fn look(&self) -> &'static str {
        let url = self.settings.storage.clone();
        let storage = match tokio::task::spawn_blocking(move || storage::open(&url)).await {
            Ok(Ok(storage)) => storage,
            Ok(Err(error)) => return error.code(),
            Err(_) => return SILENT,
        };
        let marker = storage.reader().read_marker().await;
        if let MarkerState::Unknown(trouble) = marker {
            return trouble.code;
        }
        // Where the index does not answer, that is told by itself, and is no fault of the storage.
        let refused = timeout(TICK, self.refusal_by(&storage, marker)).await.ok().flatten();
        refused.map_or("ok", |refusal| refusal.code.as_str())
    }

    /// Returns why runs are refused on a storage with this marker, as far as the index says.
    async fn refusal_by(&self, storage: &Storage, marker: MarkerState) -> Option<Refusal> {
        let reconciler = Reconciler::new(storage, &self.opened()?).with_identity(self.settings.identity);
        reconciler.refusal_by(marker).await.ok()?
    }
}

#[cfg(test)]
mod tests {
    use std::future::pending;

    use super::*;
    use crate::index::LeaseTerms;
    use crate::model::{Identity, InodeNumbers, Order};
    use crate::task::Settings;

    #[tokio::test(start_paused = true)]
    async fn who_comes_while_a_look_is_under_way_is_told_what_it_sees() {
        let files = tempfile::tempdir().unwrap();
        let desk = Desk::new(Settings {
            storage: files.path().to_str().unwrap().to_owned(),
            database: "sqlite::memory:".to_owned(),
            readers: 1,
            identity: Identity::Marker,
            order: Order::default(),
            inode_numbers: InodeNumbers::default(),
            lease_terms: LeaseTerms::default(),
            findings: files.path().join("findings"),
        });
        for _ in 0..3 {
            let ask = || {
                let desk = Arc::clone(&desk);
                tokio::spawn(async move { desk.look_at_storage().await })
            };
            let asked: Vec<_> = (0..20).map(|_| ask()).collect();
            for asked in asked {
                assert_eq!(asked.await.unwrap(), "ok");
            }
            // What was seen is old by now.
            tokio::time::advance(Duration::from_secs(11)).await;
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_look_that_hangs_is_waited_for_once_and_followed_by_none() {
        let looks = Looks::default();
        let begun = Instant::now();
        assert_eq!(looks.ask(pending()).await, SILENT);
        assert_eq!(begun.elapsed().as_secs(), GRACE.as_secs());
        tokio::time::advance(LOOKED * 10).await;
        let begun = Instant::now();
        assert_eq!(looks.ask(async { "another" }).await, SILENT);
        assert_eq!(begun.elapsed(), Duration::ZERO);
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_seen_late_is_told_until_it_is_old() {
        let looks = Looks::default();
        let late = async {
            tokio::time::sleep(GRACE * 2).await;
            "late"
        };
        assert_eq!(looks.ask(late).await, SILENT);
        tokio::time::sleep(GRACE * 2).await;
        assert_eq!(looks.ask(async { "next" }).await, "late");
        tokio::time::advance(LOOKED).await;
        assert_eq!(looks.ask(async { "next" }).await, "next");
    }

    #[tokio::test(start_paused = true)]
    async fn a_look_that_breaks_down_is_followed_by_another() {
        let looks = Looks::default();
        assert_eq!(looks.ask(async { panic!("it breaks down") }).await, SILENT);
        assert_eq!(looks.ask(async { "ok" }).await, "ok");
    }
}
