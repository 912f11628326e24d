//! Prefixes: which keys belong to a user. They match whole segments and never nest.

use std::fmt;

use thiserror::Error;

use super::key::{RESERVED_FOLDER, is_reserved};

/// A user's key prefix, without a slash at either end; empty for the one user who owns the whole storage.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Prefix(String);

/// Why a text cannot be a prefix.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum PrefixError {
    /// A slash at an end, or two in a row.
    #[error("prefix {0:?} has an empty segment; write it without slashes at its ends and without `//`")]
    EmptySegment(String),
    /// `.` or `..`.
    #[error("prefix {0:?} has the segment `.` or `..`, which no key can have")]
    Relative(String),
    /// A control character.
    #[error("prefix {0:?} has a control character, which no key can have")]
    Control(String),
    /// The folder of storm-index itself.
    #[error("prefix {0:?} lies in `.storm-index`, which belongs to storm-index itself")]
    Reserved(String),
}

impl Prefix {
    /// Parses `text`.
    ///
    /// # Errors
    /// When no key could begin with it.
    pub fn parse(text: &str) -> Result<Self, PrefixError> {
        if text.is_empty() {
            return Ok(Self(String::new()));
        }
        if text.chars().any(|c| c.is_ascii_control()) {
            return Err(PrefixError::Control(text.to_owned()));
        }
        for segment in text.split('/') {
            match segment {
                "" => return Err(PrefixError::EmptySegment(text.to_owned())),
                "." | ".." => return Err(PrefixError::Relative(text.to_owned())),
                _ => {}
            }
        }
        if text == RESERVED_FOLDER || is_reserved(text) {
            return Err(PrefixError::Reserved(text.to_owned()));
        }
        Ok(Self(text.to_owned()))
    }

    /// Returns the prefix as it was written.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Tells whether this is the prefix of the user who owns the whole storage.
    pub fn is_whole_storage(&self) -> bool {
        self.0.is_empty()
    }

    /// Returns what every key of the user begins with: the prefix and a slash, or nothing for the whole storage.
    pub fn scope(&self) -> String {
        if self.0.is_empty() { String::new() } else { format!("{}/", self.0) }
    }

    /// Tells whether one of the two lies within the other, or both are the same.
    pub fn nests_with(&self, other: &Self) -> bool {
        let (mine, theirs) = (self.scope(), other.scope());
        mine.starts_with(&theirs) || theirs.starts_with(&mine)
    }

    /// Returns the key of the user's `path`.
    pub fn key_of(&self, path: &str) -> String {
        if self.0.is_empty() { path.to_owned() } else { format!("{}/{path}", self.0) }
    }
}

impl fmt::Display for Prefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whole_segments_never_nest() {
        let p = |s: &str| Prefix::parse(s).unwrap();
        for (a, b, nests) in [
            ("images", "images2", false),
            ("images", "images", true),
            ("teams", "teams/alpha", true),
            ("teams/alpha", "teams", true),
            ("teams/alpha", "teams/beta", false),
            ("", "a", true),
        ] {
            assert_eq!(p(a).nests_with(&p(b)), nests, "{a} {b}");
        }
    }

    #[test]
    fn impossible_prefixes_are_refused() {
        for bad in ["/a", "a/", "a//b", ".", "a/../b", "a\nb", ".storm-index", ".storm-index/x"] {
            assert!(Prefix::parse(bad).is_err(), "{bad:?}");
        }
        assert_eq!(Prefix::parse("teams/alpha").unwrap().key_of("x/y"), "teams/alpha/x/y");
        assert_eq!(Prefix::parse("").unwrap().key_of("x/y"), "x/y");
    }
}
