//! What becomes of the links of an import: judged and made batch by batch, each question one statement.

use std::collections::{HashMap, HashSet};

use sea_orm::{ConnectionTrait, DatabaseTransaction, DbErr, QueryResult};

use super::dialect::Dialect;
use super::people::{LinkLine, Unkept};
use super::token::masked;
use super::writes::json;
use crate::model::{RecordId, Timestamp, UserId};

/// A link of the file, and where it leads here.
pub(super) struct Wanted {
    pub(super) number: u64,
    pub(super) line: LinkLine,
    /// The owner of its key, and the path below that owner's prefix.
    pub(super) owner: Option<(UserId, String)>,
}

/// What becomes of a link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Lot {
    Import(RecordId),
    Present,
    WithoutRecord,
    Conflict,
}

impl Wanted {
    pub(super) fn unkept(&self, code: &'static str, why: &str) -> Unkept {
        let (number, line) = (self.number, &self.line);
        let token = masked(&line.token);
        Unkept {
            code,
            message: format!(
                "line {number}: {:?} of user {} ({:?}) {why} (link {token})",
                line.path, line.user_id, line.user
            ),
            line: Some(number),
            user_id: Some(line.user_id),
            user: Some(line.user.clone()),
            path: Some(line.path.clone()),
            token: Some(token),
        }
    }
}

/// Decides what becomes of each link where some tokens are `taken` besides those that are there; `keep` keeps the records
/// that were found from going.
pub(super) async fn judge(
    db: &DatabaseTransaction,
    wanted: &[Wanted],
    longest: usize,
    keep: &str,
    taken: HashMap<String, RecordId>,
) -> Result<Vec<Lot>, DbErr> {
    let records = records(db, wanted, keep).await?;
    let mut tokens = tokens(db, wanted).await?;
    tokens.extend(taken);
    let judged = wanted.iter().zip(&records).map(|(link, record)| {
        let Some(record) = record else { return Lot::WithoutRecord };
        if link.line.token.len() > longest {
            return Lot::Conflict;
        }
        match tokens.get(link.line.token.as_str()) {
            None => {
                // The file may have it once more.
                tokens.insert(link.line.token.clone(), *record);
                Lot::Import(*record)
            }
            Some(opens) if opens == record => Lot::Present,
            Some(_) => Lot::Conflict,
        }
    });
    Ok(judged.collect())
}

/// Finds the record of each link's file.
async fn records(db: &DatabaseTransaction, wanted: &[Wanted], keep: &str) -> Result<Vec<Option<RecordId>>, DbErr> {
    let dialect = Dialect::of(db);
    let query = format!(
        "SELECT at, stored_files.id FROM (SELECT CAST(value->>0 AS bigint) AS at, CAST(value->>1 AS bigint) AS owner, \
         value->>2 AS new_path FROM {}) AS new JOIN stored_files ON user_id = owner AND path = new_path \
         ORDER BY stored_files.id{keep}",
        dialect.words().rows
    );
    let asked = wanted.iter().enumerate().filter_map(|(at, link)| {
        let (owner, path) = link.owner.as_ref()?;
        Some((at, owner, path))
    });
    let rows = db.query_all_raw(dialect.sql(&query, [json(asked).into()])).await?;
    let mut records = vec![None; wanted.len()];
    for row in &rows {
        let at: i64 = row.try_get_by_index(0)?;
        if let Some(record) = usize::try_from(at).ok().and_then(|at| records.get_mut(at)) {
            *record = Some(row.try_get_by_index(1)?);
        }
    }
    Ok(records)
}

/// Finds which records the tokens open already.
async fn tokens(db: &DatabaseTransaction, wanted: &[Wanted]) -> Result<HashMap<String, RecordId>, DbErr> {
    let dialect = Dialect::of(db);
    let query = format!(
        "SELECT token, stored_file_id FROM share_links WHERE token IN (SELECT value->>0 FROM {})",
        dialect.words().rows
    );
    let asked = json(wanted.iter().map(|link| [&link.line.token]));
    let rows = db.query_all_raw(dialect.sql(&query, [asked.into()])).await?;
    rows.iter().map(|row: &QueryResult| Ok((row.try_get_by_index(0)?, row.try_get_by_index(1)?))).collect()
}

/// Makes the links that are to be imported. Should somebody else have made one of them since it was judged, it is judged
/// anew.
pub(super) async fn insert(db: &DatabaseTransaction, wanted: &[Wanted], mut lots: Vec<Lot>) -> Result<Vec<Lot>, DbErr> {
    let dialect = Dialect::of(db);
    let insert = format!(
        "INSERT INTO share_links (stored_file_id, token, is_active, expires_at, created_at) \
         SELECT CAST(value->>0 AS bigint), value->>1, CAST(value->>2 AS boolean), {}, {} FROM {} WHERE true \
         ON CONFLICT (token) DO NOTHING RETURNING token",
        dialect.time("value->>3"),
        dialect.time("value->>4"),
        dialect.words().rows
    );
    let time = |text: &str| Timestamp::from_text(text).map(Timestamp::to_text);
    let new = wanted.iter().zip(&lots).filter_map(|(link, lot)| {
        let (Lot::Import(record), line) = (lot, &link.line) else { return None };
        let ends = line.expires_at.as_deref().and_then(time);
        Some((record, &line.token, line.is_active, ends, time(&line.created_at)))
    });
    let rows = db.query_all_raw(dialect.sql(&insert, [json(new).into()])).await?;
    let made = rows.iter().map(|row| row.try_get_by_index(0)).collect::<Result<HashSet<String>, DbErr>>()?;
    let beaten = |(link, lot): &(&Wanted, &mut Lot)| matches!(lot, Lot::Import(_)) && !made.contains(&link.line.token);
    if made.len() < lots.iter().filter(|lot| matches!(lot, Lot::Import(_))).count() {
        let theirs = tokens(db, wanted).await?;
        for (link, lot) in wanted.iter().zip(&mut lots).filter(beaten) {
            let same = matches!(*lot, Lot::Import(record) if theirs.get(&link.line.token) == Some(&record));
            *lot = if same { Lot::Present } else { Lot::Conflict };
        }
    }
    Ok(lots)
}
