//! Whether the files of one user have kept their inode numbers, disk by disk.

use std::collections::HashMap;

use crate::model::{ObjectFacts, RecordFacts};

/// Counts files that are in step with their records, by the device that they are on.
#[derive(Debug, Default)]
pub(super) struct Inodes(HashMap<u64, Counts>);

#[derive(Debug, Default)]
struct Counts {
    kept: u64,
    new: u64,
}

impl Inodes {
    /// Counts a file and its record, where both say which file it is.
    pub(super) fn count(&mut self, object: &ObjectFacts, record: &RecordFacts<'_>) {
        let (Some(device), Some(now), Some(then)) = (object.device, object.file_id, record.file_id) else { return };
        // What lies behind a link that leads elsewhere now says nothing of the disk.
        if object.linked {
            return;
        }
        let counts = self.0.entry(device).or_default();
        match now.inode == then.inode {
            true => counts.kept += 1,
            false => counts.new += 1,
        }
    }

    /// Tells whether on some device more files have new inode numbers than kept theirs: there they say nothing about files.
    pub(super) fn have_changed(&self) -> bool {
        self.0.values().any(|counts| counts.new > counts.kept)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{FileId, Timestamp};

    #[test]
    fn law_11_numbers_that_do_not_last_prove_nothing() {
        let id = |inode| Some(FileId { inode, born: 1 });
        for (files, changed) in [
            (&[][..], false),
            (&[(1, 5, id(5))][..], false),
            (&[(1, 5, id(6))], true),
            (&[(1, 5, id(6)), (1, 7, id(7))], false),
            (&[(1, 5, id(6)), (2, 7, id(7))], true),
            (&[(1, 5, None)], false),
        ] {
            let mut inodes = Inodes::default();
            for &(device, now, then) in files {
                let last_modified = Timestamp::from_micros(0);
                let (key, device) = (String::new(), Some(device));
                let object =
                    ObjectFacts { key, size: 0, last_modified, etag: None, file_id: id(now), device, linked: false };
                let record = RecordFacts {
                    id: 1,
                    path: "",
                    size: None,
                    content_type: None,
                    etag: None,
                    last_modified: None,
                    file_id: then,
                    created_at: None,
                    version: b"",
                    damaged: false,
                };
                inodes.count(&object, &record);
            }
            assert_eq!(inodes.have_changed(), changed, "{files:?}");
        }
    }
}
