//! How far inode numbers are relied on.

use serde::Deserialize;

/// Whether an inode number is taken for the identity of a file on a local disk.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[cfg_attr(feature = "cli", derive(clap::ValueEnum))]
#[serde(rename_all = "lowercase")]
pub enum InodeNumbers {
    /// On file systems that are known to keep them.
    #[default]
    Auto,
    /// On every file system: its owner says that it keeps them.
    Stable,
}
