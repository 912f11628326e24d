//! The reconciler's handle on the storage: it can list and it can look, and it has no method that writes.

use std::fmt;
use std::sync::Arc;

use futures::{StreamExt as _, stream};
use object_store::path::Path;
use object_store::{Error, ObjectStore, ObjectStoreExt as _};

use super::identity::{self, MarkerState};
use super::listing::{Again, Listing};
use super::local::LocalDisk;
use super::trouble::{Trouble, UNREACHABLE, is_silence, trouble_of};
use crate::model::{EtagMeaning, Prefix, is_reserved};

/// Reads a storage.
#[derive(Clone)]
pub struct StorageReader {
    store: Arc<dyn ObjectStore>,
    etag: EtagMeaning,
    fingerprints: bool,
    disk: Option<LocalDisk>,
    hidden: Arc<[String]>,
}

/// What one look at one key says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Glance {
    /// There is an object.
    Present,
    /// The storage said "not found": the only answer on which a record may go.
    Absent,
    /// The storage cannot be asked: no listing could name such a key either.
    Unaddressable,
    /// The storage did not say. The word for it is [`UNREACHABLE`] when nothing was heard of it at all.
    Unknown(Trouble),
}

impl StorageReader {
    pub(super) fn new(
        store: Arc<dyn ObjectStore>,
        etag: EtagMeaning,
        fingerprints: bool,
        disk: Option<LocalDisk>,
        hidden: Arc<[String]>,
    ) -> Self {
        Self { store, etag, fingerprints, disk, hidden }
    }

    /// Returns what a different entity tag says on this storage.
    pub fn etag_meaning(&self) -> EtagMeaning {
        self.etag
    }

    /// Tells whether each answer has to come over a network.
    pub fn is_remote(&self) -> bool {
        self.disk.is_none()
    }

    /// Tells whether an entity tag, with the size, names a content or a file wherever it lies.
    pub fn has_fingerprints(&self) -> bool {
        self.fingerprints
    }

    /// Reads the marker, right now.
    pub async fn read_marker(&self) -> MarkerState {
        identity::read(self.store.as_ref()).await
    }

    /// Starts the ordered listing of the whole storage, or of one prefix.
    pub fn listing(&self, scope: Option<&Prefix>) -> Listing {
        let prefix = scope.filter(|p| !p.is_whole_storage()).map(|p| Path::parse(p.as_str()));
        let hidden = Arc::clone(&self.hidden);
        let prefix = match prefix.transpose() {
            Ok(prefix) => prefix,
            Err(e) => return Listing::new(Box::pin(stream::iter([Err(Error::from(e))])), None, hidden),
        };
        let items = self.store.list(prefix.as_ref());
        // A directory does not break off half-way, and would be walked from its beginning.
        let again = self.is_remote().then(|| {
            let store = Arc::clone(&self.store);
            let again = move |last: &str| match Path::parse(last) {
                Ok(last) => store.list_with_offset(prefix.as_ref(), &last),
                Err(e) => stream::iter([Err(Error::from(e))]).boxed(),
            };
            Box::new(again) as Again
        });
        Listing::new(items, again, hidden)
    }

    /// Returns the names of the folders at the top, in no particular order.
    ///
    /// # Errors
    /// When the storage does not answer.
    pub async fn top_folders(&self) -> Result<Vec<String>, Trouble> {
        // A directory can be asked for its folders alone; an object store tells the files between them as well.
        if let Some(disk) = &self.disk {
            return disk.top_folders().await.map_err(|e| trouble_of(&e));
        }
        let level = self.store.list_with_delimiter(None).await.map_err(|e| trouble_of(&e))?;
        let names = level.common_prefixes.into_iter().map(String::from);
        Ok(names.filter(|name| !is_reserved(&format!("{name}/"))).collect())
    }

    /// Tells whether a storage can be asked for `key`: no listing names any other.
    pub fn is_addressable(key: &str) -> bool {
        !key.is_empty() && Path::parse(key).is_ok_and(|path| path.as_ref() == key)
    }

    /// Asks for one object by its `key`, right now.
    pub async fn glance(&self, key: &str) -> Glance {
        let Some(path) = Path::parse(key).ok().filter(|_| Self::is_addressable(key)) else {
            return Glance::Unaddressable;
        };
        if self.hidden.iter().any(|hidden| hidden == key) {
            return Glance::Absent;
        }
        match self.store.head(&path).await {
            Ok(_) => Glance::Present,
            Err(Error::NotFound { .. }) => Glance::Absent,
            Err(e) if self.is_remote() && is_silence(&e) => {
                Glance::Unknown(Trouble { code: UNREACHABLE, ..trouble_of(&e) })
            }
            Err(e) => Glance::Unknown(trouble_of(&e)),
        }
    }
}

impl fmt::Debug for StorageReader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "StorageReader({})", self.store)
    }
}
