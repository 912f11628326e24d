//! Reading what an undoing has to know: the journal's lines of a task, newest first, and what is there of it now.

use std::collections::{HashMap, HashSet};

use sea_orm::{ConnectionTrait, DbErr, QueryResult};
use serde_json::Value;

use super::links::{LinkNow, LinksNow};
use super::{Case, Image};
use crate::index::deletes::linked_ids;
use crate::index::dialect::{Dialect, lossy, run};
use crate::index::error::IndexError;
use crate::index::journal;
use crate::index::moves::holders;
use crate::index::writes::{json, unix_seconds};
use crate::model::{Prefix, RecordId, Timestamp, UserId};

/// How many records are undone at a time, and what hangs together with them.
const BATCH: i64 = 1_000;

/// The oldest line of a task about a record: what the record was before.
const OLDEST: &str = "line.id = (SELECT min(older.id + 0) FROM journal AS older WHERE older.record_id = line.record_id \
                      AND coalesce(older.task_id, '') = line.task_id)";

// `coalesce` where a line is found by its record or its path: all lines of a task would be read each time otherwise.
// And an order by `id + 0` where the ids are given: all rows would be read in that order otherwise.

/// When a link went along with its record, in seconds since 1970: a further field of its image.
pub(super) const TAKEN: &str = "taken_at";

/// A record as it is now.
#[derive(Debug, Clone)]
pub(in crate::index) struct Now {
    /// What it is; `None` where that cannot be read.
    pub(in crate::index) image: Option<Image>,
    /// The same as the database says it.
    pub(in crate::index) text: String,
    /// Its links.
    pub(in crate::index) links: Option<String>,
}

/// A user as there is one now.
#[derive(Debug)]
struct UserNow {
    prefix: String,
    /// The users of this id who were removed, in order: the journal's line, and the prefix.
    removed: Vec<(i64, String)>,
}

impl UserNow {
    /// Tells whether the user is the one of a line of the journal. Whose that was is who was removed next; one who came
    /// later to the free id and owns something else is another person.
    fn is_whose(&self, line: i64) -> bool {
        self.removed.iter().find(|(removed, _)| *removed > line).is_none_or(|(_, prefix)| *prefix == self.prefix)
    }
}

/// The last journaled change of a record.
#[derive(Debug)]
struct Last {
    task: Option<String>,
    /// What the record became.
    after: Option<String>,
    /// What it was, if it was deleted.
    gone: Option<String>,
}

/// What is read of the database that is undone in.
#[derive(Debug)]
pub(in crate::index) struct Gather<'t, C> {
    db: &'t C,
    dialect: Dialect,
    task: &'t str,
    /// Keeps what is read as it is, where that is to be written.
    lock: &'static str,
    /// The time by the run's clock.
    time: Timestamp,
}

impl<'t, C: ConnectionTrait> Gather<'t, C> {
    /// Reads in the transaction `db` for the undoing of `task`.
    pub(in crate::index) async fn new(
        db: &'t C,
        task: &'t str,
        writes: bool,
        time: Timestamp,
    ) -> Result<Self, IndexError> {
        let dialect = Dialect::of(db);
        run(db, dialect.words().small_steps, []).await.map_err(IndexError::Read)?;
        Ok(Self { db, dialect, task, lock: if writes { dialect.words().lock } else { "" }, time })
    }

    /// Returns the next records that the task touched, each at its oldest line: line and record, the newest line first.
    pub(in crate::index) async fn page(&self, below: i64) -> Result<Vec<(i64, RecordId)>, IndexError> {
        let query = format!(
            "SELECT line.id, line.record_id FROM journal AS line WHERE line.task_id = ? AND line.id < ? AND {OLDEST} \
             ORDER BY line.id DESC LIMIT ?"
        );
        let values = [self.task.into(), below.into(), BATCH.into()];
        self.rows(&query, values, |row| Ok((row.try_get_by_index(0)?, row.try_get_by_index(1)?))).await
    }

    /// Returns `records` and all others of the task that hang together with them: who is where one of them was, and who
    /// was where one of them is or was.
    pub(in crate::index) async fn connected(&self, records: &[RecordId]) -> Result<Vec<RecordId>, IndexError> {
        let look_up = |join, table, name, found| self.dialect.look_up(join, table, name, found);
        let steps = [
            look_up("JOIN", "journal", "line", "line.record_id = unit.id AND coalesce(line.task_id, '') = ?"),
            look_up("LEFT JOIN", "stored_files", "mine", "mine.id = unit.id"),
            look_up("LEFT JOIN", "stored_files", "holder", "holder.user_id = line.user_id AND holder.path = line.path"),
            look_up(
                "JOIN",
                "journal",
                "near",
                "coalesce(near.task_id, '') = line.task_id AND (near.record_id = holder.id \
                 OR (near.user_id = line.user_id AND near.path = line.path) \
                 OR (near.user_id = mine.user_id AND near.path = mine.path))",
            ),
        ];
        let query = format!(
            "WITH RECURSIVE unit(id) AS (SELECT * FROM {} AS seed UNION SELECT near.record_id FROM unit {}) \
             SELECT id FROM unit ORDER BY id",
            self.dialect.words().ids,
            steps.join(" ")
        );
        let values = [json(records.iter()).into(), self.task.into()];
        self.rows(&query, values, |row| row.try_get_by_index(0)).await
    }

    /// Returns all that decides about `records`, the oldest line first, and what is there now of them and of those that
    /// are in their places.
    pub(in crate::index) async fn cases(
        &self,
        records: &[RecordId],
        undoings: &HashSet<String>,
    ) -> Result<(Vec<Case>, HashMap<RecordId, Now>), IndexError> {
        let ids = json(records.iter());
        let mut cases = self.lines(&ids).await?;
        let users = self.users(&cases).await?;
        let mut now = self.now(&ids).await?;
        let last = self.last(&ids).await?;
        for case in &mut cases {
            let user = users.get(&case.user);
            case.has_user = user.is_some_and(|user| user.is_whose(case.line));
            case.prefix = user.and_then(|user| Prefix::parse(&user.prefix).ok());
            case.now = now.get(&case.id).and_then(|now| now.image.clone());
            case.is_readable &= now.get(&case.id).is_none_or(|now| now.image.is_some());
            if let Some(last) = last.get(&case.id) {
                case.last = last.after.as_deref().and_then(Image::parse);
                case.gone = last.gone.as_deref().and_then(Image::parse);
                case.is_undone = last.task.as_ref().is_some_and(|task| undoings.contains(task));
            }
        }
        let held = holders(self.db, cases.iter().map(|case| (case.user, case.path.as_str())), self.lock).await?;
        for (case, holder) in cases.iter_mut().zip(held) {
            case.holder = holder.filter(|_| case.was.is_some());
        }
        let strangers: HashSet<RecordId> =
            cases.iter().filter_map(|case| case.holder).filter(|id| !now.contains_key(id)).collect();
        now.extend(self.now(&json(strangers.iter())).await?);
        let all = json(now.keys());
        let shared = linked_ids(self.db, &all, self.time, self.lock).await.map_err(IndexError::Read)?;
        for case in &mut cases {
            case.is_shared = shared.contains(&case.id);
        }
        Ok((cases, now))
    }

    /// Returns the links that are there now of those that went along with `cases`.
    pub(in crate::index) async fn links(&self, cases: &[Case]) -> Result<LinksNow, IndexError> {
        let links = || cases.iter().flat_map(|case| &case.links);
        let mut there = LinksNow::default();
        if links().next().is_none() {
            return Ok(there);
        }
        let words = self.dialect.words();
        let of_record = |column: &str| format!("(SELECT {column} FROM stored_files WHERE id = stored_file_id)");
        let (user, path) = (of_record("user_id"), of_record(&self.dialect.bytes("path")));
        let now = unix_seconds(self.time);
        let (ids, tokens) = (json(links().filter_map(|l| l["id"].as_i64())), json(links().map(|l| [&l["token"]])));
        for (of, value) in [
            (format!("id IN {}", words.ids), ids),
            (format!("token IN (SELECT value->>0 FROM {})", words.rows), tokens),
        ] {
            let token = self.dialect.bytes("token");
            let query = format!(
                "SELECT {}, id, {token}, stored_file_id, {user}, {path} FROM share_links WHERE {of}{}",
                self.dialect.keeps_record(),
                self.lock
            );
            let read = |row: &QueryResult| {
                let user: Option<UserId> = row.try_get_by_index(4)?;
                let link = LinkNow {
                    token: lossy(row, 2)?.unwrap_or_default(),
                    record: row.try_get_by_index(3)?,
                    place: user.zip(lossy(row, 5)?),
                    is_active: row.try_get_by_index(0)?,
                };
                Ok((row.try_get_by_index::<i64>(1)?, link))
            };
            for (id, link) in self.rows(&query, [now.into(), value.into()], read).await? {
                there.by_token.insert(link.token.clone(), id);
                there.by_id.insert(id, link);
            }
        }
        Ok(there)
    }

    async fn lines(&self, ids: &str) -> Result<Vec<Case>, IndexError> {
        let [path, before, links] = ["line.path", "line.before", "line.links"].map(|column| self.dialect.bytes(column));
        let found = "line.record_id = seed.id AND coalesce(line.task_id, '') = ?";
        let query = format!(
            "WITH seed(id) AS (SELECT * FROM {} AS ids) SELECT line.record_id, line.user_id, line.action, {path}, {before}, \
             {links}, line.id, {} FROM seed {} WHERE {OLDEST} ORDER BY line.id + 0",
            self.dialect.words().ids,
            self.dialect.seconds("line.created_at"),
            self.dialect.look_up("JOIN", "journal", "line", found)
        );
        self.rows(&query, [ids.into(), self.task.into()], |row| {
            let action: String = row.try_get_by_index(2)?;
            let (before, links) = (lossy(row, 4)?, lossy(row, 5)?);
            let was = before.as_deref().and_then(Image::parse);
            let mut links: Option<Vec<Value>> = links.map_or(Some(Vec::new()), |text| serde_json::from_str(&text).ok());
            let taken: Option<f64> = row.try_get_by_index(7)?;
            for link in links.iter_mut().flatten().filter_map(Value::as_object_mut) {
                link.insert(TAKEN.to_owned(), taken.into());
            }
            let id: RecordId = row.try_get_by_index(0)?;
            let is_whole = was.as_ref().is_none_or(Image::is_whole);
            let is_readable = was.is_some() != (action == "insert") && links.is_some() && is_whole;
            Ok(Case {
                id,
                user: row.try_get_by_index(1)?,
                path: lossy(row, 3)?.unwrap_or_default(),
                was,
                is_readable,
                was_deleted: action == "delete",
                // Those of a record that was brought back came with it; nobody misses them.
                links: links.filter(|_| action != "insert").unwrap_or_default(),
                now: None,
                last: None,
                gone: None,
                is_undone: false,
                line: row.try_get_by_index(6)?,
                has_user: false,
                prefix: None,
                is_shared: false,
                holder: None,
                found: None,
            })
        })
        .await
    }

    async fn users(&self, cases: &[Case]) -> Result<HashMap<UserId, UserNow>, IndexError> {
        let ids: HashSet<UserId> = cases.iter().map(|case| case.user).collect();
        let ids = json(ids.iter());
        let (words, prefix) = (self.dialect.words(), self.dialect.bytes("prefix"));
        let query = format!("SELECT id, {prefix} FROM users WHERE id IN {} ORDER BY id{}", words.ids, self.lock);
        let read = |row: &QueryResult| {
            let user = UserNow { prefix: lossy(row, 1)?.unwrap_or_default(), removed: Vec::new() };
            Ok((row.try_get_by_index(0)?, user))
        };
        let users: Vec<(UserId, UserNow)> = self.rows(&query, [ids.as_str().into()], read).await?;
        let mut users: HashMap<UserId, UserNow> = users.into_iter().collect();
        let path = self.dialect.bytes("path");
        let query = format!(
            "SELECT user_id, id, {path} FROM journal WHERE record_id = 0 AND action = 'remove_user' AND user_id IN {} \
             ORDER BY id",
            words.ids
        );
        let read = |row: &QueryResult| {
            Ok((row.try_get_by_index(0)?, row.try_get_by_index(1)?, lossy(row, 2)?.unwrap_or_default()))
        };
        let removed: Vec<(UserId, i64, String)> = self.rows(&query, [ids.as_str().into()], read).await?;
        for (user, line, prefix) in removed {
            users.entry(user).and_modify(|user| user.removed.push((line, prefix)));
        }
        Ok(users)
    }

    async fn now(&self, ids: &str) -> Result<HashMap<RecordId, Now>, IndexError> {
        let (image, links) = (journal::image(self.dialect), journal::links(self.dialect));
        let query = format!(
            "SELECT id, {}, {} FROM stored_files WHERE id IN {} ORDER BY id + 0{}",
            self.dialect.bytes(&image),
            self.dialect.bytes(&links),
            self.dialect.words().ids,
            self.lock
        );
        let rows = self
            .rows(&query, [ids.into()], |row| {
                let text = lossy(row, 1)?.unwrap_or_default();
                Ok((row.try_get_by_index(0)?, Now { image: Image::parse(&text), text, links: lossy(row, 2)? }))
            })
            .await?;
        Ok(rows.into_iter().collect())
    }

    /// Returns the last journaled change of each record, by whatever task.
    async fn last(&self, ids: &str) -> Result<HashMap<RecordId, Last>, IndexError> {
        let query = format!(
            "SELECT record_id, task_id, {}, {} FROM journal WHERE id IN \
             (SELECT max(id) FROM journal WHERE record_id IN {} GROUP BY record_id)",
            self.dialect.bytes("after"),
            self.dialect.bytes("CASE WHEN action = 'delete' THEN before END"),
            self.dialect.words().ids
        );
        let read = |row: &QueryResult| {
            let last = Last { task: row.try_get_by_index(1)?, after: lossy(row, 2)?, gone: lossy(row, 3)? };
            Ok((row.try_get_by_index(0)?, last))
        };
        Ok(self.rows(&query, [ids.into()], read).await?.into_iter().collect())
    }

    async fn rows<T>(
        &self,
        query: &str,
        values: impl IntoIterator<Item = sea_orm::Value>,
        read: impl Fn(&QueryResult) -> Result<T, DbErr>,
    ) -> Result<Vec<T>, IndexError> {
        let rows = self.db.query_all_raw(self.dialect.sql(query, values)).await.map_err(IndexError::Read)?;
        rows.iter().map(read).collect::<Result<_, DbErr>>().map_err(IndexError::Read)
    }
}
