//! The report of a `restore`: numbers, and what could not be undone.

use serde::Serialize;
use serde_json::{Value as Json, json};
use uuid::Uuid;

use super::error::IndexError;
use super::tasks::Outcome;
use crate::model::{RecordId, UserId};

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

    /// Notes that the restore was cancelled; what it had done by then stays.
    pub(super) fn cancel(&mut self) {
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

    /// Adds what a batch came to.
    pub(super) fn add(&mut self, tally: RestoreTally, problems: Vec<RestoreProblem>) {
        let RestoreTally { records_restored, records_replaced, links_restored, records_unchanged, conflicts } = tally;
        self.tally.records_restored += records_restored;
        self.tally.records_replaced += records_replaced;
        self.tally.links_restored += links_restored;
        self.tally.records_unchanged += records_unchanged;
        self.tally.conflicts += conflicts;
        for problem in problems {
            // Memory stays flat, and no problem is passed over in silence.
            if self.problems.len() < MOST_PROBLEMS { self.problems.push(problem) } else { self.more_problems += 1 }
        }
    }
}
