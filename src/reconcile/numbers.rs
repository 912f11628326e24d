//! Numbers in any amount, sorted when they are wanted: in memory as long as they are few, else in runs on disk.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::fs::File;
use std::io::{self, BufWriter, Write as _};
use std::os::unix::fs::FileExt as _;

/// How many numbers are kept in memory: 8 MiB of them.
const HELD: usize = 1 << 19;

/// How many bytes a number has on disk.
const WIDTH: usize = 16;

/// How many numbers of a run are read at a time.
const AHEAD: usize = 512;

/// A heap of numbers.
#[derive(Debug)]
pub(super) struct Numbers {
    held: Vec<u128>,
    most: usize,
    spilled: Option<BufWriter<File>>,
    runs: usize,
}

impl Default for Numbers {
    fn default() -> Self {
        Self { held: Vec::new(), most: HELD, spilled: None, runs: 0 }
    }
}

impl Numbers {
    /// Adds a number.
    ///
    /// # Errors
    /// When there is no room for temporary files.
    pub(super) fn push(&mut self, number: u128) -> io::Result<()> {
        if self.held.len() == self.most {
            // As they are: most heaps are thrown away unsorted.
            let file = match &mut self.spilled {
                Some(file) => file,
                None => self.spilled.insert(BufWriter::new(tempfile::tempfile()?)),
            };
            self.held.iter().try_for_each(|number| file.write_all(&number.to_le_bytes()))?;
            self.held.clear();
            self.runs += 1;
        }
        self.held.push(number);
        Ok(())
    }

    /// Forgets all of them.
    pub(super) fn clear(&mut self) {
        self.held.clear();
        self.spilled = None;
        self.runs = 0;
    }

    /// Takes all of them, in order.
    ///
    /// # Errors
    /// When temporary files cannot be written or read.
    pub(super) fn sort(&mut self) -> io::Result<Sorted> {
        self.held.sort_unstable();
        let (held, runs) = (std::mem::take(&mut self.held), std::mem::take(&mut self.runs));
        let Some(spilled) = self.spilled.take() else { return Ok(Sorted { held, file: None }) };
        let file = spilled.into_inner().map_err(io::IntoInnerError::into_error)?;
        let mut bytes = vec![0; self.most * WIDTH];
        for run in 0..runs {
            let at = (run * bytes.len()) as u64;
            file.read_exact_at(&mut bytes, at)?;
            let mut numbers: Vec<u128> = bytes.chunks_exact(WIDTH).map(number).collect();
            numbers.sort_unstable();
            bytes.chunks_exact_mut(WIDTH).zip(&numbers).for_each(|(to, n)| to.copy_from_slice(&n.to_le_bytes()));
            file.write_all_at(&bytes, at)?;
        }
        Ok(Sorted { held, file: Some((file, runs, self.most)) })
    }
}

fn number(bytes: &[u8]) -> u128 {
    bytes.try_into().map_or(0, u128::from_le_bytes)
}

/// Numbers in order; they can be gone through more than once.
#[derive(Debug)]
pub(super) struct Sorted {
    held: Vec<u128>,
    /// The file, how many runs it has, and how many numbers a run has.
    file: Option<(File, usize, usize)>,
}

impl Sorted {
    /// Goes through them from the least on.
    pub(super) fn iter(&self) -> Merge<'_> {
        let mut runs = vec![Run { at: 0, end: 0, file: None, read: Vec::new(), held: &self.held }];
        if let Some((file, count, length)) = &self.file {
            runs.extend((0..*count).map(|run| {
                let (at, end) = ((run * length * WIDTH) as u64, ((run + 1) * length * WIDTH) as u64);
                Run { at, end, file: Some(file), read: Vec::new(), held: &[] }
            }));
        }
        Merge { runs, heads: BinaryHeap::new(), begun: false }
    }
}

/// One sorted run, in memory or on disk.
#[derive(Debug)]
struct Run<'s> {
    at: u64,
    end: u64,
    file: Option<&'s File>,
    /// What has been read ahead, the next one last.
    read: Vec<u128>,
    held: &'s [u128],
}

impl Run<'_> {
    fn next(&mut self) -> io::Result<Option<u128>> {
        let Some(file) = self.file else {
            let Some((first, rest)) = self.held.split_first() else { return Ok(None) };
            self.held = rest;
            return Ok(Some(*first));
        };
        if self.read.is_empty() && self.at < self.end {
            let left = usize::try_from(self.end - self.at).unwrap_or(usize::MAX);
            let mut bytes = vec![0; left.min(AHEAD * WIDTH)];
            file.read_exact_at(&mut bytes, self.at)?;
            self.at += bytes.len() as u64;
            self.read = bytes.chunks_exact(WIDTH).map(number).rev().collect();
        }
        Ok(self.read.pop())
    }
}

/// Goes through sorted runs at once.
#[derive(Debug)]
pub(super) struct Merge<'s> {
    runs: Vec<Run<'s>>,
    heads: BinaryHeap<Reverse<(u128, usize)>>,
    begun: bool,
}

impl Merge<'_> {
    fn refill(&mut self, run: usize) -> io::Result<()> {
        if let Some(number) = self.runs[run].next()? {
            self.heads.push(Reverse((number, run)));
        }
        Ok(())
    }

    /// Returns the next number without taking it.
    ///
    /// # Errors
    /// When the temporary file cannot be read.
    pub(super) fn peek(&mut self) -> io::Result<Option<u128>> {
        if !self.begun {
            self.begun = true;
            (0..self.runs.len()).try_for_each(|run| self.refill(run))?;
        }
        Ok(self.heads.peek().map(|Reverse((number, _))| *number))
    }

    /// Takes the next number.
    ///
    /// # Errors
    /// When the temporary file cannot be read.
    pub(super) fn next(&mut self) -> io::Result<Option<u128>> {
        self.peek()?;
        let Some(Reverse((number, run))) = self.heads.pop() else { return Ok(None) };
        self.refill(run)?;
        Ok(Some(number))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(sorted: &Sorted) -> Vec<u128> {
        let mut merge = sorted.iter();
        std::iter::from_fn(|| merge.next().unwrap()).collect()
    }

    #[test]
    fn many_are_sorted_on_disk_as_few_are_in_memory() {
        for (most, count) in [(8, 0), (8, 8), (8, 9), (8, 1_000), (700, 5_000)] {
            let mut numbers = Numbers { most, ..Numbers::default() };
            // A multiplication scatters them, and some are equal.
            let mut want: Vec<u128> = (0..count).map(|n: u128| (((n * 7_919) % 1_009) << 64) | (n % 3)).collect();
            for number in &want {
                numbers.push(*number).unwrap();
            }
            want.sort_unstable();
            let sorted = numbers.sort().unwrap();
            assert_eq!(all(&sorted), want, "{most} {count}");
            assert_eq!(all(&sorted), want, "a second time");
            numbers.push(5).unwrap();
            assert_eq!(all(&numbers.sort().unwrap()), [5], "the heap begins anew");
        }
    }
}
