//! What waits, on disk: a run's memory does not grow with what it finds.

use std::fs::File;
use std::io::{self, BufRead as _, BufReader, BufWriter, Write as _};
use std::marker::PhantomData;
use std::os::unix::fs::FileExt as _;

use serde::Serialize;
use serde::de::DeserializeOwned;

/// Items in an unnamed temporary file, one JSON line each. Most runs never need the file.
#[derive(Debug)]
pub(super) struct Spool<T> {
    file: Option<BufWriter<File>>,
    bytes: u64,
    len: u64,
    items: PhantomData<fn() -> T>,
}

impl<T> Default for Spool<T> {
    fn default() -> Self {
        Self { file: None, bytes: 0, len: 0, items: PhantomData }
    }
}

impl<T: Serialize + DeserializeOwned> Spool<T> {
    /// Adds an item at the end, and returns where it is.
    ///
    /// # Errors
    /// When there is no room for temporary files.
    pub(super) fn push(&mut self, item: &T) -> io::Result<u64> {
        let mut line = serde_json::to_vec(item)?;
        line.push(b'\n');
        let file = match &mut self.file {
            Some(file) => file,
            None => self.file.insert(BufWriter::new(tempfile::tempfile()?)),
        };
        file.write_all(&line)?;
        let at = self.bytes;
        self.bytes += line.len() as u64;
        self.len += 1;
        Ok(at)
    }

    /// Returns how many wait.
    pub(super) fn len(&self) -> u64 {
        self.len
    }

    /// Takes all of it, to be read.
    ///
    /// # Errors
    /// When the file cannot be written to its end.
    pub(super) fn finish(&mut self) -> io::Result<Spooled<T>> {
        let Self { file, bytes, .. } = std::mem::take(self);
        let file = file.map(|file| file.into_inner().map_err(io::IntoInnerError::into_error)).transpose()?;
        Ok(Spooled { file, bytes, items: PhantomData })
    }
}

/// The items of a spool, in the order in which they came.
#[derive(Debug)]
pub(super) struct Spooled<T> {
    file: Option<File>,
    bytes: u64,
    items: PhantomData<fn() -> T>,
}

impl<T: DeserializeOwned> Spooled<T> {
    /// Reads the item at `at`, as [`Spool::push`] has named the place.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub(super) fn get(&self, at: u64) -> io::Result<T> {
        let mut line = String::new();
        self.lines(at)?.read_line(&mut line)?;
        Ok(serde_json::from_str(&line)?)
    }

    /// Goes through all items.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub(super) fn iter(&self) -> io::Result<Items<T>> {
        Ok(Items { lines: self.lines(0)?, at: 0, end: self.bytes, line: String::new(), items: PhantomData })
    }

    fn lines(&self, at: u64) -> io::Result<BufReader<Part>> {
        let file = self.file.as_ref().map(File::try_clone).transpose()?;
        Ok(BufReader::with_capacity(if at == 0 { 1 << 16 } else { 1 << 9 }, Part { file, at }))
    }
}

/// A file from some place on, read without moving where others read it.
#[derive(Debug)]
struct Part {
    file: Option<File>,
    at: u64,
}

impl io::Read for Part {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let Some(file) = &self.file else { return Ok(0) };
        let count = file.read_at(buffer, self.at)?;
        self.at += count as u64;
        Ok(count)
    }
}

/// Goes through the items of a spool.
#[derive(Debug)]
pub(super) struct Items<T> {
    lines: BufReader<Part>,
    at: u64,
    end: u64,
    line: String,
    items: PhantomData<fn() -> T>,
}

impl<T: DeserializeOwned> Items<T> {
    /// Returns the next item and where it is; none at the end.
    ///
    /// # Errors
    /// When the file cannot be read, or is shorter than it was.
    pub(super) fn next(&mut self) -> io::Result<Option<(u64, T)>> {
        if self.at == self.end {
            return Ok(None);
        }
        self.line.clear();
        let (at, count) = (self.at, self.lines.read_line(&mut self.line)?);
        if count == 0 {
            return Err(io::Error::from(io::ErrorKind::UnexpectedEof));
        }
        self.at += count as u64;
        Ok(Some((at, serde_json::from_str(&self.line)?)))
    }

    /// Returns up to `size` items; none at the end.
    ///
    /// # Errors
    /// As [`Self::next`].
    pub(super) fn batch(&mut self, size: usize) -> io::Result<Vec<T>> {
        let mut batch = Vec::new();
        while batch.len() < size
            && let Some((_, item)) = self.next()?
        {
            batch.push(item);
        }
        Ok(batch)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_waits_comes_back_in_order_and_from_its_place() {
        let mut spool = Spool::default();
        let places: Vec<u64> = (0..2_500).map(|n| spool.push(&format!("item\n{n}")).unwrap()).collect();
        assert_eq!(spool.len(), 2_500);
        let spooled = spool.finish().unwrap();
        assert_eq!(spool.len(), 0);
        for n in [0, 7, 2_499, 300] {
            assert_eq!(spooled.get(places[n]).unwrap(), format!("item\n{n}"));
        }
        let mut items = spooled.iter().unwrap();
        let mut seen = 0;
        loop {
            let batch = items.batch(1_000).unwrap();
            if batch.is_empty() {
                break;
            }
            for item in batch {
                assert_eq!(item, format!("item\n{seen}"));
                seen += 1;
            }
        }
        assert_eq!(seen, 2_500);
        let nothing: Spooled<String> = Spool::default().finish().unwrap();
        assert!(nothing.iter().unwrap().next().unwrap().is_none());
    }
}
