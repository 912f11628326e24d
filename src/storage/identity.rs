//! The marker: which storage this is. It is the one object that storm-index writes, by a handle that can do nothing else.

use std::fmt;
use std::sync::Arc;

use object_store::path::Path;
use object_store::{Error, ObjectStore, ObjectStoreExt as _, PutMode, PutOptions};
use serde_json::json;
use thiserror::Error as ThisError;
use uuid::Uuid;

use super::trouble::{REDIRECTED, Trouble, trouble_of};
use crate::model::{Timestamp, UnreadableMarker};

/// The key of the marker.
pub const MARKER: &str = ".storm-index/identity.json";

/// What is larger is no marker, and is not read.
const LARGEST: u64 = 64 * 1024;

/// What a look at the marker says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MarkerState {
    /// The storage has this id.
    Found(Uuid),
    /// The storage said for certain that it has no marker.
    Absent,
    /// There is an object in the marker's place that is no marker.
    Damaged(UnreadableMarker),
    /// The storage did not say.
    Unknown(Trouble),
}

/// Why a storage could not be given a marker.
#[derive(Debug, Clone, PartialEq, Eq, ThisError)]
pub enum MarkerError {
    /// It takes none, e.g. because it is read-only.
    #[error("{}", .0.message)]
    Unwritable(Trouble),
    /// It does not say which one it has.
    #[error("{}", .0.message)]
    Unreadable(Trouble),
    /// It redirects the write to another place.
    #[error("{}", .0.message)]
    Redirected(Trouble),
    /// There is an object in the marker's place that is no marker.
    #[error("in the place of the marker {MARKER} there is {0}")]
    Occupied(UnreadableMarker),
}

/// Returns the content of a marker: what the owner of a storage uploads where storm-index may not write.
pub fn marker_document(id: Uuid, now: Timestamp) -> String {
    let about = "Do not delete this file: it names this storage for storm-index, whose runs are refused without it.";
    let document = json!({ "storage_id": id.to_string(), "created_at": now.to_text(), "about": about });
    format!("{document:#}\n")
}

/// Reads and writes the marker of a storage, and no other object.
#[derive(Clone)]
pub struct Marker {
    store: Arc<dyn ObjectStore>,
}

impl Marker {
    pub(super) fn new(store: Arc<dyn ObjectStore>) -> Self {
        Self { store }
    }

    /// Reads the marker.
    pub async fn read(&self) -> MarkerState {
        read(self.store.as_ref()).await
    }

    /// Gives the storage the id `id`, unless it has one. Returns the id that the storage really has afterwards: another
    /// process may have been faster, also where a server ignores the condition of a conditional write.
    ///
    /// What is there already is never overwritten, be it a marker or not.
    ///
    /// # Errors
    /// When the storage takes no marker, does not say which one it has, or has another object in its place.
    pub async fn write(&self, id: Uuid, now: Timestamp) -> Result<Uuid, MarkerError> {
        let document = marker_document(id, now);
        match self.read().await {
            MarkerState::Found(id) => return Ok(id),
            MarkerState::Unknown(trouble) => return Err(MarkerError::Unreadable(trouble)),
            MarkerState::Damaged(what) => return Err(MarkerError::Occupied(what)),
            MarkerState::Absent => {}
        }
        let mut failed = self.put(&document, PutMode::Create).await.err();
        let mut state = self.read().await;
        if state == MarkerState::Absent && failed.as_ref().is_some_and(|error| !is_refusal(error)) {
            // There are servers without conditional writes, and disks without hard links, which have the same use. The look
            // right before said that nothing is there.
            failed = self.put(&document, PutMode::Overwrite).await.err();
            state = self.read().await;
        }
        match (state, failed) {
            (MarkerState::Found(id), _) => Ok(id),
            (MarkerState::Unknown(trouble), _) => Err(MarkerError::Unreadable(trouble)),
            (MarkerState::Damaged(what), _) => Err(MarkerError::Occupied(what)),
            (MarkerState::Absent, Some(error)) => Err(unwritten(&error)),
            (MarkerState::Absent, None) => {
                let message = "what was written is not there when it is read back".to_owned();
                Err(MarkerError::Unwritable(told("written", Trouble { code: "storage_failed", message })))
            }
        }
    }

    async fn put(&self, document: &str, mode: PutMode) -> Result<(), Error> {
        let options = PutOptions::from(mode);
        self.store.put_opts(&Path::parse(MARKER)?, document.to_owned().into(), options).await.map(drop)
    }
}

impl fmt::Debug for Marker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Marker({})", self.store)
    }
}

/// Reads the marker of `store`.
pub(super) async fn read(store: &dyn ObjectStore) -> MarkerState {
    match content(store).await {
        Ok(Content::Whole(content)) => id_in(&content).map_or_else(MarkerState::Damaged, MarkerState::Found),
        Ok(Content::TooLarge(bytes)) => MarkerState::Damaged(UnreadableMarker::TooLarge(bytes)),
        Err(error) => {
            let trouble = trouble_of(&error);
            // A bucket that does not exist says "not found" of everything, which is no word on the marker.
            let certain = matches!(error, Error::NotFound { .. }) && !trouble.message.contains("NoSuchBucket");
            if certain { MarkerState::Absent } else { MarkerState::Unknown(told("read", trouble)) }
        }
    }
}

/// What stands in the marker's place.
enum Content {
    Whole(Vec<u8>),
    /// So many bytes, which are not read.
    TooLarge(u64),
}

/// Reads what stands in the marker's place, unless it is far too large.
async fn content(store: &dyn ObjectStore) -> Result<Content, Error> {
    let found = store.get(&Path::parse(MARKER)?).await?;
    if found.meta.size > LARGEST {
        return Ok(Content::TooLarge(found.meta.size));
    }
    Ok(Content::Whole(found.bytes().await?.to_vec()))
}

/// Finds the id in the content of a marker. What else stands there is for people, and for versions to come.
fn id_in(content: &[u8]) -> Result<Uuid, UnreadableMarker> {
    let bytes = content.len() as u64;
    let document = text_in(content).and_then(|text| serde_json::from_str::<serde_json::Value>(&text).ok());
    let document = document.ok_or(UnreadableMarker::NoJson(bytes))?;
    let id = document.get("storage_id").and_then(|id| Uuid::try_parse(id.as_str()?).ok());
    id.filter(|id| !id.is_nil()).ok_or(UnreadableMarker::NoId(bytes))
}

/// Reads the text of a marker, which its owner may have saved by whatever writes a byte order mark, as some shells and
/// editors do.
fn text_in(content: &[u8]) -> Option<String> {
    let wide = |bytes: &[u8], unit: fn([u8; 2]) -> u16| {
        let pairs = bytes.chunks_exact(2);
        let whole = pairs.remainder().is_empty();
        let units: Vec<u16> = pairs.map(|pair| unit([pair[0], pair[1]])).collect();
        String::from_utf16(&units).ok().filter(|_| whole)
    };
    match content {
        [0xff, 0xfe, rest @ ..] => wide(rest, u16::from_le_bytes),
        [0xfe, 0xff, rest @ ..] => wide(rest, u16::from_be_bytes),
        [0xef, 0xbb, 0xbf, rest @ ..] | rest => String::from_utf8(rest.to_vec()).ok(),
    }
}

/// Returns why there is no marker after a write that failed by `error`.
fn unwritten(error: &Error) -> MarkerError {
    let trouble = if is_there_already(error) {
        let message = "the storage says that there is one, but shows none; if another run has just made it, try again";
        Trouble { code: "storage_failed", message: message.to_owned() }
    } else {
        trouble_of(error)
    };
    let trouble = told("written", trouble);
    if trouble.code == REDIRECTED { MarkerError::Redirected(trouble) } else { MarkerError::Unwritable(trouble) }
}

/// Tells whether the storage understood a write and said no, or redirected it, so that another write would only be a way
/// around its answer.
fn is_refusal(error: &Error) -> bool {
    matches!(error, Error::PermissionDenied { .. } | Error::Unauthenticated { .. })
        || is_there_already(error)
        || trouble_of(error).code == REDIRECTED
}

/// Tells whether a write was refused because there is an object already, whatever a look behind it says: an answer may be
/// older than that.
fn is_there_already(error: &Error) -> bool {
    matches!(error, Error::AlreadyExists { .. } | Error::Precondition { .. })
}

fn told(what: &str, trouble: Trouble) -> Trouble {
    Trouble { code: trouble.code, message: format!("the marker {MARKER} cannot be {what}: {}", trouble.message) }
}

#[cfg(test)]
mod tests {
    use object_store::memory::InMemory;

    use super::*;

    #[test]
    fn an_id_is_found_beside_anything_and_in_nothing_else() {
        let id = Uuid::from_u128(7);
        let written = marker_document(id, Timestamp::from_micros(0));
        assert_eq!(id_in(written.as_bytes()), Ok(id));
        assert!(written.contains("Do not delete") && written.contains("1970-01-01"), "{written}");
        assert_eq!(id_in(format!("{{\"new\": [1], \"storage_id\": \"{id}\"}}").as_bytes()), Ok(id));
        use UnreadableMarker::{NoId, NoJson};
        for (bad, what) in [
            ("", NoJson as fn(u64) -> _),
            ("x", NoJson),
            (&written[..written.len() / 2], NoJson),
            ("{}", NoId),
            ("null", NoId),
            ("{\"storage_id\": 7}", NoId),
            ("{\"storage_id\": \"seven\"}", NoId),
            ("{\"storage_id\": \"00000000-0000-0000-0000-000000000000\"}", NoId),
            ("[\"storage_id\"]", NoId),
        ] {
            assert_eq!(id_in(bad.as_bytes()), Err(what(bad.len() as u64)), "{bad}");
        }
    }

    #[test]
    fn an_id_is_found_behind_a_byte_order_mark() {
        let id = Uuid::from_u128(7);
        let written = marker_document(id, Timestamp::from_micros(0)).replace('\n', "\r\n");
        let utf_8 = [&[0xef, 0xbb, 0xbf], written.as_bytes()].concat();
        let little: Vec<u8> =
            std::iter::once(0xfeff).chain(written.encode_utf16()).flat_map(u16::to_le_bytes).collect();
        let big: Vec<u8> = std::iter::once(0xfeff).chain(written.encode_utf16()).flat_map(u16::to_be_bytes).collect();
        for content in [&utf_8, &little, &big] {
            assert_eq!(id_in(content), Ok(id), "{content:?}");
            assert!(id_in(&content[..content.len() - 9]).is_err(), "half of it is none");
        }
        assert!(id_in(&[&little[..], b"x"].concat()).is_err());
        for bad in [&b"\xff\xfe"[..], b"\xff\xfe\x00\xd8", b"\xef\xbb\xbf", b"\xff"] {
            assert!(id_in(bad).is_err(), "{bad:?}");
        }
    }

    #[tokio::test]
    async fn what_is_there_is_never_overwritten() {
        let store: Arc<dyn ObjectStore> = Arc::new(InMemory::new());
        let (marker, now) = (Marker::new(Arc::clone(&store)), Timestamp::from_micros(0));
        let (first, second) = (Uuid::from_u128(1), Uuid::from_u128(2));
        let path = Path::parse(MARKER).unwrap();
        assert_eq!(marker.read().await, MarkerState::Absent);
        assert_eq!(marker.write(first, now).await, Ok(first));
        assert_eq!(marker.write(second, now).await, Ok(first));
        use UnreadableMarker::{NoId, NoJson, TooLarge};
        for (bad, what) in
            [(b"x".to_vec(), NoJson(1)), (b"{}".to_vec(), NoId(2)), (vec![b' '; 70_000], TooLarge(70_000))]
        {
            store.put(&path, bad.clone().into()).await.unwrap();
            assert_eq!(marker.read().await, MarkerState::Damaged(what));
            assert_eq!(marker.write(second, now).await, Err(MarkerError::Occupied(what)));
            assert_eq!(store.get(&path).await.unwrap().bytes().await.unwrap(), bad);
        }
        store.delete(&path).await.unwrap();
        assert_eq!(marker.write(second, now).await, Ok(second));
    }
}
