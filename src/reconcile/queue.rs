//! Orphans that wait for the guard: on disk, so that a run's memory does not grow with what it finds.

use std::io::{self, BufRead as _, BufReader, BufWriter, Read, Seek as _, SeekFrom, Write as _};

use crate::model::Orphan;

/// A queue in an unnamed temporary file, one JSON line an orphan. Most runs never need the file.
#[derive(Debug, Default)]
pub(super) struct DeletionQueue {
    file: Option<BufWriter<std::fs::File>>,
    len: u64,
}

impl DeletionQueue {
    /// Adds an orphan at the end.
    ///
    /// # Errors
    /// When there is no room for temporary files.
    pub(super) fn push(&mut self, orphan: &Orphan) -> io::Result<()> {
        let file = match &mut self.file {
            Some(file) => file,
            None => self.file.insert(BufWriter::new(tempfile::tempfile()?)),
        };
        serde_json::to_writer(&mut *file, orphan)?;
        file.write_all(b"\n")?;
        self.len += 1;
        Ok(())
    }

    /// Returns how many wait.
    pub(super) fn len(&self) -> u64 {
        self.len
    }

    /// Goes back to the first and reads them in batches.
    ///
    /// # Errors
    /// When the file cannot be written to its end.
    pub(super) fn into_batches(self, size: usize) -> io::Result<Batches> {
        let lines: Box<dyn Read + Send + Sync> = match self.file {
            None => Box::new(io::empty()),
            Some(file) => {
                let mut file = file.into_inner().map_err(io::IntoInnerError::into_error)?;
                file.seek(SeekFrom::Start(0))?;
                Box::new(file)
            }
        };
        Ok(Batches { lines: BufReader::new(lines), size, left: self.len })
    }
}

/// The orphans of a queue, in the order in which they were found.
pub(super) struct Batches {
    lines: BufReader<Box<dyn Read + Send + Sync>>,
    size: usize,
    left: u64,
}

impl Batches {
    /// Reads the next batch; an empty one at the end.
    ///
    /// # Errors
    /// When the file cannot be read, or is shorter than it was.
    pub(super) fn next(&mut self) -> io::Result<Vec<Orphan>> {
        let mut batch = Vec::new();
        let mut line = String::new();
        while batch.len() < self.size && self.left > 0 {
            line.clear();
            if self.lines.read_line(&mut line)? == 0 {
                return Err(io::Error::from(io::ErrorKind::UnexpectedEof));
            }
            batch.push(serde_json::from_str(&line)?);
            self.left -= 1;
        }
        Ok(batch)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_waits_comes_back_in_order() {
        let mut queue = DeletionQueue::default();
        let orphan = |n: i64| Orphan {
            user: 1,
            id: n,
            path: format!("a\u{1f}\"é{n}\n"),
            size: None,
            content_type: Some("t".into()),
            etag: None,
            last_modified: Some(n),
            created_at: None,
            version: vec![0, 255, b'\n'],
        };
        for n in 0..1_001 {
            queue.push(&orphan(n)).unwrap();
        }
        assert_eq!(queue.len(), 1_001);
        let mut batches = queue.into_batches(250).unwrap();
        let mut all = Vec::new();
        loop {
            let batch = batches.next().unwrap();
            if batch.is_empty() {
                break;
            }
            assert!(batch.len() <= 250);
            all.extend(batch);
        }
        assert_eq!(all, (0..1_001).map(orphan).collect::<Vec<_>>());
        assert!(DeletionQueue::default().into_batches(1).unwrap().next().unwrap().is_empty());
    }
}
