//! The order in which a storage lists its keys.

use serde::{Deserialize, Serialize};

/// The order in which a storage lists its keys.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "cli", derive(clap::ValueEnum))]
#[serde(rename_all = "lowercase")]
pub enum Order {
    /// Not known yet: each listing is sorted on disk, until one has shown the order.
    #[default]
    Auto,
    /// By the bytes of the keys: a listing is compared as it comes.
    Bytes,
    /// No order that could be relied on, e.g. folder by folder: each listing is sorted on disk first.
    None,
}

impl Order {
    /// Returns the order as one stable word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Bytes => "bytes",
            Self::None => "none",
        }
    }

    /// Reads what [`Self::as_str`] returns.
    pub fn from_text(text: &str) -> Option<Self> {
        [Self::Auto, Self::Bytes, Self::None].into_iter().find(|order| order.as_str() == text)
    }
}
