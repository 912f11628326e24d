//! Storage URL -> a store, and what its listing can be trusted with. Nothing is ever created here.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use object_store::aws::{AmazonS3Builder, AmazonS3ConfigKey};
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{BackoffConfig, ObjectStore, RetryConfig};
use thiserror::Error;
use url::Url;

use super::identity::Marker;
use super::local::LocalDisk;
use super::reader::{OrderSource, StorageReader};
use super::s3::S3Bucket;
use crate::model::{EtagMeaning, InodeNumbers, Order, RenameProof};

/// A storage that is ready to be read.
#[derive(Debug, Clone)]
pub struct Storage {
    store: Arc<dyn ObjectStore>,
    etag: EtagMeaning,
    renames: RenameProof,
    disk: Option<LocalDisk>,
    bucket: Option<Arc<S3Bucket>>,
    hidden: Arc<[String]>,
    order: (Order, OrderSource),
}

impl Storage {
    /// Takes any store. A different entity tag on it means that the object was written anew.
    ///
    /// Its listing may have any order: it is sorted on disk until it is known to be ordered by the bytes of the keys, as
    /// that of ordinary S3, GCS and memory is ([`Storage::with_order`] says so). For a local directory use
    /// [`Storage::local`].
    pub fn new(store: Arc<dyn ObjectStore>) -> Self {
        Self {
            store,
            etag: EtagMeaning::Content,
            renames: RenameProof::Nothing,
            disk: None,
            bucket: None,
            hidden: Arc::default(),
            order: (Order::Auto, OrderSource::Listing),
        }
    }

    /// Opens a local directory.
    ///
    /// # Errors
    /// When it is missing, unreadable, or a file.
    pub fn local(root: impl Into<PathBuf>) -> Result<Self, OpenError> {
        let root = root.into();
        let shown = root.display().to_string();
        match std::fs::metadata(&root) {
            Ok(m) if !m.is_dir() => return Err(OpenError::FileAsRoot(shown)),
            Ok(_) => {}
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Err(OpenError::RootMissing(shown)),
            Err(e) if e.kind() == std::io::ErrorKind::NotADirectory => return Err(OpenError::FileAsRoot(shown)),
            Err(e) => return Err(OpenError::RootUnreadable(shown, e.to_string())),
        }
        let disk = LocalDisk::new(&root).map_err(|e| OpenError::RootUnreadable(shown.clone(), e.to_string()))?;
        let store = disk.marker_store().map_err(|e| OpenError::RootUnreadable(shown, e.to_string()))?;
        let (etag, renames) = (EtagMeaning::Place, RenameProof::File);
        let order = (Order::Bytes, OrderSource::Kind);
        Ok(Self { store, etag, renames, disk: Some(disk), bucket: None, hidden: Arc::default(), order })
    }

    /// Takes the owner's word for the order in which the storage lists. [`Order::Auto`] changes nothing, nor does any word
    /// change the order of a local disk, which is read directory by directory and sorted here.
    #[must_use]
    pub fn with_order(mut self, order: Order) -> Self {
        if order != Order::Auto && self.disk.is_none() {
            self.order = (order, OrderSource::Setting);
        }
        self
    }

    /// Says what a different entity tag means on this storage.
    #[must_use]
    pub fn with_etag_meaning(mut self, etag: EtagMeaning) -> Self {
        self.etag = etag;
        self
    }

    /// Says that an entity tag, with the size, names a content or a file wherever it lies, so that a renamed file can be
    /// recognised. Not true of stores that merely count, as the one in memory does.
    #[must_use]
    pub fn with_fingerprints(mut self) -> Self {
        self.renames = RenameProof::Content;
        self
    }

    /// Takes the owner's word that the file systems of a local disk keep their inode numbers, of whatever kind they are.
    #[must_use]
    pub fn with_stable_inodes(self) -> Self {
        self.with_inode_numbers(InodeNumbers::Stable)
    }

    /// Sets how far the inode numbers of a local disk are relied on.
    #[must_use]
    pub fn with_inode_numbers(mut self, numbers: InodeNumbers) -> Self {
        self.disk = self.disk.map(|disk| disk.with_stable_inodes(numbers == InodeNumbers::Stable));
        self
    }

    /// Leaves those of `files` that lie within a storage on the local disk out of its listings: an index that lies among
    /// the files that it is about would else never come to rest.
    #[must_use]
    pub fn without_files(mut self, files: &[PathBuf]) -> Self {
        let Some(root) = self.root() else { return self };
        // Through links, where there are any: SQLite puts its side files beside the real one.
        let real = |file: &PathBuf| {
            std::fs::canonicalize(file).ok().or_else(|| {
                let parent = file.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(std::path::Path::new("."));
                Some(std::fs::canonicalize(parent).ok()?.join(file.file_name()?))
            })
        };
        let key = |file: PathBuf| Some(file.strip_prefix(root).ok()?.to_str()?.to_owned());
        self.hidden = files.iter().filter_map(real).filter_map(key).collect();
        self
    }

    /// Returns a handle that can only read.
    pub fn reader(&self) -> StorageReader {
        let (store, hidden) = (Arc::clone(&self.store), Arc::clone(&self.hidden));
        let (disk, bucket) = (self.disk.clone(), self.bucket.clone());
        StorageReader::new(store, self.etag, self.renames, disk, bucket, hidden, self.order)
    }

    /// Returns the handle that can read and write the marker, and nothing else.
    pub fn marker(&self) -> Marker {
        Marker::new(Arc::clone(&self.store))
    }

    /// Returns the directory of a storage on the local disk.
    pub fn root(&self) -> Option<&std::path::Path> {
        self.disk.as_ref().map(LocalDisk::root)
    }
}

/// Why a storage cannot be opened.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum OpenError {
    /// A scheme that is not known.
    #[error("storage {url:?}: unknown scheme {scheme:?}; use a path, file://, s3:// or memory:///")]
    UnknownScheme {
        /// As it was given.
        url: String,
        /// What stands before the colon.
        scheme: String,
    },
    /// Not a URL that names a storage.
    #[error("storage {url:?}: {why}")]
    BadUrl {
        /// As it was given.
        url: String,
        /// What is wrong and how to mend it.
        why: String,
    },
    /// A file where a directory has to be.
    #[error("storage {0:?} is a file; name the directory that holds the files")]
    FileAsRoot(String),
    /// Nothing there.
    #[error("storage {0:?} does not exist; mount or create it first (storm-index never creates it)")]
    RootMissing(String),
    /// There, but closed.
    #[error("storage {0:?} cannot be read: {1}")]
    RootUnreadable(String, String),
}

impl OpenError {
    /// Returns one stable word for it.
    pub fn code(&self) -> &'static str {
        match self {
            Self::UnknownScheme { .. } => "unknown_scheme",
            Self::BadUrl { .. } => "bad_storage_url",
            Self::FileAsRoot(_) => "storage_is_a_file",
            Self::RootMissing(_) => "storage_missing",
            Self::RootUnreadable(..) => "storage_failed",
        }
    }

    /// Tells whether the request was wrong, rather than the storage.
    pub fn is_usage(&self) -> bool {
        matches!(self, Self::UnknownScheme { .. } | Self::BadUrl { .. } | Self::FileAsRoot(_))
    }
}

/// Opens the storage that `url` names: a plain path, `file:///srv/files`, `s3://bucket/prefix` (credentials and endpoint
/// by the usual `AWS_*` variables), or `memory:///`, which is empty.
///
/// # Errors
/// When the URL is wrong or a local root cannot be read. Object stores are not contacted yet.
pub fn open(url: &str) -> Result<Storage, OpenError> {
    match place(url)? {
        Place::Directory(root) => Storage::local(root),
        Place::Bucket(bucket) => {
            let storage = Storage::new(bucket.store()).with_fingerprints();
            Ok(Storage { bucket: Some(Arc::new(bucket)), ..storage })
        }
        Place::Memory => {
            let memory = Storage::new(Arc::new(InMemory::new()));
            Ok(Storage { order: (Order::Bytes, OrderSource::Kind), ..memory })
        }
    }
}

/// Checks that `url` can name a storage, without a look at it: one that hangs keeps nobody waiting.
///
/// # Errors
/// When it can name none.
pub fn check_url(url: &str) -> Result<(), OpenError> {
    place(url).map(drop)
}

/// What a URL names.
enum Place {
    Directory(PathBuf),
    Bucket(S3Bucket),
    Memory,
}

fn place(url: &str) -> Result<Place, OpenError> {
    let Some((scheme, rest)) = url.split_once("://") else {
        if url.is_empty() {
            return Err(bad_url(url, "name a directory or a URL"));
        }
        return Ok(Place::Directory(url.into()));
    };
    match scheme.to_ascii_lowercase().as_str() {
        "file" => Ok(Place::Directory(file_path(url)?)),
        "s3" => Ok(Place::Bucket(bucket(url)?)),
        "memory" if rest.is_empty() || rest == "/" => Ok(Place::Memory),
        "memory" => Err(bad_url(url, "a memory storage has no name; write memory:///")),
        _ => Err(OpenError::UnknownScheme { url: without_secret(url), scheme: scheme.to_owned() }),
    }
}

fn bad_url(url: &str, why: impl Into<String>) -> OpenError {
    OpenError::BadUrl { url: without_secret(url), why: why.into() }
}

/// Returns what may be told of a URL: options and user may be keys.
fn without_secret(url: &str) -> String {
    let Some((scheme, rest)) = url.split_once("://") else { return url.to_owned() };
    let shown = rest.split(['?', '#']).next().unwrap_or_default();
    let (host, path) = shown.split_once('/').map_or((shown, None), |(host, path)| (host, Some(path)));
    let host = host.rsplit_once('@').map_or(host, |(_, host)| host);
    let path = path.map_or_else(String::new, |path| format!("/{path}"));
    let options = if shown.len() < rest.len() { "?…" } else { "" };
    format!("{scheme}://{host}{path}{options}")
}

fn parse(url: &str) -> Result<Url, OpenError> {
    Url::parse(url).map_err(|e| bad_url(url, format!("not a URL: {e}")))
}

fn file_path(url: &str) -> Result<PathBuf, OpenError> {
    let parsed = parse(url)?;
    if parsed.query().is_some() || parsed.fragment().is_some() {
        return Err(bad_url(url, "file:// takes no options; write ? as %3F and # as %23 if they belong to the path"));
    }
    parsed.to_file_path().map_err(|()| bad_url(url, "a file URL has an absolute path: file:///srv/files"))
}

/// Makes the client of `s3://bucket/prefix?option=value`, with the options of `AWS_*` in lower case.
fn bucket(url: &str) -> Result<S3Bucket, OpenError> {
    let parsed = parse(url)?;
    let name = parsed.host_str().filter(|h| !h.is_empty()).ok_or_else(|| bad_url(url, "write s3://bucket/prefix"))?;
    if parsed.fragment().is_some() || parsed.port().is_some() || !parsed.username().is_empty() {
        return Err(bad_url(url, "write s3://bucket/prefix; credentials and endpoint come by AWS_* variables"));
    }
    let prefix = Path::from_url_path(parsed.path()).map_err(|e| bad_url(url, format!("no such prefix can be: {e}")))?;
    let mut builder = AmazonS3Builder::from_env().with_bucket_name(name).with_retry(patience());
    for (option, value) in parsed.query_pairs() {
        let key: AmazonS3ConfigKey = option.parse().map_err(|_| {
            bad_url(url, format!("unknown option {option:?}; options are those of AWS_* in lower case, e.g. region"))
        })?;
        builder = builder.with_config(key, value);
    }
    let endpoint = [AmazonS3ConfigKey::S3Endpoint, AmazonS3ConfigKey::Endpoint]
        .iter()
        .find_map(|key| builder.get_config_value(key));
    if endpoint.is_some_and(|e| e.starts_with("http://")) {
        builder = builder.with_allow_http(true);
    }
    // The storage library leaves the choice of cryptography to the process; a choice already made stays.
    let _ = rustls::crypto::ring::default_provider().install_default();
    S3Bucket::new(builder, prefix).map_err(|e| bad_url(url, e.to_string()))
}

/// How long a server that does not answer is waited for: six tries within half a minute, then a clear error is worth
/// more than another try.
fn patience() -> RetryConfig {
    let backoff =
        BackoffConfig { init_backoff: Duration::from_millis(100), max_backoff: Duration::from_secs(5), base: 2.0 };
    RetryConfig { backoff, max_retries: 6, retry_timeout: Duration::from_secs(30) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wrong_urls_are_told_apart_from_missing_storage() {
        for (url, code, usage) in [
            ("ftp://x/y", "unknown_scheme", true),
            ("", "bad_storage_url", true),
            ("memory://x", "bad_storage_url", true),
            ("file:///tmp?x=1", "bad_storage_url", true),
            ("file://far/tmp", "bad_storage_url", true),
            ("s3:///prefix", "bad_storage_url", true),
            ("s3://bucket?nonsense=1", "bad_storage_url", true),
            ("/proc/version", "storage_is_a_file", true),
            ("/proc/version/x", "storage_is_a_file", true),
            ("/no/such/place", "storage_missing", false),
            ("file:///no/such/place", "storage_missing", false),
        ] {
            let error = open(url).unwrap_err();
            assert_eq!((error.code(), error.is_usage()), (code, usage), "{url}: {error}");
            // What stands there, or does not, is no matter of the URL.
            let checked = check_url(url).map_err(|error| error.code());
            let is_of_the_url = ["unknown_scheme", "bad_storage_url"].contains(&code);
            assert_eq!(checked, if is_of_the_url { Err(code) } else { Ok(()) }, "{url}");
        }
    }

    #[test]
    fn no_secret_is_told() {
        for url in [
            "s3://bucket/a?aws_secret_access_key=sesame",
            "s3://bucket?secret_access_key=sesame&nonsense=1",
            "s3://user:sesame@bucket/a",
            "sesame://user:sesame@host/a?token=sesame",
            "s3://bucket/a#sesame",
        ] {
            let told = open(url).map_or_else(|e| e.to_string(), |_| String::new());
            let told = told.replace("sesame://", "").replace("scheme \"sesame\"", "");
            assert!(!told.contains("sesame"), "{told}");
        }
        assert_eq!(without_secret("s3://u:p@bucket/a/b?x=y"), "s3://bucket/a/b?…");
        assert_eq!(without_secret("/srv/a?b"), "/srv/a?b");
    }

    #[test]
    fn good_urls_open() {
        for url in
            ["memory:///", "memory://", "s3://bucket", "s3://bucket/some/prefix?region=eu-west-1", "/", "file:///"]
        {
            assert!(open(url).is_ok(), "{url}");
        }
    }
}
