//! Where the two databases differ, and nowhere else: a table of words, and the few things that each does its own way
//! (connecting, reading a page of records, making many of them).

pub(super) mod copy;
pub(super) mod packed;
pub(super) mod postgres;
pub(super) mod sequence;
pub(super) mod sqlite;
pub(super) mod wide;

use sea_orm::{
    AccessMode, ConnectionTrait, DbBackend, DbErr, IsolationLevel, QueryResult, Statement, TransactionOptions, Value,
};

use crate::model::UserId;

/// Which database it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Dialect {
    Sqlite,
    Postgres,
}

/// What is said differently. A `?` is a value in both.
#[derive(Debug)]
pub(super) struct Words {
    /// The rows of a JSON text, as `value`.
    pub(super) rows: &'static str,
    /// The numbers of a JSON text, as a list for `IN`.
    pub(super) ids: &'static str,
    /// The condition under which the end of a link is a time that the database can read.
    pub(super) ends_in_time: &'static str,
    /// Keeps the rows of a SELECT as they are until the end of the transaction.
    pub(super) lock: &'static str,
    /// Keeps the row of a SELECT from being locked by others until the end of the transaction, but not from being updated.
    pub(super) keep_lease: &'static str,
    /// Keeps the rows that a SELECT takes from `stored_files` from going until the end of the transaction.
    pub(super) keep_records: &'static str,
    /// Has text compared by its bytes.
    pub(super) bytewise: &'static str,
    /// The time now, in seconds since 1970.
    pub(super) seconds: &'static str,
    /// The tables of the database.
    pub(super) tables: &'static str,
    /// What stands before the names and values of a JSON object.
    pub(super) object: &'static str,
    /// What stands before and behind what is gathered into the text of a JSON array.
    pub(super) array: (&'static str, &'static str),
    /// Run in a transaction whose statements find rows through their indexes.
    pub(super) small_steps: &'static str,
    /// The encoding of text, and what it has to be.
    pub(super) encoding: (&'static str, &'static str),
    /// The collation of `stored_files.path`; empty where it can only be the right one.
    pub(super) collation: &'static str,
    /// The highest id that a user has or had.
    pub(super) last_user_id: &'static str,
    /// Run when a user has been given an id, so that it is never given again.
    pub(super) keep_user_id: &'static str,
    /// Run before users are changed: they are changed by one program at a time.
    pub(super) lock_users: &'static str,
    /// Run one after the other before the records of a user are removed: whoever is adding records for the user is waited
    /// for, nobody adds any more, and nobody can link to them any more. Those with a value take the user.
    pub(super) lock_records: &'static [&'static str],
    /// Run before the schema is changed: it is changed by one program at a time.
    pub(super) lock_schema: &'static str,
    /// The longest path, in bytes, that the index of paths can hold.
    pub(super) longest_path: usize,
}

static SQLITE: Words = Words {
    rows: "json_each(?) AS rows",
    ids: "(SELECT value FROM json_each(?))",
    // A bare number would be read as a day of antiquity, a bare time as one of the year 2000, and the 31st of February as a
    // day of March: none of them is a date.
    ends_in_time: "(typeof(expires_at) = 'text' AND date(substr(expires_at, 1, 10)) IS substr(expires_at, 1, 10) \
                   AND unixepoch(expires_at, 'subsec') IS NOT NULL)",
    // A transaction that writes has the whole database to itself.
    lock: "",
    keep_lease: "",
    keep_records: "",
    bytewise: "",
    seconds: "unixepoch('now', 'subsec')",
    tables: "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\'",
    object: "json_object",
    array: ("json_group_array(", ")"),
    small_steps: "",
    encoding: ("PRAGMA encoding", "UTF-8"),
    collation: "",
    last_user_id: "SELECT max(ifnull((SELECT max(id) FROM users), 0), \
                   ifnull((SELECT seq FROM sqlite_sequence WHERE name = 'users'), 0))",
    keep_user_id: "",
    lock_users: "",
    lock_records: &[],
    lock_schema: "",
    longest_path: usize::MAX,
};

static POSTGRES: Words = Words {
    rows: "json_array_elements(CAST(? AS json)) AS rows(value)",
    ids: "(SELECT CAST(CAST(value AS text) AS bigint) FROM json_array_elements(CAST(? AS json)))",
    ends_in_time: "true",
    lock: " FOR UPDATE",
    keep_lease: " FOR KEY SHARE",
    // As the foreign key of a link does.
    keep_records: " FOR KEY SHARE OF stored_files",
    bytewise: " COLLATE \"C\"",
    seconds: "CAST(extract(epoch FROM clock_timestamp()) AS double precision)",
    tables: "SELECT CAST(tablename AS text) FROM pg_catalog.pg_tables WHERE schemaname = current_schema()",
    object: "json_build_object",
    array: ("CAST(json_agg(", ") AS text)"),
    // It knows nothing yet of what was just written, and would rather read whole tables.
    small_steps: "SELECT set_config('enable_hashjoin', 'off', true), set_config('enable_mergejoin', 'off', true), \
                  set_config('enable_material', 'off', true), set_config('enable_seqscan', 'off', true)",
    encoding: (
        "SELECT CAST(pg_encoding_to_char(encoding) AS text) FROM pg_catalog.pg_database WHERE datname = current_database()",
        "UTF8",
    ),
    collation: "SELECT CAST(collname AS text) FROM pg_catalog.pg_attribute \
                JOIN pg_catalog.pg_collation ON pg_collation.oid = attcollation \
                WHERE attrelid = to_regclass('stored_files') AND attname = 'path' AND collname NOT IN ('C', 'POSIX', 'ucs_basic')",
    // The view shows nothing to whoever may not see it, which is enough for a look.
    last_user_id: "SELECT greatest((SELECT coalesce(max(id), 0) FROM users), \
                   (SELECT coalesce(max(last_value), 0) FROM pg_catalog.pg_sequences \
                   WHERE schemaname = current_schema() AND sequencename = 'users_id_seq'))",
    keep_user_id: "SELECT setval('users_id_seq', greatest(?, (SELECT last_value FROM users_id_seq)))",
    // Keeps writers of users out, but neither readers nor those who only need a user to stay.
    lock_users: "LOCK TABLE users IN SHARE ROW EXCLUSIVE MODE",
    // In this order: who adds holds the user before the table.
    lock_records: &[
        "SELECT 1 FROM users WHERE id = ? FOR UPDATE",
        "LOCK TABLE stored_files IN SHARE ROW EXCLUSIVE MODE",
        "SELECT count(*) FROM (SELECT 1 FROM stored_files WHERE user_id = ? FOR UPDATE) AS locked",
    ],
    // "storm-in" as a number: all storm-indexes of a database agree on it.
    lock_schema: "SELECT CAST(pg_advisory_xact_lock(8319104481867294062) AS text)",
    // A third of a page, less what an entry needs beside the path: <https://www.postgresql.org/docs/15/btree-limits.html>.
    longest_path: 2_680,
};

impl Dialect {
    /// Says which database `db` leads to.
    pub(super) fn of(db: &impl ConnectionTrait) -> Self {
        match db.get_database_backend() {
            DbBackend::Postgres => Self::Postgres,
            _ => Self::Sqlite,
        }
    }

    /// Returns what is said differently.
    pub(super) fn words(self) -> &'static Words {
        match self {
            Self::Sqlite => &SQLITE,
            Self::Postgres => &POSTGRES,
        }
    }

    /// Returns the expression of a record's version: equal only while nobody has changed the record.
    pub(super) fn version(self) -> String {
        match self {
            Self::Sqlite => packed::packed_row(),
            // The transaction that wrote the row.
            Self::Postgres => "CAST(stored_files.xmin AS text)".to_owned(),
        }
    }

    /// Makes a text into bytes, which can be read whatever the text is.
    pub(super) fn bytes(self, text: &str) -> String {
        match self {
            Self::Sqlite => format!("CAST({text} AS BLOB)"),
            Self::Postgres => format!("convert_to(CAST({text} AS text), 'UTF8')"),
        }
    }

    /// Makes a text into a time.
    pub(super) fn time(self, text: &str) -> String {
        self.cast(text, "timestamptz")
    }

    /// Makes a text into a value of `kind`; SQLite's columns take what was read from them as it is.
    pub(super) fn cast(self, text: &str, kind: &str) -> String {
        match self {
            Self::Sqlite => text.to_owned(),
            Self::Postgres => format!("CAST({text} AS {kind})"),
        }
    }

    /// Makes a time into seconds since 1970; NULL if the database cannot read it.
    pub(super) fn seconds(self, column: &str) -> String {
        match self {
            Self::Sqlite => format!("unixepoch({column}, 'subsec')"),
            Self::Postgres => format!("CAST(extract(epoch FROM {column}) AS double precision)"),
        }
    }

    /// Returns the condition under which a time is earlier; its value is in seconds since 1970.
    pub(super) fn earlier(self, column: &str) -> String {
        match self {
            Self::Sqlite => format!("unixepoch({column}, 'subsec') < ?"),
            Self::Postgres => format!("{column} < to_timestamp(?)"),
        }
    }

    /// Returns the condition under which a share link keeps its record: it is not revoked, and has not ended by at least one
    /// of two clocks, the run's (the condition's value, in seconds since 1970) and the database's. An end that the database
    /// cannot read has not come.
    pub(super) fn keeps_record(self) -> String {
        self.active_at(match self {
            Self::Sqlite => "min(?, unixepoch('now', 'subsec'))",
            Self::Postgres => "least(to_timestamp(?), clock_timestamp())",
        })
    }

    /// Returns the condition under which a share link opens its file: it is not revoked, and has not ended by either of the
    /// two clocks of [`Dialect::keeps_record`].
    pub(super) fn opens(self) -> String {
        self.active_at(match self {
            Self::Sqlite => "max(?, unixepoch('now', 'subsec'))",
            Self::Postgres => "greatest(to_timestamp(?), clock_timestamp())",
        })
    }

    /// Returns the condition under which a share link is not revoked and has not ended at `moment`, an expression: of seconds
    /// since 1970 on SQLite, of a time on PostgreSQL.
    fn active_at(self, moment: &str) -> String {
        match self {
            Self::Sqlite => format!(
                "(is_active IS NOT 0 AND (expires_at IS NULL OR NOT {} OR unixepoch(expires_at, 'subsec') >= {moment}))",
                self.words().ends_in_time
            ),
            Self::Postgres => {
                format!("(is_active IS DISTINCT FROM false AND (expires_at IS NULL OR expires_at >= {moment}))")
            }
        }
    }

    /// Returns the condition under which a share link is not revoked and had not ended at a moment; `seconds` is an
    /// expression of that moment, in seconds since 1970. No clock is asked.
    pub(super) fn active_by(self, seconds: &str) -> String {
        match self {
            Self::Sqlite => self.active_at(seconds),
            Self::Postgres => self.active_at(&format!("to_timestamp({seconds})")),
        }
    }

    /// Joins the rows of a table that a condition finds for each row so far, through an index.
    pub(super) fn look_up(self, join: &str, table: &str, name: &str, found: &str) -> String {
        match self {
            Self::Sqlite => format!("{join} {table} AS {name} ON {found}"),
            // Otherwise it would rather read whole tables: it guesses ten times as many rows at each step of a recursion.
            Self::Postgres => {
                format!("{join} LATERAL (SELECT * FROM {table} AS {name} WHERE {found} OFFSET 0) AS {name} ON true")
            }
        }
    }

    /// Makes a column into what JSON can hold.
    pub(super) fn jsonable(self, column: &str) -> String {
        match self {
            // Whatever a column was made for, a BLOB may stand in it.
            Self::Sqlite => format!("CASE typeof({column}) WHEN 'blob' THEN CAST({column} AS TEXT) ELSE {column} END"),
            Self::Postgres => column.to_owned(),
        }
    }
    /// Says how a transaction begins that sees one moment from its first statement to its last, and writes nothing.
    pub(super) fn snapshot(self) -> TransactionOptions {
        match self {
            // Its readers know nothing else.
            Self::Sqlite => TransactionOptions::default(),
            Self::Postgres => TransactionOptions {
                isolation_level: Some(IsolationLevel::RepeatableRead),
                access_mode: Some(AccessMode::ReadOnly),
                ..TransactionOptions::default()
            },
        }
    }

    /// Makes a statement; each `?` is a value.
    pub(super) fn sql(self, text: &str, values: impl IntoIterator<Item = Value>) -> Statement {
        match self {
            Self::Sqlite => Statement::from_sql_and_values(DbBackend::Sqlite, text, values),
            Self::Postgres => Statement::from_sql_and_values(DbBackend::Postgres, numbered(text), values),
        }
    }
}

/// Makes a statement for `db`; each `?` is a value.
pub(super) fn sql(db: &impl ConnectionTrait, text: &str, values: impl IntoIterator<Item = Value>) -> Statement {
    Dialect::of(db).sql(text, values)
}

/// Carries out one of the [`Words`], unless this database has none for it.
pub(super) async fn run(
    db: &impl ConnectionTrait,
    words: &str,
    values: impl IntoIterator<Item = Value>,
) -> Result<(), DbErr> {
    if words.is_empty() {
        return Ok(());
    }
    db.execute_raw(sql(db, words, values)).await.map(drop)
}

/// Keeps `id` from being given again.
pub(super) async fn keep_user_id(db: &impl ConnectionTrait, id: UserId) -> Result<(), DbErr> {
    run(db, Dialect::of(db).words().keep_user_id, [id.into()]).await
}

/// Reads bytes as text, whatever they are: what is only told or looked through must not fail for one odd row.
pub(super) fn lossy(row: &QueryResult, column: usize) -> Result<Option<String>, DbErr> {
    let bytes: Option<Vec<u8>> = row.try_get_by_index(column)?;
    Ok(bytes.map(|bytes| String::from_utf8_lossy(&bytes).into_owned()))
}

/// Numbers the values of a statement, as PostgreSQL wants them.
pub(super) fn numbered(text: &str) -> String {
    let mut numbered = String::with_capacity(text.len() + 8);
    for (number, part) in text.split('?').enumerate() {
        if number > 0 {
            numbered.push('$');
            numbered.push_str(&number.to_string());
        }
        numbered.push_str(part);
    }
    numbered
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_numbered_in_order() {
        assert_eq!(numbered("a = ? AND b IN (?) AND c"), "a = $1 AND b IN ($2) AND c");
        assert_eq!(numbered("SELECT 1"), "SELECT 1");
    }
}
