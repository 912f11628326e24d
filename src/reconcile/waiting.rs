//! What waits until its user's listing has ended: objects without a record and records without an object, which may be
//! one file that was renamed. On disk, so that a run's memory does not grow with what it finds.

use std::io;

use serde::{Deserialize, Serialize};

use super::finding::StaleReason;
use super::numbers::{Merge, Numbers, Sorted};
use super::rename::{Census, Relation, Side};
use super::spool::{Spool, Spooled};
use super::tangle::{Tangle, WINDOW};
use crate::model::{Fingerprint, ObjectFacts, Orphan};

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
#[derive(Debug)]
pub(super) struct Waiting {
    items: Spool<Item>,
    sides: Numbers,
    has_source: bool,
    has_target: bool,
    /// How many moves are made at most that hang together, as paths change hands in them.
    window: usize,
}

impl Default for Waiting {
    fn default() -> Self {
        let (items, sides) = (Spool::default(), Numbers::default());
        Self { items, sides, has_source: false, has_target: false, window: WINDOW }
    }
}

/// What has become of what waited.
#[derive(Debug)]
pub(super) struct Decided {
    /// All items, in the order of their paths.
    pub(super) items: Spooled<Item>,
    /// Moves to free paths: the place of the missing object in the upper half, that of the orphan in the lower one.
    pub(super) moves: Sorted,
    /// Moves in which paths change hands: the place of the record and that of the object. Those of one item are made at once.
    pub(super) tangles: Spooled<Vec<(u64, u64)>>,
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
        let (mut moves, mut fates, mut tangle) = (Numbers::default(), Numbers::default(), Tangle::new(self.window));
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
                    Some(one) => tangle.push(one)?,
                    None => {}
                }
            }
        }
        self.sides.clear();
        let untangled = tangle.settle()?;
        let mut portions = untangled.portions.iter()?;
        while let Some((_, portion)) = portions.next()? {
            for (from, to) in portion {
                fates.push(join(from, LEFT))?;
                fates.push(join(to, CAME))?;
            }
        }
        let mut undecided = untangled.undecided.iter()?;
        while let Some((_, (from, to))) = undecided.next()? {
            fates.push(join(from, UNDECIDED))?;
            fates.push(join(to, UNDECIDED))?;
        }
        Ok(Decided { items, moves: moves.sort()?, tangles: untangled.portions, fates: fates.sort()? })
    }
}

/// Puts two halves together.
pub(super) fn join(upper: u64, lower: u64) -> u128 {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Timestamp;

    const MOVED: u64 = LEFT | CAME;

    fn record(path: &str, etag: &str) -> Orphan {
        let path = path.to_owned();
        let (etag, version) = (Some(etag.to_owned()), String::new());
        let (content_type, last_modified, created_at) = (None, None, None);
        Orphan { user: 1, id: 1, path, size: Some(1), content_type, etag, last_modified, created_at, version }
    }

    fn object(path: &str, etag: &str) -> ObjectFacts {
        let last_modified = Timestamp::from_micros(0);
        ObjectFacts { key: format!("1/{path}"), size: 1, last_modified, etag: Some(etag.to_owned()) }
    }

    /// Lets a pair wait whose record is of one file, and whose object is another one.
    fn pair(waiting: &mut Waiting, path: &str, then: &str, now: &str) {
        waiting.stale(record(path, then), object(path, now), Vec::new()).unwrap();
    }

    /// Two folders of `count` files each that have changed names.
    fn swap(waiting: &mut Waiting, count: usize) {
        for (folder, other) in [("a", "b"), ("b", "a")] {
            for n in 0..count {
                pair(waiting, &format!("{folder}/{n}"), &format!("{folder}{n}"), &format!("{other}{n}"));
            }
        }
    }

    /// Three folders of `count` files each that have changed names in a circle.
    fn rotate(waiting: &mut Waiting, count: usize) {
        for (folder, other) in [("u", "w"), ("v", "u"), ("w", "v")] {
            for n in 0..count {
                pair(waiting, &format!("{folder}/{n}"), &format!("{folder}{n}"), &format!("{other}{n}"));
            }
        }
    }

    /// Each file has gone to where the next one was, and the last one to where the first one was.
    fn ring(waiting: &mut Waiting, count: usize) {
        for n in 0..count {
            pair(waiting, &format!("r/{n}"), &format!("r{n}"), &format!("r{}", (n + count - 1) % count));
        }
    }

    /// Logs that were turned: each path has the file of the one before, the first one has a new file, the last one's is gone.
    fn logs(waiting: &mut Waiting, count: usize) {
        for n in 0..count {
            let now = if n == 0 { "new".to_owned() } else { format!("l{}", n - 1) };
            pair(waiting, &format!("log.{n}"), &format!("l{n}"), &now);
        }
    }

    /// Files that were all moved on by one, the last one to a free path.
    fn shift(waiting: &mut Waiting, count: usize) {
        waiting.orphan(record("s/0", "s0"), record("s/0", "s0").fingerprint()).unwrap();
        for n in 1..count {
            pair(waiting, &format!("s/{n}"), &format!("s{n}"), &format!("s{}", n - 1));
        }
        waiting.missing(object("s/last", &format!("s{}", count - 1))).unwrap();
    }

    /// Files that were saved anew after the old ones were renamed.
    fn backups(waiting: &mut Waiting, count: usize) {
        for n in 0..count {
            pair(waiting, &format!("f{n}"), &format!("old{n}"), &format!("new{n}"));
            waiting.missing(object(&format!("f{n}~"), &format!("old{n}"))).unwrap();
        }
    }

    #[test]
    fn law_11_what_hangs_together_beyond_the_window_is_deferred() {
        type Fill = fn(&mut Waiting, usize);
        // How many items have moved, may have moved or not, and are what they are by their paths.
        for (fills, want) in [
            (&[(swap as Fill, 5)][..], [10, 0, 0]),
            (&[(swap, 100)], [200, 0, 0]),
            (&[(rotate, 100)], [300, 0, 0]),
            (&[(rotate, 100), (ring, 11), (swap, 5)], [310, 11, 0]),
            (&[(ring, 10)], [10, 0, 0]),
            (&[(ring, 11)], [0, 11, 0]),
            (&[(shift, 10)], [11, 0, 0]),
            (&[(shift, 11)], [0, 12, 0]),
            (&[(logs, 9), (backups, 1)], [0, 0, 11]),
            (&[(logs, 50), (backups, 50)], [0, 0, 150]),
            (&[(logs, 50), (swap, 50), (backups, 50), (ring, 3), (shift, 3)], [107, 0, 150]),
            (&[(swap, 50), (ring, 50), (backups, 50)], [100, 50, 100]),
        ] {
            let mut waiting = Waiting { window: 10, ..Waiting::default() };
            fills.iter().for_each(|(fill, count)| fill(&mut waiting, *count));
            let decided = waiting.decide(true).unwrap();
            let (mut items, mut fates, mut seen) = (decided.items.iter().unwrap(), decided.fates(), [0; 3]);
            while let Some((place, _)) = items.next().unwrap() {
                match fates.of(place).unwrap() {
                    0 => seen[2] += 1,
                    UNDECIDED => seen[1] += 1,
                    LEFT | CAME | MOVED => seen[0] += 1,
                    other => panic!("{other}"),
                }
            }
            let names: Vec<_> = fills.iter().map(|(_, count)| count).collect();
            assert_eq!(seen, want, "{names:?}");
        }
    }
}
