//! The truth: what is stored. Read-only by construction: the reader has no method that writes, and the only handle that
//! has one can write one object, the marker.

mod collect;
mod content_type;
mod doubt;
mod identity;
mod listed;
mod listing;
mod local;
mod open;
mod reader;
mod s3;
mod sort;
mod spelling;
mod trouble;

pub use content_type::content_type_of;
pub use doubt::{Doubt, Span};
pub use identity::{MARKER, Marker, MarkerError, MarkerState, marker_document};
pub use listed::SeenMount;
pub use listing::{Batch, Listing, Step};
pub use open::{OpenError, Storage, check_url, open};
pub use reader::{Claim, Glance, MoveProof, OrderSource, StorageReader};
pub use trouble::{REDIRECTED, Trouble, UNREACHABLE};
