//! How a storage is known again.

use std::fmt;

use serde::Deserialize;

/// By what a run knows that it is on the storage that the index is about.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[cfg_attr(feature = "cli", derive(clap::ValueEnum))]
#[serde(rename_all = "lowercase")]
pub enum Identity {
    /// By the marker in the storage, whose id the index remembers.
    #[default]
    Marker,
    /// By nothing but its objects: for a storage that cannot hold a marker. Then only users of whom at least half of the
    /// records have an object may lose records.
    None,
}

/// Describes an object that stands in the marker's place and is no marker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UnreadableMarker {
    /// It is larger than any marker, and was not read. Its size in bytes.
    TooLarge(u64),
    /// It is not JSON. Its size in bytes.
    NoJson(u64),
    /// It is JSON, without a `storage_id` that is a UUID. Its size in bytes.
    NoId(u64),
}

impl fmt::Display for UnreadableMarker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLarge(bytes) => write!(f, "an object of {bytes} bytes, more than a marker can have"),
            Self::NoJson(0) => f.write_str("an empty object"),
            Self::NoJson(bytes) => write!(f, "an object of {bytes} bytes that is not JSON"),
            Self::NoId(bytes) => write!(f, "a JSON document of {bytes} bytes without a storage_id that is a UUID"),
        }
    }
}
