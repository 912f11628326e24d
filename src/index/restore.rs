//! `restore`: undoing what a task did to the index, in batches, the newest change first.
//!
//! A batch is one transaction, with all records that hang together with its own; a record that comes in this way before its
//! turn is passed over when its turn comes.
//!
//! The storage is asked between two transactions, so that no database waits for it: the second one uses an answer only for
//! a record that is still what it was when the storage was asked.

use std::collections::{HashMap, HashSet};

use sea_orm::{ConnectionTrait as _, DbErr, TransactionTrait as _};
use serde_json::Value as Json;

use super::connect::Index;
use super::dialect::sequence::{Numbered, step_over};
use super::dialect::{Dialect, lossy, sql};
use super::error::IndexError;
use super::horizon::horizon;
use super::lease::LeaseTerms;
use super::path_look::PathLook;
use super::restore_report::{RestoreProblem, RestoreReport, RestoreTally};
use super::retry::{Patience, unconfirmed};
use super::tasks::{self, Task};
use super::undo::apply::Apply;
use super::undo::gather::Gather;
use super::undo::{Case, Conflict, Verdict, links, settle};
use super::writes::Writer;
use crate::clock;
use crate::model::{PathQuery, PathState, RecordId, Timestamp};

/// What a batch came to.
#[derive(Debug, Default)]
struct Batch {
    /// The next one begins below this line of the journal; `None` when this was the last one.
    below: Option<i64>,
    /// Records whose turn has come, and records that were done before their turn.
    turn: Vec<RecordId>,
    ahead: Vec<RecordId>,
    tally: RestoreTally,
    problems: Vec<RestoreProblem>,
}

/// What the storage has shown, by the question.
type Looked = HashMap<RecordId, (PathQuery, Result<PathState, String>)>;

/// What an attempt at a batch came to.
enum Attempt {
    Done(Batch),
    /// Nothing was written: the storage has to be asked first.
    Ask(Vec<PathQuery>),
}

/// A restore under way.
struct Restore<'r> {
    index: &'r Index,
    /// The handle that writes; a dry run has none.
    writer: Option<Writer>,
    of: &'r str,
    /// Earlier restores of the same task.
    undoings: HashSet<String>,
    /// Records that were done before their turn.
    ahead: HashSet<RecordId>,
}

impl Index {
    /// Undoes what the task `of` did: records and links that it deleted come back with their ids, records that it changed
    /// become what they were. Where a path has a newer record, the old one takes its place, with the facts of today and
    /// the links of both. What a person has changed since stays, and is told. A record that was moved goes back only where
    /// `look` finds the path empty or provably holding the record's file; `look` is asked for such records alone.
    ///
    /// Trouble in the middle ends in the report: what was undone by then stays, and a second restore does the rest. A dry
    /// run writes nothing but its task's row.
    ///
    /// # Errors
    /// When there is no such task, another run holds the lease, or the index cannot be read or written. Nothing is changed
    /// then.
    pub async fn restore(
        &self,
        of: &str,
        dry_run: bool,
        terms: LeaseTerms,
        look: &mut dyn PathLook,
    ) -> Result<RestoreReport, IndexError> {
        let (task, started) = (self.task(of).await?, clock::now());
        let mut report = RestoreReport::new(of, dry_run);
        report.of_runs = task.status == "RUNNING";
        if let Some(forgotten) = self.forgotten(&task).await? {
            report.add(forgotten.tally, forgotten.problems);
        }
        let lease = match dry_run {
            true => None,
            false => Some(self.take_lease(report.task_id, &report.request(), terms).await?),
        };
        let writer = lease.as_ref().map(super::lease::Lease::writer);
        let undoings = self.restores_of(of).await;
        let ended = match undoings {
            Ok(undoings) => {
                Restore { index: self, writer, of, undoings, ahead: HashSet::new() }.all(look, &mut report).await
            }
            Err(error) => Err(error),
        };
        if let Err(error) = ended {
            report.fail(&error);
        }
        let (id, outcome) = (report.task_id.to_string(), report.outcome());
        match lease {
            Some(lease) => {
                // What came back came with its ids.
                step_over(self.writing()?, &[Numbered::Records, Numbered::Links]).await;
                lease.end(&outcome).await;
            }
            None => self.note_task(&id, &report.request(), started, &outcome).await,
        }
        Ok(report)
    }

    /// Tells if the journal has forgotten what `task` did, or a part of it.
    async fn forgotten(&self, task: &Task) -> Result<Option<Batch>, IndexError> {
        let result: Json =
            task.result.as_ref().and_then(|raw| serde_json::from_str(raw.get()).ok()).unwrap_or_default();
        let counts = ["records_updated", "records_moved", "records_deleted", "records_restored", "records_replaced"];
        let counts = counts.map(|key| result[key].as_u64().unwrap_or(0));
        let did: u64 = if result["dry_run"] == true { 0 } else { counts.iter().sum() };
        let query = sql(&self.reader, "SELECT count(*) FROM journal WHERE task_id = ?", [task.id.as_str().into()]);
        let row = self.reader.query_one_raw(query).await.map_err(IndexError::Read)?;
        let count: i64 = row.map_or(Ok(0), |row| row.try_get_by_index(0)).map_err(IndexError::Read)?;
        let lost = did.saturating_sub(u64::try_from(count).unwrap_or(0));
        let message = if task.result.is_none() {
            let began = Timestamp::from_text(task.started_at.as_ref().unwrap_or(&task.created_at));
            let horizon = horizon(&self.reader).await?;
            let until =
                horizon.zip(began).filter(|(horizon, began)| horizon > began).map(|(horizon, _)| horizon.to_text());
            until.map(|until| {
                format!(
                    "task {} has left no numbers, and the journal has forgotten what is older than {until}, perhaps some of \
                     its changes too; the rest is restored",
                    task.id
                )
            })
        } else {
            (lost > 0).then(|| {
                format!(
                    "the journal has forgotten {lost} of the {did} changes of task {}; the rest is restored",
                    task.id
                )
            })
        };
        let code = "journal_trimmed".to_owned();
        let problem = |message| RestoreProblem { code, message, record_id: None, user_id: None, path: None };
        Ok(message.map(|message| Batch { problems: vec![problem(message)], ..Batch::default() }))
    }

    /// Returns the restores of the task `of` so far.
    async fn restores_of(&self, of: &str) -> Result<HashSet<String>, IndexError> {
        let dialect = Dialect::of(&self.reader);
        let request = dialect.bytes("request");
        let query = format!("SELECT id, {request} FROM tasks WHERE request LIKE '%\"restore\":%'");
        let rows = self.reader.query_all_raw(dialect.sql(&query, [])).await.map_err(IndexError::Read)?;
        let mut restores = HashSet::new();
        for row in rows {
            let read = || Ok::<_, DbErr>((row.try_get_by_index::<String>(0)?, lossy(&row, 1)?.unwrap_or_default()));
            let (id, request) = read().map_err(IndexError::Read)?;
            let request: Json = serde_json::from_str(&request).unwrap_or_default();
            if request["restore"] == of {
                restores.insert(id);
            }
        }
        Ok(restores)
    }
}

impl Restore<'_> {
    async fn all(&mut self, look: &mut dyn PathLook, report: &mut RestoreReport) -> Result<(), IndexError> {
        let mut below = Some(i64::MAX);
        while let Some(line) = below {
            if self.is_asked_to_end().await? {
                report.cancel();
                break;
            }
            let mut patience = Patience::default();
            let batch = loop {
                match self.batch(line, look).await {
                    Err(error) if patience.again_or_taken(&error).await => {}
                    done => break done?,
                }
            };
            for record in &batch.turn {
                self.ahead.remove(record);
            }
            self.ahead.extend(&batch.ahead);
            below = batch.below;
            report.add(batch.tally, batch.problems);
        }
        Ok(())
    }

    /// Tells whether somebody has asked it to end. A dry run is no task.
    async fn is_asked_to_end(&self) -> Result<bool, IndexError> {
        let Some(task) = self.writer.as_ref().and_then(Writer::task) else { return Ok(false) };
        tasks::is_asked_to_end(self.index.writing()?, task).await.map_err(IndexError::Read)
    }

    /// Undoes the records whose turn comes below a line of the journal, all or none.
    async fn batch(&self, below: i64, look: &mut dyn PathLook) -> Result<Batch, IndexError> {
        let mut looked = Looked::new();
        loop {
            match self.attempt(below, &looked).await? {
                Attempt::Done(batch) => return Ok(batch),
                Attempt::Ask(queries) => {
                    let mut found = look.look(&queries).await.into_iter();
                    looked.extend(queries.into_iter().map(|query| {
                        let found = found.next().unwrap_or_else(|| Err("it was not asked".to_owned()));
                        (query.record.id, (query, found))
                    }));
                }
            }
        }
    }

    async fn attempt(&self, below: i64, looked: &Looked) -> Result<Attempt, IndexError> {
        let transaction = match &self.writer {
            Some(writer) => writer.begin().await?,
            None => self.index.reader.begin().await.map_err(IndexError::Read)?,
        };
        let time = self.index.clock.now();
        let gather = Gather::new(&transaction, self.of, self.writer.is_some(), time).await?;
        let page = gather.page(below).await?;
        let mut batch = Batch { below: page.last().map(|(line, _)| *line), ..Batch::default() };
        batch.turn = page.iter().map(|(_, record)| *record).collect();
        let due: Vec<RecordId> = batch.turn.iter().copied().filter(|record| !self.ahead.contains(record)).collect();
        if !due.is_empty() {
            let turn: HashSet<RecordId> = due.iter().copied().collect();
            let connected = gather.connected(&due).await?;
            batch.ahead = connected.iter().copied().filter(|record| !turn.contains(record)).collect();
            let (mut cases, now) = gather.cases(&connected, &self.undoings).await?;
            let queries = answer(&mut cases, looked);
            if !queries.is_empty() {
                transaction.rollback().await.map_err(IndexError::Read)?;
                return Ok(Attempt::Ask(queries));
            }
            let plan = settle(&cases);
            let links = links::plan(&cases, &plan.verdicts, &gather.links(&cases).await?);
            for (case, verdict) in cases.iter().zip(&plan.verdicts) {
                match verdict {
                    Verdict::Unchanged => batch.tally.records_unchanged += 1,
                    Verdict::Return | Verdict::Revert | Verdict::Remove => batch.tally.records_restored += 1,
                    Verdict::Conflict(conflict) => batch.conflict(case, *conflict),
                }
            }
            for (at, conflict) in &links.conflicts {
                batch.conflict(&cases[*at], *conflict);
            }
            batch.tally.records_replaced = plan.replaced.iter().filter(|r| r.all_links).count() as u64;
            batch.tally.links_restored = (links.make.len() + links.point.len()) as u64;
            if let Some(writer) = &self.writer {
                let apply = Apply { cases: &cases, plan: &plan, links: &links, now: &now, time };
                apply.write(&transaction, writer.task()).await?;
            }
        }
        match &self.writer {
            Some(writer) => writer.commit(transaction).await?,
            None => transaction.commit().await.map_err(unconfirmed)?,
        }
        Ok(Attempt::Done(batch))
    }
}

/// Gives the cases what the storage has shown, and returns what it still has to be asked.
fn answer(cases: &mut [Case], looked: &Looked) -> Vec<PathQuery> {
    let mut queries = Vec::new();
    for case in cases {
        let Some(query) = case.query() else { continue };
        match looked.get(&case.id) {
            Some((asked, found)) if *asked == query => case.found = Some(found.clone()),
            _ => queries.push(query),
        }
    }
    queries
}

impl Batch {
    fn conflict(&mut self, case: &Case, conflict: Conflict) {
        self.tally.conflicts += 1;
        let (code, mut why) = (conflict.code(), conflict.why().to_owned());
        if conflict.is_of_path() {
            let place = case.now.as_ref().map(|now| format!("; it stays at {:?}", now.path())).unwrap_or_default();
            let reason = match &case.found {
                Some(Err(reason)) if conflict == Conflict::PathUnknown => format!(": {reason}"),
                _ => String::new(),
            };
            why = format!("kept: {code} ({why}{reason}{place})");
        }
        self.problems.push(RestoreProblem {
            code: code.to_owned(),
            message: format!("record {} of user {}, {:?}: {why}", case.id, case.user, case.path),
            record_id: Some(case.id),
            user_id: Some(case.user),
            path: Some(case.path.clone()),
        });
    }
}
