//! What waits until its user's listing has ended: objects without a record and records without an object, which may be
//! one file that was renamed. On disk, so that a run's memory does not grow with what it finds.

use std::io;

use serde::{Deserialize, Serialize};

use super::finding::StaleReason;
use super::numbers::{Merge, Numbers, Sorted};
use super::rename::{Census, Relation, Side, Tangled, untangle};
use super::spool::{Spool, Spooled};
use crate::model::{Fingerprint, ObjectFacts, Orphan};

/// In how many moves of one user paths may change hands; what exceeds that stays stale, orphaned, missing.
const TANGLE: usize = 100_000;

/// Something that waits.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Item {
    /// A record without an object.
    Orphan(Orphan),
    /// An object without a record.
    Missing(ObjectFacts),
    /// Both, but what they are of differs: one of them may belong elsewhere.
    Stale(Orphan, ObjectFacts, Vec<StaleReason>),
}

/// Set on an item whose record has moved away.
const LEFT: u64 = 1;
/// Set on an item to whose object a record has moved.
const CAME: u64 = 2;
/// Set on an item that may have moved, or not.
pub(super) const UNDECIDED: u64 = 4;

/// What waits for the end of one user.
#[derive(Debug, Default)]
pub(super) struct Waiting {
    items: Spool<Item>,
    sides: Numbers,
    has_source: bool,
    has_target: bool,
}

/// What has become of what waited.
#[derive(Debug)]
pub(super) struct Decided {
    /// All items, in the order of their paths.
    pub(super) items: Spooled<Item>,
    /// Moves to free paths: the place of the missing object in the upper half, that of the orphan in the lower one.
    pub(super) moves: Sorted,
    /// Moves in which paths change hands: the place of the record and that of the object.
    pub(super) tangle: Vec<(u64, u64)>,
    /// Places of items in the upper half, what has become of them in the lower one.
    fates: Sorted,
}

impl Decided {
    /// Starts telling what has become of the items.
    pub(super) fn fates(&self) -> Fates<'_> {
        Fates(self.fates.iter())
    }
}

/// Tells what has become of items, in their order.
#[derive(Debug)]
pub(super) struct Fates<'s>(Merge<'s>);

impl Fates<'_> {
    /// Returns what has become of the item at `place`, which is behind all those that were asked for before.
    pub(super) fn of(&mut self, place: u64) -> io::Result<u64> {
        let mut fate = 0;
        while let Some(next) = self.0.peek()?.filter(|next| upper(*next) <= place) {
            fate |= if upper(next) == place { lower(next) } else { 0 };
            self.0.next()?;
        }
        Ok(fate)
    }
}

impl Waiting {
    /// Notes something that carries a fingerprint and does not wait.
    pub(super) fn note(&mut self, fingerprint: Option<Fingerprint>, side: Side) -> io::Result<()> {
        self.has_source |= side == Side::Hidden;
        self.has_target |= side == Side::HiddenObject;
        self.carry(fingerprint, side, 0)
    }

    /// Lets a record wait that has no object.
    pub(super) fn orphan(&mut self, orphan: Orphan, fingerprint: Option<Fingerprint>) -> io::Result<()> {
        let place = self.items.push(&Item::Orphan(orphan))?;
        self.has_source = true;
        self.carry(fingerprint, Side::Orphan, place)
    }

    /// Lets an object wait that has no record.
    pub(super) fn missing(&mut self, object: ObjectFacts) -> io::Result<()> {
        let fingerprint = object.fingerprint();
        let place = self.items.push(&Item::Missing(object))?;
        self.has_target = true;
        self.carry(fingerprint, Side::Missing, place)
    }

    /// Lets an object and its record wait that are of different content.
    pub(super) fn stale(&mut self, record: Orphan, object: ObjectFacts, reasons: Vec<StaleReason>) -> io::Result<()> {
        let (then, now) = (record.fingerprint(), object.fingerprint());
        let place = self.items.push(&Item::Stale(record, object, reasons))?;
        (self.has_source, self.has_target) = (true, true);
        self.carry(then, Side::StaleRecord, place)?;
        self.carry(now, Side::StaleObject, place)
    }

    fn carry(&mut self, fingerprint: Option<Fingerprint>, side: Side, place: u64) -> io::Result<()> {
        fingerprint.map_or(Ok(()), |print| self.sides.push(join(print, side.at(place))))
    }

    /// Decides what has moved, of a user all of whose objects were seen or not (`complete`), and begins anew.
    pub(super) fn decide(&mut self, complete: bool) -> io::Result<Decided> {
        let items = self.items.finish()?;
        let may_have_moved = self.has_target && self.has_source;
        (self.has_source, self.has_target) = (false, false);
        let (mut moves, mut fates, mut tangle) = (Numbers::default(), Numbers::default(), Vec::new());
        if may_have_moved {
            let sides = self.sides.sort()?;
            let (mut ahead, mut behind) = (sides.iter(), sides.iter());
            while let Some(first) = ahead.peek()? {
                let print = upper(first);
                let (mut census, mut size) = (Census::default(), 0_u64);
                while let Some(next) = ahead.peek()?.filter(|next| upper(*next) == print) {
                    census.count(Side::of(lower(next)).0);
                    size += 1;
                    ahead.next()?;
                }
                let (mut source, mut target) = (None, None);
                let relation = census.relation(complete);
                for _ in 0..size {
                    let Some(next) = behind.next()? else { break };
                    match (relation, Side::of(lower(next))) {
                        (Relation::Move, from @ (Side::Orphan | Side::StaleRecord, _)) => source = Some(from),
                        (Relation::Move, to @ (Side::Missing | Side::StaleObject, _)) => target = Some(to),
                        (Relation::Undecided, (Side::Orphan | Side::Missing | Side::StaleRecord, place)) => {
                            fates.push(join(place, UNDECIDED))?;
                        }
                        _ => {}
                    }
                }
                match source.zip(target) {
                    Some(((Side::Orphan, from), (Side::Missing, to))) => {
                        moves.push(join(to, from))?;
                        fates.push(join(from, LEFT))?;
                        fates.push(join(to, CAME))?;
                    }
                    Some((from, to)) if tangle.len() < TANGLE => tangle.push((from, to)),
                    _ => {}
                }
            }
        }
        self.sides.clear();
        let tangle = cut(tangle);
        for (from, to) in &tangle {
            fates.push(join(*from, LEFT))?;
            fates.push(join(*to, CAME))?;
        }
        Ok(Decided { items, moves: moves.sort()?, tangle, fates: fates.sort()? })
    }
}

/// Leaves out the moves that cannot be made.
fn cut(tangle: Vec<((Side, u64), (Side, u64))>) -> Vec<(u64, u64)> {
    let pair = |(side, place): (Side, u64)| matches!(side, Side::StaleRecord | Side::StaleObject).then_some(place);
    let moves: Vec<Tangled> = tangle.iter().map(|(from, to)| Tangled { from: pair(*from), to: pair(*to) }).collect();
    let can = untangle(&moves);
    tangle.into_iter().zip(can).filter(|(_, can)| *can).map(|((from, to), _)| (from.1, to.1)).collect()
}

fn join(upper: u64, lower: u64) -> u128 {
    u128::from(upper) << 64 | u128::from(lower)
}

/// Returns the upper half of a number.
pub(super) fn upper(number: u128) -> u64 {
    (number >> 64) as u64
}

/// Returns the lower half of a number.
pub(super) fn lower(number: u128) -> u64 {
    number as u64
}
