//! Fingerprints: what names a content, or a file, wherever it lies.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};

use super::object::{is_weak, unquoted};

/// A number for a size and an entity tag. Equal for equal ones; that two different ones share a number is so unlikely that
/// it may only ever cost a rename its recognition, never a record its file.
pub type Fingerprint = u64;

/// Returns the fingerprint of `size` bytes with the entity tag `etag`. Nothing empty has one, nor has what lacks a tag; a
/// weak tag is none either: two different contents may share it, as long as their server finds them alike.
pub fn fingerprint(size: Option<u64>, etag: Option<&str>) -> Option<Fingerprint> {
    let size = size.filter(|size| *size > 0)?;
    let etag = unquoted(etag.filter(|etag| !is_weak(etag))?);
    if etag.is_empty() {
        return None;
    }
    let mut hasher = DefaultHasher::new();
    (size, etag).hash(&mut hasher);
    Some(hasher.finish())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn size_and_tag_make_it_and_nothing_empty_has_one() {
        let one = fingerprint(Some(3), Some("t"));
        assert!(one.is_some());
        assert_eq!(one, fingerprint(Some(3), Some("\"t\"")));
        assert_ne!(one, fingerprint(Some(4), Some("t")));
        assert_ne!(one, fingerprint(Some(3), Some("u")));
        for (size, etag) in [
            (Some(0), Some("t")),
            (None, Some("t")),
            (Some(3), None),
            (Some(3), Some("")),
            (Some(3), Some("\"\"")),
            (Some(3), Some("W/\"\"")),
            (Some(3), Some("W/\"t\"")),
            (Some(3), Some("W/t")),
        ] {
            assert_eq!(fingerprint(size, etag), None, "{size:?} {etag:?}");
        }
    }
}
