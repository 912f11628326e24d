//! The reconciler's handle on the storage: it can list and it can look, and it has no method that writes.

use std::fmt;
use std::sync::Arc;

use futures::{StreamExt as _, stream};
use object_store::path::Path;
use object_store::{Error, ObjectMeta, ObjectStore, ObjectStoreExt as _};

use super::collect::in_byte_order;
use super::identity::{self, MarkerState};
use super::listed::{Items, Listed, items_of, object_of};
use super::listing::{Again, Listing};
use super::local::LocalDisk;
use super::s3::{ANY_ORDER, S3Bucket};
use super::trouble::{Trouble, UNREACHABLE, is_silence, trouble_of};
use crate::model::{
    EtagMeaning, FileSystem, ObjectFacts, Order, Orphan, PathQuery, PathState, Prefix, RenameProof, Timestamp,
    is_reserved, parent_of,
};

/// How many objects are asked for at a time.
pub(super) const GLANCES: usize = 32;

/// Reads a storage.
#[derive(Clone)]
pub struct StorageReader {
    store: Arc<dyn ObjectStore>,
    etag: EtagMeaning,
    renames: RenameProof,
    disk: Option<LocalDisk>,
    bucket: Option<Arc<S3Bucket>>,
    hidden: Arc<[String]>,
    order: (Order, OrderSource),
}

/// By what the order of a storage is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OrderSource {
    /// By the kind of storage.
    Kind,
    /// By a setting.
    Setting,
    /// By a listing.
    Listing,
}

/// What one look at one name says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Glance {
    /// There is an object.
    Present {
        /// When it was last changed, by the storage's own clock.
        since: Option<Timestamp>,
    },
    /// The storage said "not found": the only answer on which a record may go.
    Absent,
    /// No directory lists the name, but it opens the very file that is listed under a name that differs by case or Unicode
    /// normalisation alone.
    Respelled {
        /// That name, below the user's prefix.
        path: String,
    },
    /// No directory lists the name, but it opens a file, and not that of another spelling.
    Unlisted {
        /// When the file was last changed, by the storage's own clock.
        since: Option<Timestamp>,
    },
    /// The storage cannot be asked: no listing could name such a key either.
    Unaddressable,
    /// The storage did not say. The code is [`UNREACHABLE`] when it gave no answer at all.
    Unknown(Trouble),
}

/// A claim that the file of a record has another name now.
#[derive(Debug, Clone)]
pub struct Claim {
    /// The record, with the path that it has.
    pub record: Orphan,
    /// Whether nothing is left at that path.
    pub gone: bool,
    /// The file as it was listed under its new name.
    pub object: ObjectFacts,
    /// Where in the key of the new name the path below the user's prefix begins.
    pub path_at: usize,
}

impl Claim {
    /// Returns the new path below the user's prefix.
    pub fn to(&self) -> &str {
        &self.object.key[self.path_at..]
    }
}

/// Whether a file has been renamed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MoveProof {
    /// It provably has. With the facts of now, where the storage was asked for them.
    Proven(Option<ObjectFacts>),
    /// The old name is not gone.
    NotGone(Glance),
    /// It cannot be proven, for this reason, in one stable word.
    Unproven(&'static str),
}

impl StorageReader {
    /// Said of what was not asked for, once a server has stopped answering.
    pub const NOT_ASKED: &'static str = "not asked any more, since the server stopped answering";

    pub(super) fn new(
        store: Arc<dyn ObjectStore>,
        etag: EtagMeaning,
        renames: RenameProof,
        disk: Option<LocalDisk>,
        bucket: Option<Arc<S3Bucket>>,
        hidden: Arc<[String]>,
        order: (Order, OrderSource),
    ) -> Self {
        Self { store, etag, renames, disk, bucket, hidden, order }
    }

    /// Takes the order that an earlier listing has shown, where neither the kind of storage nor a setting says it.
    #[must_use]
    pub fn with_found_order(mut self, found: Option<Order>) -> Self {
        if self.order.0 == Order::Auto {
            self.order = (found.unwrap_or_default(), OrderSource::Listing);
        }
        self
    }

    /// Returns the order in which the storage lists, and by what it is known.
    pub fn order(&self) -> (Order, OrderSource) {
        self.order
    }

    /// Returns what a different entity tag says on this storage.
    pub fn etag_meaning(&self) -> EtagMeaning {
        self.etag
    }

    /// Tells whether each answer has to come over a network.
    pub fn is_remote(&self) -> bool {
        self.disk.is_none()
    }

    /// Returns by what a renamed file is recognised.
    pub fn renames(&self) -> RenameProof {
        self.renames
    }

    /// Returns the file system that the files below `prefix` are on; none of an object store, or where there is no such
    /// directory.
    ///
    /// # Errors
    /// When the disk does not say.
    pub async fn file_system(&self, prefix: &Prefix) -> Result<Option<FileSystem>, Trouble> {
        match &self.disk {
            Some(disk) => disk.file_system(prefix).await.map_err(|e| trouble_of(&e)),
            None => Ok(None),
        }
    }

    /// Reads the marker, right now.
    pub async fn read_marker(&self) -> MarkerState {
        identity::read(self.store.as_ref()).await
    }

    /// Starts the ordered listing of the whole storage, or of the prefix `scope`. No link of a local disk leads out of one of
    /// `walls`, which are the prefixes of all users.
    pub fn listing(&self, scope: Option<&Prefix>, walls: &[Prefix]) -> Listing {
        let scope = scope.filter(|prefix| !prefix.is_whole_storage());
        let hidden = Arc::clone(&self.hidden);
        if let Some(disk) = &self.disk {
            // A directory does not break off half-way, and would be walked from its beginning.
            return Listing::new(disk.listing(scope, walls), None, hidden);
        }
        let prefix = match scope.map(|prefix| Path::parse(prefix.as_str())).transpose() {
            Ok(prefix) => prefix,
            Err(e) => return Listing::new(Box::pin(stream::iter([Err(Error::from(e))])), None, hidden),
        };
        let this = self.clone();
        if self.order.0 != Order::Bytes {
            let start = move || ANY_ORDER.sync_scope((), || this.items(prefix.as_ref(), None));
            return Listing::new(in_byte_order(Box::new(start)), None, hidden);
        }
        let items = self.items(prefix.as_ref(), None);
        let again = move |last: &str| match Path::parse(last) {
            Ok(last) => this.items(prefix.as_ref(), Some(&last)),
            Err(e) => stream::iter([Err(Error::from(e))]).boxed(),
        };
        Listing::new(items, Some(Box::new(again) as Again), hidden)
    }

    fn items(&self, prefix: Option<&Path>, behind: Option<&Path>) -> Items {
        match (&self.bucket, behind) {
            (Some(bucket), None) => bucket.listing(prefix),
            (Some(bucket), Some(behind)) => bucket.listing_behind(prefix, behind),
            (None, None) => items_of(self.store.list(prefix)),
            (None, Some(behind)) => items_of(self.store.list_with_offset(prefix, behind)),
        }
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

    /// Looks for one object of the user who owns `prefix`, right now.
    pub async fn glance(&self, prefix: &Prefix, path: &str) -> Glance {
        self.glances(prefix, &[path.to_owned()]).await.pop().unwrap_or(Glance::Unaddressable)
    }

    /// Looks for objects of the user who owns `prefix`, right now, and returns what was seen of each.
    ///
    /// A server that stops answering is not asked for the rest: it would cost its timeout for each of them.
    pub async fn glances(&self, prefix: &Prefix, paths: &[String]) -> Vec<Glance> {
        let can_be_asked = |path: &String| {
            let key = prefix.key_of(path);
            match () {
                () if !Self::is_addressable(&key) => Some(Glance::Unaddressable),
                () if self.hidden.contains(&key) => Some(Glance::Absent),
                () => None,
            }
        };
        let known: Vec<Option<Glance>> = paths.iter().map(can_be_asked).collect();
        let asked: Vec<String> =
            paths.iter().zip(&known).filter(|(_, k)| k.is_none()).map(|(p, _)| p.clone()).collect();
        let count = asked.len();
        let answers = match &self.disk {
            Some(disk) => disk.glances(prefix, asked).await,
            None => Ok(self.ask_all(prefix, &asked).await),
        };
        let answers = answers.unwrap_or_else(|e| vec![Glance::Unknown(trouble_of(&e)); count]);
        let mut answers = answers.into_iter();
        let next = |known: Option<Glance>| known.or_else(|| answers.next()).unwrap_or(Glance::Unaddressable);
        known.into_iter().map(next).collect()
    }

    /// Tells what is at the path of each of `queries`, right now, all of the user who owns `prefix`.
    ///
    /// # Errors
    /// Each answer is one, where the storage did not say.
    pub async fn path_states(&self, prefix: &Prefix, queries: &[PathQuery]) -> Vec<Result<PathState, Trouble>> {
        // No listing names such a key: whatever is there, a record is not of it.
        let can_be_asked = |path: &str| {
            let key = prefix.key_of(path);
            Self::is_addressable(&key) && !self.hidden.contains(&key)
        };
        let asked: Vec<PathQuery> = queries.iter().filter(|query| can_be_asked(&query.path)).cloned().collect();
        let count = asked.len();
        let answers = match &self.disk {
            Some(disk) => disk.path_states(prefix, asked).await,
            None => {
                let paths: Vec<String> = asked.iter().map(|query| query.path.clone()).collect();
                let heads = self.heads(prefix, &paths).await;
                Ok(asked.iter().zip(heads).map(|(query, head)| self.path_state(query, head)).collect())
            }
        };
        let mut answers = answers.unwrap_or_else(|e| vec![Err(trouble_of(&e)); count]).into_iter();
        let next = |query: &PathQuery| match can_be_asked(&query.path) {
            true => answers.next().unwrap_or(Ok(PathState::Other)),
            false => Ok(PathState::Other),
        };
        queries.iter().map(next).collect()
    }

    fn path_state(&self, query: &PathQuery, head: Result<ObjectMeta, Glance>) -> Result<PathState, Trouble> {
        match head {
            Ok(meta) => {
                let is_same = self.renames.holds(&query.record, &object_of(meta));
                Ok(if is_same { PathState::SameFile } else { PathState::Other })
            }
            Err(Glance::Absent) => Ok(PathState::Empty),
            Err(Glance::Unknown(trouble)) => Err(trouble),
            Err(_) => Ok(PathState::Other),
        }
    }

    async fn ask_all(&self, prefix: &Prefix, paths: &[String]) -> Vec<Glance> {
        let glance = |meta: ObjectMeta| Glance::Present { since: Some(Timestamp::from(meta.last_modified)) };
        self.heads(prefix, paths).await.into_iter().map(|head| head.map_or_else(|glance| glance, glance)).collect()
    }

    /// Asks an object store for objects, and returns what it says of each, or why it says nothing.
    async fn heads(&self, prefix: &Prefix, paths: &[String]) -> Vec<Result<ObjectMeta, Glance>> {
        let mut heads = Vec::with_capacity(paths.len());
        let keys: Vec<String> = paths.iter().map(|path| prefix.key_of(path)).collect();
        let mut answers = stream::iter(keys).map(|key| self.head(key)).buffered(GLANCES);
        // How many looks in a row the server did not answer.
        let mut silent = 0;
        while silent < GLANCES {
            let Some(head) = answers.next().await else { return heads };
            // A server that answers is there, though it may say of one user's files that it will not tell.
            let gone = matches!(&head, Err(Glance::Unknown(trouble)) if trouble.code == UNREACHABLE);
            silent = if gone { silent + 1 } else { 0 };
            heads.push(head);
        }
        heads.resize_with(paths.len(), || Err(Glance::Unknown(Self::not_asked())));
        heads
    }

    /// Returns what is said of what was not asked for, once a server has stopped answering.
    pub fn not_asked() -> Trouble {
        Trouble { code: UNREACHABLE, message: Self::NOT_ASKED.to_owned() }
    }

    async fn head(&self, key: String) -> Result<ObjectMeta, Glance> {
        let Ok(path) = Path::parse(&key) else { return Err(Glance::Unaddressable) };
        self.store.head(&path).await.map_err(|error| match error {
            Error::NotFound { .. } => Glance::Absent,
            e if is_silence(&e) => Glance::Unknown(Trouble { code: UNREACHABLE, ..trouble_of(&e) }),
            e => Glance::Unknown(trouble_of(&e)),
        })
    }

    /// Tells whether a listing shows the object of `key` now.
    ///
    /// # Errors
    /// When the storage does not answer.
    pub async fn is_listed(&self, key: &str) -> Result<bool, Trouble> {
        let trouble = |e: Error| trouble_of(&e);
        let path = Path::parse(key).map_err(|e| trouble(Error::from(e)))?;
        let parent = Path::parse(parent_of(key)).map_err(|e| trouble(Error::from(e)))?;
        let parent = Some(&parent).filter(|parent| !parent.as_ref().is_empty());
        let mut items = ANY_ORDER.sync_scope((), || self.items(parent, None));
        while let Some(item) = items.next().await {
            if matches!(item.map_err(trouble)?, Listed::Object(object) if object.key == path.as_ref()) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Checks that the storage answers a listing, without reading more than its beginning.
    ///
    /// # Errors
    /// When it does not.
    pub async fn check(&self) -> Result<(), Trouble> {
        let mut items: Items = match &self.disk {
            Some(disk) => disk.listing(None, &[]),
            None => ANY_ORDER.sync_scope((), || self.items(None, None)),
        };
        items.next().await.transpose().map(drop).map_err(|e| trouble_of(&e))
    }

    /// Judges whether the files of records have been renamed, of the user who owns `prefix`, by what is there right now.
    pub async fn prove(&self, prefix: &Prefix, claims: &[Claim]) -> Vec<MoveProof> {
        if let Some(disk) = &self.disk {
            let trouble = |e: &Error| MoveProof::NotGone(Glance::Unknown(trouble_of(e)));
            let proofs = disk.prove(prefix, claims.to_vec()).await;
            return proofs.unwrap_or_else(|e| vec![trouble(&e); claims.len()]);
        }
        let gone: Vec<String> = claims.iter().filter(|c| c.gone).map(|c| c.record.path.clone()).collect();
        let mut glances = self.glances(prefix, &gone).await.into_iter();
        let judge = |claim: &Claim| match if claim.gone { glances.next() } else { None } {
            None | Some(Glance::Absent) if self.renames.holds(&claim.record, &claim.object) => MoveProof::Proven(None),
            None | Some(Glance::Absent) => MoveProof::Unproven("file_changed"),
            Some(other) => MoveProof::NotGone(other),
        };
        claims.iter().map(judge).collect()
    }
}

impl fmt::Debug for StorageReader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "StorageReader({})", self.store)
    }
}
