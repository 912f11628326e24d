//! Which records and objects are provably one file, or one content -> what has moved. Pure.

use std::collections::HashMap;
use std::io;

use crate::model::RenameProof;

/// How something that carries a fingerprint stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Side {
    /// A record or an object that stays where it is: it has a counterpart at its path, or is left out.
    Twin,
    /// A record in a range that was not listed.
    Hidden,
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
    const ALL: [Self; 6] =
        [Self::Twin, Self::Hidden, Self::Orphan, Self::Missing, Self::StaleRecord, Self::StaleObject];

    /// Packs it and a number of less than 2^60 into one number.
    pub(super) fn at(self, place: u64) -> u64 {
        (self as u64) << 60 | place
    }

    /// Takes apart what [`Self::at`] has packed.
    pub(super) fn of(packed: u64) -> (Self, u64) {
        let side = usize::try_from(packed >> 60).ok().and_then(|at| Self::ALL.get(at));
        (side.copied().unwrap_or(Self::Twin), packed & ((1 << 60) - 1))
    }
}

/// All that carries one fingerprint, by where it waits; hidden records by their ids.
#[derive(Debug, Default, Clone)]
pub(super) struct Group {
    pub(super) twins: u64,
    pub(super) hidden: Vec<u64>,
    pub(super) orphans: Vec<u64>,
    pub(super) missing: Vec<u64>,
    pub(super) stale_records: Vec<u64>,
    pub(super) stale_objects: Vec<u64>,
}

/// What a group comes to.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Pairs {
    /// Moves to free paths: the orphan and the missing object.
    pub(super) moves: Vec<(u64, u64)>,
    /// Moves in which paths change hands.
    pub(super) tangled: Vec<((Side, u64), (Side, u64))>,
    /// Missing objects that may be what a hidden record is of: the object and the record's id. The record's key has to be
    /// asked for.
    pub(super) asks: Vec<(u64, u64)>,
    /// Orphans that have not provably moved, and a missing object that they might be of.
    pub(super) candidates: Vec<(u64, u64)>,
}

impl Group {
    /// Adds a carrier.
    pub(super) fn add(&mut self, (side, place): (Side, u64)) {
        match side {
            Side::Twin => self.twins += 1,
            Side::Hidden => self.hidden.push(place),
            Side::Orphan => self.orphans.push(place),
            Side::Missing => self.missing.push(place),
            Side::StaleRecord => self.stale_records.push(place),
            Side::StaleObject => self.stale_objects.push(place),
        }
    }

    /// Returns how many carriers have a place of their own.
    pub(super) fn len(&self) -> usize {
        self.hidden.len()
            + self.orphans.len()
            + self.missing.len()
            + self.stale_records.len()
            + self.stale_objects.len()
    }

    /// Pairs what is provably one; `name` tells of what waits at a place a number of the base name, and whether a link leads
    /// there.
    ///
    /// # Errors
    /// When `name` fails.
    pub(super) fn pair(self, proof: RenameProof, name: impl Fn(u64) -> io::Result<(u64, bool)>) -> io::Result<Pairs> {
        match proof {
            RenameProof::Nothing => Ok(Pairs::default()),
            RenameProof::File => self.pair_files(name),
            RenameProof::Content => Ok(self.pair_contents()),
        }
    }

    /// All names of one file lead to it: whatever is paired opens the same bytes. But a link may lead elsewhere tomorrow, so it
    /// takes a record only when no name of the file itself is left.
    fn pair_files(self, look: impl Fn(u64) -> io::Result<(u64, bool)>) -> io::Result<Pairs> {
        let name = |place| Ok(look(place)?.0);
        let (mut own, mut links) = (Vec::new(), Vec::new());
        let has_choice = self.missing.len() > 1 && !self.orphans.is_empty();
        for place in self.missing {
            if has_choice && look(place)?.1 { links.push(place) } else { own.push(place) }
        }
        let (mut moves, orphans, mut missing) = pair_names(self.orphans, own, &name)?;
        let (more, orphans, left) = pair_names(orphans, links, &name)?;
        moves.extend(more);
        missing.extend(left);
        missing.sort_unstable();
        let asks = if self.hidden.is_empty() { Vec::new() } else { asks_by_name(&missing, &self.hidden) };
        let sources = with(Side::Orphan, orphans).chain(with(Side::StaleRecord, self.stale_records)).collect();
        let targets = with(Side::Missing, missing).chain(with(Side::StaleObject, self.stale_objects)).collect();
        let (tangled, ..) = pair_names(sources, targets, &|(_, place): (Side, u64)| name(place))?;
        Ok(Pairs { moves, tangled, asks, candidates: Vec::new() })
    }

    /// Equal contents are told apart by nothing, so there may be only one of each.
    fn pair_contents(self) -> Pairs {
        let sources =
            with(Side::Orphan, self.orphans.clone()).chain(with(Side::StaleRecord, self.stale_records.clone()));
        let targets =
            with(Side::Missing, self.missing.clone()).chain(with(Side::StaleObject, self.stale_objects.clone()));
        let (sources, targets): (Vec<_>, Vec<_>) = (sources.collect(), targets.collect());
        let mut pairs = Pairs::default();
        match (sources.as_slice(), targets.as_slice(), self.hidden.as_slice()) {
            ([(Side::Orphan, from)], [(Side::Missing, to)], []) if self.twins == 0 => pairs.moves.push((*from, *to)),
            ([from], [to], []) if self.twins == 0 => pairs.tangled.push((*from, *to)),
            ([], [(Side::Missing, to)], [record]) if self.twins == 0 => pairs.asks.push((*to, *record)),
            _ => {
                let twin = self.missing.first();
                pairs.candidates.extend(self.orphans.iter().filter_map(|orphan| Some((*orphan, *twin?))));
            }
        }
        pairs
    }
}

fn with(side: Side, places: Vec<u64>) -> impl Iterator<Item = (Side, u64)> {
    places.into_iter().map(move |place| (side, place))
}

/// Each missing object may be of any of the hidden records: they are asked for in this order.
fn asks_by_name(missing: &[u64], hidden: &[u64]) -> Vec<(u64, u64)> {
    /// How many records of one file are asked for, at the most, for one of its names.
    const ASKED: usize = 16;
    missing.iter().flat_map(|to| hidden.iter().take(ASKED).map(|record| (*to, *record))).collect()
}

/// What is paired, and what is left on both sides.
type Paired<T> = (Vec<(T, T)>, Vec<T>, Vec<T>);

/// Pairs those of the same base name first, then all others in their order.
fn pair_names<T: Copy>(from: Vec<T>, to: Vec<T>, name: &impl Fn(T) -> io::Result<u64>) -> io::Result<Paired<T>> {
    if from.is_empty() || to.is_empty() {
        return Ok((Vec::new(), from, to));
    }
    if let ([from], [to]) = (from.as_slice(), to.as_slice()) {
        return Ok((vec![(*from, *to)], Vec::new(), Vec::new()));
    }
    // From the back, so that the first one is taken first.
    let mut named: HashMap<u64, Vec<usize>> = HashMap::new();
    for (at, place) in to.iter().enumerate().rev() {
        named.entry(name(*place)?).or_default().push(at);
    }
    let (mut pairs, mut rest, mut taken) = (Vec::new(), Vec::new(), vec![false; to.len()]);
    for source in from {
        match named.get_mut(&name(source)?).and_then(Vec::pop) {
            Some(at) => {
                taken[at] = true;
                pairs.push((source, to[at]));
            }
            None => rest.push(source),
        }
    }
    let mut left: Vec<T> = to.iter().zip(&taken).filter(|(_, taken)| !**taken).map(|(place, _)| *place).collect();
    let both = rest.len().min(left.len());
    pairs.extend(rest.drain(..both).zip(left.drain(..both)));
    Ok((pairs, rest, left))
}

#[cfg(test)]
mod tests {
    use super::Side::{Hidden, Missing, Orphan, StaleObject, StaleRecord, Twin};
    use super::*;

    fn pair(proof: RenameProof, carriers: &[(Side, u64)]) -> Pairs {
        let mut group = Group::default();
        carriers.iter().for_each(|carrier| group.add(*carrier));
        // The last digit is the base name; from 100 on, links lead there.
        group.pair(proof, |place| Ok((place % 10, place >= 100))).unwrap()
    }

    fn moves(of: &[(u64, u64)]) -> Pairs {
        Pairs { moves: of.to_vec(), ..Pairs::default() }
    }

    #[test]
    fn law_11_one_content_moves_when_there_is_one_of_it() {
        let asks = |of: &[(u64, u64)]| Pairs { asks: of.to_vec(), ..Pairs::default() };
        let candidates = |of: &[(u64, u64)]| Pairs { candidates: of.to_vec(), ..Pairs::default() };
        let tangled = |from, to| Pairs { tangled: vec![(from, to)], ..Pairs::default() };
        for (carriers, want) in [
            (&[(Orphan, 1), (Missing, 2)][..], moves(&[(1, 2)])),
            (&[(StaleRecord, 1), (StaleObject, 2)], tangled((StaleRecord, 1), (StaleObject, 2))),
            (&[(StaleRecord, 1), (Missing, 2)], tangled((StaleRecord, 1), (Missing, 2))),
            (&[(Orphan, 1), (StaleObject, 2)], tangled((Orphan, 1), (StaleObject, 2))),
            (&[(Orphan, 1)], Pairs::default()),
            (&[(Missing, 1)], Pairs::default()),
            (&[(Twin, 0), (Orphan, 1)], Pairs::default()),
            (&[(Twin, 0), (Missing, 1)], Pairs::default()),
            (&[(Twin, 0), (Orphan, 1), (Missing, 2)], candidates(&[(1, 2)])),
            (&[(Orphan, 1), (Missing, 2), (Missing, 3)], candidates(&[(1, 2)])),
            (&[(Orphan, 1), (Orphan, 2), (Missing, 3)], candidates(&[(1, 3), (2, 3)])),
            (&[(Orphan, 1), (Missing, 2), (StaleObject, 3)], candidates(&[(1, 2)])),
            (&[(Orphan, 1), (Missing, 2), (Hidden, 7)], candidates(&[(1, 2)])),
            (&[(Hidden, 7), (Missing, 2)], asks(&[(2, 7)])),
            (&[(Hidden, 7), (Hidden, 8), (Missing, 2)], Pairs::default()),
            (&[(Hidden, 7), (Missing, 1), (Missing, 2)], Pairs::default()),
            (&[(Hidden, 7), (Twin, 0), (Missing, 1)], Pairs::default()),
            (&[(Hidden, 7), (Orphan, 1)], Pairs::default()),
            (&[], Pairs::default()),
        ] {
            assert_eq!(pair(RenameProof::Content, carriers), want, "{carriers:?}");
            assert_eq!(pair(RenameProof::Nothing, carriers), Pairs::default());
        }
    }

    #[test]
    fn law_11_names_of_one_file_are_paired_by_base_name_and_then_in_order() {
        for (carriers, want) in [
            (&[(Orphan, 1), (Missing, 2)][..], moves(&[(1, 2)])),
            (&[(Twin, 0), (Orphan, 1), (Missing, 2)], moves(&[(1, 2)])),
            (&[(Orphan, 11), (Orphan, 12), (Missing, 22), (Missing, 31)], moves(&[(11, 31), (12, 22)])),
            (&[(Orphan, 11), (Orphan, 12), (Missing, 23), (Missing, 24)], moves(&[(11, 23), (12, 24)])),
            (&[(Orphan, 11), (Orphan, 21), (Missing, 31), (Missing, 41)], moves(&[(11, 31), (21, 41)])),
            (&[(Orphan, 11), (Missing, 22), (Missing, 31)], moves(&[(11, 31)])),
            (&[(Orphan, 11), (Orphan, 12), (Missing, 22)], moves(&[(12, 22)])),
            (&[(Orphan, 11), (Missing, 101), (Missing, 22)], moves(&[(11, 22)])),
            (&[(Orphan, 11), (Missing, 101)], moves(&[(11, 101)])),
            (&[(Orphan, 11), (Orphan, 12), (Missing, 101), (Missing, 22)], moves(&[(12, 22), (11, 101)])),
        ] {
            assert_eq!(pair(RenameProof::File, carriers), want, "{carriers:?}");
        }
        let hidden = pair(RenameProof::File, &[(Hidden, 70), (Hidden, 80), (Orphan, 11), (Missing, 21), (Missing, 22)]);
        assert_eq!((hidden.moves, hidden.asks), (vec![(11, 21)], vec![(22, 70), (22, 80)]));
        let stale = pair(RenameProof::File, &[(StaleRecord, 11), (StaleObject, 21)]);
        assert_eq!(stale.tangled, [((StaleRecord, 11), (StaleObject, 21))]);
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
