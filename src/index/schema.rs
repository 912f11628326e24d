//! Whose database this is, and bringing its schema up to date.

use migration::{Migrator, MigratorTrait as _};
use sea_orm::{ConnectionTrait, DatabaseConnection, SqliteTransactionMode, TransactionOptions, TransactionTrait as _};
use serde::Serialize;

use super::dialect::{Dialect, run, sql};
use super::error::IndexError;

/// One step of the schema.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct MigrationState {
    /// Its name.
    pub name: String,
    /// Whether the database has it.
    pub applied: bool,
}

/// What a look at a database's tables says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Standing {
    /// It is ours and up to date.
    Current,
    /// It is ours and older.
    Behind,
    /// It is empty.
    Blank,
}

/// Reads which steps `db` has.
///
/// # Errors
/// When it belongs to another program, or to a newer storm-index.
pub(super) async fn standing(db: &impl ConnectionTrait, url: &str) -> Result<Standing, IndexError> {
    let steps = steps(db, url).await?;
    let standing = match steps.iter().filter(|s| s.applied).count() {
        0 => Standing::Blank,
        applied if applied == steps.len() => Standing::Current,
        _ => Standing::Behind,
    };
    let collation = Dialect::of(db).words().collation;
    if standing != Standing::Blank && !collation.is_empty() {
        let found = names(db, collation).await.map_err(|source| IndexError::Open { url: url.to_owned(), source })?;
        if let Some(collation) = found.into_iter().next() {
            return Err(IndexError::Collation { url: url.to_owned(), collation });
        }
    }
    Ok(standing)
}

/// Reads which steps `db` has, one by one.
pub(super) async fn steps(db: &impl ConnectionTrait, url: &str) -> Result<Vec<MigrationState>, IndexError> {
    let unreadable = |source| IndexError::Open { url: url.to_owned(), source };
    let words = Dialect::of(db).words();
    let (query, right) = words.encoding;
    let encoding = names(db, query).await.map_err(unreadable)?;
    if let Some(encoding) = encoding.into_iter().find(|encoding| encoding != right) {
        return Err(IndexError::Encoding { url: url.to_owned(), encoding });
    }
    let known: Vec<String> = Migrator::migrations().iter().map(|m| m.name().to_owned()).collect();
    let tables = names(db, words.tables).await.map_err(unreadable)?;
    let applied = if tables.iter().any(|t| t == "seaql_migrations") {
        names(db, "SELECT version FROM seaql_migrations ORDER BY version").await.map_err(unreadable)?
    } else {
        Vec::new()
    };
    let ours = applied.iter().any(|step| known.contains(step));
    if let Some(table) = tables.iter().find(|t| !ours && (*t != "seaql_migrations" || !applied.is_empty())) {
        return Err(IndexError::NotOurs { url: url.to_owned(), table: table.clone() });
    }
    if let Some(step) = applied.iter().find(|step| !known.contains(step)) {
        return Err(IndexError::Newer { url: url.to_owned(), step: step.clone() });
    }
    Ok(known.into_iter().map(|name| MigrationState { applied: applied.contains(&name), name }).collect())
}

async fn names(db: &impl ConnectionTrait, query: &str) -> Result<Vec<String>, sea_orm::DbErr> {
    db.query_all_raw(sql(db, query, [])).await?.iter().map(|row| row.try_get_by_index(0)).collect()
}

/// Brings the schema up to date, under the database's write lock, so that two programs that start together do it once.
pub(super) async fn migrate(db: &DatabaseConnection, url: &str) -> Result<(), IndexError> {
    if standing(db, url).await? == Standing::Current {
        return Ok(());
    }
    let options =
        TransactionOptions { sqlite_transaction_mode: Some(SqliteTransactionMode::Immediate), ..Default::default() };
    let transaction = db.begin_with_options(options).await.map_err(IndexError::Migrate)?;
    run(&transaction, Dialect::of(db).words().lock_schema, []).await.map_err(IndexError::Migrate)?;
    // Another program may have been first while this one waited for the lock.
    if standing(&transaction, url).await? != Standing::Current {
        Migrator::up(&transaction, None).await.map_err(IndexError::Migrate)?;
    }
    transaction.commit().await.map_err(IndexError::Migrate)
}
