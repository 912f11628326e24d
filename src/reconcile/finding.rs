//! Pair -> what is the matter with it. Pure and total.

use serde::{Deserialize, Serialize};

use crate::model::{EtagMeaning, ObjectFacts, RecordFacts, unquoted};

/// A fact in which a record differs from its object.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StaleReason {
    /// The size in bytes.
    Size,
    /// The content type.
    ContentType,
    /// When the object was last written, in whole microseconds.
    LastModified,
    /// The entity tag.
    Etag,
}

impl StaleReason {
    /// Returns the word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Size => "size",
            Self::ContentType => "content_type",
            Self::LastModified => "last_modified",
            Self::Etag => "etag",
        }
    }
}

/// Compares an object with its record. `None` when they agree: the record is matched, else stale.
///
/// NULL in the record agrees with nothing, so that it is filled once. An entity tag that the storage does not tell is
/// not compared, and one that tells of a place rather than of content is compared with NULL alone.
pub fn compare(
    object: &ObjectFacts,
    content_type: &str,
    record: &RecordFacts<'_>,
    etag: EtagMeaning,
) -> Option<Vec<StaleReason>> {
    let tag_differs = match (object.etag.as_deref(), record.etag, etag) {
        (None, _, _) => false,
        (Some(_), None, _) => true,
        (Some(_), Some(_), EtagMeaning::Place) => false,
        (Some(now), Some(then), EtagMeaning::Content) => now != unquoted(then),
    };
    let differs = [
        (StaleReason::Size, record.size != Some(object.size)),
        (StaleReason::ContentType, record.content_type != Some(content_type)),
        (StaleReason::LastModified, record.last_modified != Some(object.last_modified)),
        (StaleReason::Etag, tag_differs),
    ];
    if differs.iter().all(|(_, differs)| !differs) {
        return None;
    }
    Some(differs.into_iter().filter_map(|(reason, differs)| differs.then_some(reason)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Timestamp;

    fn object() -> ObjectFacts {
        let last_modified = Timestamp::from_micros(5);
        ObjectFacts {
            key: "1/a.txt".into(),
            size: 3,
            last_modified,
            etag: Some("t".into()),
            file_id: None,
            device: None,
            linked: false,
        }
    }

    fn record() -> RecordFacts<'static> {
        RecordFacts {
            id: 1,
            path: "a.txt",
            size: Some(3),
            content_type: Some("text/plain"),
            etag: Some("t"),
            last_modified: Some(Timestamp::from_micros(5)),
            file_id: None,
            created_at: None,
            version: b"",
            damaged: false,
        }
    }

    #[test]
    fn every_fact_counts_and_null_agrees_with_nothing() {
        use EtagMeaning::{Content, Place};
        use StaleReason::{ContentType, Etag, LastModified, Size};
        let plain = record();
        let table: [(RecordFacts<'_>, EtagMeaning, &[StaleReason]); 13] = [
            (plain, Content, &[]),
            (plain, Place, &[]),
            (RecordFacts { size: Some(4), ..plain }, Place, &[Size]),
            (RecordFacts { size: None, ..plain }, Place, &[Size]),
            (RecordFacts { content_type: Some("image/png"), ..plain }, Content, &[ContentType]),
            (RecordFacts { content_type: None, ..plain }, Content, &[ContentType]),
            (RecordFacts { last_modified: Some(Timestamp::from_micros(6)), ..plain }, Content, &[LastModified]),
            (RecordFacts { last_modified: None, ..plain }, Content, &[LastModified]),
            (RecordFacts { etag: Some("u"), ..plain }, Content, &[Etag]),
            (RecordFacts { etag: Some("u"), ..plain }, Place, &[]),
            (RecordFacts { etag: None, ..plain }, Place, &[Etag]),
            (RecordFacts { etag: Some("\"t\""), ..plain }, Content, &[]),
            (RecordFacts { size: None, etag: Some("u"), ..plain }, Content, &[Size, Etag]),
        ];
        for (record, meaning, reasons) in table {
            let want = (!reasons.is_empty()).then(|| reasons.to_vec());
            assert_eq!(compare(&object(), "text/plain", &record, meaning), want, "{record:?} {meaning:?}");
        }
    }

    #[test]
    fn a_tag_that_the_storage_does_not_tell_is_never_stale() {
        let untagged = ObjectFacts { etag: None, ..object() };
        for etag in [None, Some("t")] {
            let record = RecordFacts { etag, ..record() };
            assert_eq!(compare(&untagged, "text/plain", &record, EtagMeaning::Content), None);
        }
    }
}
