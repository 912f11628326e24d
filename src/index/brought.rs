//! What a dry run of an import has brought so far: a real one would find it in the index, and judges by it. It is kept in a
//! database of its own, on disk: a file may have more links than fit into memory.

use std::collections::HashMap;

use sea_orm::{ConnectionTrait, DatabaseConnection, DbErr, QueryResult};

use super::dialect::{sql, sqlite};
use super::keying::{self, KeyLot, Standing, WantedKey};
use super::linking::{Lot, Wanted};
use super::writes::json;
use crate::model::RecordId;

/// The links and keys that the lines so far would have made or ended.
#[derive(Debug)]
pub(super) struct Brought(DatabaseConnection);

impl Brought {
    /// Makes a place for them.
    pub(super) async fn new() -> Result<Self, DbErr> {
        let db = sqlite::scratch().await?;
        for table in [
            "CREATE TABLE links (token TEXT PRIMARY KEY, record INTEGER NOT NULL) WITHOUT ROWID",
            "CREATE TABLE keys (prefix TEXT PRIMARY KEY, owner INTEGER NOT NULL, hash TEXT NOT NULL, revoked INTEGER NOT NULL) \
             WITHOUT ROWID",
        ] {
            db.execute_unprepared(table).await?;
        }
        Ok(Self(db))
    }

    /// Returns which records the tokens of `wanted` would open by now.
    pub(super) async fn tokens(&self, wanted: &[Wanted]) -> Result<HashMap<String, RecordId>, DbErr> {
        let asked = json(wanted.iter().map(|link| &link.line.token));
        let query = "SELECT token, record FROM links WHERE token IN (SELECT value FROM json_each(?))";
        let rows = self.0.query_all_raw(sql(&self.0, query, [asked.into()])).await?;
        rows.iter().map(|row| Ok((row.try_get_by_index(0)?, row.try_get_by_index(1)?))).collect()
    }

    /// Notes the links that would be made.
    pub(super) async fn make_links(&self, wanted: &[Wanted], lots: &[Lot]) -> Result<(), DbErr> {
        let new = wanted.iter().zip(lots).filter_map(|(link, lot)| match lot {
            Lot::Import(record) => Some((&link.line.token, record)),
            Lot::Present | Lot::WithoutRecord | Lot::Conflict => None,
        });
        let insert = "INSERT OR IGNORE INTO links SELECT value->>0, value->>1 FROM json_each(?)";
        self.0.execute_raw(sql(&self.0, insert, [json(new).into()])).await.map(drop)
    }

    /// Decides what would become of a key, and notes it.
    pub(super) async fn lot(&self, index: &impl ConnectionTrait, wanted: &WantedKey) -> Result<KeyLot, DbErr> {
        let there = match self.key(wanted).await? {
            None => keying::find(index, wanted).await?,
            brought => brought,
        };
        let (line, lot) = (&wanted.line, keying::judge(there.as_ref(), wanted));
        let (owner, is_revoked) = match (lot, there) {
            (KeyLot::Import(owner), _) => (owner, line.revoked_at.is_some()),
            (KeyLot::Revoke(_), Some(there)) => (there.owner, true),
            _ => return Ok(lot),
        };
        let note = "INSERT INTO keys VALUES (?, ?, ?, ?) ON CONFLICT (prefix) DO UPDATE SET revoked = excluded.revoked";
        let values = [line.prefix.as_str().into(), owner.into(), line.hash.as_str().into(), is_revoked.into()];
        self.0.execute_raw(sql(&self.0, note, values)).await?;
        Ok(lot)
    }

    /// Returns the key of the prefix of `wanted` as it would stand by now, if it was brought or ended.
    async fn key(&self, wanted: &WantedKey) -> Result<Option<Standing>, DbErr> {
        let query = "SELECT owner, hash, revoked FROM keys WHERE prefix = ?";
        let row = self.0.query_one_raw(sql(&self.0, query, [wanted.line.prefix.as_str().into()])).await?;
        let read = |row: QueryResult| {
            let hash: String = row.try_get_by_index(1)?;
            let (owner, is_revoked) = (row.try_get_by_index(0)?, row.try_get_by_index(2)?);
            Ok(Standing { id: 0, owner, hash: Some(hash.into_bytes()), is_revoked })
        };
        row.map(read).transpose()
    }
}
