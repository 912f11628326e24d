//! The databases that everything is proven on, and a second connection to them, as another program has it.
//!
//! SQLite files; or, when `STORM_INDEX_TEST_POSTGRES` has the URL of a server's maintenance database, databases of that
//! server, one a test.

use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use sea_orm::{ConnectOptions, ConnectionTrait as _, Database, DatabaseConnection, Statement};
use storm_index::index::{Access, Index};
use tempfile::TempDir;

use super::playground::block_on;

/// Names the server, if the tests are to run on PostgreSQL.
pub(crate) fn server() -> Option<&'static str> {
    static SERVER: OnceLock<Option<String>> = OnceLock::new();
    SERVER.get_or_init(|| std::env::var("STORM_INDEX_TEST_POSTGRES").ok().filter(|url| !url.is_empty())).as_deref()
}

/// Tells whether the tests run on PostgreSQL.
pub(crate) fn on_postgres() -> bool {
    server().is_some()
}

/// The database of one test, which goes with this value.
pub(crate) enum TestDatabase {
    Sqlite(TempDir),
    Postgres { server: &'static str, name: String },
}

impl TestDatabase {
    /// Makes a place for a database in which nothing is yet.
    pub(crate) fn blank() -> Self {
        match server() {
            None => Self::Sqlite(tempfile::tempdir().unwrap()),
            Some(_) => Self::made("TEMPLATE template0"),
        }
    }

    /// Makes a database that has the tables, and nothing in them.
    pub(crate) fn fresh() -> Self {
        static TEMPLATE: OnceLock<String> = OnceLock::new();
        if !on_postgres() {
            return Self::blank();
        }
        let template = TEMPLATE.get_or_init(|| {
            let template = Self::made("TEMPLATE template0");
            apart(|| async { Index::open(&template.url(), Access::Write).await.unwrap().close().await });
            let Self::Postgres { name, .. } = &template else { unreachable!() };
            let name = name.clone();
            // It stays for the tests to come; the server goes with all of it.
            std::mem::forget(template);
            name
        });
        Self::made(&format!("TEMPLATE {template}"))
    }

    /// Makes a database of the server, in some special way.
    pub(crate) fn made(how: &str) -> Self {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let server = server().unwrap();
        let name = format!("t{}_{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let create = format!("CREATE DATABASE {name} {how}");
        apart(|| async { execute(&open(server).await, &create).await });
        Self::Postgres { server, name }
    }

    /// Returns the URL that the program is given.
    pub(crate) fn url(&self) -> String {
        match self {
            Self::Sqlite(dir) => format!("sqlite://{}", dir.path().join("i.sqlite3").display()),
            Self::Postgres { server, name } => {
                let mut url = url::Url::parse(server).unwrap();
                url.set_path(name);
                url.to_string()
            }
        }
    }

    /// Returns the directory and the files of the database, as far as there are any.
    pub(crate) fn files(&self) -> Vec<PathBuf> {
        let Self::Sqlite(dir) = self else { return Vec::new() };
        let files = std::fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().path());
        files.chain([dir.path().to_owned()]).collect()
    }

    /// Connects as another program.
    pub(crate) async fn connect(&self) -> DatabaseConnection {
        match self {
            Self::Sqlite(dir) => open_file(&dir.path().join("i.sqlite3")).await,
            Self::Postgres { .. } => open(&self.url()).await,
        }
    }
}

impl Drop for TestDatabase {
    fn drop(&mut self) {
        if let Self::Postgres { server, name } = self {
            let drop = format!("DROP DATABASE {name} WITH (FORCE)");
            apart(|| async {
                // A server that is gone has no databases to be dropped.
                let _ = open(server).await.execute_unprepared(&drop).await;
            });
        }
    }
}

/// Runs a future on a thread of its own: the caller may be within a runtime.
fn apart<F: Future>(future: impl FnOnce() -> F + Send)
where
    F::Output: Send,
{
    std::thread::scope(|scope| drop(scope.spawn(|| block_on(future())).join().unwrap()));
}

/// Opens the database at `url`.
pub(crate) async fn open(url: &str) -> DatabaseConnection {
    let mut options = ConnectOptions::new(url);
    options.max_connections(1).sqlx_logging(false);
    // A person would wait for her turn.
    options.map_sqlx_sqlite_opts(|sqlite| sqlite.busy_timeout(Duration::from_secs(600)));
    Database::connect(options).await.unwrap()
}

/// Opens the SQLite file at `path`.
pub(crate) async fn open_file(path: &Path) -> DatabaseConnection {
    open(&format!("sqlite://{}?mode=rwc", path.display())).await
}

/// Carries out statements.
pub(crate) async fn execute(db: &DatabaseConnection, statements: &str) {
    db.execute_unprepared(statements).await.unwrap();
}

/// Asks for rows of text columns.
pub(crate) async fn rows(db: &DatabaseConnection, query: &str) -> Vec<Vec<Option<String>>> {
    let rows = db.query_all_raw(Statement::from_string(db.get_database_backend(), query)).await.unwrap();
    rows.iter()
        .map(|row| {
            (0..row.column_names().len()).map(|at| row.try_get_by_index::<Option<String>>(at).unwrap()).collect()
        })
        .collect()
}

/// As [`rows`], for one column without NULLs.
pub(crate) async fn column(db: &DatabaseConnection, query: &str) -> Vec<String> {
    rows(db, query).await.into_iter().map(|row| row[0].clone().unwrap()).collect()
}
