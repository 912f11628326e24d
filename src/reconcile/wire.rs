//! The words on the wire, spoken only here: one document for the command line, the API and stored tasks.

use serde::{Deserialize, Serialize};

use super::guard::{Refusal, RefusalCode};
use super::report::{Report, Status};
use super::request::{Mode, Request};
use crate::index::Outcome;
use crate::model::UserId;

/// The answer to a request for a run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Answer {
    /// The id of the run.
    pub task_id: String,
    /// `SUCCESSFUL` or `FAILED`.
    pub status: String,
    /// The result.
    pub result: ResultWire,
}

/// The result of a run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ResultWire {
    /// The mode that was asked for.
    pub mode: Mode,
    /// Whether it was a dry run.
    pub dry_run: bool,
    /// Users whose prefix was walked.
    pub users_scanned: u64,
    /// Users registered by adoption.
    pub users_adopted: u64,
    /// Objects found under those users' prefixes.
    pub files_on_disk: u64,
    /// Records of those users before the first write.
    pub files_in_db: u64,
    /// Objects without a record.
    pub missing_in_db: u64,
    /// Records without an object.
    pub orphaned_in_db: u64,
    /// Both, but their facts differ.
    pub stale_in_db: u64,
    /// Renamed files: counted neither as missing nor as orphaned.
    pub moved_in_db: u64,
    /// Records made, or in a dry run to be made.
    pub records_created: u64,
    /// Records brought up to date.
    pub records_updated: u64,
    /// Records carried to where their file is now.
    pub records_moved: u64,
    /// Records deleted.
    pub records_deleted: u64,
    /// Orphans kept by a mode that deletes.
    pub records_skipped: u64,
    /// Objects under no user's prefix.
    pub unclaimed_on_disk: u64,
    /// Entries that cannot be a record.
    pub unindexable_on_disk: u64,
    /// Users whose listing has a part that could not be trusted.
    pub incomplete_users: Vec<UserId>,
    /// Why deletions were withheld.
    pub refusal: Option<RefusalWire>,
    /// What went wrong.
    pub errors: Vec<ErrorWire>,
}

/// Why deletions were withheld.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RefusalWire {
    /// One stable word.
    pub code: RefusalCode,
    /// The numbers and the mend.
    pub message: String,
}

/// Something that went wrong.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ErrorWire {
    /// One stable word.
    pub code: String,
    /// One clear line.
    pub message: String,
    /// The key that it is about, if it is about one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
}

impl From<&Refusal> for RefusalWire {
    fn from(refusal: &Refusal) -> Self {
        Self { code: refusal.code, message: refusal.message.clone() }
    }
}

impl From<&Report> for Answer {
    fn from(report: &Report) -> Self {
        let status = match report.status {
            Status::Successful => "SUCCESSFUL",
            Status::Failed => "FAILED",
        };
        Self { task_id: report.task_id.to_string(), status: status.to_owned(), result: report.into() }
    }
}

impl From<&Report> for ResultWire {
    fn from(report: &Report) -> Self {
        let super::tally::Tally {
            users_scanned,
            users_adopted,
            objects,
            records,
            missing,
            orphaned,
            stale,
            moved,
            deferred: _,
            created,
            updated,
            carried,
            deleted,
            skipped,
            unclaimed,
            unindexable,
        } = report.tally;
        let refusal = report.refusal.as_ref();
        Self {
            mode: report.mode,
            dry_run: report.dry_run,
            users_scanned,
            users_adopted,
            files_on_disk: objects,
            files_in_db: records,
            missing_in_db: missing,
            orphaned_in_db: orphaned,
            stale_in_db: stale,
            moved_in_db: moved,
            records_created: created,
            records_updated: updated,
            records_moved: carried,
            records_deleted: deleted,
            records_skipped: skipped,
            unclaimed_on_disk: unclaimed,
            unindexable_on_disk: unindexable,
            incomplete_users: report.incomplete_users.clone(),
            refusal: refusal.map(RefusalWire::from),
            errors: report
                .problems
                .iter()
                .map(|p| ErrorWire { code: p.code.clone(), message: p.message.clone(), key: p.key.clone() })
                .collect(),
        }
    }
}

/// What is asked of a run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RequestWire {
    /// The mode.
    pub mode: Mode,
    /// Whether it is a dry run.
    pub dry_run: bool,
    /// The consent to deletions.
    pub force: bool,
    /// Only this user.
    pub user_id: Option<UserId>,
    /// Whether users are registered for folders that nobody owns.
    pub adopt: bool,
    /// The limit on deletions, if it is not the built-in one.
    pub max_delete: Option<String>,
    /// Orphans whose record is younger are kept: seconds.
    pub min_age: u64,
    /// Patterns of paths that are left out.
    pub exclude: Vec<String>,
    /// Whether renamed files are looked for.
    pub moves: bool,
}

impl From<&Request> for RequestWire {
    fn from(request: &Request) -> Self {
        Self {
            mode: request.mode,
            dry_run: request.dry_run,
            force: request.force,
            user_id: request.user,
            adopt: request.adopt,
            max_delete: request.max_delete.map(|limit| limit.to_string()),
            min_age: request.min_age.as_secs(),
            exclude: request.exclude.patterns().to_vec(),
            moves: request.moves,
        }
    }
}

impl RequestWire {
    /// Writes it down.
    pub(super) fn to_json(&self) -> serde_json::Value {
        serde_json::to_value(self).unwrap_or_default()
    }
}

/// Writes down how a run ended.
pub(super) fn outcome_of(report: &Report) -> Outcome {
    let Answer { result, .. } = report.into();
    let status = match report.status {
        Status::Successful => "SUCCESSFUL",
        Status::Failed => "FAILED",
    };
    let errors = serde_json::to_value(&result.errors).unwrap_or_default();
    Outcome { status, result: serde_json::to_value(&result).unwrap_or_default(), errors }
}
