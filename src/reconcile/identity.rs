//! What the storage's marker says, what the index remembers -> is this the right storage? Pure and total.

use uuid::Uuid;

use super::guard::{Refusal, RefusalCode};
use crate::model::{Identity, UnreadableMarker};

/// What stands in the marker's place, when the storage says so for certain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Seen {
    /// A storage's id.
    Id(Uuid),
    /// Nothing.
    Absent,
    /// An object that is no marker.
    Damaged(UnreadableMarker),
}

/// How an index comes to be bound.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Binding {
    /// To the id that the storage has.
    Take(Uuid),
    /// To an id that the storage is given.
    Mark,
}

/// What is to be done before a run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Decision {
    /// Nothing: this is the storage that the index is bound to.
    Go(Uuid),
    /// The index is bound.
    Bind(Binding),
    /// The records have to prove first that they are about this storage; then the index is bound.
    Prove(Binding),
    /// Nothing more: this is not the right storage.
    Refuse(Refusal),
    /// Nothing: markers are not asked for.
    Unchecked,
}

/// How a run stands to its storage, once it may begin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Standing {
    /// It is the right one, and has to keep this id.
    Known(Uuid),
    /// It has no id yet, and is given none by a run that only looks.
    New,
    /// It takes no marker, for this reason: nothing is deleted.
    Unmarked(String),
    /// Nobody asks for its marker: each user's records have to prove that they are about it.
    Unchecked,
}

/// Decides for an index that is `bound`, or not, and has records, or not.
pub(super) fn decide(setting: Identity, bound: Option<Uuid>, seen: Seen, has_records: bool) -> Decision {
    let binding = match seen {
        Seen::Id(id) => Binding::Take(id),
        Seen::Absent => Binding::Mark,
        // It is never overwritten, so the storage could not be known again.
        Seen::Damaged(what) if setting == Identity::Marker => {
            return Decision::Refuse(unreadable_marker(what, bound.is_some()));
        }
        Seen::Damaged(_) => return Decision::Unchecked,
    };
    match (setting, bound, has_records) {
        // Where markers are not asked for, one that says otherwise is heard all the same.
        (Identity::None, Some(bound), true) if matches!(seen, Seen::Id(id) if id != bound) => {
            Decision::Refuse(wrong_storage(bound, seen))
        }
        (Identity::None, ..) => Decision::Unchecked,
        (Identity::Marker, Some(bound), _) if seen == Seen::Id(bound) => Decision::Go(bound),
        (Identity::Marker, Some(bound), true) => Decision::Refuse(wrong_storage(bound, seen)),
        (Identity::Marker, None, true) => Decision::Prove(binding),
        // An index without records is about nothing yet, whatever it was bound to.
        (Identity::Marker, _, false) => Decision::Bind(binding),
    }
}

/// Tells whether so many of `records` are enough: half of them.
pub(super) fn is_half(matched: u64, records: u64) -> bool {
    u128::from(matched) * 2 >= u128::from(records)
}

/// Refuses a storage that is not the one of the id `bound`.
pub(super) fn wrong_storage(bound: Uuid, seen: Seen) -> Refusal {
    let (says, mend) = match seen {
        Seen::Id(id) => {
            (format!("says that this is storage {id}"), "name the right storage, or bind the index to this one")
        }
        Seen::Absent => (
            "is not there".to_owned(),
            "check that the disk is mounted and the bucket is the right one, or, if it is, mark it again",
        ),
        Seen::Damaged(what) => return unreadable_marker(what, true),
    };
    let message = format!(
        "the index is bound to storage {bound}, but the marker .storm-index/identity.json {says}; nothing was changed. To \
         mend it, {mend}: storm-index storage bind --force"
    );
    Refusal { code: RefusalCode::WrongStorage, message }
}

/// Refuses a storage that has another object in the place of its marker.
pub fn unreadable_marker(what: UnreadableMarker, is_bound: bool) -> Refusal {
    let then = if is_bound { ", and mark the storage again: storm-index storage bind --force" } else { "" };
    let message = format!(
        "in the place of the marker .storm-index/identity.json there is {what}; nothing was changed. To mend it, move that \
         object away{then}"
    );
    Refusal { code: RefusalCode::MarkerUnreadable, message }
}

/// Refuses a storage that changed under a run.
pub(super) fn changed_storage(bound: Uuid, seen: Seen) -> Refusal {
    let Refusal { code, message } = wrong_storage(bound, seen);
    let message = message.replace("nothing was changed", "this was not so when the run began, and it deleted no more");
    Refusal { code, message }
}

/// Refuses a storage that too few of the records of an index know.
pub(super) fn unbound(matched: u64, records: u64) -> Refusal {
    let message = format!(
        "the index is bound to no storage yet, and only {matched} of its {records} records match an object of this one, \
         less than half; nothing was changed. Check the storage, and if it is the right one: storm-index storage bind --force"
    );
    Refusal { code: RefusalCode::StorageUnbound, message }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn law_07_the_table_of_identities() {
        let (mine, other) = (Uuid::from_u128(1), Uuid::from_u128(2));
        let wrong = |seen| Decision::Refuse(wrong_storage(mine, seen));
        use Binding::{Mark, Take};
        use Decision::{Bind, Go, Prove, Unchecked};
        use Seen::{Absent, Damaged, Id};
        let what = UnreadableMarker::NoJson(1);
        let (bad, unbound_bad) =
            (Decision::Refuse(unreadable_marker(what, true)), Decision::Refuse(unreadable_marker(what, false)));
        let damaged = Damaged(what);
        for (bound, seen, has_records, want) in [
            (Some(mine), Id(mine), true, Go(mine)),
            (Some(mine), Id(mine), false, Go(mine)),
            (Some(mine), Id(other), true, wrong(Id(other))),
            (Some(mine), Absent, true, wrong(Absent)),
            (Some(mine), damaged, true, bad.clone()),
            (Some(mine), Id(other), false, Bind(Take(other))),
            (Some(mine), Absent, false, Bind(Mark)),
            (Some(mine), damaged, false, bad),
            (None, Id(other), true, Prove(Take(other))),
            (None, Absent, true, Prove(Mark)),
            (None, damaged, true, unbound_bad.clone()),
            (None, Id(other), false, Bind(Take(other))),
            (None, Absent, false, Bind(Mark)),
            (None, damaged, false, unbound_bad),
        ] {
            assert_eq!(decide(Identity::Marker, bound, seen, has_records), want, "{bound:?} {seen:?} {has_records}");
            let none = if seen == Id(other) && bound.is_some() && has_records { wrong(seen) } else { Unchecked };
            assert_eq!(decide(Identity::None, bound, seen, has_records), none);
        }
    }

    #[test]
    fn law_07_half_is_enough() {
        for (matched, records, enough) in
            [(0, 0, true), (0, 1, false), (1, 2, true), (1, 3, false), (50, 100, true), (u64::MAX / 2, u64::MAX, false)]
        {
            assert_eq!(is_half(matched, records), enough, "{matched} of {records}");
        }
    }

    #[test]
    fn a_refusal_names_ids_numbers_and_the_mend() {
        let (mine, other) = (Uuid::from_u128(1), Uuid::from_u128(2));
        let message = wrong_storage(mine, Seen::Id(other)).message;
        assert!(message.contains(&mine.to_string()) && message.contains(&other.to_string()), "{message}");
        assert!(wrong_storage(mine, Seen::Absent).message.contains("mounted"));
        let message = changed_storage(mine, Seen::Absent).message;
        assert!(message.contains("it deleted no more") && message.ends_with("storage bind --force"), "{message}");
        let what = UnreadableMarker::TooLarge(42_949_672_960);
        let changed = changed_storage(mine, Seen::Damaged(what));
        assert_eq!(changed.code, RefusalCode::MarkerUnreadable);
        assert!(changed.message.contains("it deleted no more"), "{changed:?}");
        let message = unreadable_marker(what, false).message;
        for word in ["an object of 42949672960 bytes", "nothing was changed", "move that object away"] {
            assert!(message.contains(word), "{message}");
        }
        assert!(!message.contains("bind") && unreadable_marker(what, true).message.ends_with("storage bind --force"));
        let message = unbound(3, 7).message;
        assert!(message.contains("3 of its 7") && message.ends_with("storage bind --force"), "{message}");
    }
}
