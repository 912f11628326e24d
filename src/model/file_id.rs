//! What names a file on a local disk whatever it is called.

use serde::{Deserialize, Serialize};

/// The identity of a file on a file system that keeps inode numbers and birth times: an inode number is used again, but
/// not by a file with the birth time of the one before.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct FileId {
    /// The inode number; it is unique within one file system only.
    pub inode: u64,
    /// When the file was created, in nanoseconds since 1970.
    pub born: i64,
}

impl FileId {
    /// Makes an identity of an inode number and a birth time in seconds and nanoseconds. `None` for a time that no file
    /// can have been created at: before 1678 or after 2262.
    pub fn new(inode: u64, seconds: i64, nanos: u32) -> Option<Self> {
        let born = seconds.checked_mul(1_000_000_000)?.checked_add(i64::from(nanos))?;
        Some(Self { inode, born })
    }

    /// Returns the text that the index stores: both numbers in hexadecimal, `<inode>-<birth time>`.
    pub fn to_text(self) -> String {
        format!("{:x}-{:x}", self.inode, self.born)
    }

    /// Reads what [`Self::to_text`] writes; `None` for any other text.
    pub fn from_text(text: &str) -> Option<Self> {
        let (inode, born) = text.split_once('-')?;
        Some(Self { inode: number(inode)?, born: number(born)?.cast_signed() })
    }
}

/// Reads a hexadecimal number in lower case, without a sign.
fn number(digits: &str) -> Option<u64> {
    let is_plain = digits.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
    if is_plain { u64::from_str_radix(digits, 16).ok() } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stored_identity_is_read_back() {
        for (inode, seconds, nanos) in [(1, 0, 0), (u64::MAX, -1, 5), (12, 1_700_000_000, 999_999_999)] {
            let id = FileId::new(inode, seconds, nanos).unwrap();
            assert_eq!(FileId::from_text(&id.to_text()), Some(id), "{}", id.to_text());
        }
        assert_eq!(FileId::new(1, i64::MAX, 0), None);
        for text in ["", "-", "1", "1-", "-1", "1-2-3", "+1-2", "1-+2", "x-1", "1-10000000000000000", "A-1"] {
            assert_eq!(FileId::from_text(text), None, "{text:?}");
        }
    }
}
