//! What a run tells: numbers, evidence, problems.

use serde::Serialize;
use uuid::Uuid;

use super::cancel::CancelReason;
use super::guard::Refusal;
use super::request::Mode;
use super::tally::Tally;
use crate::model::{Orphan, RecordId, Timestamp, UserId};

/// How a run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    /// It reached its end, refusals and problems with single entries included.
    Successful,
    /// It had to stop before.
    Failed,
    /// It was asked to stop before.
    Cancelled,
}

/// Something that went wrong during a run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// One stable word.
    pub code: String,
    /// One clear line.
    pub message: String,
    /// The key that it is about, if it is about one.
    pub key: Option<String>,
}

/// How many problems a report carries before it only counts them.
const MOST_PROBLEMS: usize = 100;

/// The problem that counts the others.
const MORE_PROBLEMS: &str = "more_problems";

/// The whole result of a run.
#[derive(Debug, Clone)]
pub struct Report {
    /// The id of the run.
    pub task_id: Uuid,
    /// How it ended.
    pub status: Status,
    /// What it was for.
    pub mode: Mode,
    /// Whether it was a dry run.
    pub dry_run: bool,
    /// The numbers.
    pub tally: Tally,
    /// Users whose listing has a part that could not be trusted.
    pub incomplete_users: Vec<UserId>,
    /// Why deletions were withheld.
    pub refusal: Option<Refusal>,
    /// What went wrong; the first hundred, then how many more.
    pub problems: Vec<Problem>,
    more_problems: u64,
}

impl Report {
    /// Makes the report of a run that begins now.
    pub fn new(mode: Mode, dry_run: bool) -> Self {
        Self {
            task_id: Uuid::now_v7(),
            status: Status::Successful,
            mode,
            dry_run,
            tally: Tally::default(),
            incomplete_users: Vec::new(),
            refusal: None,
            problems: Vec::new(),
            more_problems: 0,
        }
    }

    /// Notes a problem.
    pub fn note(&mut self, code: &str, message: impl Into<String>, key: Option<String>) {
        if self.problems.len() < MOST_PROBLEMS {
            self.problems.push(Problem { code: code.to_owned(), message: message.into(), key });
            return;
        }
        // Memory stays flat, and no problem is passed over in silence.
        self.more_problems += 1;
        let message = format!("and {} more problems", self.more_problems);
        match self.problems.iter_mut().rfind(|p| p.code == MORE_PROBLEMS) {
            Some(count) => count.message = message,
            None => self.note_always(MORE_PROBLEMS, message),
        }
    }

    /// Notes a problem of the run as a whole, which is told however many there are.
    pub fn note_always(&mut self, code: &str, message: impl Into<String>) {
        self.problems.push(Problem { code: code.to_owned(), message: message.into(), key: None });
    }

    /// Notes that the run was asked to stop: it is cancelled, or failed where nobody meant the run itself.
    pub fn stop(&mut self, reason: CancelReason) {
        self.fail(reason.code(), reason.to_string());
        if reason == CancelReason::Asked {
            self.status = Status::Cancelled;
        }
    }

    /// Notes the problem that ends the run.
    pub fn fail(&mut self, code: &str, message: impl Into<String>) {
        self.status = Status::Failed;
        self.note_always(code, message);
    }
}

/// What kind of finding something is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum FindingKind {
    /// Object and record agree.
    Matched,
    /// An object without a record.
    Missing,
    /// A record without an object.
    Orphaned,
    /// Both, but their facts differ.
    Stale,
    /// A renamed file.
    Moved,
    /// An object without a record that waits: it may be what a record is of that lies in a range that was not listed.
    Deferred,
    /// An object under no user's prefix.
    Unclaimed,
    /// An entry that cannot be a record.
    Unindexable,
}

/// What was done about a finding, or in a dry run would be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Action {
    /// A record is made.
    Create,
    /// A record is brought up to date.
    Update,
    /// A record is carried to where its file is now.
    Move,
    /// A record is deleted.
    Delete,
    /// An orphan is kept by a mode that deletes.
    Skip,
    /// Nothing.
    None,
}

/// What the storage says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct StorageSide {
    /// The key in the storage.
    pub key: String,
    /// The size in bytes.
    pub size: u64,
    /// The content type that the name promises.
    pub content_type: &'static str,
    /// The entity tag, without quotes.
    pub etag: Option<String>,
    /// When the object was last written.
    pub last_modified: String,
}

/// What the index says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct IndexSide {
    /// The id of the record.
    pub id: RecordId,
    /// The path that the record has: for a renamed file, the one that it had.
    pub path: String,
    /// The size in bytes.
    pub size: Option<u64>,
    /// The content type.
    pub content_type: Option<String>,
    /// The entity tag, as it was stored.
    pub etag: Option<String>,
    /// When the object was last written.
    pub last_modified: Option<String>,
}

impl From<&Orphan> for IndexSide {
    fn from(orphan: &Orphan) -> Self {
        Self {
            id: orphan.id,
            path: orphan.path.clone(),
            size: orphan.size,
            content_type: orphan.content_type.clone(),
            etag: orphan.etag.clone(),
            last_modified: orphan.last_modified.map(|t| Timestamp::from_micros(t).to_text()),
        }
    }
}

/// One finding with its evidence: a line of the report.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Evidence {
    /// What it is.
    pub kind: FindingKind,
    /// Whose it is; null for what nobody owns.
    pub user_id: Option<UserId>,
    /// The path below the user's prefix; the whole key for what nobody owns.
    pub path: String,
    /// The whole key in the storage, for people to read.
    #[serde(skip)]
    pub key: String,
    /// Why, in stable words.
    pub reasons: Vec<&'static str>,
    /// What was done about it.
    pub action: Action,
    /// What the storage says.
    pub storage: Option<StorageSide>,
    /// What the index says.
    pub index: Option<IndexSide>,
    /// For an orphan that has not provably moved: the path of an object without a record that it might be of.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub candidate: Option<String>,
}

/// What a run is busy with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// Reading storage and index.
    Reading,
    /// Carrying records to where their files are now.
    Moving,
    /// Looking again at what is to be deleted, and deleting it.
    Deleting,
}

/// How far a run is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// What it is busy with.
    pub phase: Phase,
    /// How much is done: objects and records, or deletions.
    pub done: u64,
    /// How much there is to do, if that can be known.
    pub total: Option<u64>,
}

/// Listens to a run.
pub trait Observer: Send {
    /// Tells whether findings of this kind are wanted; what nobody wants is not put together.
    fn wants(&self, kind: FindingKind) -> bool;

    /// Hears that the run may begin: nothing was wrong with the request, and a run that writes has its lease.
    fn begins(&mut self) {}

    /// Takes a finding.
    fn finding(&mut self, evidence: &Evidence);

    /// Tells whether anybody looks at the progress: the total is counted only then.
    fn wants_progress(&self) -> bool {
        false
    }

    /// Takes a word on how far the run is; once a batch.
    fn progress(&mut self, progress: Progress);
}

/// Listens to nothing.
#[derive(Debug, Clone, Copy, Default)]
pub struct Silent;

impl Observer for Silent {
    fn wants(&self, _kind: FindingKind) -> bool {
        false
    }

    fn finding(&mut self, _evidence: &Evidence) {}

    fn progress(&mut self, _progress: Progress) {}
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thousand_problems_are_a_hundred_and_a_count() {
        let mut report = Report::new(Mode::Audit, false);
        for n in 0..1_000 {
            report.note("code", format!("problem {n}"), None);
        }
        assert_eq!(report.problems.len(), MOST_PROBLEMS + 1);
        assert_eq!(report.problems.last().unwrap().message, "and 900 more problems");
        assert_eq!(report.status, Status::Successful);
        report.fail("end", "what ended the run");
        report.note("code", "one more", None);
        let last: Vec<&str> = report.problems[MOST_PROBLEMS..].iter().map(|p| p.message.as_str()).collect();
        assert_eq!(last, ["and 901 more problems", "what ended the run"]);
        assert_eq!(report.status, Status::Failed);
    }
}
