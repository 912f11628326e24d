//! Carrying records along with their files, many at once: chains and swaps among them, and never two records at one path.
//!
//! The records are locked, then the places that they are to take are looked at. Whoever holds a place that another one is
//! to take steps aside first, to a path that no file can have; then all take their places in one statement.

use std::collections::{HashMap, HashSet};

use sea_orm::{ConnectionTrait, QueryResult};

use super::deletes::versions_now;
use super::dialect::{Dialect, run, sql};
use super::error::IndexError;
use super::journal;
use super::retry::Patience;
use super::writes::{Writer, json};
use crate::clock;
use crate::model::{FileId, ObjectFacts, RecordId, UserId, name_of, parent_of};

/// A record to be carried to where its file is now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Carry {
    /// Which.
    pub id: RecordId,
    /// Whose.
    pub user: UserId,
    /// All columns as they were read: the record is left alone when they have changed since.
    pub version: Vec<u8>,
    /// The object that it is for now.
    pub object: ObjectFacts,
    /// Where in the object's key the path below the user's prefix begins.
    pub path_at: usize,
    /// The content type that the new name promises.
    pub content_type: &'static str,
}

impl Carry {
    /// Returns the new path below the user's prefix.
    pub fn path(&self) -> &str {
        &self.object.key[self.path_at..]
    }
}

/// What became of a record that was to be carried.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Carried {
    /// It is where its file is.
    Done,
    /// It stays: somebody has changed it since it was read, or it is gone.
    Changed,
    /// It stays: another record holds the path and does not leave it.
    Taken,
}

impl Writer {
    /// Carries records to new paths, all in one transaction: they keep their ids and links. Returns what became of each,
    /// in order.
    ///
    /// # Errors
    /// When the database does; then none is carried.
    pub async fn carry(&self, moves: &[Carry]) -> Result<Vec<Carried>, IndexError> {
        let mut patience = Patience::default();
        loop {
            match self.carry_once(moves).await {
                Err(error) if patience.again_or_taken(&error).await => {}
                done => return done,
            }
        }
    }

    async fn carry_once(&self, moves: &[Carry]) -> Result<Vec<Carried>, IndexError> {
        let transaction = self.begin().await?;
        let dialect = Dialect::of(&transaction);
        run(&transaction, dialect.words().small_steps, []).await.map_err(IndexError::Write)?;
        let now = versions_now(&transaction, &json(moves.iter().map(|m| m.id))).await?;
        let holders = holders(&transaction, moves.iter().map(|m| (m.user, m.path())), dialect.words().lock).await?;
        let steps: Vec<Step> = moves
            .iter()
            .zip(&holders)
            .map(|(m, holder)| {
                let unchanged = now.get(&m.id).is_some_and(|(user, version)| *user == m.user && *version == m.version);
                Step { id: m.id, unchanged, holder: *holder }
            })
            .collect();
        let fates = settle(&steps, |at| (moves[at].user, moves[at].path()));
        let done = || moves.iter().zip(&fates).filter(|(_, fate)| **fate == Carried::Done).map(|(m, _)| m);
        let rows = json(done().map(|m| {
            let (path, o) = (m.path(), &m.object);
            let file_id = o.file_id.map(FileId::to_text);
            let facts = (o.size, m.content_type, o.etag.as_deref(), o.last_modified.to_text(), file_id);
            (m.id, path, name_of(path), parent_of(path), facts)
        }));
        let now = clock::now().to_text();
        let values = [self.task().map(str::to_owned).into(), now.as_str().into(), rows.as_str().into()];
        let journal = journal::of_moves(dialect, &new_rows(dialect));
        transaction.execute_raw(dialect.sql(&journal, values)).await.map_err(IndexError::Write)?;
        let aside = steps.iter().zip(&fates).filter(|(_, fate)| **fate == Carried::Done);
        let aside = aside.filter_map(|(step, _)| step.holder.filter(|holder| *holder != step.id));
        step_aside(&transaction, aside).await?;
        let update = format!(
            "UPDATE stored_files SET path = new.path, name = new.name, parent_path = new.parent_path, size = new.size, \
             content_type = new.content_type, etag = new.etag, last_modified = new.last_modified, \
             file_id = new.file_id, updated_at = new.updated_at FROM {} WHERE stored_files.id = new.new_id",
            new_rows(dialect)
        );
        let values = [now.into(), rows.into()];
        transaction.execute_raw(dialect.sql(&update, values)).await.map_err(IndexError::Write)?;
        self.commit(transaction).await?;
        Ok(fates)
    }
}

/// The rows of a move; its values are the moment and the rows.
fn new_rows(dialect: Dialect) -> String {
    format!(
        "(SELECT CAST(value->>0 AS bigint) AS new_id, value->>1 AS path, value->>2 AS name, value->>3 AS parent_path, \
         CAST(value->4->>0 AS bigint) AS size, value->4->>1 AS content_type, value->4->>2 AS etag, \
         {} AS last_modified, value->4->>4 AS file_id, {} AS updated_at FROM {}) AS new",
        dialect.time("value->4->>3"),
        dialect.time("?"),
        dialect.words().rows,
    )
}

/// Returns, for each of `places`, the record that is there, and keeps it as it is by `lock`.
pub(super) async fn holders<'p>(
    db: &impl ConnectionTrait,
    places: impl Iterator<Item = (UserId, &'p str)>,
    lock: &str,
) -> Result<Vec<Option<RecordId>>, IndexError> {
    let words = Dialect::of(db).words();
    let mut count = 0;
    let rows = json(places.enumerate().map(|(at, (user, path))| {
        count = at + 1;
        (at, user, path)
    }));
    // Not plainly by id, or PostgreSQL might walk through all records in that order, and look for each in the list.
    let query = format!(
        "SELECT place.at, stored_files.id FROM (SELECT CAST(value->>0 AS bigint) AS at, CAST(value->>1 AS bigint) AS user_id, \
         value->>2 AS path FROM {}) AS place JOIN stored_files \
         ON stored_files.user_id = place.user_id AND stored_files.path = place.path ORDER BY stored_files.id + 0{}",
        words.rows, lock
    );
    let rows = db.query_all_raw(sql(db, &query, [rows.into()])).await.map_err(IndexError::Write)?;
    let mut holders = vec![None; count];
    for row in rows {
        let read = |row: &QueryResult| Ok((row.try_get_by_index::<i64>(0)?, row.try_get_by_index(1)?));
        let (at, id) = read(&row).map_err(IndexError::Write)?;
        if let Some(holder) = usize::try_from(at).ok().and_then(|at| holders.get_mut(at)) {
            *holder = Some(id);
        }
    }
    Ok(holders)
}

/// Puts records where no file can be: behind a control character, which no key has.
pub(super) async fn step_aside(
    db: &impl ConnectionTrait,
    ids: impl Iterator<Item = RecordId>,
) -> Result<(), IndexError> {
    let rows = json(ids.map(|id| (id, format!("\u{1}{id}"))));
    let update = format!(
        "UPDATE stored_files SET path = new.path FROM (SELECT CAST(value->>0 AS bigint) AS new_id, value->>1 AS path FROM {}) \
         AS new WHERE stored_files.id = new.new_id",
        Dialect::of(db).words().rows
    );
    db.execute_raw(sql(db, &update, [rows.into()])).await.map(drop).map_err(IndexError::Write)
}

/// A move, as far as it decides about others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Step {
    id: RecordId,
    /// Whether the record still is what it was when the move was decided.
    unchanged: bool,
    /// Who holds the path that it is to take.
    holder: Option<RecordId>,
}

/// Decides who moves: whoever stays keeps its place, so that who wanted that place stays as well, and so on.
fn settle<'p>(steps: &[Step], place: impl Fn(usize) -> (UserId, &'p str)) -> Vec<Carried> {
    let mut fates = Vec::with_capacity(steps.len());
    let (mut movers, mut places) = (HashMap::new(), HashSet::new());
    for (at, step) in steps.iter().enumerate() {
        // Of two moves of one record, or to one place, the first counts.
        fates.push(if !step.unchanged || movers.contains_key(&step.id) {
            Carried::Changed
        } else if places.insert(place(at)) {
            movers.insert(step.id, at);
            Carried::Done
        } else {
            Carried::Taken
        });
    }
    let wanted: HashMap<RecordId, usize> = (0..steps.len())
        .filter(|at| fates[*at] == Carried::Done)
        .filter_map(|at| Some((steps[at].holder?, at)))
        .collect();
    let leaves = |id: &RecordId, fates: &[Carried]| movers.get(id).is_some_and(|at| fates[*at] == Carried::Done);
    let mut staying: Vec<RecordId> = wanted.keys().copied().filter(|holder| !leaves(holder, &fates)).collect();
    while let Some(stays) = staying.pop() {
        let Some(at) = wanted.get(&stays).copied().filter(|at| fates[*at] == Carried::Done) else { continue };
        fates[at] = Carried::Taken;
        staying.push(steps[at].id);
    }
    fates
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Moves of records at the paths that have their ids as names: (id, to, unchanged). Ids from 90 on hold their place.
    fn fates(moves: &[(RecordId, RecordId, bool)]) -> Vec<Carried> {
        let names: Vec<String> = moves.iter().map(|(_, to, _)| to.to_string()).collect();
        let steps: Vec<Step> = moves
            .iter()
            .map(|&(id, to, unchanged)| {
                let holder = (to >= 90 || moves.iter().any(|(other, ..)| *other == to)).then_some(to);
                Step { id, unchanged, holder }
            })
            .collect();
        settle(&steps, |at| (1, names[at].as_str()))
    }

    #[test]
    fn who_stays_keeps_others_from_moving() {
        use Carried::{Changed, Done, Taken};
        for (moves, want) in [
            // To a free place, in a chain, in a swap, around in a circle, to where it is already.
            (&[(1, 50, true)][..], &[Done][..]),
            (&[(1, 2, true), (2, 3, true), (3, 50, true)], &[Done, Done, Done]),
            (&[(1, 2, true), (2, 1, true)], &[Done, Done]),
            (&[(1, 2, true), (2, 3, true), (3, 1, true)], &[Done, Done, Done]),
            (&[(1, 1, true)], &[Done]),
            // Onto one who stays, and whoever wanted the place of that one.
            (&[(1, 90, true)], &[Taken]),
            (&[(3, 90, true), (2, 3, true), (1, 2, true), (4, 50, true)], &[Taken, Taken, Taken, Done]),
            (&[(1, 2, true), (2, 3, true), (3, 50, false)], &[Taken, Taken, Changed]),
            (&[(1, 2, true), (2, 3, true), (3, 1, false)], &[Taken, Taken, Changed]),
            // Two to one place, and one record to two places.
            (&[(1, 50, true), (2, 50, true), (3, 2, true)], &[Done, Taken, Taken]),
            (&[(1, 50, true), (1, 51, true)], &[Done, Changed]),
        ] {
            assert_eq!(fates(moves), want, "{moves:?}");
        }
    }
}
