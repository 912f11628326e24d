//! What proves that two names are of one file, or one content, and a short number for looking such names up.

use std::hash::{BuildHasher as _, RandomState};
use std::sync::LazyLock;

use super::object::{is_weak, unquoted};
use super::{FileId, ObjectFacts, Orphan, RecordFacts, Timestamp};

/// A number that is equal for what is provably one file. Different files may share one, so it finds candidates and proves
/// nothing; it differs from one process to the next.
pub type Fingerprint = u64;

/// By what a storage proves that a file was renamed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RenameProof {
    /// By nothing: renames are not recognised.
    Nothing,
    /// By the file itself: inode number, birth time, size and modification time are equal.
    File,
    /// By the content: size (above 0) and strong entity tag are equal.
    Content,
}

/// The facts that can prove a rename, of an object or of a record.
#[derive(Debug, Clone, Copy)]
pub struct Evidence<'f> {
    size: Option<u64>,
    last_modified: Option<Timestamp>,
    etag: Option<&'f str>,
    file_id: Option<FileId>,
}

/// What is compared.
#[derive(PartialEq, Eq, Hash)]
enum Proof<'f> {
    File(FileId, u64, i64),
    Content(u64, std::borrow::Cow<'f, str>),
}

static HASHER: LazyLock<RandomState> = LazyLock::new(RandomState::new);

impl RenameProof {
    fn proof(self, facts: Evidence<'_>) -> Option<Proof<'_>> {
        match self {
            Self::Nothing => None,
            Self::File => Some(Proof::File(facts.file_id?, facts.size?, facts.last_modified?.micros())),
            Self::Content => {
                let size = facts.size.filter(|size| *size > 0)?;
                // Two different contents may share a weak tag, as long as their server finds them alike.
                let etag = unquoted(facts.etag.filter(|etag| !is_weak(etag))?);
                (!etag.is_empty()).then_some(Proof::Content(size, etag))
            }
        }
    }

    /// Returns the number of what `facts` can prove; `None` when they prove nothing.
    pub fn fingerprint<'f>(self, facts: impl Into<Evidence<'f>>) -> Option<Fingerprint> {
        self.proof(facts.into()).map(|proof| HASHER.hash_one(proof))
    }

    /// Tells whether both are provably of one file, or one content: the values are compared, not their numbers.
    pub fn holds<'f, 'g>(self, one: impl Into<Evidence<'f>>, other: impl Into<Evidence<'g>>) -> bool {
        match (self.proof(one.into()), self.proof(other.into())) {
            (Some(Proof::File(a, b, c)), Some(Proof::File(x, y, z))) => (a, b, c) == (x, y, z),
            (Some(Proof::Content(a, b)), Some(Proof::Content(x, y))) => (a, b) == (x, y),
            _ => false,
        }
    }
}

impl<'f> From<&'f ObjectFacts> for Evidence<'f> {
    fn from(object: &'f ObjectFacts) -> Self {
        let (size, last_modified) = (Some(object.size), Some(object.last_modified));
        Self { size, last_modified, etag: object.etag.as_deref(), file_id: object.file_id }
    }
}

impl<'f> From<&RecordFacts<'f>> for Evidence<'f> {
    fn from(record: &RecordFacts<'f>) -> Self {
        let RecordFacts { size, last_modified, etag, file_id, .. } = *record;
        Self { size, last_modified, etag, file_id }
    }
}

impl<'f> From<&'f Orphan> for Evidence<'f> {
    fn from(record: &'f Orphan) -> Self {
        let last_modified = record.last_modified.map(Timestamp::from_micros);
        Self { size: record.size, last_modified, etag: record.etag.as_deref(), file_id: record.file_id }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts<'f>(size: u64, modified: i64, etag: &'f str, file_id: Option<FileId>) -> Evidence<'f> {
        let last_modified = Some(Timestamp::from_micros(modified));
        Evidence { size: Some(size), last_modified, etag: Some(etag).filter(|tag| *tag != "NULL"), file_id }
    }

    fn agree(proof: RenameProof, one: Evidence<'_>, other: Evidence<'_>) -> bool {
        let holds = proof.holds(one, other);
        let numbers = (proof.fingerprint(one), proof.fingerprint(other));
        assert_eq!(numbers.0.is_some() && numbers.0 == numbers.1, holds, "{one:?} {other:?}");
        holds
    }

    #[test]
    fn law_11_a_file_is_proven_by_inode_birth_time_size_and_modification_time() {
        let id = |inode, born| Some(FileId { inode, born });
        let one = facts(3, 5, "t", id(1, 9));
        for (other, proven) in [
            (facts(3, 5, "u", id(1, 9)), true),
            (facts(4, 5, "t", id(1, 9)), false),
            (facts(3, 6, "t", id(1, 9)), false),
            (facts(3, 5, "t", id(2, 9)), false),
            (facts(3, 5, "t", id(1, 8)), false),
            (facts(3, 5, "t", None), false),
            (Evidence { last_modified: None, ..one }, false),
            (Evidence { size: None, ..one }, false),
        ] {
            assert_eq!(agree(RenameProof::File, one, other), proven, "{other:?}");
            assert!(!agree(RenameProof::Nothing, one, other));
        }
        let empty = facts(0, 5, "NULL", id(1, 9));
        assert!(agree(RenameProof::File, empty, empty), "empty files are files as well");
        let unknown = facts(3, 5, "t", None);
        assert!(!agree(RenameProof::File, unknown, unknown), "a file without a birth time is never proven");
    }

    #[test]
    fn law_11_a_content_is_proven_by_size_and_strong_tag() {
        let one = facts(3, 5, "t", None);
        for (other, proven) in [
            (facts(3, 6, "\"t\"", None), true),
            (facts(4, 5, "t", None), false),
            (facts(3, 5, "u", None), false),
            (facts(3, 5, "W/\"t\"", None), false),
            (facts(3, 5, "NULL", None), false),
            (Evidence { size: None, ..one }, false),
        ] {
            assert_eq!(agree(RenameProof::Content, one, other), proven, "{other:?}");
        }
        for nothing in
            [facts(0, 5, "t", None), facts(3, 5, "", None), facts(3, 5, "\"\"", None), facts(3, 5, "W/t", None)]
        {
            assert!(!agree(RenameProof::Content, nothing, nothing), "{nothing:?}");
        }
    }
}
