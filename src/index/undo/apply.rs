//! Writing what an undoing has decided: first the journal, then those that are in the way step aside, then the records,
//! their links, and at last those that go.

use std::collections::HashMap;

use sea_orm::{ConnectionTrait, Value};
use serde_json::json;

use super::gather::{Now, TAKEN};
use super::links::LinkPlan;
use super::{Case, Image, Plan, Verdict};
use crate::clock;
use crate::index::dialect::Dialect;
use crate::index::error::IndexError;
use crate::index::moves::step_aside;
use crate::index::writes::{json as rows_of, unix_seconds};
use crate::model::{RecordId, Timestamp};

/// What is written.
#[derive(Debug)]
pub(in crate::index) struct Apply<'p> {
    pub(in crate::index) cases: &'p [Case],
    pub(in crate::index) plan: &'p Plan,
    pub(in crate::index) links: &'p LinkPlan,
    pub(in crate::index) now: &'p HashMap<RecordId, Now>,
    /// The time by the run's clock.
    pub(in crate::index) time: Timestamp,
}

impl Apply<'_> {
    /// Writes all of it in the transaction `db`, for the run `task`.
    pub(in crate::index) async fn write(
        &self,
        db: &impl ConnectionTrait,
        task: Option<&str>,
    ) -> Result<(), IndexError> {
        let records = self.records();
        let going = self.going();
        self.journal(db, task, &records, &going).await?;
        let aside = records.iter().filter_map(|(case, _)| case.holder.filter(|holder| *holder != case.id));
        step_aside(db, aside).await?;
        self.put(db, &records).await?;
        self.link(db).await?;
        self.remove(db, &going).await
    }

    /// Returns the records that are there afterwards, and what they become.
    fn records(&self) -> Vec<(&Case, Image)> {
        // Only a newer record knows the file of today: one that goes because it had been brought back tells of its own file.
        let newer = self.plan.replaced.iter().filter(|r| r.all_links);
        let newer: HashMap<RecordId, RecordId> = newer.map(|r| (r.by, r.id)).collect();
        let comes = |verdict: &Verdict| matches!(verdict, Verdict::Return | Verdict::Revert);
        let coming = self.cases.iter().zip(&self.plan.verdicts).filter(|(_, verdict)| comes(verdict));
        coming
            .filter_map(|(case, _)| {
                let holder = newer.get(&case.id).and_then(|id| self.now.get(id)?.image.as_ref());
                Some((case, case.becomes(holder)?))
            })
            .collect()
    }

    /// Returns the records that are not there any more afterwards.
    fn going(&self) -> Vec<RecordId> {
        let removed = self.cases.iter().zip(&self.plan.verdicts).filter(|(_, v)| **v == Verdict::Remove);
        let mut going: Vec<RecordId> = removed.map(|(case, _)| case.id).collect();
        going.extend(self.plan.replaced.iter().map(|r| r.id));
        going.sort_unstable();
        going.dedup();
        going
    }

    async fn journal(
        &self,
        db: &impl ConnectionTrait,
        task: Option<&str>,
        records: &[(&Case, Image)],
        going: &[RecordId],
    ) -> Result<(), IndexError> {
        let dialect = Dialect::of(db);
        let gone = going.iter().filter_map(|id| {
            let now = self.now.get(id)?;
            let (user, path) = now.image.as_ref().map(|image| (image.user(), image.path())).unwrap_or_default();
            Some(json!(["delete", id, user, path, null, now.text, null, now.links]))
        });
        let there = records.iter().map(|(case, image)| {
            let after = image.columns().to_string();
            let Some(now) = self.now.get(&case.id) else {
                return json!(["insert", case.id, case.user, image.path(), null, null, after, null]);
            };
            let from = now.image.as_ref().map_or("", Image::path);
            let (action, to) = if from == image.path() { ("update", None) } else { ("move", Some(image.path())) };
            json!([action, case.id, case.user, from, to, now.text, after, null])
        });
        let insert = format!(
            "INSERT INTO journal (task_id, action, record_id, user_id, path, new_path, before, after, links, created_at) \
             SELECT CAST(? AS text), value->>0, CAST(value->>1 AS bigint), CAST(value->>2 AS bigint), value->>3, value->>4, \
             value->>5, value->>6, value->>7, {} FROM {}",
            dialect.time("?"),
            dialect.words().rows
        );
        let values = [task.map(str::to_owned).into(), clock::now().to_text().into(), rows_of(gone.chain(there)).into()];
        write(db, &insert, values).await
    }

    async fn put(&self, db: &impl ConnectionTrait, records: &[(&Case, Image)]) -> Result<(), IndexError> {
        let rows = |there: bool| {
            let rows = records.iter().filter(|(case, _)| case.now.is_some() == there);
            rows_of(rows.map(|(case, image)| (case.id, case.user, image.columns())))
        };
        let dialect = Dialect::of(db);
        let columns = "id, user_id, path, name, parent_path, size, content_type, etag, last_modified, file_id, created_at, updated_at";
        let [changed, created, updated] =
            ["last_modified", "created_at", "updated_at"].map(|c| dialect.time(&format!("value->2->>'{c}'")));
        let values = format!(
            "SELECT CAST(value->>0 AS bigint) AS id, CAST(value->>1 AS bigint) AS user_id, value->2->>'path' AS path, \
             value->2->>'name' AS name, value->2->>'parent_path' AS parent_path, {} AS size, \
             value->2->>'content_type' AS content_type, value->2->>'etag' AS etag, {changed} AS last_modified, \
             value->2->>'file_id' AS file_id, {created} AS created_at, {updated} AS updated_at FROM {}",
            dialect.cast("value->2->>'size'", "bigint"),
            dialect.words().rows
        );
        let update = format!(
            "UPDATE stored_files SET path = new.path, name = new.name, parent_path = new.parent_path, size = new.size, \
             content_type = new.content_type, etag = new.etag, last_modified = new.last_modified, \
             file_id = new.file_id, created_at = new.created_at, updated_at = new.updated_at FROM ({values}) AS new WHERE stored_files.id = new.id"
        );
        write(db, &update, [rows(true).into()]).await?;
        let insert = format!("INSERT INTO stored_files ({columns}) SELECT {columns} FROM ({values}) AS new");
        write(db, &insert, [rows(false).into()]).await
    }

    async fn link(&self, db: &impl ConnectionTrait) -> Result<(), IndexError> {
        let dialect = Dialect::of(db);
        let words = dialect.words();
        let point = format!(
            "UPDATE share_links SET stored_file_id = new.record FROM (SELECT CAST(value->>0 AS bigint) AS record, \
             CAST(value->>1 AS bigint) AS link FROM {}) AS new WHERE share_links.id = new.link",
            words.rows
        );
        write(db, &point, [rows_of(self.links.point.iter()).into()]).await?;
        // Those that still keep a record must not be lost with the one that goes.
        for (all, which) in [(true, String::new()), (false, format!(" AND {}", dialect.keeps_record()))] {
            let replaced = self.plan.replaced.iter().filter(|r| r.all_links == all);
            let rows = rows_of(replaced.map(|r| (r.id, r.by)));
            let follow = format!(
                "UPDATE share_links SET stored_file_id = new.after FROM (SELECT CAST(value->>0 AS bigint) AS before, \
                 CAST(value->>1 AS bigint) AS after FROM {}) AS new WHERE stored_file_id = new.before{which}",
                words.rows
            );
            let seconds = (!all).then(|| unix_seconds(self.time).into());
            write(db, &follow, [Value::from(rows)].into_iter().chain(seconds)).await?;
        }
        let [ends, made] = ["expires_at", "created_at"].map(|c| dialect.time(&format!("value->1->>'{c}'")));
        // No run takes a link along that has not ended: should its image say otherwise, its owner has ended it since, and it
        // opens nothing when it comes back. One that had ended, by clocks that may have been wrong, stays what it was.
        let make = format!(
            "INSERT INTO share_links (id, stored_file_id, token, is_active, expires_at, created_at) \
             SELECT id, stored_file_id, token, CASE WHEN {} AND {} THEN false ELSE is_active END, expires_at, created_at FROM \
             (SELECT CAST(value->1->>'id' AS bigint) AS id, CAST(value->>0 AS bigint) AS stored_file_id, \
             value->1->>'token' AS token, {} AS is_active, {ends} AS expires_at, {made} AS created_at, \
             coalesce(CAST(value->1->>'{TAKEN}' AS double precision), 0) AS taken_at FROM {}) AS new",
            dialect.keeps_record(),
            dialect.active_by("taken_at"),
            dialect.cast("value->1->>'is_active'", "boolean"),
            words.rows
        );
        let values = [unix_seconds(self.time).into(), rows_of(self.links.make.iter()).into()];
        write(db, &make, values).await
    }

    /// The foreign key refuses to let a record go that has a link; those that have none of an active one were counted
    /// under lock.
    async fn remove(&self, db: &impl ConnectionTrait, going: &[RecordId]) -> Result<(), IndexError> {
        let words = Dialect::of(db).words();
        let ids = rows_of(going.iter());
        for table in ["share_links WHERE stored_file_id", "stored_files WHERE id"] {
            write(db, &format!("DELETE FROM {table} IN {}", words.ids), [ids.as_str().into()]).await?;
        }
        Ok(())
    }
}

async fn write(
    db: &impl ConnectionTrait,
    statement: &str,
    values: impl IntoIterator<Item = Value>,
) -> Result<(), IndexError> {
    db.execute_raw(Dialect::of(db).sql(statement, values)).await.map(drop).map_err(IndexError::Write)
}
