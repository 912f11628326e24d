//! Moves in which paths change hands -> those that can be made, in portions that one transaction can carry. On disk, so that
//! any number of them can be looked at.

use std::io;

use super::numbers::{Merge, Numbers, Sorted};
use super::rename::{Side, Tangled, untangle};
use super::spool::{Spool, Spooled};
use super::waiting::{join, lower, upper};

/// How many moves are looked at together, and at most made at once; what hangs together in more of them is not decided.
pub(super) const WINDOW: usize = 100_000;

/// How often the ends of chains that lead nowhere are taken off.
const PASSES: usize = 32;

/// Where a record is, and where the object is that it is of.
type Move = ((Side, u64), (Side, u64));

/// Moves in which paths change hands.
#[derive(Debug)]
pub(super) struct Tangle {
    /// From where in the upper half, to where in the lower one.
    moves: Numbers,
    count: usize,
    window: usize,
}

/// What becomes of moves: for each the place of the record and that of the object.
#[derive(Debug)]
pub(super) struct Untangled {
    /// Moves that are made; those of one portion at once, as half of it would leave two records at one path.
    pub(super) portions: Spooled<Vec<(u64, u64)>>,
    /// Moves that may have been, and are too many to be decided.
    pub(super) undecided: Spooled<(u64, u64)>,
}

impl Tangle {
    /// Looks at no more than `window` moves together.
    pub(super) fn new(window: usize) -> Self {
        Self { moves: Numbers::default(), count: 0, window }
    }

    /// Adds a move.
    pub(super) fn push(&mut self, (from, to): Move) -> io::Result<()> {
        self.count += 1;
        self.moves.push(join(from.0.at(from.1), to.0.at(to.1)))
    }

    /// Says which moves can be made. Whatever else there is leaves each path its record, unless it could not be decided.
    pub(super) fn settle(mut self) -> io::Result<Untangled> {
        let moves = self.moves.sort()?;
        let moves = if self.count > self.window { without_ends(moves, self.count)? } else { moves };
        // Who changed places with one another comes one after the other.
        let mut near = Numbers::default();
        let mut all = moves.iter();
        while let Some(next) = all.next()? {
            near.push(near_each_other(Side::of(upper(next)), Side::of(lower(next))))?;
        }
        let (mut portions, mut undecided, mut open) = (Spool::default(), Spool::default(), Vec::new());
        let near = near.sort()?;
        let mut near = near.iter();
        loop {
            let next = near.next()?.map(taken_apart);
            open.extend(next);
            if next.is_some() && open.len() < self.window {
                continue;
            }
            let (whole, rest): (Vec<(Move, bool)>, Vec<_>) =
                open.iter().copied().zip(untangle(&tangled(&open))).partition(|(_, can)| *can);
            if !whole.is_empty() {
                portions.push(&whole.iter().map(|((from, to), _)| (from.1, to.1)).collect())?;
            }
            open = rest.into_iter().map(|(one, _)| one).collect();
            // Others may still come to those that wait here; when there is no more room for others, half of them go.
            let given_up = match next {
                Some(_) if open.len() > self.window / 2 => open.len() / 2,
                Some(_) => 0,
                None if undecided.len() > 0 => open.len(),
                None => 0,
            };
            open.drain(..given_up).try_for_each(|(from, to)| undecided.push(&(from.1, to.1)).map(drop))?;
            if next.is_none() {
                return Ok(Untangled { portions: portions.finish()?, undecided: undecided.finish()? });
            }
        }
    }
}

fn tangled(moves: &[Move]) -> Vec<Tangled> {
    let pair = |(side, place): (Side, u64)| matches!(side, Side::StaleRecord | Side::StaleObject).then_some(place);
    moves.iter().map(|(from, to)| Tangled { from: pair(*from), to: pair(*to) }).collect()
}

/// Leaves out moves to where a record stays, and from where none comes to, and then those that hang on them.
fn without_ends(moves: Sorted, mut count: usize) -> io::Result<Sorted> {
    let (mut by_from, mut by_to) = (moves, Numbers::default());
    let mut all = by_from.iter();
    while let Some(next) = all.next()? {
        by_to.push(join(lower(next), upper(next)))?;
    }
    let mut by_to = by_to.sort()?;
    for _ in 0..PASSES {
        let (mut left, mut kept) = (0, Numbers::default());
        meeting(&mut by_from.iter(), Side::StaleRecord, &mut by_to.iter(), Side::StaleObject, |one| kept.push(one))?;
        by_to = kept.sort()?;
        meeting(&mut by_to.iter(), Side::StaleObject, &mut by_from.iter(), Side::StaleRecord, |one| {
            left += 1;
            kept.push(one)
        })?;
        by_from = kept.sort()?;
        if left == count {
            break;
        }
        count = left;
    }
    Ok(by_from)
}

/// Goes through `moves`, and turns around those that `others` meet where they are on the side `needs`.
fn meeting(
    moves: &mut Merge<'_>,
    needs: Side,
    others: &mut Merge<'_>,
    meets: Side,
    mut keep: impl FnMut(u128) -> io::Result<()>,
) -> io::Result<()> {
    while let Some(next) = moves.next()? {
        let (side, place) = Side::of(upper(next));
        let met = meets.at(place);
        if side == needs {
            while others.peek()?.is_some_and(|other| upper(other) < met) {
                others.next()?;
            }
            if others.peek()?.map(upper) != Some(met) {
                continue;
            }
        }
        keep(join(lower(next), upper(next)))?;
    }
    Ok(())
}

/// Packs a move, the lesser one of its places first.
fn near_each_other(from: (Side, u64), to: (Side, u64)) -> u128 {
    let sides = u64::from(from.0 == Side::StaleRecord) | u64::from(to.0 == Side::StaleObject) << 1;
    let (first, last) = (from.1.min(to.1), from.1.max(to.1));
    join(first << 4 | u64::from(from.1 == last) << 2 | sides, last)
}

/// Takes apart what [`near_each_other`] has packed.
fn taken_apart(packed: u128) -> Move {
    let (first, last) = (upper(packed) >> 4, lower(packed));
    let is = |bit: u64| upper(packed) & bit > 0;
    let (from, to) = if is(4) { (last, first) } else { (first, last) };
    let from_side = if is(1) { Side::StaleRecord } else { Side::Orphan };
    let to_side = if is(2) { Side::StaleObject } else { Side::Missing };
    ((from_side, from), (to_side, to))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moves_are_packed() {
        for from in [(Side::Orphan, 0), (Side::StaleRecord, (1 << 60) - 1), (Side::StaleRecord, 7)] {
            for to in [(Side::Missing, 1), (Side::StaleObject, (1 << 60) - 2), (Side::StaleObject, 5)] {
                assert_eq!(taken_apart(near_each_other(from, to)), (from, to));
            }
        }
    }

    #[test]
    fn no_portion_is_larger_than_the_window() {
        let mut tangle = Tangle::new(10);
        // A hundred swaps.
        for n in 0..100 {
            for (from, to) in [(n, n + 100), (n + 100, n)] {
                tangle.push(((Side::StaleRecord, from), (Side::StaleObject, to))).unwrap();
            }
        }
        let Untangled { portions, undecided } = tangle.settle().unwrap();
        let portions = portions.iter().unwrap().batch(1_000).unwrap();
        assert_eq!(portions.iter().map(Vec::len).sum::<usize>(), 200);
        assert!(portions.iter().all(|portion| portion.len() <= 10), "{portions:?}");
        assert!(undecided.iter().unwrap().next().unwrap().is_none());
    }
}
