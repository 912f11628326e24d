//! A disk that is mounted or unmounted while storm-index is at work: what its mount point says is no word on its files.
//! The root is renamed here and another directory is made in its place, which needs no privileges.

use std::path::{Path, PathBuf};

use storm_index::model::Timestamp;
use storm_index::storage::{Doubt, Glance, MARKER, MarkerState, Step, Storage, marker_document};
use tempfile::TempDir;
use uuid::Uuid;

use crate::listing::{all, look};
use crate::support::playground::block_on;

/// A disk that can be taken away and brought back.
struct Disk(TempDir);

impl Disk {
    fn with(files: &[&str]) -> Self {
        let disk = Self(tempfile::tempdir().unwrap());
        files.iter().for_each(|key| write(&disk.root().join(key)));
        disk
    }

    fn root(&self) -> PathBuf {
        self.0.path().join("files")
    }

    fn unmount(&self) {
        std::fs::rename(self.root(), self.0.path().join("away")).unwrap();
        std::fs::create_dir(self.root()).unwrap();
    }

    fn mount(&self) {
        std::fs::remove_dir_all(self.root()).unwrap();
        std::fs::rename(self.0.path().join("away"), self.root()).unwrap();
    }
}

fn write(path: &Path) {
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, "x").unwrap();
}

fn is_doubted(doubt: Option<Doubt>) {
    let doubt = doubt.unwrap().to_string();
    assert!(doubt.contains("another one now"), "{doubt}");
}

#[test]
fn law_06_an_empty_mount_point_says_nothing_of_the_files() {
    let disk = Disk::with(&["1/a", "1/b/c"]);
    let storage = Storage::local(disk.root()).unwrap();
    block_on(async {
        let look = async |key: &str| look(&storage, key).await;
        let unknown = |glance: Glance| match glance {
            Glance::Unknown(trouble) => assert!(trouble.message.contains("another one now"), "{trouble:?}"),
            glance => panic!("{glance:?}"),
        };
        assert!(matches!((look("1/a").await, look("1/z").await), (Glance::Present { .. }, Glance::Absent)));
        disk.unmount();
        // Where the mount point has the folder as well, too.
        for _ in 0..2 {
            unknown(look("1/a").await);
            unknown(look("1/z").await);
            unknown(look("1").await);
            for scope in [None, Some("1"), Some("1/b"), Some("2")] {
                is_doubted(all(&storage, scope).await.2);
            }
            assert!(storage.reader().top_folders().await.unwrap_err().message.contains("another one now"));
            std::fs::create_dir_all(disk.root().join("1/b")).unwrap();
        }
        disk.mount();
        assert!(matches!((look("1/a").await, look("1/z").await), (Glance::Present { .. }, Glance::Absent)));
        assert_eq!(all(&storage, None).await.2, None);
    });
}

#[test]
fn law_07_no_marker_is_missed_or_made_on_an_empty_mount_point() {
    let disk = Disk::with(&["1/a"]);
    let storage = Storage::local(disk.root()).unwrap();
    block_on(async {
        let (id, now) = (Uuid::now_v7(), Timestamp::from_micros(0));
        assert_eq!(storage.marker().read().await, MarkerState::Absent);
        disk.unmount();
        assert!(matches!(storage.marker().read().await, MarkerState::Unknown(_)));
        assert!(storage.marker().write(id, now).await.is_err());
        assert_eq!(std::fs::read_dir(disk.root()).unwrap().count(), 0);
        // What stands there in the place of a damaged one is not replaced either.
        std::fs::create_dir(disk.root().join(".storm-index")).unwrap();
        std::fs::write(disk.root().join(MARKER), "{").unwrap();
        assert!(storage.marker().write(id, now).await.is_err());
        assert_eq!(std::fs::read_to_string(disk.root().join(MARKER)).unwrap(), "{");
        // Nor does one that stands there say which storage this is: it was opened on another one.
        std::fs::write(disk.root().join(MARKER), marker_document(id, now)).unwrap();
        assert!(matches!(storage.marker().read().await, MarkerState::Unknown(_)));
        disk.mount();
        assert_eq!(storage.marker().read().await, MarkerState::Absent);
    });
}

#[test]
fn law_06_a_disk_that_goes_during_the_listing_leaves_it_in_doubt() {
    // More than the walk goes ahead of those who listen.
    let (folders, files) = (80, 1_000);
    let disk = Disk::with(&[]);
    for folder in 0..folders {
        let folder = disk.root().join(format!("1/{folder:02}"));
        write(&folder.join("f0"));
        (1..files).for_each(|n| std::fs::hard_link(folder.join("f0"), folder.join(format!("f{n}"))).unwrap());
    }
    let storage = Storage::local(disk.root()).unwrap();
    block_on(async {
        let mut listing = storage.reader().listing(None, &[]);
        let mut count = 0;
        let doubt = loop {
            match listing.next().await {
                Step::Batch(batch) => {
                    if count == 0 {
                        disk.unmount();
                    }
                    count += batch.objects.len();
                }
                Step::Complete => break None,
                Step::Incomplete(doubt) => break Some(doubt),
            }
        };
        assert!(count > 0, "it went while it was listed");
        // Who looks between the two steps of an unmounting, as the walk may, finds nothing at all.
        let doubt = doubt.unwrap().to_string();
        assert!(["another one now", "it is gone"].iter().any(|said| doubt.contains(said)), "{doubt}");
    });
}
