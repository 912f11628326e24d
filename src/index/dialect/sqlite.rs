//! SQLite: one writer, several readers, each transaction short.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use sea_orm::{ConnectOptions, Database, DatabaseConnection, DbErr};

use crate::index::connect::{Access, Opened, PATIENCE};
use crate::index::error::IndexError;
use crate::index::schema::{self, MigrationState, Standing};
use crate::private;

/// How a connection to SQLite is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mode {
    Write,
    Read,
    /// For a file on a medium where not even SQLite's own side files can be made.
    Immutable,
}

/// Opens the index at `url`; see [`crate::index::Index::open`].
pub(crate) async fn open(url: &str, access: Access, readers: u32) -> Result<Opened, IndexError> {
    match SqliteFile::parse(url)? {
        SqliteFile::Memory => {
            let only = empty(url).await?;
            Ok(Opened { reader: only.clone(), writer: Some(only), files: Vec::new(), is_real: false })
        }
        SqliteFile::At { path, .. } if Path::new(&path).is_dir() => {
            Err(IndexError::IsDirectory { url: url.to_owned() })
        }
        SqliteFile::At { path, read_only } => {
            let is_there = exists(url, &path)?;
            let files = side_files(&path);
            if access == Access::Write && read_only {
                return Err(IndexError::ReadOnly);
            }
            if access == Access::Read {
                if !read_only && !is_there {
                    return Ok(Opened { reader: empty(url).await?, writer: None, files, is_real: false });
                }
                let reader = connect_reading(url, &path, readers).await?;
                match schema::standing(&reader, url).await? {
                    Standing::Current => return Ok(Opened { reader, writer: None, files, is_real: !read_only }),
                    Standing::Blank | Standing::Behind if read_only => {
                        return Err(IndexError::Older { url: url.to_owned() });
                    }
                    Standing::Blank | Standing::Behind => {}
                }
                // Closed before the writer comes: it would not see the new schema.
                let _ = reader.close().await;
            }
            if !is_there {
                make_place(url, &path)?;
            }
            let writer = connect(url, &path, Mode::Write, 1).await?;
            schema::migrate(&writer, url).await?;
            let reader = connect(url, &path, Mode::Read, readers).await?;
            let writer = match access {
                Access::Write => Some(writer),
                Access::Read => {
                    let _ = writer.close().await;
                    None
                }
            };
            Ok(Opened { reader, writer, files, is_real: true })
        }
    }
}

/// Checks that `url` can be the address of such a database.
pub(crate) fn check_url(url: &str) -> Result<(), IndexError> {
    SqliteFile::parse(url).map(drop)
}

/// Returns which steps of the schema the database at `url` has, without changing it.
pub(crate) async fn migrations(url: &str) -> Result<Vec<MigrationState>, IndexError> {
    match SqliteFile::parse(url)? {
        SqliteFile::At { path, .. } if exists(url, &path)? => {
            let reader = connect_reading(url, &path, 1).await?;
            schema::steps(&reader, url).await
        }
        _ => {
            let nothing = connect(url, "sqlite::memory:", Mode::Write, 1).await?;
            schema::steps(&nothing, url).await
        }
    }
}

/// Connects once more to a database that was opened before, to write into it.
pub(crate) async fn connect_again(url: &str) -> Result<DatabaseConnection, IndexError> {
    match SqliteFile::parse(url)? {
        SqliteFile::At { path, read_only: false } if exists(url, &path)? => connect(url, &path, Mode::Write, 1).await,
        _ => Err(IndexError::ReadOnly),
    }
}

/// Where a SQLite URL leads.
#[derive(Debug, PartialEq, Eq)]
enum SqliteFile {
    Memory,
    At { path: String, read_only: bool },
}

impl SqliteFile {
    fn parse(url: &str) -> Result<Self, IndexError> {
        let bad = |why: &str| IndexError::BadUrl { url: url.to_owned(), why: why.to_owned() };
        let rest = url
            .strip_prefix("sqlite://")
            .or_else(|| url.strip_prefix("sqlite:"))
            .ok_or_else(|| bad("unknown kind of database; use sqlite://path/to/index.sqlite3"))?;
        let (path, options) = rest.split_once('?').unwrap_or((rest, ""));
        let mut read_only = false;
        for option in options.split('&').filter(|o| !o.is_empty()) {
            match option {
                "mode=ro" => read_only = true,
                "mode=rw" | "mode=rwc" => read_only = false,
                "mode=memory" if path.is_empty() => return Ok(Self::Memory),
                _ => return Err(bad(&format!("unknown option {option:?}; mode=ro and mode=rwc are known"))),
            }
        }
        if path == ":memory:" {
            return Ok(Self::Memory);
        }
        if path.is_empty() || path.ends_with('/') {
            return Err(bad("name a file: sqlite://path/to/index.sqlite3"));
        }
        Ok(Self::At { path: path.to_owned(), read_only })
    }
}

/// Tells whether there is a database. An empty file is what SQLite itself makes of a name before the first write; directories
/// that are missing are made then. Where none can be made, there is no empty one either.
fn exists(url: &str, path: &str) -> Result<bool, IndexError> {
    let no_place = |source: io::Error| IndexError::NoPlace { url: url.to_owned(), source };
    match std::fs::metadata(path) {
        Ok(found) if found.is_file() => Ok(found.len() > 0),
        Ok(found) if found.is_dir() => Ok(true),
        Ok(_) => Err(no_place(io::Error::other("it is no file"))),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(no_place(error)),
    }
}

/// Names the file of a database and those that SQLite makes beside it.
fn side_files(path: &str) -> Vec<PathBuf> {
    // Through links, where there are any: the side files lie beside the real one.
    let file = std::fs::canonicalize(path).unwrap_or_else(|_| PathBuf::from(path));
    ["", "-wal", "-shm", "-journal"]
        .iter()
        .map(|end| {
            let mut name = file.clone().into_os_string();
            name.push(end);
            PathBuf::from(name)
        })
        .collect()
}

/// Makes an index without a file.
pub(crate) async fn empty(url: &str) -> Result<DatabaseConnection, IndexError> {
    let only = connect(url, "sqlite::memory:", Mode::Write, 1).await?;
    schema::migrate(&only, url).await?;
    Ok(only)
}

/// Makes a database that nobody else sees, in a file without a name: it takes no more memory than a cache of pages, and
/// goes with its only connection.
pub(crate) async fn scratch() -> Result<DatabaseConnection, DbErr> {
    let mut options = ConnectOptions::new("sqlite::memory:");
    options.max_connections(1).min_connections(1).sqlx_logging(false);
    options.idle_timeout(None::<Duration>).max_lifetime(None::<Duration>);
    options.map_sqlx_sqlite_opts(|sqlite| {
        let sqlite = sqlite.filename("").in_memory(false).shared_cache(false);
        sqlite.pragma("journal_mode", "OFF").pragma("synchronous", "OFF")
    });
    Database::connect(options).await
}

/// Makes an empty file for a database, and its directory, so that they are private before SQLite opens the file: SQLite would
/// leave the mode to the umask, and gives the side files the mode of the database.
fn make_place(url: &str, path: &str) -> Result<(), IndexError> {
    if let Some(parent) = Path::new(path).parent() {
        private::create_dir_all(parent).map_err(|source| IndexError::Directory { url: url.to_owned(), source })?;
    }
    private::touch(Path::new(path)).map_err(|source| IndexError::NoPlace { url: url.to_owned(), source })
}

/// Opens for reading; a medium that cannot hold SQLite's side files is read as it lies there, if no other program can
/// have left something in them.
async fn connect_reading(url: &str, path: &str, readers: u32) -> Result<DatabaseConnection, IndexError> {
    let usual = match connect(url, path, Mode::Read, readers).await {
        // Opening is lazy about the side files: the first query tells.
        Ok(db) => match schema::standing(&db, url).await {
            Err(IndexError::Open { source, .. }) if is_no_place_for_side_files(&source) => Err(source),
            Err(other) => return Err(other),
            Ok(_) => Ok(db),
        },
        Err(IndexError::Open { source, .. }) if is_no_place_for_side_files(&source) => Err(source),
        Err(other) => return Err(other),
    };
    match usual {
        Ok(db) => Ok(db),
        Err(source) => {
            let log = format!("{path}-wal");
            if std::fs::metadata(log).is_ok_and(|m| m.len() > 0) {
                return Err(IndexError::Open { url: url.to_owned(), source });
            }
            connect(url, path, Mode::Immutable, readers).await
        }
    }
}

fn is_no_place_for_side_files(error: &DbErr) -> bool {
    let text = error.to_string();
    ["unable to open database file", "readonly database"].iter().any(|said| text.contains(said))
}

async fn connect(url: &str, path: &str, mode: Mode, connections: u32) -> Result<DatabaseConnection, IndexError> {
    let memory = path == "sqlite::memory:";
    // The path goes past the URL parser, which would take `%` and `?` in it for its own.
    let file = path.to_owned();
    let mut options = ConnectOptions::new("sqlite::memory:");
    options
        .max_connections(connections)
        .min_connections(u32::from(memory))
        .acquire_timeout(PATIENCE * 3)
        .sqlx_logging(false)
        .map_sqlx_sqlite_opts(move |sqlite| {
            let sqlite = if memory { sqlite } else { sqlite.filename(&file).in_memory(false).shared_cache(false) };
            let sqlite = sqlite
                .busy_timeout(PATIENCE)
                .foreign_keys(true)
                // Reads go through the file once; writes come back to the inner pages of two trees.
                .pragma("cache_size", if mode == Mode::Write { "-16384" } else { "-4096" })
                .pragma("temp_store", "MEMORY");
            match mode {
                Mode::Write => {
                    // What a person was told (the token of a link) outlives a power cut: each commit is synced, and
                    // batches are long enough not to feel it.
                    // A file is made by `make_place`, and by nothing else.
                    sqlite.create_if_missing(memory).pragma("journal_mode", "WAL").pragma("synchronous", "FULL")
                }
                Mode::Read => sqlite.read_only(true),
                Mode::Immutable => sqlite.read_only(true).immutable(true),
            }
        });
    if memory {
        // The database lives as long as its only connection does.
        options.idle_timeout(None::<Duration>).max_lifetime(None::<Duration>);
    }
    Database::connect(options).await.map_err(|source| IndexError::Open { url: url.to_owned(), source })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::index::dialect::Dialect;

    #[tokio::test]
    async fn what_is_committed_outlives_a_power_cut() {
        use sea_orm::ConnectionTrait as _;
        let dir = tempfile::tempdir().unwrap();
        let url = format!("sqlite://{}", dir.path().join("i.sqlite3").display());
        for writer in [open(&url, Access::Write, 1).await.unwrap().writer.unwrap(), connect_again(&url).await.unwrap()]
        {
            let query = Dialect::Sqlite.sql("PRAGMA synchronous", []);
            let row = writer.query_one_raw(query).await.unwrap().unwrap();
            assert_eq!(row.try_get_by_index::<i64>(0).unwrap(), 2, "FULL");
        }
    }

    #[test]
    fn urls_are_parsed_or_refused_with_a_mend() {
        let at = |path: &str, read_only| SqliteFile::At { path: path.into(), read_only };
        for (url, want) in [
            ("sqlite://data/index.sqlite3", at("data/index.sqlite3", false)),
            ("sqlite:///srv/i.db?mode=ro", at("/srv/i.db", true)),
            ("sqlite:i.db?mode=rwc", at("i.db", false)),
            ("sqlite::memory:", SqliteFile::Memory),
            ("sqlite://:memory:", SqliteFile::Memory),
        ] {
            assert_eq!(SqliteFile::parse(url).unwrap(), want, "{url}");
        }
        for url in ["mysql://x", "sqlite://", "sqlite://dir/", "sqlite://x?nonsense=1", "index.sqlite3", ""] {
            assert!(SqliteFile::parse(url).unwrap_err().is_usage(), "{url}");
        }
    }
}
