//! What becomes of the keys of an import. A key is never given to somebody else, and never comes back to life.

use sea_orm::{ConnectionTrait, DbErr, QueryResult};

use super::dialect::Dialect;
use super::people::{KeyLine, Unkept};
use crate::model::{Timestamp, UserId};

/// A key of the file, and whose it is here.
pub(super) struct WantedKey {
    pub(super) number: u64,
    pub(super) line: KeyLine,
    /// The user of the same prefix, if the name is the same too.
    pub(super) owner: Option<UserId>,
}

/// What becomes of a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum KeyLot {
    Import(UserId),
    Present,
    /// There, living, and revoked in the file.
    Revoke(i64),
    WithoutOwner,
    Conflict,
}

impl WantedKey {
    pub(super) fn unkept(&self, code: &'static str, why: &str) -> Unkept {
        let (number, line) = (self.number, &self.line);
        Unkept {
            code,
            message: format!("line {number}: key sk_{}… of user {} ({:?}) {why}", line.prefix, line.user_id, line.user),
            line: Some(number),
            user_id: Some(line.user_id),
            user: Some(line.user.clone()),
            ..Unkept::default()
        }
    }
}

/// A key that is there.
#[derive(Debug)]
pub(super) struct Standing {
    pub(super) id: i64,
    pub(super) owner: UserId,
    pub(super) hash: Option<Vec<u8>>,
    pub(super) is_revoked: bool,
}

/// Returns the key that has the prefix of `wanted`, if there is one.
pub(super) async fn find(db: &impl ConnectionTrait, wanted: &WantedKey) -> Result<Option<Standing>, DbErr> {
    let dialect = Dialect::of(db);
    let query = format!(
        "SELECT id, user_id, {}, (revoked_at IS NOT NULL) FROM api_keys WHERE prefix = ?",
        dialect.bytes("hash")
    );
    let row = db.query_one_raw(dialect.sql(&query, [wanted.line.prefix.as_str().into()])).await?;
    let read = |row: QueryResult| {
        let (id, owner) = (row.try_get_by_index(0)?, row.try_get_by_index(1)?);
        Ok(Standing { id, owner, hash: row.try_get_by_index(2)?, is_revoked: row.try_get_by_index(3)? })
    };
    row.map(read).transpose()
}

/// Decides what becomes of a key where `there` is one of its prefix, or none.
pub(super) fn judge(there: Option<&Standing>, wanted: &WantedKey) -> KeyLot {
    match (there, wanted.owner) {
        (None, Some(owner)) => KeyLot::Import(owner),
        (None, None) => KeyLot::WithoutOwner,
        (Some(there), owner) => {
            let is_same = there.hash.as_deref() == Some(wanted.line.hash.as_bytes())
                && owner.is_none_or(|owner| owner == there.owner);
            match is_same {
                false => KeyLot::Conflict,
                true if wanted.line.revoked_at.is_some() && !there.is_revoked => KeyLot::Revoke(there.id),
                true => KeyLot::Present,
            }
        }
    }
}

/// Makes or ends a key, as was decided.
pub(super) async fn write(db: &impl ConnectionTrait, wanted: &WantedKey, lot: KeyLot) -> Result<(), DbErr> {
    let dialect = Dialect::of(db);
    let (line, time) = (&wanted.line, dialect.time("?"));
    let text = |time: &Option<String>| time.as_deref().and_then(Timestamp::from_text).map(Timestamp::to_text);
    match lot {
        KeyLot::Import(owner) => {
            let insert = format!(
                "INSERT INTO api_keys (user_id, name, prefix, hash, is_admin, created_at, expires_at, revoked_at) \
                 VALUES (?, ?, ?, ?, ?, {time}, {time}, {time})"
            );
            let values = [
                owner.into(),
                line.name.as_str().into(),
                line.prefix.as_str().into(),
                line.hash.as_str().into(),
                line.is_admin.into(),
                text(&Some(line.created_at.clone())).into(),
                text(&line.expires_at).into(),
                text(&line.revoked_at).into(),
            ];
            db.execute_raw(dialect.sql(&insert, values)).await?;
        }
        KeyLot::Revoke(id) => {
            let end = format!("UPDATE api_keys SET revoked_at = {time} WHERE id = ? AND revoked_at IS NULL");
            db.execute_raw(dialect.sql(&end, [text(&line.revoked_at).into(), id.into()])).await?;
        }
        KeyLot::Present | KeyLot::WithoutOwner | KeyLot::Conflict => {}
    }
    Ok(())
}
