//! The numbers of a run.

/// Counts what a run saw and did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tally {
    /// Users whose prefix was walked.
    pub users_scanned: u64,
    /// Users registered by adoption.
    pub users_adopted: u64,
    /// Objects under the users' prefixes.
    pub objects: u64,
    /// Records of those users before the first write.
    pub records: u64,
    /// Objects without a record.
    pub missing: u64,
    /// Records without an object.
    pub orphaned: u64,
    /// Both, but their facts differ.
    pub stale: u64,
    /// Renamed files: their record is orphaned and their object missing, and both are not counted there.
    pub moved: u64,
    /// Missing objects that wait: a record of the same identity lies in a range that was not listed, and the storage does not
    /// say whether its object is there.
    pub deferred: u64,
    /// Records whose stored file identity was brought up to date.
    pub identified: u64,
    /// Records that the excludes cover.
    pub excluded: u64,
    /// Records made.
    pub created: u64,
    /// Records brought up to date.
    pub updated: u64,
    /// Records carried to where their file is now.
    pub carried: u64,
    /// Records deleted.
    pub deleted: u64,
    /// Orphans kept by a mode that deletes.
    pub skipped: u64,
    /// Objects under no user's prefix.
    pub unclaimed: u64,
    /// Entries that cannot be a record.
    pub unindexable: u64,
}

impl Tally {
    /// Tells whether index and storage disagree.
    pub fn has_drift(&self) -> bool {
        self.missing > 0 || self.orphaned > 0 || self.stale > 0 || self.moved > 0 || self.deferred > 0
    }
}
