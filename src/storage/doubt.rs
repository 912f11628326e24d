//! Why, and how far, a listing cannot be trusted.

use std::fmt;

use super::trouble::Trouble;

/// Keys of which none was surely seen in its place, or missed there: both ends included, or open to the end of all keys.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Span {
    /// The first one.
    pub from: String,
    /// The last one, if there is one.
    pub to: Option<String>,
}

/// Why a listing cannot be trusted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Doubt {
    /// It broke off: everything after the last key is unknown.
    BrokenOff {
        /// What the storage said.
        trouble: Trouble,
        /// The last key that was listed, if any.
        last: Option<String>,
    },
    /// It came to its end, but went back on the way; `Batch::late` says where.
    OutOfOrder {
        /// The greatest key before the first one that came late.
        last: String,
        /// The first one that came late.
        next: String,
    },
    /// It came to its end on a storage that lists in any order, but had keys more than once.
    Repeated {
        /// One of them.
        key: String,
        /// How many were left out.
        count: u64,
    },
}

impl Doubt {
    /// Returns one stable word for it.
    pub fn code(&self) -> &'static str {
        match self {
            Self::BrokenOff { trouble, .. } => trouble.code,
            Self::OutOfOrder { .. } => "listing_out_of_order",
            Self::Repeated { .. } => "listing_repeated",
        }
    }
}

impl fmt::Display for Doubt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::BrokenOff { trouble, last: None } => write!(f, "{}", trouble.message),
            Self::BrokenOff { trouble, last: Some(last) } => {
                write!(f, "the listing broke off after {last:?}: {}", trouble.message)
            }
            Self::OutOfOrder { last, next } if last == next => write!(
                f,
                "the storage listed {next:?} twice; what lies between it and the next new key is not deleted on such a \
                 listing"
            ),
            Self::OutOfOrder { last, next } => write!(
                f,
                "the storage does not list in byte order ({next:?} came after {last:?}); nothing between such keys and the \
                 next new one is deleted, and what came late is left out. If this is how it lists, set order = \"none\" \
                 (--order none)"
            ),
            Self::Repeated { key, count } => write!(
                f,
                "the storage listed {count} keys more than once, {key:?} among them; a page may have come in the place of \
                 another one, so nothing is deleted on this listing"
            ),
        }
    }
}
