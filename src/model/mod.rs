//! The ground floor: the plain words that every other room speaks. No I/O.

mod file_id;
mod file_system;
mod fingerprint;
mod identity;
mod inode_numbers;
mod key;
mod object;
mod order;
mod path_state;
mod prefix;
mod record;
mod timestamp;

pub use file_id::FileId;
pub use file_system::FileSystem;
pub use fingerprint::{Evidence, Fingerprint, RenameProof};
pub use identity::{Identity, UnreadableMarker};
pub use inode_numbers::InodeNumbers;
pub use key::{RESERVED_FOLDER, is_reserved, name_of, parent_of};
pub use object::{BadEntry, BadReason, EtagMeaning, Hides, ObjectFacts, unquoted};
pub use order::Order;
pub use path_state::{PathQuery, PathState};
pub use prefix::{Prefix, PrefixError};
pub use record::{HIGHEST_USER_ID, Orphan, RecordFacts, RecordId, UserId};
pub use timestamp::Timestamp;
