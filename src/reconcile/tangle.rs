//! Moves in which paths change hands -> those that can be made, in portions that one transaction can carry. On disk, so that
//! any number of them can be looked at.
//!
//! At most one record leaves a path, and at most one comes there. So what hangs together is a chain or a circle, and has a
//! name: the path at which the chain ends, or the least one of the circle. Each move finds that name by looking ahead, twice as
//! far each time. What hangs together is decided together: nobody moves to a path whose record stays, and no record leaves a
//! path whose object is no other record's. Whoever saves a file anew after renaming the old one to a backup still means the
//! path.

use std::io;

use super::numbers::{Merge, Numbers, Sorted};
use super::rename::Side;
use super::spool::{Spool, Spooled};

/// How many moves that hang together are made at most; more of them stay where their paths are.
pub(super) const WINDOW: usize = 100_000;

/// How many moves are made at once where they do not hang together.
const PORTION: usize = 1_000;

/// How often moves look farther until those are taken out that hang together with few others: circles of up to four.
const STEPS: usize = 2;

/// How many bits a place has here: three of them and the marks are one number. No disk has two tebibytes of what waits.
const PLACE: u32 = 41;

/// How many bits the marks have.
const MARKS: u32 = 128 - 3 * PLACE;

/// Set on a move of a record that leaves nothing.
const ORPHAN: u64 = 1;
/// Set on a move to an object that has no record.
const MISSING: u64 = 2;
/// Set on a move from a path to which none comes: the first one of a chain.
const FIRST: u64 = 4;
/// Set on a move that cannot be made: its record stays, or that at the path to which it would go.
const STUCK: u64 = 8;
/// Set on a move that sees the end of its chain.
const ENDS: u64 = 16;

/// Where a record is, and where the object is that it is of.
type Move = ((Side, u64), (Side, u64));

/// Moves in which paths change hands.
#[derive(Debug)]
pub(super) struct Tangle {
    moves: Numbers,
    window: usize,
}

/// What becomes of moves: for each the place of the record and that of the object.
#[derive(Debug)]
pub(super) struct Untangled {
    /// Moves that are made; those of one portion at once, as half of it would leave two records at one path.
    pub(super) portions: Spooled<Vec<(u64, u64)>>,
    /// How many moves are not made because more than the window hang together.
    pub(super) too_many: u64,
}

impl Tangle {
    /// Makes no more than `window` moves that hang together.
    pub(super) fn new(window: usize) -> Self {
        Self { moves: Numbers::default(), window }
    }

    /// Adds a move.
    ///
    /// # Errors
    /// When there is no room for temporary files, or more waits than a place can name.
    pub(super) fn push(&mut self, ((from_side, from), (to_side, to)): Move) -> io::Result<()> {
        if from.max(to) >> PLACE > 0 {
            return Err(io::Error::from(io::ErrorKind::FileTooLarge));
        }
        let orphan = if from_side == Side::Orphan { ORPHAN } else { 0 };
        let missing = if to_side == Side::Missing { MISSING } else { 0 };
        self.moves.push(pack([from, to, 0], orphan | missing))
    }

    /// Says which moves can be made. Whatever else there is leaves each path its record, unless it could not be decided.
    ///
    /// # Errors
    /// When temporary files cannot be written or read.
    pub(super) fn settle(mut self) -> io::Result<Untangled> {
        let mut moves = marked(&self.moves.sort()?)?;
        let mut sights = first_sights(&moves)?;
        let mut parts = Parts { window: self.window, ..Parts::default() };
        while moves.iter().peek()?.is_some() {
            for _ in 0..STEPS {
                sights = farther(&sights)?;
            }
            moves = parts.take(&named(&moves, &sights)?)?;
            sights = only_of(&sights, &moves)?;
        }
        parts.finish()
    }
}

/// What has been decided.
#[derive(Debug, Default)]
struct Parts {
    window: usize,
    portions: Spool<Vec<(u64, u64)>>,
    too_many: u64,
    open: Vec<(u64, u64)>,
}

impl Parts {
    /// Decides about moves by their names, and returns those of which it cannot be said yet with whom they hang together.
    fn take(&mut self, named: &Sorted) -> io::Result<Sorted> {
        let (mut rest, mut ahead, mut behind) = (Numbers::default(), named.iter(), named.iter());
        while let Some(first) = ahead.peek()? {
            let ([name, ..], _) = unpack(first);
            let (mut size, mut leads, mut any) = (0, 0_u64, 0);
            while let Some(next) = met(&mut ahead, name)? {
                ahead.next()?;
                let ([_, from, to], marks) = unpack(next);
                size += 1;
                leads = leads.wrapping_add(to).wrapping_sub(from);
                any |= marks;
            }
            // Of a chain, those that see its end have its name; of a circle, a part leads from one path to another one.
            let is_whole = if any & ENDS > 0 { any & FIRST > 0 } else { leads == 0 };
            let is_made = is_whole && any & STUCK == 0 && size <= self.window;
            if is_made && self.open.len() + size > PORTION.min(self.window) {
                self.close()?;
            }
            for _ in 0..size {
                let Some(next) = behind.next()? else { break };
                let ([_, from, to], marks) = unpack(next);
                if !is_whole {
                    rest.push(pack([from, to, 0], marks))?;
                } else if is_made {
                    self.open.push((from, to));
                } else if any & STUCK == 0 {
                    self.too_many += 1;
                }
            }
        }
        rest.sort()
    }

    fn close(&mut self) -> io::Result<()> {
        if !self.open.is_empty() {
            self.portions.push(&std::mem::take(&mut self.open))?;
        }
        Ok(())
    }

    fn finish(mut self) -> io::Result<Untangled> {
        self.close()?;
        Ok(Untangled { portions: self.portions.finish()?, too_many: self.too_many })
    }
}

/// Marks moves at the ends of chains. They come and go in the order of the paths that they leave.
fn marked(moves: &Sorted) -> io::Result<Sorted> {
    let by_to = turned(moves, |_, marks| Ok(marks))?;
    let mut coming = by_to.iter();
    let by_to = turned(moves, |from, marks| {
        Ok(match met(&mut coming, from)? {
            Some(_) => marks,
            None if marks & ORPHAN > 0 => marks | FIRST,
            None => marks | FIRST | STUCK,
        })
    })?;
    let mut leaving = moves.iter();
    turned(&by_to, |to, marks| {
        Ok(match met(&mut leaving, to)? {
            Some(_) => marks,
            None if marks & MISSING > 0 => marks | ENDS,
            None => marks | ENDS | STUCK,
        })
    })
}

/// Turns moves around, with the marks that `mark` gives them by the path that comes first.
fn turned(moves: &Sorted, mut mark: impl FnMut(u64, u64) -> io::Result<u64>) -> io::Result<Sorted> {
    let (mut turned, mut all) = (Numbers::default(), moves.iter());
    while let Some(next) = all.next()? {
        let ([first, second, _], marks) = unpack(next);
        turned.push(pack([second, first, 0], mark(first, marks)?))?;
    }
    turned.sort()
}

/// Returns what each move sees at first: the path from which it comes, that to which it leads, and the least one that it has
/// passed, which is its own.
fn first_sights(moves: &Sorted) -> io::Result<Sorted> {
    let (mut sights, mut all) = (Numbers::default(), moves.iter());
    while let Some(next) = all.next()? {
        let ([from, to, _], marks) = unpack(next);
        sights.push(pack([from, to, from], marks & ENDS))?;
    }
    sights.sort()
}

/// Lets each move look on from where it sees, as far as the move there sees: twice as far as before.
fn farther(sights: &Sorted) -> io::Result<Sorted> {
    let (mut by_end, mut all) = (Numbers::default(), sights.iter());
    while let Some(next) = all.next()? {
        let ([from, to, least], marks) = unpack(next);
        by_end.push(pack([to, from, least], marks))?;
    }
    let by_end = by_end.sort()?;
    let (mut farther, mut all, mut there) = (Numbers::default(), by_end.iter(), sights.iter());
    while let Some(next) = all.next()? {
        let ([to, from, least], marks) = unpack(next);
        farther.push(match met(&mut there, to)?.map(unpack) {
            Some(([_, to, other], marks)) => pack([from, to, least.min(other)], marks),
            None => pack([from, to, least], marks),
        })?;
    }
    farther.sort()
}

/// Puts before each move the name of what it hangs together with, as far as it sees.
fn named(moves: &Sorted, sights: &Sorted) -> io::Result<Sorted> {
    let (mut named, mut all, mut seen) = (Numbers::default(), moves.iter(), sights.iter());
    while let Some((next, sight)) = all.next()?.zip(seen.next()?) {
        let (([from, to, _], marks), ([_, end, least], sees)) = (unpack(next), unpack(sight));
        let name = if sees & ENDS > 0 { end } else { least };
        named.push(pack([name, from, to], marks & !ENDS | sees))?;
    }
    named.sort()
}

/// Returns what those see that are still there.
fn only_of(sights: &Sorted, moves: &Sorted) -> io::Result<Sorted> {
    let (mut kept, mut all, mut seen) = (Numbers::default(), moves.iter(), sights.iter());
    while let Some(next) = all.next()? {
        met(&mut seen, unpack(next).0[0])?.map_or(Ok(()), |sight| kept.push(sight))?;
    }
    kept.sort()
}

/// Returns the next of `others` when it is at `place`; those before it are passed.
fn met(others: &mut Merge<'_>, place: u64) -> io::Result<Option<u128>> {
    let at = |other: u128| unpack(other).0[0];
    while others.peek()?.is_some_and(|other| at(other) < place) {
        others.next()?;
    }
    Ok(others.peek()?.filter(|other| at(*other) == place))
}

/// Packs three places and marks into one number; the first place counts first in their order.
fn pack([first, second, third]: [u64; 3], marks: u64) -> u128 {
    let places = (u128::from(first) << PLACE | u128::from(second)) << PLACE | u128::from(third);
    places << MARKS | u128::from(marks)
}

/// Takes apart what [`pack`] has packed.
fn unpack(packed: u128) -> ([u64; 3], u64) {
    let part = |at: u32, bits: u32| (packed >> at) as u64 & ((1 << bits) - 1);
    ([part(2 * PLACE + MARKS, PLACE), part(PLACE + MARKS, PLACE), part(MARKS, PLACE)], part(0, MARKS))
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use super::*;

    /// Draws numbers, the same ones for the same seed.
    struct Draw(u64);

    impl Draw {
        fn below(&mut self, end: usize) -> usize {
            self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (self.0 >> 33) as usize % end
        }
    }

    /// Moves, and places at which nothing is yet, in the order in which they are given away.
    struct World {
        moves: Vec<Move>,
        places: Vec<u64>,
        window: usize,
    }

    impl World {
        /// Gives places away from the first one on.
        fn in_order(window: usize) -> Self {
            Self { moves: Vec::new(), places: (0..100_000).rev().collect(), window }
        }

        /// Gives places away in any order.
        fn drawn(window: usize, count: u64, draw: &mut Draw) -> Self {
            let mut places: Vec<u64> = (0..count).map(|n| n * 37 % ((1 << PLACE) - 1)).collect();
            (1..places.len()).rev().for_each(|n| places.swap(n, draw.below(n + 1)));
            Self { moves: Vec::new(), places, window }
        }

        fn take(&mut self, count: usize) -> Vec<u64> {
            self.places.split_off(self.places.len() - count)
        }

        /// Each of `count` files has gone to where the next one was, and the last one to where the first one was.
        fn circle(&mut self, count: usize) {
            let places = self.take(count);
            self.circle_of(&places);
        }

        fn circle_of(&mut self, places: &[u64]) {
            let nexts = places.iter().cycle().skip(1);
            let moves = places.iter().zip(nexts);
            self.moves.extend(moves.map(|(from, to)| ((Side::StaleRecord, *from), (Side::StaleObject, *to))));
        }

        /// `count` files have gone on by one: the first one from `first`, the last one to `last`.
        fn chain(&mut self, count: usize, first: Side, last: Side) {
            let places = self.take(count + 1);
            for (n, pair) in places.windows(2).enumerate() {
                let from = if n == 0 { first } else { Side::StaleRecord };
                let to = if n + 1 == count { last } else { Side::StaleObject };
                self.moves.push(((from, pair[0]), (to, pair[1])));
            }
        }

        /// Settles the moves, compares all of it with the model, and returns how large the portions are, and how many
        /// moves are too many.
        fn check(&self, about: &str) -> (Vec<usize>, usize) {
            let mut tangle = Tangle::new(self.window);
            self.moves.iter().for_each(|one| tangle.push(*one).unwrap());
            let Untangled { portions, too_many } = tangle.settle().unwrap();
            let portions = portions.iter().unwrap().batch(usize::MAX).unwrap();
            let (whole, large) = model(self.window, &self.moves);
            let too_many = usize::try_from(too_many).unwrap();
            assert_eq!(too_many, large.len(), "{about}: too many");
            let component: BTreeMap<_, _> =
                whole.iter().enumerate().flat_map(|(n, moves)| moves.iter().map(move |one| (*one, n))).collect();
            let mut made = BTreeSet::new();
            for portion in &portions {
                let told: BTreeSet<_> = portion.iter().copied().collect();
                let parts: BTreeSet<_> = portion.iter().map(|one| component.get(one).copied()).collect();
                let want: BTreeSet<_> =
                    parts.iter().flat_map(|n| whole[n.expect("a move that can be made")].iter().copied()).collect();
                assert_eq!((told.len(), &told), (portion.len(), &want), "{about}: a portion is of whole components");
                assert!(portion.len() <= PORTION.min(self.window) || parts.len() == 1, "{about}: {}", portion.len());
                made.extend(told);
            }
            assert_eq!(made.len(), portions.iter().map(Vec::len).sum::<usize>(), "{about}: each move once");
            assert_eq!(made.len(), component.len(), "{about}: all that can be made");
            (portions.iter().map(Vec::len).collect(), too_many)
        }
    }

    type Pairs = BTreeSet<(u64, u64)>;

    /// Says the same in memory: the components that are made, and the moves that are in too large ones.
    fn model(window: usize, moves: &[Move]) -> (Vec<Pairs>, Pairs) {
        let mut above: BTreeMap<u64, u64> = BTreeMap::new();
        fn top(above: &mut BTreeMap<u64, u64>, place: u64) -> u64 {
            let mut at = place;
            while let Some(next) = above.get(&at).copied().filter(|next| *next != at) {
                at = next;
            }
            above.insert(place, at);
            at
        }
        for ((_, from), (_, to)) in moves {
            let (one, other) = (top(&mut above, *from), top(&mut above, *to));
            above.insert(other, one);
        }
        let (mut components, mut stuck) = (BTreeMap::<u64, Pairs>::new(), BTreeSet::new());
        let leaves: BTreeSet<u64> = moves.iter().map(|(from, _)| from.1).collect();
        let comes: BTreeSet<u64> = moves.iter().map(|(_, to)| to.1).collect();
        for (from, to) in moves {
            let name = top(&mut above, from.1);
            components.entry(name).or_default().insert((from.1, to.1));
            // Nobody moves to a path whose record stays, and no record leaves a path to which none comes.
            if to.0 == Side::StaleObject && !leaves.contains(&to.1)
                || from.0 == Side::StaleRecord && !comes.contains(&from.1)
            {
                stuck.insert(name);
            }
        }
        components.retain(|name, _| !stuck.contains(name));
        let (whole, large): (Vec<Pairs>, Vec<Pairs>) = components.into_values().partition(|one| one.len() <= window);
        (whole, large.into_iter().flatten().collect())
    }

    const CUT: (Side, Side) = (Side::StaleRecord, Side::StaleObject);
    const OPEN: (Side, Side) = (Side::Orphan, Side::Missing);

    #[test]
    fn law_11_circles_whose_members_lie_far_apart_are_whole() {
        for count in [100, 700] {
            let mut world = World::in_order(10);
            // Three folders that have changed names in a circle: the files of one lie one after the other.
            let mut folders = [world.take(count), world.take(count), world.take(count)];
            folders.iter_mut().for_each(|folder| folder.reverse());
            (0..count).for_each(|n| world.circle_of(&[folders[0][n], folders[1][n], folders[2][n]]));
            let (portions, too_many) = world.check("folders");
            assert_eq!((portions.iter().sum(), too_many), (3 * count, 0));
        }
    }

    #[test]
    fn law_11_more_than_the_window_are_not_moved_at_once() {
        type Fill = fn(&mut World, usize);
        let chain: Fill = |world, count| world.chain(count, OPEN.0, OPEN.1);
        let no_end: Fill = |world, count| world.chain(count, OPEN.0, CUT.1);
        let no_start: Fill = |world, count| world.chain(count, CUT.0, OPEN.1);
        let neither: Fill = |world, count| world.chain(count, CUT.0, CUT.1);
        // How many moves are made, and how many are too many.
        for (fills, want) in [
            (&[][..], [0, 0]),
            (&[(World::circle as Fill, 1)], [1, 0]),
            (&[(World::circle, 10)], [10, 0]),
            (&[(World::circle, 11)], [0, 11]),
            (&[(World::circle, 1_000)], [0, 1_000]),
            (&[(chain, 1)], [1, 0]),
            (&[(chain, 10)], [10, 0]),
            (&[(chain, 11)], [0, 11]),
            (&[(chain, 999)], [0, 999]),
            (&[(no_end, 1), (no_start, 1), (neither, 1)], [0, 0]),
            (&[(no_end, 10), (no_start, 11), (neither, 300)], [0, 0]),
            (&[(no_end, 3_000)], [0, 0]),
            (&[(no_start, 3_000)], [0, 0]),
            (
                &[(World::circle, 11), (chain, 7), (no_end, 50), (World::circle, 3), (chain, 40), (World::circle, 10)],
                [20, 51],
            ),
        ] {
            let mut world = World::in_order(10);
            fills.iter().for_each(|(fill, count)| fill(&mut world, *count));
            let (portions, too_many) = world.check("a world");
            let counts: Vec<_> = fills.iter().map(|(_, count)| count).collect();
            assert_eq!([portions.iter().sum(), too_many], want, "{counts:?}");
        }
    }

    #[test]
    fn law_11_any_moves_are_settled_as_they_would_be_in_memory() {
        for seed in 0..50 {
            let mut draw = Draw(seed);
            let mut world = World::drawn(1 + draw.below(40), 800, &mut draw);
            while world.places.len() > 101 {
                let most = [3, 10, 100][draw.below(3)];
                let count = 1 + draw.below(most);
                match draw.below(6) {
                    0..3 => world.circle(count),
                    3 => world.chain(count, OPEN.0, OPEN.1),
                    4 => world.chain(count, OPEN.0, CUT.1),
                    _ => world.chain(count, CUT.0, [CUT.1, OPEN.1][draw.below(2)]),
                }
            }
            (1..world.moves.len()).rev().for_each(|n| world.moves.swap(n, draw.below(n + 1)));
            world.check(&format!("seed {seed}, window {}", world.window));
        }
    }

    #[test]
    fn places_and_marks_are_packed() {
        let last = (1 << PLACE) - 1;
        for places in [[0, 1, 2], [last, 0, 7], [5, last, last - 1]] {
            for marks in [0, STUCK, ORPHAN | MISSING | FIRST | STUCK | ENDS] {
                assert_eq!(unpack(pack(places, marks)), (places, marks));
            }
        }
        let mut tangle = Tangle::new(10);
        tangle.push(((Side::StaleRecord, last), (Side::StaleObject, 1))).unwrap();
        let error = tangle.push(((Side::StaleRecord, 1), (Side::StaleObject, last + 1))).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::FileTooLarge);
    }

    #[test]
    fn law_14_a_portion_is_small_or_one_circle() {
        let mut world = World::in_order(5_000);
        (0..1_500).for_each(|_| world.circle(2));
        world.circle(4_000);
        (0..1_500).for_each(|_| world.circle(2));
        let (mut portions, too_many) = world.check("swaps");
        portions.sort_unstable();
        assert_eq!((portions, too_many), (vec![1_000, 1_000, 1_000, 1_000, 1_000, 1_000, 4_000], 0));
    }
}
