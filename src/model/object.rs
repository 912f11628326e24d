//! What the storage says of an object, and of an entry that cannot be one.

use std::borrow::Cow;
use std::fmt;

use serde::{Deserialize, Serialize};

use super::{FileId, Timestamp};

/// The facts of one object, as a listing tells them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ObjectFacts {
    /// The key in the storage.
    pub key: String,
    /// The size in bytes.
    pub size: u64,
    /// When the object was last written.
    pub last_modified: Timestamp,
    /// The entity tag without its quotes, where the storage has one.
    pub etag: Option<String>,
    /// What names the file on a local disk that keeps inode numbers and tells birth times; `None` everywhere else.
    pub file_id: Option<FileId>,
    /// The number of the device that a file on a local disk is on right now; it may be another one after a restart.
    pub device: Option<u64>,
    /// Whether the key leads to the file through a symbolic link.
    pub linked: bool,
}

/// What a different entity tag says, when all else is equal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EtagMeaning {
    /// The object was written anew: object stores count or hash.
    Content,
    /// Nothing: on a local disk the tag contains the inode, which a restore or a copy changes.
    Place,
}

/// Tells whether `etag` has the mark of a weak tag, which says that two contents are alike, not that they are the same.
pub(super) fn is_weak(etag: &str) -> bool {
    etag.starts_with("W/")
}

/// Returns `etag` without the quotes that HTTP puts around it. The mark of a weak tag stays.
pub fn unquoted(etag: &str) -> Cow<'_, str> {
    let (mark, quoted) = if is_weak(etag) { etag.split_at(2) } else { ("", etag) };
    match quoted.strip_prefix('"').and_then(|e| e.strip_suffix('"')) {
        Some(bare) if mark.is_empty() => Cow::Borrowed(bare),
        Some("") => Cow::Borrowed(""),
        Some(bare) => Cow::Owned(format!("{mark}{bare}")),
        None => Cow::Borrowed(etag),
    }
}

/// An entry of the storage that cannot be an object, or a place that cannot be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BadEntry {
    /// The key as far as it can be written; what is not UTF-8 is replaced.
    pub shown: String,
    /// What is wrong.
    pub reason: BadReason,
    /// Which keys the entry could hide.
    pub hides: Hides,
}

impl fmt::Display for BadEntry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}: {}", self.shown, self.reason)
    }
}

impl std::error::Error for BadEntry {}

/// Why an entry cannot be an object.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum BadReason {
    /// The name is not UTF-8.
    NotUtf8,
    /// The name has a control character.
    ControlCharacter,
    /// The name ends in `#` and digits, which the storage library takes for its own unfinished uploads.
    ReservedName,
    /// A link that leads out of the user's prefix, or one that lies above all prefixes.
    LinkOutside,
    /// A link in the place of a user's prefix, or on the way to it.
    LinkAsPrefix,
    /// The unreadable directory in which a file system keeps what it has recovered.
    LostAndFound,
    /// A link that leads back to itself or to a directory above it.
    LinkLoop,
    /// A link to a directory that was reached through another link.
    LinkBelowLink,
    /// A link to nothing.
    LinkBroken,
    /// A socket, a pipe or a device.
    Special,
    /// The storage library cannot address the key: an empty, `.` or `..` segment, a slash at an end.
    Unaddressable,
    /// The path is longer than the index can hold, which is so many bytes.
    TooLong(usize),
    /// The object is larger than any index can write down.
    TooLarge,
    /// A directory or file whose content or facts cannot be read: the storage's word is missing here.
    Unreadable(String),
}

impl BadReason {
    /// Tells whether the listing itself failed here, rather than met something that is no object.
    pub fn is_failure(&self) -> bool {
        matches!(self, Self::Unreadable(_) | Self::LinkAsPrefix)
    }

    /// Returns the reason as one stable word.
    pub fn code(&self) -> &'static str {
        match self {
            Self::NotUtf8 => "not_utf8",
            Self::ControlCharacter => "control_character",
            Self::ReservedName => "reserved_name",
            Self::LinkOutside => "link_outside",
            Self::LinkAsPrefix => "link_as_prefix",
            Self::LostAndFound => "lost_and_found",
            Self::LinkLoop => "link_loop",
            Self::LinkBelowLink => "link_below_link",
            Self::LinkBroken => "link_broken",
            Self::Special => "special_file",
            Self::Unaddressable => "unaddressable_key",
            Self::TooLong(_) => "path_too_long",
            Self::TooLarge => "object_too_large",
            Self::Unreadable(_) => "unreadable",
        }
    }
}

impl fmt::Display for BadReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NotUtf8 => "the name is not UTF-8; rename it",
            Self::ControlCharacter => "the name has a control character; rename it",
            Self::ReservedName => "a name that ends in # and digits marks an unfinished upload; rename it to index it",
            Self::LinkOutside => "a link that leads out of the user's prefix is not followed",
            Self::LinkAsPrefix => {
                "this is a link, and a user's files are not looked for behind one; put a directory in its place, or mount the \
                 files there"
            }
            Self::LostAndFound => "the file system's own directory, which cannot be read",
            Self::LinkLoop => "a link that leads back to itself is not followed",
            Self::LinkBelowLink => "a link to a directory, below another such link, is not followed",
            Self::LinkBroken => "a link to nothing",
            Self::Special => "not a regular file",
            Self::Unaddressable => {
                "a key with an empty, `.` or `..` segment or a slash at an end cannot be read back; rename it"
            }
            Self::TooLong(most) => {
                return write!(f, "the path is longer than the {most} bytes that the index can hold");
            }
            Self::TooLarge => "said to be larger than the 2^63 - 1 bytes that an index can write down",
            Self::Unreadable(why) => return write!(f, "cannot be read: {why}"),
        })
    }
}

/// Which keys an entry could hide from the listing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Hides {
    /// None: no key could name it.
    Nothing,
    /// The key itself.
    Key(String),
    /// The key itself and all keys below it.
    Tree(String),
}

impl Hides {
    /// Returns the first key that could be hidden, if there is one.
    pub fn first_key(&self) -> Option<&str> {
        match self {
            Self::Nothing => None,
            Self::Key(key) | Self::Tree(key) => Some(key),
        }
    }

    /// Tells whether `key` could be hidden.
    pub fn covers(&self, key: &str) -> bool {
        match self {
            Self::Nothing => false,
            Self::Key(exact) => key == exact,
            Self::Tree(top) => {
                top.is_empty() || key.strip_prefix(top.as_str()).is_some_and(|r| r.is_empty() || r.starts_with('/'))
            }
        }
    }

    /// Tells whether all keys that could be hidden sort before `key`.
    pub fn ends_before(&self, key: &str) -> bool {
        match self {
            Self::Nothing => true,
            Self::Key(exact) => exact.as_str() < key,
            // `/` is followed by `0`: the first text after all that begins with `top/`.
            Self::Tree(top) => !top.is_empty() && !self.covers(key) && after_tree(top, key),
        }
    }
}

/// Tells whether `key` sorts after everything that begins with `top/`.
fn after_tree(top: &str, key: &str) -> bool {
    key.as_bytes() > top.as_bytes()
        && (key.len() < top.len() || !key.starts_with(top) || key.as_bytes()[top.len()] > b'/')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tree_hides_itself_and_what_is_below() {
        let tree = Hides::Tree("a/b".into());
        for (key, covered, past) in [
            ("a/b", true, false),
            ("a/b/c", true, false),
            ("a/b-c", false, false),
            ("a/b0", false, true),
            ("a/a", false, false),
            ("b", false, true),
        ] {
            assert_eq!((tree.covers(key), tree.ends_before(key)), (covered, past), "{key}");
        }
        assert!(Hides::Tree(String::new()).covers("anything"));
        assert!(Hides::Key("k".into()).covers("k") && !Hides::Key("k".into()).covers("k/x"));
        assert!(!Hides::Nothing.covers("") && Hides::Nothing.first_key().is_none());
        assert_eq!(Hides::Tree("a/b".into()).first_key(), Some("a/b"));
    }

    #[test]
    fn quotes_are_no_part_of_a_tag() {
        for (quoted, bare) in
            [("\"a-1\"", "a-1"), ("W/\"a\"", "W/a"), ("a", "a"), ("\"", "\""), ("", ""), ("\"\"", ""), ("W/\"\"", "")]
        {
            assert_eq!(unquoted(quoted), bare);
            assert_eq!(unquoted(&unquoted(quoted)), bare, "what is kept stays as it is");
        }
    }
}
