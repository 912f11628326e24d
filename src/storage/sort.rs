//! External merge sort: entries in sorted runs of bounded size, in unnamed temporary files.

use std::cmp::Ordering;
use std::collections::BinaryHeap;
use std::collections::binary_heap::PeekMut;
use std::fs::File;
use std::io::{self, BufReader, BufWriter, Read, Seek as _, SeekFrom, Write};
use std::vec;

/// How many runs are merged at a time, which bounds the number of open files.
const FAN: usize = 16;

/// An entry that can be sorted on disk. Entries that compare as equal are repetitions of one another.
pub(super) trait Sortable: Ord + Sized {
    /// Returns about how many bytes of memory the entry takes.
    fn weight(&self) -> usize;

    /// Writes the entry.
    ///
    /// # Errors
    /// When `out` fails.
    fn write(&self, out: &mut impl Write) -> io::Result<()>;

    /// Reads what [`Self::write`] wrote.
    ///
    /// # Errors
    /// When `from` fails.
    fn read(from: &mut impl Read) -> io::Result<Self>;
}

/// Writes a text of any bytes, with its length before it.
///
/// # Errors
/// When `out` fails.
pub(super) fn write_text(out: &mut impl Write, text: &[u8]) -> io::Result<()> {
    let len = u32::try_from(text.len()).map_err(io::Error::other)?;
    out.write_all(&len.to_le_bytes())?;
    out.write_all(text)
}

/// Reads what [`write_text`] wrote.
///
/// # Errors
/// When `from` fails.
pub(super) fn read_text(from: &mut impl Read) -> io::Result<Vec<u8>> {
    let mut len = [0; 4];
    from.read_exact(&mut len)?;
    let mut text = vec![0; usize::try_from(u32::from_le_bytes(len)).map_err(io::Error::other)?];
    from.read_exact(&mut text)?;
    Ok(text)
}

/// A sorted part of all entries, in an unnamed temporary file.
#[derive(Debug)]
struct Run {
    file: File,
    len: u64,
}

impl Run {
    fn write<T: Sortable>(sorted: impl Iterator<Item = io::Result<T>>) -> io::Result<Self> {
        let mut file = BufWriter::with_capacity(1 << 16, tempfile::tempfile()?);
        let mut len = 0;
        for entry in sorted {
            entry?.write(&mut file)?;
            len += 1;
        }
        let mut file = file.into_inner().map_err(io::IntoInnerError::into_error)?;
        file.seek(SeekFrom::Start(0))?;
        Ok(Self { file, len })
    }
}

/// Sorted runs. As soon as there are [`FAN`] of about one size they become one.
#[derive(Debug)]
pub(super) struct Runs<T> {
    /// The runs of the least size first.
    levels: Vec<Vec<Run>>,
    repeats: Repeats<T>,
    /// Whether a merge had more repetitions than entries.
    is_circle: bool,
}

/// What came more than once.
#[derive(Debug)]
pub(super) struct Repeats<T> {
    /// How many entries were left out.
    pub(super) count: u64,
    /// One of them.
    pub(super) example: Option<T>,
}

impl<T> Default for Repeats<T> {
    fn default() -> Self {
        Self { count: 0, example: None }
    }
}

impl<T> Repeats<T> {
    fn note(&mut self, entry: Option<T>) {
        self.count += 1;
        self.example = self.example.take().or(entry);
    }

    fn add(&mut self, others: Self) {
        self.count += others.count;
        self.example = self.example.take().or(others.example);
    }
}

impl<T> Default for Runs<T> {
    fn default() -> Self {
        Self { levels: Vec::new(), repeats: Repeats::default(), is_circle: false }
    }
}

impl<T: Sortable> Runs<T> {
    /// Adds a run of sorted entries, none of them twice.
    ///
    /// # Errors
    /// When temporary files fail.
    pub(super) fn add(&mut self, sorted: impl Iterator<Item = T>) -> io::Result<()> {
        let mut run = Run::write(sorted.map(Ok))?;
        for level in 0.. {
            if self.levels.len() == level {
                self.levels.push(Vec::new());
            }
            self.levels[level].push(run);
            if self.levels[level].len() < FAN {
                break;
            }
            let mut merge = Merge::<T>::of(std::mem::take(&mut self.levels[level]))?;
            run = Run::write(merge.by_ref())?;
            self.is_circle |= merge.repeats.count > run.len;
            self.repeats.add(merge.repeats);
        }
        Ok(())
    }

    /// Tells whether there is no run.
    pub(super) fn is_empty(&self) -> bool {
        self.levels.is_empty()
    }

    /// Begins to read all entries in order, each once.
    ///
    /// # Errors
    /// When temporary files fail.
    pub(super) fn merge(self) -> io::Result<Merge<T>> {
        Merge::of(self.levels.into_iter().flatten().collect())
    }
}

/// Entries of several runs, in order, each once.
#[derive(Debug)]
pub(super) struct Merge<T> {
    sources: Vec<(BufReader<File>, u64)>,
    heads: BinaryHeap<Head<T>>,
    repeats: Repeats<T>,
}

impl<T: Sortable> Merge<T> {
    fn of(runs: Vec<Run>) -> io::Result<Self> {
        let sources: Vec<_> = runs.into_iter().map(|run| (BufReader::new(run.file), run.len)).collect();
        let mut merge = Self { heads: BinaryHeap::with_capacity(sources.len()), sources, repeats: Repeats::default() };
        for at in 0..merge.sources.len() {
            if let Some(entry) = Self::read(&mut merge.sources[at])? {
                merge.heads.push(Head { entry, at });
            }
        }
        Ok(merge)
    }

    fn read((file, left): &mut (BufReader<File>, u64)) -> io::Result<Option<T>> {
        let Some(rest) = left.checked_sub(1) else { return Ok(None) };
        *left = rest;
        T::read(file).map(Some)
    }

    /// Takes the least entry, and replaces it by the next one of its run.
    fn pop(&mut self) -> io::Result<Option<T>> {
        let Some(mut head) = self.heads.peek_mut() else { return Ok(None) };
        Ok(Some(match Self::read(&mut self.sources[head.at])? {
            Some(next) => std::mem::replace(&mut head.entry, next),
            None => PeekMut::pop(head).entry,
        }))
    }

    fn take(&mut self) -> io::Result<Option<T>> {
        let Some(entry) = self.pop()? else { return Ok(None) };
        while self.heads.peek().is_some_and(|head| head.entry == entry) {
            let again = self.pop()?;
            self.repeats.note(again);
        }
        Ok(Some(entry))
    }
}

impl<T: Sortable> Iterator for Merge<T> {
    type Item = io::Result<T>;

    fn next(&mut self) -> Option<Self::Item> {
        self.take().transpose()
    }
}

/// The least entry of a run that has not been taken.
#[derive(Debug)]
struct Head<T> {
    entry: T,
    at: usize,
}

impl<T: Ord> Ord for Head<T> {
    /// Reversed: a heap has its greatest entry on top.
    fn cmp(&self, other: &Self) -> Ordering {
        other.entry.cmp(&self.entry).then_with(|| other.at.cmp(&self.at))
    }
}

impl<T: Ord> PartialOrd for Head<T> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl<T: Ord> PartialEq for Head<T> {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl<T: Ord> Eq for Head<T> {}

/// Sorts entries as they come, and counts repetitions.
#[derive(Debug)]
pub(super) struct Sorter<T> {
    /// How many bytes are kept in memory.
    room: usize,
    weight: usize,
    waiting: Vec<T>,
    runs: Runs<T>,
}

impl<T: Sortable> Sorter<T> {
    /// Begins to sort, with `room` bytes of memory.
    pub(super) fn new(room: usize) -> Self {
        Self { room, weight: 0, waiting: Vec::new(), runs: Runs::default() }
    }

    /// Takes an entry. Tells whether there is no room for more until [`Self::spill`] has made it.
    pub(super) fn push(&mut self, entry: T) -> bool {
        self.weight += entry.weight() + size_of::<T>();
        self.waiting.push(entry);
        self.weight >= self.room
    }

    /// Sorts what is in memory and writes it to the disk. Tells whether more entries came again than there are: the source
    /// goes round in a circle.
    ///
    /// # Errors
    /// When temporary files fail.
    pub(super) fn spill(&mut self) -> io::Result<bool> {
        let repeats = self.sort();
        let is_circle = repeats > self.waiting.len();
        self.weight = 0;
        self.runs.add(self.waiting.drain(..))?;
        Ok(is_circle || self.runs.is_circle)
    }

    /// Sorts what is in memory, leaves out repetitions, and returns how many there were.
    fn sort(&mut self) -> usize {
        let count = self.waiting.len();
        self.waiting.sort_unstable();
        if let Some(at) = self.waiting.windows(2).position(|pair| pair[0] == pair[1]) {
            let entry = self.waiting.remove(at);
            self.runs.repeats.note(Some(entry));
            let left = self.waiting.len();
            self.waiting.dedup();
            self.runs.repeats.count += (left - self.waiting.len()) as u64;
        }
        count - self.waiting.len()
    }

    /// Ends the sorting: the number of repetitions is known from then on.
    ///
    /// # Errors
    /// When temporary files fail.
    pub(super) fn finish(mut self) -> io::Result<Sorted<T>> {
        if self.runs.is_empty() {
            self.sort();
            return Ok(Sorted { repeats: self.runs.repeats, entries: Entries::Memory(self.waiting.into_iter()) });
        }
        self.spill()?;
        drop(self.waiting);
        let mut repeats = std::mem::take(&mut self.runs.repeats);
        let mut merge = self.runs.merge()?;
        let run = Run::write(merge.by_ref())?;
        repeats.add(merge.repeats);
        Ok(Sorted { repeats, entries: Entries::Disk(Merge::of(vec![run])?) })
    }
}

/// All entries in order, each once.
#[derive(Debug)]
pub(super) struct Sorted<T> {
    /// What was left out because it came more than once.
    pub(super) repeats: Repeats<T>,
    entries: Entries<T>,
}

#[derive(Debug)]
enum Entries<T> {
    Memory(vec::IntoIter<T>),
    Disk(Merge<T>),
}

impl<T: Sortable> Iterator for Sorted<T> {
    type Item = io::Result<T>;

    fn next(&mut self) -> Option<Self::Item> {
        match &mut self.entries {
            Entries::Memory(entries) => entries.next().map(Ok),
            Entries::Disk(entries) => entries.next(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::collections::BTreeSet;

    use super::*;

    thread_local! {
        /// How many entries there are, and how many there were at the most.
        static LIVE: Cell<(usize, usize)> = const { Cell::new((0, 0)) };
    }

    #[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
    struct Text(Vec<u8>);

    impl Text {
        fn new(text: Vec<u8>) -> Self {
            LIVE.with(|live| live.set((live.get().0 + 1, live.get().1.max(live.get().0 + 1))));
            Self(text)
        }
    }

    impl Drop for Text {
        fn drop(&mut self) {
            LIVE.with(|live| live.set((live.get().0 - 1, live.get().1)));
        }
    }

    impl Sortable for Text {
        fn weight(&self) -> usize {
            self.0.len()
        }

        fn write(&self, out: &mut impl Write) -> io::Result<()> {
            write_text(out, &self.0)
        }

        fn read(from: &mut impl Read) -> io::Result<Self> {
            read_text(from).map(Self::new)
        }
    }

    /// Numbers that look random, the same each time.
    fn numbers(seed: u64) -> impl Iterator<Item = u64> {
        let mut state = seed;
        std::iter::repeat_with(move || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            state >> 33
        })
    }

    /// Sorts `texts` with `room` bytes; returns them, the number of repetitions, and whether they seem to go in a circle.
    fn sorted(texts: impl Iterator<Item = Vec<u8>>, room: usize) -> (Vec<Vec<u8>>, u64, bool) {
        let (mut sorter, mut circle) = (Sorter::new(room), false);
        for text in texts {
            if sorter.push(Text::new(text)) {
                circle |= sorter.spill().unwrap();
            }
        }
        let sorted = sorter.finish().unwrap();
        let repeats = sorted.repeats.count;
        (sorted.map(|text| text.unwrap().0.clone()).collect(), repeats, circle)
    }

    #[test]
    fn the_sorter_agrees_with_a_set_whatever_the_size_of_its_runs() {
        for (seed, count) in [(1, 0), (2, 1), (3, 2), (4, 100), (5, 3_000)] {
            for room in [1, 90, 1_000, usize::MAX] {
                let texts = || {
                    let mut numbers = numbers(seed);
                    std::iter::repeat_with(move || {
                        let len = usize::try_from(numbers.next().unwrap() % 5).unwrap();
                        numbers.by_ref().take(len).map(|n| b"\0-/a\xff"[usize::try_from(n % 5).unwrap()]).collect()
                    })
                    .take(count)
                };
                let want: BTreeSet<Vec<u8>> = texts().collect();
                let (got, repeats, _) = sorted(texts(), room);
                assert_eq!(repeats, (count - want.len()) as u64, "{count} entries in {room} bytes");
                assert_eq!(got, want.into_iter().collect::<Vec<_>>(), "{count} entries in {room} bytes");
            }
        }
    }

    #[test]
    fn law_14_the_entries_in_memory_do_not_grow_with_their_number() {
        let mut peaks = Vec::new();
        for count in [20_000, 200_000] {
            LIVE.with(|live| live.set((0, 0)));
            let (mut last, mut sorter) = (Vec::new(), Sorter::new(100 * (size_of::<Text>() + 8)));
            for number in numbers(7).take(count) {
                if sorter.push(Text::new(number.to_be_bytes().to_vec())) {
                    sorter.spill().unwrap();
                }
            }
            let (mut seen, sorted) = (0, sorter.finish().unwrap());
            let repeats = sorted.repeats.count;
            for text in sorted {
                let text = text.unwrap();
                assert!(text.0 > last);
                last.clone_from(&text.0);
                seen += 1;
            }
            assert_eq!(seen + repeats, count as u64);
            peaks.push(LIVE.with(Cell::get).1);
        }
        // A hundred that wait, and the heads of at most FAN runs on each of four levels.
        assert!(peaks.iter().all(|peak| *peak <= 100 + 4 * FAN), "{peaks:?}");
    }

    #[test]
    fn a_source_without_an_end_is_noticed_whatever_the_length_of_its_circle() {
        for length in [1, 7, 99, 100, 101, 1_000, 20_000] {
            let mut sorter = Sorter::new(100 * (size_of::<Text>() + 8));
            let is_noticed = (0_u64..1_000_000).any(|n| {
                let number = (n % length).wrapping_mul(0x9e37_79b9_7f4a_7c15);
                sorter.push(Text::new(number.to_be_bytes().to_vec())) && sorter.spill().unwrap()
            });
            assert!(is_noticed, "a circle of {length}");
        }
        // Each entry twice is no circle yet.
        let twice = (0_u32..10_000).flat_map(|n| [n, n]).map(|n| n.to_be_bytes().to_vec());
        let (got, repeats, circle) = sorted(twice, 100 * (size_of::<Text>() + 4));
        assert_eq!((got.len(), repeats, circle), (10_000, 10_000, false));
    }
}
