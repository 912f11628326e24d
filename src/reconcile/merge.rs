//! Two ordered streams -> which side comes next. Pure.

use std::cmp::Ordering;

/// What stands at the front of the two streams.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Front {
    /// A record without an object.
    Record,
    /// An object without a record.
    Object,
    /// An object and its record.
    Both,
}

/// Says what to take when the next object has the path `object`, and the next record, if there is one, `record`.
pub(super) fn front(object: &str, record: Option<&str>) -> Front {
    match record.map(|record| record.as_bytes().cmp(object.as_bytes())) {
        Some(Ordering::Less) => Front::Record,
        Some(Ordering::Equal) => Front::Both,
        Some(Ordering::Greater) | None => Front::Object,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_decide() {
        assert_eq!(front("a", None), Front::Object);
        assert_eq!(front("a", Some("a")), Front::Both);
        for (object, record, want) in [
            ("a/b", "a-b", Front::Record),
            ("a/b", "a0", Front::Object),
            ("a", "B", Front::Record),
            ("é", "z", Front::Record),
            ("a", "", Front::Record),
        ] {
            assert_eq!(front(object, Some(record)), want, "{object} {record}");
        }
    }
}
