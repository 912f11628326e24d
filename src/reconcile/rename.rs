//! Who carries a fingerprint -> what has moved. Pure.
//!
//! A file has moved when exactly one record and exactly one object of its user carry its fingerprint, at different paths.
//! Where that cannot be said, because there are copies or because a part of the storage was not seen, nothing is guessed.

/// How something that carries a fingerprint stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Side {
    /// A record and the object of its path, alike.
    Both,
    /// A record that stays where it is.
    Record,
    /// A record of which nobody can say whether its object is there.
    Hidden,
    /// An object that has its record, though an outdated one that carries nothing.
    Object,
    /// An object that is left out.
    HiddenObject,
    /// A record without an object.
    Orphan,
    /// An object without a record.
    Missing,
    /// The record of a pair that differs.
    StaleRecord,
    /// The object of a pair that differs.
    StaleObject,
}

impl Side {
    const ALL: [Self; 9] = [
        Self::Both,
        Self::Record,
        Self::Hidden,
        Self::Object,
        Self::HiddenObject,
        Self::Orphan,
        Self::Missing,
        Self::StaleRecord,
        Self::StaleObject,
    ];

    /// Packs it and a place of less than 2^60 into one number.
    pub(super) fn at(self, place: u64) -> u64 {
        (self as u64) << 60 | place
    }

    /// Takes apart what [`Self::at`] has packed.
    pub(super) fn of(packed: u64) -> (Self, u64) {
        (Self::ALL[usize::try_from(packed >> 60).unwrap_or(0)], packed & ((1 << 60) - 1))
    }
}

/// What the carriers of one fingerprint are to each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Relation {
    /// Nothing: each is what it is by its path.
    Plain,
    /// The one record has moved to where the one object is.
    Move,
    /// An orphan or a missing object among them might have moved, but nobody can say which, or from where. Until it can be
    /// said, no record of them is brought up to date: it would not carry the fingerprint any more.
    Undecided,
}

/// Counts the carriers of one fingerprint.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Census {
    records: u64,
    objects: u64,
    hidden: u64,
    hidden_objects: u64,
    orphans: u64,
    missing: u64,
    stale_records: u64,
    stale_objects: u64,
}

impl Census {
    /// Counts one.
    pub(super) fn count(&mut self, side: Side) {
        let (records, objects) = match side {
            Side::Both => (1, 1),
            Side::Record | Side::Hidden | Side::Orphan | Side::StaleRecord => (1, 0),
            Side::Object | Side::HiddenObject | Side::Missing | Side::StaleObject => (0, 1),
        };
        self.records += records;
        self.objects += objects;
        match side {
            Side::Hidden => self.hidden += 1,
            Side::HiddenObject => self.hidden_objects += 1,
            Side::Orphan => self.orphans += 1,
            Side::Missing => self.missing += 1,
            Side::StaleRecord => self.stale_records += 1,
            Side::StaleObject => self.stale_objects += 1,
            Side::Both | Side::Record | Side::Object => {}
        }
    }

    /// Says what they are to each other, of a user all of whose objects were seen or not (`complete`).
    pub(super) fn relation(self, complete: bool) -> Relation {
        let has_source = self.orphans + self.stale_records > 0;
        let has_target = self.missing + self.stale_objects > 0;
        if complete && has_source && has_target && self.records == 1 && self.objects == 1 {
            return Relation::Move;
        }
        // What has a record or an object under its path stays that; only what has nothing there can wait.
        let could_have_come = self.missing > 0 && self.orphans + self.hidden > 0;
        let could_have_gone = self.orphans > 0 && self.missing + self.hidden_objects > 0;
        if could_have_come || could_have_gone { Relation::Undecided } else { Relation::Plain }
    }
}

#[cfg(test)]
mod tests {
    use super::Side::{Both, Hidden, HiddenObject, Missing, Object, Orphan, Record, StaleObject, StaleRecord};
    use super::*;

    #[test]
    fn law_11_one_record_and_one_object_or_nothing() {
        use Relation::{Move, Plain, Undecided};
        // The relation when everything was seen, and when not.
        for (sides, complete, incomplete) in [
            (&[Orphan, Missing][..], Move, Undecided),
            (&[StaleRecord, StaleObject], Move, Plain),
            (&[StaleRecord, Missing], Move, Plain),
            (&[Orphan, StaleObject], Move, Plain),
            (&[Orphan], Plain, Plain),
            (&[Missing], Plain, Plain),
            (&[Both], Plain, Plain),
            (&[Both, Orphan], Plain, Plain),
            (&[Both, Missing], Plain, Plain),
            (&[Both, Orphan, Missing], Undecided, Undecided),
            (&[Orphan, Missing, Missing], Undecided, Undecided),
            (&[Orphan, Orphan, Missing], Undecided, Undecided),
            (&[Orphan, Missing, Object], Undecided, Undecided),
            (&[Orphan, Missing, Record], Undecided, Undecided),
            (&[Orphan, Missing, StaleObject], Undecided, Undecided),
            (&[Hidden, Missing], Undecided, Undecided),
            (&[Hidden, Orphan], Plain, Plain),
            (&[Hidden, StaleObject], Plain, Plain),
            (&[HiddenObject, Orphan], Undecided, Undecided),
            (&[HiddenObject, Hidden], Plain, Plain),
            (&[HiddenObject, StaleRecord], Plain, Plain),
            (&[HiddenObject, Orphan, Missing, Hidden], Undecided, Undecided),
            (&[Record, Missing], Plain, Plain),
            (&[StaleRecord, StaleRecord, StaleObject], Plain, Plain),
            (&[], Plain, Plain),
        ] {
            let mut census = Census::default();
            sides.iter().for_each(|side| census.count(*side));
            assert_eq!((census.relation(true), census.relation(false)), (complete, incomplete), "{sides:?}");
        }
    }

    #[test]
    fn sides_and_places_are_packed() {
        for side in Side::ALL {
            for place in [0, 1, (1 << 60) - 1] {
                assert_eq!(Side::of(side.at(place)), (side, place));
            }
        }
    }
}
