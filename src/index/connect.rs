//! Database URL -> connections.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use sea_orm::DatabaseConnection;
use tokio::sync::OnceCell;

use super::dialect::{Dialect, postgres, sqlite};
use super::error::IndexError;
use super::schema::MigrationState;
use super::secret::without_secret;
use crate::clock::Clock;

/// What the index is opened for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Audits, dry runs, listings: works on a read-only database, and takes one that does not exist for an empty one
    /// without making it.
    Read,
    /// Everything else.
    Write,
}

/// An open index.
#[derive(Debug, Clone)]
pub struct Index {
    pub(super) reader: DatabaseConnection,
    writer: Option<DatabaseConnection>,
    files: Vec<PathBuf>,
    longest_path: usize,
    /// By which runs go, beside that of the database.
    pub(super) clock: Clock,
    /// Where a run that only looks leaves its row, if it can.
    pub(super) notes: Option<Notes>,
}

/// What a connection that writes can be made of.
#[derive(Debug, Clone)]
pub(super) struct Notes {
    dialect: Dialect,
    url: String,
    /// Stays until the index is closed.
    connection: Arc<OnceCell<DatabaseConnection>>,
}

impl Notes {
    /// Connects, the first time.
    pub(super) async fn open(&self) -> Result<&DatabaseConnection, IndexError> {
        let connecting = || async {
            match self.dialect {
                Dialect::Sqlite => sqlite::connect_again(&self.url).await,
                Dialect::Postgres => postgres::connect_again(&self.url).await,
            }
        };
        self.connection.get_or_try_init(connecting).await
    }
}

/// What opening comes to.
#[derive(Debug)]
pub(super) struct Opened {
    pub(super) reader: DatabaseConnection,
    pub(super) writer: Option<DatabaseConnection>,
    pub(super) files: Vec<PathBuf>,
    /// Whether it is the database that was named, and not an empty one in its stead, and could be written.
    pub(super) is_real: bool,
}

/// How long another program's lock, or a server, is waited for.
pub(super) const PATIENCE: Duration = Duration::from_secs(10);

/// How many connections read at a time when nobody says otherwise.
pub const READERS: u32 = 3;

impl Index {
    /// Opens the index at `url`, making and migrating it where that is needed and possible.
    ///
    /// `sqlite://path`, with `?mode=ro` for one that must not be written, or `sqlite::memory:`;
    /// `postgres://user@host/database`, with `?sslmode=verify-full&sslrootcert=FILE` and the like for TLS.
    ///
    /// # Errors
    /// When the URL is wrong, the database belongs to another program or a newer version, or cannot be opened.
    pub async fn open(url: &str, access: Access) -> Result<Self, IndexError> {
        Self::open_with(url, access, READERS).await
    }

    /// As [`Index::open`], with up to `readers` connections that read beside those that write.
    ///
    /// # Errors
    /// As there.
    pub async fn open_with(url: &str, access: Access, readers: u32) -> Result<Self, IndexError> {
        let dialect = dialect_of(url)?;
        let opened = match dialect {
            Dialect::Sqlite => sqlite::open(url, access, readers.max(1)).await?,
            Dialect::Postgres => postgres::open(url, access, readers.max(1)).await?,
        };
        let Opened { reader, writer, files, is_real } = opened;
        let notes = is_real.then(|| Notes { dialect, url: url.to_owned(), connection: Arc::default() });
        // That of the database that is meant, also where an empty one stands in for it.
        Ok(Self { reader, writer, files, longest_path: dialect.words().longest_path, clock: Clock::default(), notes })
    }

    /// Has all that decides about the ends of share links go by `clock` instead of the machine's.
    pub fn with_clock(self, clock: Clock) -> Self {
        Self { clock, ..self }
    }

    /// Returns the files that the database consists of or may make: should they lie within a storage, they are no objects
    /// of it.
    pub fn files(&self) -> &[PathBuf] {
        &self.files
    }

    /// Returns the longest path, in bytes, that a record can have.
    pub fn longest_path(&self) -> usize {
        self.longest_path
    }

    /// Returns the connection that writes.
    ///
    /// # Errors
    /// When the index was opened for reading.
    pub(super) fn writing(&self) -> Result<&DatabaseConnection, IndexError> {
        self.writer.as_ref().ok_or(IndexError::ReadOnly)
    }

    /// Checks that `url` can be the address of a database, without asking for it.
    ///
    /// # Errors
    /// When it is none.
    pub fn check_url(url: &str) -> Result<(), IndexError> {
        match dialect_of(url)? {
            Dialect::Sqlite => sqlite::check_url(url),
            Dialect::Postgres => postgres::check_url(url),
        }
    }

    /// Returns which steps of the schema the database at `url` has, without changing it.
    ///
    /// # Errors
    /// As [`Index::open`].
    pub async fn migrations(url: &str) -> Result<Vec<MigrationState>, IndexError> {
        match dialect_of(url)? {
            Dialect::Sqlite => sqlite::migrations(url).await,
            Dialect::Postgres => postgres::migrations(url).await,
        }
    }

    /// Closes the connections, so that SQLite tidies up its side files: the last one does it, if it can write.
    pub async fn close(self) {
        // Nothing was promised to the database beyond what is committed.
        let _ = self.reader.close().await;
        let noting = self.notes.as_ref().and_then(|notes| notes.connection.get().cloned());
        for writer in noting.into_iter().chain(self.writer) {
            let _ = writer.close().await;
        }
    }
}

fn dialect_of(url: &str) -> Result<Dialect, IndexError> {
    let scheme = url.split_once(':').map(|(scheme, _)| scheme.to_ascii_lowercase());
    match scheme.as_deref() {
        Some("sqlite") => Ok(Dialect::Sqlite),
        Some("postgres" | "postgresql") => Ok(Dialect::Postgres),
        _ => Err(IndexError::BadUrl {
            url: without_secret(url),
            why: "unknown kind of database; use sqlite://path/to/index.sqlite3 or postgres://user@host/database"
                .to_owned(),
        }),
    }
}
