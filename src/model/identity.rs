//! How a storage is known again.

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
