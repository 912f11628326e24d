//! The storages that everything is proven on.

use std::sync::Arc;

use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt as _};
use storm_index::storage::{self, Storage};
use tempfile::TempDir;

use super::garage::Bucket;
use super::s3::{self, S3Server};

/// Which storage.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Memory,
    Disk,
    /// A bucket of a real server where there is one, and else of the one in this process.
    S3,
    /// Always the server in this process, which can be told to fail.
    FakeS3,
}

/// A storage that a test can change behind the reconciler's back.
pub(crate) enum Backend {
    Memory(Arc<InMemory>),
    Disk(TempDir),
    S3(S3Server),
    Bucket(Bucket),
}

impl Backend {
    pub(crate) fn new(kind: Kind) -> Self {
        match kind {
            Kind::Memory => Self::Memory(Arc::new(InMemory::new())),
            Kind::Disk => Self::Disk(tempfile::tempdir().unwrap()),
            Kind::S3 => Bucket::new().map_or_else(|| Self::S3(S3Server::start()), Self::Bucket),
            Kind::FakeS3 => Self::S3(S3Server::start()),
        }
    }

    pub(crate) fn storage(&self) -> Storage {
        match self {
            Self::Memory(store) => Storage::new(Arc::clone(store) as Arc<dyn ObjectStore>),
            Self::Disk(root) => Storage::local(root.path()).unwrap(),
            Self::S3(server) => storage::open(&server.url()).unwrap(),
            Self::Bucket(bucket) => storage::open(&bucket.url()).unwrap(),
        }
    }

    /// Returns the URL by which a program finds the bucket.
    pub(crate) fn url(&self) -> String {
        match self {
            Self::S3(server) => server.url(),
            Self::Bucket(bucket) => bucket.url(),
            Self::Memory(_) | Self::Disk(_) => panic!("not a bucket"),
        }
    }

    pub(crate) async fn put(&self, key: &str, content: &[u8]) {
        match self {
            Self::Memory(store) => {
                store.put(&Path::parse(key).unwrap(), content.to_vec().into()).await.unwrap();
            }
            Self::Disk(root) => {
                let path = root.path().join(key);
                std::fs::create_dir_all(path.parent().unwrap()).unwrap();
                std::fs::write(path, content).unwrap();
            }
            Self::S3(server) => server.put(key, content),
            Self::Bucket(bucket) => bucket.put(key, content),
        }
    }

    pub(crate) async fn remove(&self, key: &str) {
        match self {
            Self::Memory(store) => store.delete(&Path::parse(key).unwrap()).await.unwrap(),
            Self::Disk(root) => std::fs::remove_file(root.path().join(key)).unwrap(),
            Self::S3(server) => server.remove(key),
            Self::Bucket(bucket) => bucket.remove(key),
        }
    }

    /// Makes what lies below a prefix of the bucket the storage.
    pub(crate) fn narrow(&mut self, prefix: &str) {
        match self {
            Self::S3(server) => server.prefix = prefix.to_owned(),
            Self::Bucket(bucket) => bucket.prefix = prefix.to_owned(),
            Self::Memory(_) | Self::Disk(_) => panic!("not a bucket"),
        }
    }

    /// Returns the bucket's name, and the variables by which a child process finds its server.
    pub(crate) fn bucket(&self) -> (&str, [(&'static str, String); 4]) {
        match self {
            Self::S3(server) => (s3::BUCKET, server.env()),
            Self::Bucket(bucket) => (&bucket.name, bucket.env()),
            Self::Memory(_) | Self::Disk(_) => panic!("not a bucket"),
        }
    }
}
