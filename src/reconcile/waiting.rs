//! What waits until its user's listing has ended: objects without a record and records without an object, which may be
//! one file that was renamed. On disk, so that a run's memory does not grow with what it finds.

use std::hash::{BuildHasher as _, RandomState};
use std::io;

use serde::{Deserialize, Serialize};

use super::finding::StaleReason;
use super::numbers::{Merge, Numbers, Sorted};
use super::rename::{Group, Side};
use super::spool::{Spool, Spooled};
use super::tangle::{Tangle, WINDOW};
use crate::model::{Fingerprint, ObjectFacts, Orphan, RenameProof, name_of};

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

impl Item {
    /// Returns the path of an object without a record; paths begin at `path_at` in its key.
    pub(super) fn path_of_object(self, path_at: usize) -> Option<String> {
        match self {
            Self::Missing(object) => Some(object.key[path_at..].to_owned()),
            Self::Orphan(_) | Self::Stale(..) => None,
        }
    }

    /// Tells whether its object is reached through a link.
    fn is_linked(&self) -> bool {
        match self {
            Self::Missing(object) | Self::Stale(_, object, _) => object.linked,
            Self::Orphan(_) => false,
        }
    }

    fn base_name(&self) -> &str {
        match self {
            Self::Orphan(record) | Self::Stale(record, ..) => name_of(&record.path),
            Self::Missing(object) => name_of(&object.key),
        }
    }
}

/// Set on an item whose record has moved away.
pub(super) const LEFT: u64 = 1;
/// Set on an item to whose object a record has moved.
pub(super) const CAME: u64 = 2;
/// Set on a missing object that may be what a record is of that was not listed.
pub(super) const DEFERRED: u64 = 4;
/// Set on an orphan of which it cannot be said whether its file is there.
pub(super) const DOUBTED: u64 = 8;
/// Set on an orphan whose name is not gone, so that it has not moved.
pub(super) const NOT_GONE: u64 = 16;

/// How many carriers of one fingerprint are paired at a time.
const CHUNK: usize = 1 << 20;

/// What waits for the end of one user.
#[derive(Debug)]
pub(super) struct Waiting {
    items: Spool<Item>,
    sides: Numbers,
    has_orphan: bool,
    has_source: bool,
    has_target: bool,
    /// How many moves are made at most that hang together, as paths change hands in them.
    window: usize,
}

impl Default for Waiting {
    fn default() -> Self {
        let (items, sides) = (Spool::default(), Numbers::default());
        Self { items, sides, has_orphan: false, has_source: false, has_target: false, window: WINDOW }
    }
}

impl Waiting {
    /// Notes something that carries a fingerprint and does not wait: a twin, or the hidden record of an id.
    pub(super) fn note(&mut self, fingerprint: Option<Fingerprint>, side: Side, id: u64) -> io::Result<()> {
        self.has_source |= side == Side::Hidden;
        fingerprint.map_or(Ok(()), |print| self.sides.push(join(print, side.at(id))))
    }

    /// Lets a record wait that has no object.
    pub(super) fn orphan(&mut self, orphan: Orphan) -> io::Result<()> {
        (self.has_orphan, self.has_source) = (true, true);
        self.items.push(&Item::Orphan(orphan)).map(drop)
    }

    /// Lets an object wait that has no record.
    pub(super) fn missing(&mut self, object: ObjectFacts) -> io::Result<()> {
        self.has_target = true;
        self.items.push(&Item::Missing(object)).map(drop)
    }

    /// Lets an object and its record wait that are of different files or contents.
    pub(super) fn stale(&mut self, record: Orphan, object: ObjectFacts, reasons: Vec<StaleReason>) -> io::Result<()> {
        (self.has_source, self.has_target) = (true, true);
        self.items.push(&Item::Stale(record, object, reasons)).map(drop)
    }

    /// Takes all that waits, and begins anew.
    pub(super) fn finish(&mut self) -> io::Result<Parked> {
        let Self { mut items, sides, has_orphan, has_source, has_target, window } =
            std::mem::replace(self, Self { window: self.window, ..Self::default() });
        let may_have_moved = has_source && has_target;
        Ok(Parked { items: items.finish()?, sides, has_orphan, may_have_moved, window })
    }
}

/// What has waited for the end of one user.
#[derive(Debug)]
pub(super) struct Parked {
    /// All items, in the order of their paths.
    pub(super) items: Spooled<Item>,
    sides: Numbers,
    /// Whether there is a record without an object among them.
    pub(super) has_orphan: bool,
    may_have_moved: bool,
    window: usize,
}

/// What has become of what waited.
#[derive(Debug)]
pub(super) struct Decided {
    /// Moves to free paths: the place of the missing object in the upper half, that of the orphan in the lower one.
    pub(super) moves: Sorted,
    /// Moves in which paths change hands: the place of the record and that of the object. Those of one item are made at once.
    pub(super) tangles: Spooled<Vec<(u64, u64)>>,
    /// Missing objects in the upper half, the id of a hidden record that they may be of in the lower one.
    pub(super) asks: Sorted,
    /// Orphans in the upper half, a missing object that they might be of in the lower one.
    pub(super) candidates: Sorted,
    /// How many moves hang together in greater numbers than are made at once.
    pub(super) too_many: u64,
}

impl Decided {
    /// Returns what has moved: places in the upper half, what is marked there in the lower one.
    pub(super) fn marks(&self) -> io::Result<Sorted> {
        let (mut marks, mut moves) = (Numbers::default(), self.moves.iter());
        while let Some(next) = moves.next()? {
            marks.push(join(lower(next), LEFT))?;
            marks.push(join(upper(next), CAME))?;
        }
        let mut tangles = self.tangles.iter()?;
        while let Some((_, portion)) = tangles.next()? {
            for (from, to) in portion {
                marks.push(join(from, LEFT))?;
                marks.push(join(to, CAME))?;
            }
        }
        marks.sort()
    }
}

impl Parked {
    /// Finds what may have moved by `proof`. What has a mark in `marks` already is left out.
    pub(super) fn pair(&mut self, proof: RenameProof, marks: &Sorted) -> io::Result<Decided> {
        let (mut moves, mut asks, mut candidates) = (Numbers::default(), Numbers::default(), Numbers::default());
        let mut tangle = Tangle::new(self.window);
        if self.may_have_moved && proof != RenameProof::Nothing {
            self.add_sides(proof, marks)?;
            let (sides, names) = (self.sides.sort()?, RandomState::new());
            let name = |place| {
                let item = self.items.get(place)?;
                Ok((names.hash_one(item.base_name()), item.is_linked()))
            };
            let mut all = sides.iter();
            let mut before = None;
            while let Some(first) = all.peek()? {
                let print = upper(first);
                // What did not fit into the group before is no less of the same.
                let twins = before.filter(|(last, _)| *last == print).map_or(0, |(_, carriers)| carriers);
                let mut group = Group { twins, ..Group::default() };
                while let Some(next) = all.peek()?.filter(|next| upper(*next) == print && group.len() < CHUNK) {
                    group.add(Side::of(lower(next)));
                    all.next()?;
                }
                before = Some((print, group.twins + group.len() as u64));
                let pairs = group.pair(proof, name)?;
                pairs.moves.iter().try_for_each(|(from, to)| moves.push(join(*to, *from)))?;
                pairs.asks.iter().try_for_each(|(to, record)| asks.push(join(*to, *record)))?;
                pairs.candidates.iter().try_for_each(|(orphan, twin)| candidates.push(join(*orphan, *twin)))?;
                pairs.tangled.into_iter().try_for_each(|one| tangle.push(one))?;
            }
        }
        self.sides.clear();
        let untangled = tangle.settle()?;
        let (tangles, too_many) = (untangled.portions, untangled.too_many);
        Ok(Decided { moves: moves.sort()?, tangles, asks: asks.sort()?, candidates: candidates.sort()?, too_many })
    }

    /// Adds what the items carry to what was noted.
    fn add_sides(&mut self, proof: RenameProof, marks: &Sorted) -> io::Result<()> {
        let (mut items, mut marks) = (self.items.iter()?, Marks::new(marks));
        while let Some((place, item)) = items.next()? {
            if marks.of(place)? != 0 {
                continue;
            }
            let (then, now) = match &item {
                Item::Orphan(record) => (Some((record, Side::Orphan)), None),
                Item::Missing(object) => (None, Some((object, Side::Missing))),
                Item::Stale(record, object, _) => {
                    (Some((record, Side::StaleRecord)), Some((object, Side::StaleObject)))
                }
            };
            let then = then.and_then(|(record, side)| Some((proof.fingerprint(record)?, side)));
            let now = now.and_then(|(object, side)| Some((proof.fingerprint(object)?, side)));
            for (print, side) in then.into_iter().chain(now) {
                self.sides.push(join(print, side.at(place)))?;
            }
        }
        Ok(())
    }
}

/// Tells the marks of items, in their order.
#[derive(Debug)]
pub(super) struct Marks<'s>(Merge<'s>);

impl<'s> Marks<'s> {
    /// Starts telling; `marks` are places in the upper half, and what is marked there in the lower one.
    pub(super) fn new(marks: &'s Sorted) -> Self {
        Self(marks.iter())
    }

    /// Returns all marks of the item at `place`, which is behind all those that were asked for before.
    pub(super) fn of(&mut self, place: u64) -> io::Result<u64> {
        let mut all = 0;
        while let Some(next) = self.0.peek()?.filter(|next| upper(*next) <= place) {
            all |= if upper(next) == place { lower(next) } else { 0 };
            self.0.next()?;
        }
        Ok(all)
    }

    /// Returns the first number that stands beside `place`, if there is one.
    pub(super) fn first_of(&mut self, place: u64) -> io::Result<Option<u64>> {
        let mut first = None;
        while let Some(next) = self.0.peek()?.filter(|next| upper(*next) <= place) {
            first = first.or((upper(next) == place).then_some(lower(next)));
            self.0.next()?;
        }
        Ok(first)
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

    fn record(path: &str, etag: &str) -> Orphan {
        let path = path.to_owned();
        let (etag, version) = (Some(etag.to_owned()), String::new());
        let (content_type, last_modified, file_id, created_at) = (None, None, None, None);
        Orphan { user: 1, id: 1, path, size: Some(1), content_type, etag, last_modified, file_id, created_at, version }
    }

    fn object(path: &str, etag: &str) -> ObjectFacts {
        let (last_modified, etag) = (Timestamp::from_micros(0), Some(etag.to_owned()));
        ObjectFacts {
            key: format!("1/{path}"),
            size: 1,
            last_modified,
            etag,
            file_id: None,
            device: None,
            linked: false,
        }
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
        waiting.orphan(record("s/0", "s0")).unwrap();
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
    fn law_11_what_hangs_together_moves_up_to_the_window() {
        type Fill = fn(&mut Waiting, usize);
        // How many records move, and how many do not because too many hang together.
        for (fills, want) in [
            (&[(swap as Fill, 5)][..], [10, 0]),
            (&[(swap, 100)], [200, 0]),
            (&[(ring, 10)], [10, 0]),
            (&[(ring, 11)], [0, 11]),
            (&[(shift, 10)], [10, 0]),
            (&[(shift, 11)], [0, 11]),
            (&[(logs, 9), (backups, 1)], [0, 0]),
            (&[(logs, 50), (swap, 50), (backups, 50), (ring, 3), (shift, 3)], [106, 0]),
            (&[(swap, 50), (ring, 50), (backups, 50)], [100, 50]),
        ] {
            let mut waiting = Waiting { window: 10, ..Waiting::default() };
            fills.iter().for_each(|(fill, count)| fill(&mut waiting, *count));
            let none = Numbers::default().sort().unwrap();
            let decided = waiting.finish().unwrap().pair(RenameProof::Content, &none).unwrap();
            let (mut tangles, mut moved) = (decided.tangles.iter().unwrap(), 0);
            while let Some((_, portion)) = tangles.next().unwrap() {
                moved += portion.len() as u64;
            }
            let names: Vec<_> = fills.iter().map(|(_, count)| count).collect();
            assert_eq!([moved, decided.too_many], want, "{names:?}");
        }
    }

    #[test]
    fn what_is_marked_is_paired_with_nothing() {
        let pairs = |marked: bool| {
            let mut waiting = Waiting::default();
            waiting.orphan(record("a", "t")).unwrap();
            waiting.missing(object("b", "t")).unwrap();
            let (mut parked, mut marks) = (waiting.finish().unwrap(), Numbers::default());
            if marked {
                marks.push(join(0, NOT_GONE)).unwrap();
            }
            let decided = parked.pair(RenameProof::Content, &marks.sort().unwrap()).unwrap();
            decided.moves.iter().peek().unwrap().is_some()
        };
        assert!(pairs(false) && !pairs(true));
    }
}
