//! Keys to the API. The index knows no secret: only what the secret begins with, and a hash of the whole.

use sea_orm::{ConnectionTrait as _, DbErr, QueryResult, Value};
use serde::Serialize;

use super::connect::Index;
use super::dialect::{Dialect, lossy, sql};
use super::error::IndexError;
use super::links::told;
use crate::clock;
use crate::model::{Timestamp, UserId};

/// A key to be made.
#[derive(Debug, Clone)]
pub struct NewKey {
    /// The name of the user whose it is.
    pub user: String,
    /// What it is for, in its owner's words.
    pub name: String,
    /// What the secret begins with; unique.
    pub prefix: String,
    /// The hash of the secret.
    pub hash: String,
    /// Whether it opens what is for administrators.
    pub is_admin: bool,
    /// When it ends, if ever.
    pub expires_at: Option<Timestamp>,
}

/// A key, as it is told: without anything that could open a door.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct KeyRow {
    /// The id.
    pub id: i64,
    /// The user whose it is.
    pub user_id: UserId,
    /// The name of that user.
    pub user: String,
    /// What it is for.
    pub name: String,
    /// What the secret begins with.
    pub prefix: String,
    /// Whether it opens what is for administrators.
    pub is_admin: bool,
    /// When it was made.
    pub created_at: String,
    /// When it ends, if ever.
    pub expires_at: Option<String>,
    /// When it was last used, to the minute.
    pub last_used_at: Option<String>,
    /// When it was revoked, if it was.
    pub revoked_at: Option<String>,
}

/// A key, as it is checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApiKey {
    /// What is told of it.
    pub row: KeyRow,
    /// The hash of the secret.
    pub hash: String,
}

impl ApiKey {
    /// Tells whether the key has ended by itself.
    pub fn is_expired(&self, now: Timestamp) -> bool {
        // An end that cannot be read has come: a key in doubt opens nothing.
        self.row.expires_at.as_deref().is_some_and(|ends| Timestamp::from_text(ends).is_none_or(|ends| ends <= now))
    }
}

/// What was asked under an `Idempotency-Key`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claim {
    /// Whose `Idempotency-Key` it is.
    pub api_key: i64,
    /// The `Idempotency-Key`.
    pub key: String,
    /// The hash of what was asked.
    pub body_hash: String,
}

impl Index {
    /// Makes a key.
    ///
    /// # Errors
    /// When there is no such user, or the index cannot be written.
    pub async fn create_key(&self, new: NewKey) -> Result<KeyRow, IndexError> {
        let rows = self.user_rows().await?;
        let user = rows.into_iter().find(|user| user.name == new.user);
        let user = user.ok_or_else(|| IndexError::UnknownUser(format!("{:?}", new.user)))?;
        let db = self.writing()?;
        let time = Dialect::of(db).time("?");
        let insert = format!(
            "INSERT INTO api_keys (user_id, name, prefix, hash, is_admin, created_at, expires_at) \
             VALUES (?, ?, ?, ?, ?, {time}, {time}) RETURNING id"
        );
        let created_at = clock::now().to_text();
        let expires_at = new.expires_at.map(Timestamp::to_text);
        let values = [
            user.id.into(),
            new.name.as_str().into(),
            new.prefix.as_str().into(),
            new.hash.into(),
            new.is_admin.into(),
            created_at.as_str().into(),
            expires_at.clone().into(),
        ];
        let row = db.query_one_raw(sql(db, &insert, values)).await.map_err(IndexError::Write)?;
        let row = row.ok_or_else(|| IndexError::Write(DbErr::RecordNotInserted))?;
        Ok(KeyRow {
            id: row.try_get_by_index(0).map_err(IndexError::Write)?,
            user_id: user.id,
            user: user.name,
            name: new.name,
            prefix: new.prefix,
            is_admin: new.is_admin,
            created_at,
            expires_at,
            last_used_at: None,
            revoked_at: None,
        })
    }

    /// Returns all keys, in the order in which they were made.
    ///
    /// # Errors
    /// When the index cannot be read.
    pub async fn keys(&self) -> Result<Vec<KeyRow>, IndexError> {
        let query = format!("{} ORDER BY api_keys.id", select(Dialect::of(&self.reader)));
        let rows = self.reader.query_all_raw(sql(&self.reader, &query, [])).await.map_err(IndexError::Read)?;
        let rows = rows.iter().map(key).collect::<Result<Vec<_>, DbErr>>().map_err(IndexError::Read)?;
        Ok(rows.into_iter().map(|key| key.row).collect())
    }

    /// Returns the key whose secret begins with `prefix`, if there is one.
    ///
    /// # Errors
    /// When the index cannot be read.
    pub async fn key(&self, prefix: &str) -> Result<Option<ApiKey>, IndexError> {
        let query = format!("{} WHERE api_keys.prefix = ?", select(Dialect::of(&self.reader)));
        let found = self.reader.query_one_raw(sql(&self.reader, &query, [prefix.into()])).await;
        found.and_then(|row| row.as_ref().map(key).transpose()).map_err(IndexError::Read)
    }

    /// Notes that a key was used now.
    ///
    /// # Errors
    /// When the index cannot be written.
    pub async fn use_key(&self, id: i64) -> Result<(), IndexError> {
        self.mark_key("last_used_at", "id = ?", id.into()).await.map(drop)
    }

    /// Ends a key for good, by its id or by what its secret begins with. The row stays.
    ///
    /// # Errors
    /// When there is no such key, or the index cannot be written.
    pub async fn revoke_key(&self, which: &str) -> Result<(), IndexError> {
        let prefix = prefix_in(which);
        // Eight digits may be a prefix: what is printed on the key comes first.
        let (rule, value): (_, Value) = match which.parse::<i64>() {
            Ok(id) if id.to_string() == which && self.key(prefix).await?.is_none() => ("id = ?", id.into()),
            _ => ("prefix = ?", prefix.into()),
        };
        // One that was revoked before has been so since then.
        let living = format!("{rule} AND revoked_at IS NULL");
        if self.mark_key("revoked_at", &living, value.clone()).await? > 0 {
            return Ok(());
        }
        let query = format!("SELECT 1 FROM api_keys WHERE {rule}");
        let found = self.reader.query_one_raw(sql(&self.reader, &query, [value])).await.map_err(IndexError::Read)?;
        // What was pasted may be a secret, and an error is read by many.
        found.map(drop).ok_or_else(|| IndexError::UnknownKey(shortened(which)))
    }

    /// Removes a key that was just made and whose secret reached no one: nothing is left of it.
    ///
    /// # Errors
    /// When the index cannot be written.
    pub async fn discard_key(&self, key: &KeyRow) -> Result<(), IndexError> {
        let db = self.writing()?;
        let delete = "DELETE FROM api_keys WHERE id = ? AND prefix = ?";
        let delete = sql(db, delete, [key.id.into(), key.prefix.as_str().into()]);
        db.execute_raw(delete).await.map(drop).map_err(IndexError::Write)
    }

    async fn mark_key(&self, column: &str, rule: &str, value: Value) -> Result<u64, IndexError> {
        let db = self.writing()?;
        let update = format!("UPDATE api_keys SET {column} = {} WHERE {rule}", Dialect::of(db).time("?"));
        let values = [clock::now().to_text().into(), value];
        let done = db.execute_raw(sql(db, &update, values)).await.map_err(IndexError::Write)?;
        Ok(done.rows_affected())
    }
}

/// Returns what a key begins with, whichever part of it is given: as it was made, as it is listed, or that alone.
fn prefix_in(which: &str) -> &str {
    let rest = which.strip_prefix("sk_").unwrap_or(which);
    rest.split(['_', '…']).next().unwrap_or(rest)
}

/// Returns as much of what was given for a key as is no secret.
fn shortened(which: &str) -> String {
    const TOLD: usize = "sk_00000000".len();
    match which.char_indices().nth(TOLD) {
        Some((at, _)) => format!("{}…", &which[..at]),
        None => which.to_owned(),
    }
}

fn select(dialect: Dialect) -> String {
    let text = [
        "users.name",
        "api_keys.name",
        "api_keys.prefix",
        "hash",
        "api_keys.created_at",
        "expires_at",
        "last_used_at",
        "revoked_at",
    ];
    format!(
        "SELECT api_keys.id, user_id, is_admin, {} FROM api_keys JOIN users ON users.id = user_id",
        text.map(|column| dialect.bytes(column)).join(", ")
    )
}

fn key(row: &QueryResult) -> Result<ApiKey, DbErr> {
    let text = |at| Ok::<_, DbErr>(lossy(row, at)?.unwrap_or_default());
    let time = |at| Ok::<_, DbErr>(lossy(row, at)?.map(told));
    let told_row = KeyRow {
        id: row.try_get_by_index(0)?,
        user_id: row.try_get_by_index(1)?,
        is_admin: row.try_get_by_index(2)?,
        user: text(3)?,
        name: text(4)?,
        prefix: text(5)?,
        created_at: time(7)?.unwrap_or_default(),
        expires_at: time(8)?,
        last_used_at: time(9)?,
        revoked_at: time(10)?,
    };
    Ok(ApiKey { row: told_row, hash: text(6)? })
}
