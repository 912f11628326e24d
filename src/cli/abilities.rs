//! What `storage status` says a storage can do.

use serde::Serialize;

use crate::error::Error;
use crate::index::Index;
use crate::model::{FileSystem, Order, Prefix, RenameProof};
use crate::storage::{OrderSource, StorageReader};

/// What can be done with a storage.
#[derive(Debug, Serialize)]
pub(super) struct Abilities {
    /// `bytes`, `none`, or `unknown` until a listing has shown it.
    order: &'static str,
    /// By what the order is known: `kind` (of storage), `setting` or `listing`.
    order_by: Option<&'static str>,
    /// In how many parts a listing is read.
    parts: u32,
    /// Which names cannot be indexed.
    odd_keys: &'static str,
    /// By what renamed files are recognised: `file`, `content`, or `nothing`.
    renames: &'static str,
    /// Of a local disk: the file system of the root, and those of prefixes on another one.
    file_systems: Vec<Place>,
}

/// A directory and its file system.
#[derive(Debug, Serialize)]
struct Place {
    /// The prefix; empty for the root.
    prefix: String,
    /// The kind of file system, if it is known.
    kind: Option<String>,
    /// Whether renamed files are recognised on it.
    renames: bool,
    /// Why not, and what can be done.
    why: Option<String>,
}

/// Finds out what can be done with `storage`.
///
/// # Errors
/// When the index cannot be read.
pub(super) async fn abilities_of(storage: &StorageReader, index: &Index) -> Result<Abilities, Error> {
    let storage = storage.clone().with_found_order(index.listing_order().await?);
    let (order, by) = storage.order();
    let order_by = match by {
        _ if order == Order::Auto => None,
        OrderSource::Kind => Some("kind"),
        OrderSource::Setting => Some("setting"),
        OrderSource::Listing => Some("listing"),
    };
    let odd_keys = if storage.is_remote() {
        "keys with an empty, `.` or `..` segment, a slash at an end, or a control character"
    } else {
        "names that are not UTF-8, have a control character, or are like x#12"
    };
    let renames = match storage.renames() {
        RenameProof::Nothing => "nothing",
        RenameProof::File => "file",
        RenameProof::Content => "content",
    };
    let file_systems = if storage.is_remote() { Vec::new() } else { places(&storage, index).await? };
    let order = if order == Order::Auto { "unknown" } else { order.as_str() };
    Ok(Abilities { order, order_by, parts: 1, odd_keys, renames, file_systems })
}

/// Looks at the file systems of the root and of every user's prefix.
async fn places(storage: &StorageReader, index: &Index) -> Result<Vec<Place>, Error> {
    let mut places = Vec::new();
    let mut root: Option<FileSystem> = None;
    let prefixes = index.users().await?.into_iter().map(|user| user.prefix);
    for prefix in Prefix::parse("").into_iter().chain(prefixes) {
        match storage.file_system(&prefix).await {
            Ok(Some(system)) if root.as_ref() != Some(&system) => {
                places.push(Place::of(&prefix, &system));
                root.get_or_insert(system);
            }
            Ok(_) => {}
            Err(trouble) => places.push(Place {
                prefix: prefix.to_string(),
                kind: None,
                renames: false,
                why: Some(trouble.message),
            }),
        }
    }
    Ok(places)
}

impl Place {
    fn of(prefix: &Prefix, system: &FileSystem) -> Self {
        let FileSystem { kind, id: _, keeps_inodes, tells_birth } = system;
        let why = match (keeps_inodes, tells_birth) {
            (true, true) => None,
            (_, false) => Some("the file system does not tell when a file was created"),
            (false, true) => Some(
                "the file system is not known to keep inode numbers; if it does, set inode_numbers = \"stable\" \
                 (--inode-numbers stable)",
            ),
        };
        let (kind, renames) = (Some(kind.clone()), why.is_none());
        Self { prefix: prefix.to_string(), kind, renames, why: why.map(str::to_owned) }
    }
}

impl Abilities {
    /// Returns the lines of the text form: what, and how it is.
    pub(super) fn rows(&self) -> Vec<(&'static str, String)> {
        let order = match (self.order, self.order_by) {
            ("bytes", Some("kind")) => "bytes".to_owned(),
            (order, Some("setting")) => format!("{order}, as it is set"),
            (order, Some(_)) => format!("{order}, as a listing has shown"),
            (order, None) => format!("{order}: each listing is sorted on disk until one has shown it"),
        };
        let renames = match self.renames {
            "file" => "recognised by inode number and birth time",
            "content" => "recognised by size and entity tag",
            _ => "not recognised: entity tags say nothing of the content here",
        };
        let parts = "one stream".to_owned();
        let mut rows = vec![
            ("order", order),
            ("parts", parts),
            ("not indexed", self.odd_keys.to_owned()),
            ("renames", renames.to_owned()),
        ];
        for Place { prefix, kind, why, .. } in &self.file_systems {
            let place = if prefix.is_empty() { "the root".to_owned() } else { format!("{prefix:?}") };
            let kind = kind.as_deref().unwrap_or("unknown");
            let why = why.as_ref().map_or_else(String::new, |why| format!("; renames are not recognised: {why}"));
            rows.push(("on", format!("{place}: {kind}{why}")));
        }
        rows
    }
}
