//! `restore`: undoing what a task did to the index, in batches, the newest change first.
//!
//! A batch is one transaction, with all records that hang together with its own; a record that comes in this way before its
//! turn is passed over when its turn comes.

use std::collections::HashSet;

use sea_orm::{ConnectionTrait as _, DbErr, TransactionTrait as _};
use serde::Serialize;
use serde_json::{Value as Json, json};
use uuid::Uuid;

use super::connect::Index;
use super::dialect::sequence::{Numbered, step_over};
use super::dialect::{Dialect, lossy, sql};
use super::error::IndexError;
use super::horizon::horizon;
use super::lease::LeaseTerms;
use super::retry::{Patience, unconfirmed};
use super::tasks::{self, Outcome, Task};
use super::undo::apply::Apply;
use super::undo::gather::Gather;
use super::undo::{Case, Conflict, Verdict, links, settle};
use super::writes::Writer;
use crate::clock;
use crate::model::{RecordId, Timestamp, UserId};

/// What a restore came to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct RestoreTally {
    /// Records that are again as they were, or that are gone again.
    pub records_restored: u64,
    /// Newer records that gave their place and their links to one of those.
    pub records_replaced: u64,
    /// Links that are there again.
    pub links_restored: u64,
    /// Records that had nothing to be undone any more.
    pub records_unchanged: u64,
    /// What could not be undone.
    pub conflicts: u64,
}

/// Something that could not be undone, or that ended the restore.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RestoreProblem {
    /// One stable word.
    pub code: String,
    /// One clear line.
    pub message: String,
    /// The record that it is about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub record_id: Option<RecordId>,
    /// Whose it was.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user_id: Option<UserId>,
    /// Where it was.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
}

/// How many problems a report carries before it only counts them.
const MOST_PROBLEMS: usize = 100;

/// The whole result of a restore.
#[derive(Debug, Clone)]
pub struct RestoreReport {
    /// The id of the restore.
    pub task_id: Uuid,
    /// The task that was undone.
    pub of: String,
    /// Whether it was a dry run.
    pub dry_run: bool,
    /// Whether it reached its end.
    pub is_whole: bool,
    /// The numbers.
    pub tally: RestoreTally,
    /// What went wrong; the first hundred.
    pub problems: Vec<RestoreProblem>,
    more_problems: u64,
    is_cancelled: bool,
    /// Whether the task still ran when it was looked at.
    pub of_runs: bool,
}

impl RestoreReport {
    /// Makes the report of a restore that begins now.
    pub fn new(of: &str, dry_run: bool) -> Self {
        Self {
            task_id: Uuid::now_v7(),
            of: of.to_owned(),
            dry_run,
            is_whole: true,
            tally: RestoreTally::default(),
            problems: Vec::new(),
            more_problems: 0,
            is_cancelled: false,
            of_runs: false,
        }
    }

    /// Notes what ends the restore; what was done by then stays.
    pub fn fail(&mut self, error: &IndexError) {
        self.is_whole = false;
        let (code, message) = (error.code().to_owned(), error.to_string());
        self.problems.push(RestoreProblem { code, message, record_id: None, user_id: None, path: None });
    }

    /// Notes that somebody has asked it to end; what was done by then stays.
    fn cancel(&mut self) {
        (self.is_whole, self.is_cancelled) = (false, true);
        let message =
            "it was asked to end; what was undone by then stays, and a second restore does the rest".to_owned();
        let code = "cancelled".to_owned();
        self.problems.push(RestoreProblem { code, message, record_id: None, user_id: None, path: None });
    }

    /// Returns all problems, and at the end how many more there are.
    pub fn told(&self) -> Vec<RestoreProblem> {
        let mut told = self.problems.clone();
        if self.more_problems > 0 {
            let message = format!("and {} more problems", self.more_problems);
            let code = "more_problems".to_owned();
            told.push(RestoreProblem { code, message, record_id: None, user_id: None, path: None });
        }
        told
    }

    /// Returns how it ended, in the word of the wire.
    pub fn status(&self) -> &'static str {
        match (self.is_whole, self.is_cancelled) {
            (true, _) => "SUCCESSFUL",
            (false, true) => "CANCELLED",
            (false, false) => "FAILED",
        }
    }

    /// Returns the result as it is on the wire.
    pub fn to_json(&self) -> Json {
        let mut result = serde_json::to_value(self.tally).unwrap_or_default();
        result["restore"] = json!(self.of);
        result["dry_run"] = json!(self.dry_run);
        result["errors"] = json!(self.told());
        result
    }

    /// Returns what was asked, as the task's row keeps it.
    pub fn request(&self) -> Json {
        json!({ "restore": self.of, "dry_run": self.dry_run })
    }

    /// Returns how it ended, as the task's row keeps it.
    pub fn outcome(&self) -> Outcome {
        Outcome { status: self.status(), result: self.to_json(), errors: json!(self.told()) }
    }

    fn add(&mut self, batch: Batch) {
        let RestoreTally { records_restored, records_replaced, links_restored, records_unchanged, conflicts } =
            batch.tally;
        self.tally.records_restored += records_restored;
        self.tally.records_replaced += records_replaced;
        self.tally.links_restored += links_restored;
        self.tally.records_unchanged += records_unchanged;
        self.tally.conflicts += conflicts;
        for problem in batch.problems {
            // Memory stays flat, and no problem is passed over in silence.
            if self.problems.len() < MOST_PROBLEMS { self.problems.push(problem) } else { self.more_problems += 1 }
        }
    }
}

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
    /// the links of both. What a person has changed since stays, and is told.
    ///
    /// Trouble in the middle ends in the report: what was undone by then stays, and a second restore does the rest. A dry
    /// run writes nothing but its task's row.
    ///
    /// # Errors
    /// When there is no such task, another run holds the lease, or the index cannot be read or written. Nothing is changed
    /// then.
    pub async fn restore(&self, of: &str, dry_run: bool, terms: LeaseTerms) -> Result<RestoreReport, IndexError> {
        let (task, started) = (self.task(of).await?, clock::now());
        let mut report = RestoreReport::new(of, dry_run);
        report.of_runs = task.status == "RUNNING";
        if let Some(forgotten) = self.forgotten(&task).await? {
            report.add(forgotten);
        }
        let lease = match dry_run {
            true => None,
            false => Some(self.take_lease(report.task_id, &report.request(), terms).await?),
        };
        let writer = lease.as_ref().map(super::lease::Lease::writer);
        let undoings = self.restores_of(of).await;
        let ended = match undoings {
            Ok(undoings) => Restore { index: self, writer, of, undoings, ahead: HashSet::new() }.all(&mut report).await,
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
    async fn all(&mut self, report: &mut RestoreReport) -> Result<(), IndexError> {
        let mut below = Some(i64::MAX);
        while let Some(line) = below {
            if self.is_asked_to_end().await? {
                report.cancel();
                break;
            }
            let mut patience = Patience::default();
            let batch = loop {
                match self.batch(line).await {
                    Err(error) if patience.again_or_taken(&error).await => {}
                    done => break done?,
                }
            };
            for record in &batch.turn {
                self.ahead.remove(record);
            }
            self.ahead.extend(&batch.ahead);
            below = batch.below;
            report.add(batch);
        }
        Ok(())
    }

    /// Tells whether somebody has asked it to end. A dry run is no task.
    async fn is_asked_to_end(&self) -> Result<bool, IndexError> {
        let Some(task) = self.writer.as_ref().and_then(Writer::task) else { return Ok(false) };
        tasks::is_asked_to_end(self.index.writing()?, task).await.map_err(IndexError::Read)
    }

    /// Undoes the records whose turn comes below a line of the journal, all or none.
    async fn batch(&self, below: i64) -> Result<Batch, IndexError> {
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
            let (cases, now) = gather.cases(&connected, &self.undoings).await?;
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
        Ok(batch)
    }
}

impl Batch {
    fn conflict(&mut self, case: &Case, conflict: Conflict) {
        self.tally.conflicts += 1;
        self.problems.push(RestoreProblem {
            code: conflict.code().to_owned(),
            message: format!("record {} of user {}, {:?}: {}", case.id, case.user, case.path, conflict.why()),
            record_id: Some(case.id),
            user_id: Some(case.user),
            path: Some(case.path.clone()),
        });
    }
}
