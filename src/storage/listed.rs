//! What a storage says while it is listed.

use futures::StreamExt as _;
use futures::stream::BoxStream;
use object_store::{Error, ObjectMeta};

use super::doubt::Doubt;
use crate::model::{BadEntry, FileSystem, ObjectFacts, Order, Timestamp, unquoted};

/// One thing that a listing says.
#[derive(Debug)]
pub(super) enum Listed {
    /// An object.
    Object(ObjectFacts),
    /// An entry that cannot be an object, or a place that cannot be read.
    Bad(BadEntry),
    /// A directory at which a file system is mounted; what lies below it follows.
    Mount(SeenMount),
    /// The moment of the storage's own clock at which what follows was listed.
    AsOf(Timestamp),
    /// The order in which the storage lists, which this listing has shown.
    Order(Order),
    /// All of the listing is in doubt. It stands before everything else.
    Doubt(Doubt),
}

/// What a listing says next, or what broke it off.
pub(super) type Item = Result<Listed, Error>;

/// What a listing says, in its order.
pub(super) type Items = BoxStream<'static, Item>;

/// A file system that is mounted below the root of a storage.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SeenMount {
    /// The key of the directory, without a slash at its end.
    pub key: String,
    /// The file system.
    pub system: FileSystem,
}

impl SeenMount {
    /// Takes the directory of `key`, which may end in a slash.
    pub(super) fn new(key: &str, system: FileSystem) -> Self {
        Self { key: key.trim_end_matches('/').to_owned(), system }
    }
}

/// Takes the items of an object store.
pub(super) fn items_of(store: BoxStream<'static, Result<ObjectMeta, Error>>) -> Items {
    store.map(|item| item.map(|meta| Listed::Object(object_of(meta)))).boxed()
}

/// Returns the facts of an object of a store.
pub(super) fn object_of(meta: ObjectMeta) -> ObjectFacts {
    ObjectFacts {
        key: String::from(meta.location),
        size: meta.size,
        last_modified: Timestamp::from(meta.last_modified),
        // An empty one is none.
        etag: meta.e_tag.map(|tag| unquoted(&tag).into_owned()).filter(|tag| !tag.is_empty()),
        file_id: None,
        device: None,
        linked: false,
    }
}
