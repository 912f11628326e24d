//! What is known of a file system.

/// A file system on a local disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileSystem {
    /// Its kind, e.g. `ext4`; a number in hexadecimal for one without a known name.
    pub kind: String,
    /// What the system tells file systems of one kind apart by.
    pub id: String,
    /// Whether an inode number belongs to one file for as long as the file exists, so that a renamed file can be
    /// recognised by it.
    pub keeps_inodes: bool,
    /// Whether it tells when a file was created, without which no renamed file is recognised either.
    pub tells_birth: bool,
}
