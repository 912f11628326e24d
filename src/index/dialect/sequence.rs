//! Where PostgreSQL goes on with ids: it does not look at those that somebody gives by hand (a fixture, a restored dump).
//! SQLite does, by itself.

use sea_orm::{ConnectionTrait as _, DatabaseConnection, DbErr, TransactionTrait as _};

use super::Dialect;

/// A table whose ids the database gives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::index) enum Numbered {
    Records,
    Links,
}

impl Numbered {
    fn table(self) -> &'static str {
        match self {
            Self::Records => "stored_files",
            Self::Links => "share_links",
        }
    }

    /// The highest id that is known; NULL when none is. Each is one look at the end of an index.
    fn highest(self) -> &'static str {
        match self {
            // Also those that only the journal knows: an id is never given twice.
            Self::Records => "greatest((SELECT max(id) FROM stored_files), (SELECT max(record_id) FROM journal))",
            Self::Links => "(SELECT max(id) FROM share_links)",
        }
    }

    /// Does something with the highest id, where the next one would not be above it.
    fn where_behind(self, what: &str) -> String {
        let (table, highest) = (self.table(), self.highest());
        format!(
            "SELECT {what} FROM (SELECT {highest} AS highest) AS known, {table}_id_seq AS given \
             WHERE highest > last_value OR (highest = last_value AND NOT is_called)"
        )
    }
}

/// Has ids go on above all that are known, so that none meets one that was given by hand, or is given again when that one
/// is gone.
///
/// Who may not change where they go on works all the same, as long as nobody gives ids by hand.
pub(in crate::index) async fn step_over(db: &DatabaseConnection, tables: &[Numbered]) {
    if Dialect::of(db) != Dialect::Postgres {
        return;
    }
    for numbered in tables {
        if let Err(error) = raise(db, *numbered).await {
            tracing::debug!(%error, table = numbered.table(), "where ids go on could not be looked at");
        }
    }
}

async fn raise(db: &DatabaseConnection, numbered: Numbered) -> Result<(), DbErr> {
    let look = Dialect::Postgres.sql(&numbered.where_behind("1"), []);
    if db.query_one_raw(look).await?.is_none() {
        return Ok(());
    }
    // Nobody is given an id between the look and the step: it would be taken back.
    let transaction = db.begin().await?;
    let lock = format!("LOCK TABLE {} IN SHARE ROW EXCLUSIVE MODE", numbered.table());
    transaction.execute_raw(Dialect::Postgres.sql(&lock, [])).await?;
    let step = numbered.where_behind(&format!("setval('{}_id_seq', highest)", numbered.table()));
    transaction.execute_raw(Dialect::Postgres.sql(&step, [])).await?;
    transaction.commit().await
}
