//! A second connection to an index, as another program has it.

use std::path::Path;

use sea_orm::{ConnectOptions, ConnectionTrait as _, Database, DatabaseConnection, DbBackend, Statement};

/// Opens the SQLite file at `path`.
pub(crate) async fn open(path: &Path) -> DatabaseConnection {
    let mut options = ConnectOptions::new(format!("sqlite://{}?mode=rwc", path.display()));
    options.max_connections(1).sqlx_logging(false);
    Database::connect(options).await.unwrap()
}

/// Carries out statements.
pub(crate) async fn execute(db: &DatabaseConnection, statements: &str) {
    db.execute_unprepared(statements).await.unwrap();
}

/// Asks for rows and returns their columns as text.
pub(crate) async fn rows(db: &DatabaseConnection, query: &str) -> Vec<Vec<Option<String>>> {
    let rows = db.query_all_raw(Statement::from_string(DbBackend::Sqlite, query)).await.unwrap();
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
