//! The databases that everything is proven on, and a second connection to them, as another program has it.
//!
//! SQLite files; or, when `STORM_INDEX_TEST_POSTGRES` has the URL of a server's maintenance database, databases of that
//! server, one a test.

use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::time::Duration;

use sea_orm::{ConnectOptions, ConnectionTrait as _, Database, DatabaseConnection, Statement};
use storm_index::index::{Access, Index};
use tempfile::TempDir;
use uuid::Uuid;

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

/// How a database of the server orders texts for which nothing else is said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Texts {
    ByBytes,
    ByLanguage,
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

    /// Makes a database that has the tables, and nothing in them: a copy of a template, which the first test makes.
    pub(crate) fn fresh() -> Self {
        match server() {
            None => {
                let database = Self::blank();
                std::fs::copy(template::sqlite(), database.file().unwrap()).unwrap();
                database
            }
            Some(server) => Self::made(&format!("TEMPLATE {}", template::postgres(server, Texts::ByBytes))),
        }
    }

    /// As [`Self::fresh`], where the database orders texts by a language unless it is told otherwise; SQLite never does.
    pub(crate) fn in_language_order() -> Self {
        match server() {
            None => Self::fresh(),
            Some(server) => Self::made(&format!("TEMPLATE {}", template::postgres(server, Texts::ByLanguage))),
        }
    }

    /// Makes a database of the server, in some special way.
    pub(crate) fn made(how: &str) -> Self {
        let server = server().unwrap();
        let name = format!("t{}", Uuid::now_v7().simple());
        let create = format!("CREATE DATABASE {name} {how}");
        apart(|| async { execute(&open(server).await, &create).await });
        Self::Postgres { server, name }
    }

    /// Returns the URL that the program is given.
    pub(crate) fn url(&self) -> String {
        match self {
            Self::Sqlite(_) => format!("sqlite://{}", self.file().unwrap().display()),
            Self::Postgres { server, name } => url_of(server, name),
        }
    }

    /// Returns the path of the SQLite file.
    fn file(&self) -> Option<PathBuf> {
        match self {
            Self::Sqlite(dir) => Some(dir.path().join("i.sqlite3")),
            Self::Postgres { .. } => None,
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
            Self::Sqlite(_) => open_file(&self.file().unwrap()).await,
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

/// The URL of a database of a server.
fn url_of(server: &str, name: &str) -> String {
    let mut url = url::Url::parse(server).unwrap();
    url.set_path(name);
    url.to_string()
}

/// Makes the tables.
async fn migrate(url: &str) {
    Index::open(url, Access::Write).await.unwrap().close().await;
}

/// Databases to copy: with the tables, and nothing in them. Tests are processes of their own, so each looks whether another
/// has made one; a changed program makes another one.
mod template {
    use std::path::{Path, PathBuf};
    use std::sync::OnceLock;
    use std::time::UNIX_EPOCH;

    use super::{Texts, apart, column, execute, migrate, open, url_of};

    /// Returns the path of the SQLite file.
    pub(super) fn sqlite() -> &'static Path {
        static TEMPLATE: OnceLock<PathBuf> = OnceLock::new();
        TEMPLATE.get_or_init(|| {
            let directory = Path::new(env!("CARGO_TARGET_TMPDIR"));
            let path = directory.join(format!("{}.sqlite3", name()));
            if !path.exists() {
                let new = tempfile::tempdir_in(directory).unwrap();
                let file = new.path().join("i.sqlite3");
                apart(|| async { migrate(&format!("sqlite://{}", file.display())).await });
                // It is there at once or not at all; of several, the last one stays.
                std::fs::rename(&file, &path).unwrap();
            }
            path
        })
    }

    /// Returns the name of the database on the server.
    pub(super) fn postgres(server: &str, texts: Texts) -> &'static str {
        static TEMPLATES: [OnceLock<String>; 2] = [OnceLock::new(), OnceLock::new()];
        let (how, kind) = match texts {
            Texts::ByBytes => ("", "bytes"),
            Texts::ByLanguage => (" LOCALE_PROVIDER icu ICU_LOCALE 'en-US'", "language"),
        };
        TEMPLATES[texts as usize].get_or_init(|| {
            let name = format!("{}_{kind}", name());
            apart(|| async {
                let db = open(server).await;
                // One makes it, others wait; the lock ends with the connection.
                execute(&db, "SELECT pg_advisory_lock(1)").await;
                let there = format!("SELECT datname::text FROM pg_database WHERE datname = '{name}'");
                if column(&db, &there).await.is_empty() {
                    let new = format!("new_{name}");
                    execute(&db, &format!("CREATE DATABASE {new} TEMPLATE template0{how}")).await;
                    migrate(&url_of(server, &new)).await;
                    execute(&db, &format!("ALTER DATABASE {new} RENAME TO {name}")).await;
                }
                db.close().await.unwrap();
            });
            name
        })
    }

    /// The name of what this program makes.
    fn name() -> String {
        let program = std::env::current_exe().unwrap().metadata().unwrap();
        let built = program.modified().unwrap().duration_since(UNIX_EPOCH).unwrap();
        format!("template_{}", built.as_nanos())
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
