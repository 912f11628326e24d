//! The truth: what is stored. Read-only by construction: nothing in this room that the reconciler can hold has a
//! method that writes.

mod content_type;
mod listing;
mod local;
mod open;
mod reader;
mod s3;
mod trouble;

pub use content_type::content_type_of;
pub use listing::{Batch, Doubt, Listing, Step};
pub use local::LocalDisk;
pub use open::{OpenError, Storage, open};
pub use reader::{Glance, StorageReader};
pub use trouble::{Trouble, UNREACHABLE};
