//! The words on the wire, spoken only here: one document for the command line, the API and stored tasks.

use std::time::Duration;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize};

use super::excludes::Excludes;
use super::guard::{Refusal, RefusalCode};
use super::report::{Report, Status};
use super::request::{Mode, Request, RequestError};
use crate::index::Outcome;
use crate::model::UserId;

/// The answer to a request for a run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "server", derive(poem_openapi::Object))]
pub struct Answer {
    /// The id of the run.
    pub task_id: String,
    /// `SUCCESSFUL`, `FAILED` or `CANCELLED`.
    pub status: String,
    /// The result.
    pub result: ResultWire,
}

/// The result of a run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "server", derive(poem_openapi::Object))]
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
    /// Missing objects that wait: a record of the same identity lies in a range that was not listed, and the storage does not
    /// say whether its object is there.
    #[serde(default)]
    pub deferred: u64,
    /// Records whose stored file identity was brought up to date, or in a dry run would be; no drift.
    #[serde(default)]
    pub identities_refreshed: u64,
    /// Records that the excludes cover.
    #[serde(default)]
    pub excluded_in_db: u64,
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
#[cfg_attr(feature = "server", derive(poem_openapi::Object))]
pub struct RefusalWire {
    /// One stable word.
    pub code: RefusalCode,
    /// The numbers and the mend.
    pub message: String,
}

/// Something that went wrong.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "server", derive(poem_openapi::Object))]
pub struct ErrorWire {
    /// One stable word.
    pub code: String,
    /// One clear line.
    pub message: String,
    /// The key that it is about, if it is about one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "server", oai(skip_serializing_if_is_none))]
    pub key: Option<String>,
}

impl From<&Refusal> for RefusalWire {
    fn from(refusal: &Refusal) -> Self {
        Self { code: refusal.code, message: refusal.message.clone() }
    }
}

impl From<&Report> for Answer {
    fn from(report: &Report) -> Self {
        let status = word(report.status);
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
            deferred,
            identified,
            excluded,
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
            deferred,
            identities_refreshed: identified,
            excluded_in_db: excluded,
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

/// What is asked of a run. A null is what is left out, but for the mode.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "server", derive(poem_openapi::Object))]
#[cfg_attr(feature = "server", oai(deny_unknown_fields))]
#[serde(deny_unknown_fields)]
pub struct RequestWire {
    /// What for: `audit` (report only), `sync` (add and refresh), `clean` (delete orphans) or `full` (both).
    pub mode: Mode,
    /// Count and report what would be done, and write nothing.
    #[serde(default, deserialize_with = "given")]
    #[cfg_attr(feature = "server", oai(default))]
    pub dry_run: bool,
    /// The consent to deletions, without which `clean` and `full` do not run.
    #[serde(default, deserialize_with = "given")]
    #[cfg_attr(feature = "server", oai(default))]
    pub force: bool,
    /// Only this user.
    #[serde(default)]
    pub user_id: Option<UserId>,
    /// Register a user for each top-level folder that nobody owns.
    #[serde(default, deserialize_with = "given")]
    #[cfg_attr(feature = "server", oai(default))]
    pub adopt: bool,
    /// Let so many deletions through instead of the built-in limits: a number of records, or a percentage such as `5%`.
    #[serde(default, deserialize_with = "limit")]
    pub max_delete: Option<String>,
    /// Keep orphans whose record is younger: seconds, or a duration such as `2h`.
    #[serde(default, deserialize_with = "seconds")]
    #[cfg_attr(feature = "server", oai(default))]
    pub min_age: u64,
    /// Leave these paths out, in the storage and in the index: `*.tmp` anywhere, `/top` from the top, `cache/` a folder.
    #[serde(default, deserialize_with = "given")]
    #[cfg_attr(feature = "server", oai(default))]
    pub exclude: Vec<String>,
    /// Whether renamed files are looked for, so that their records keep their id and links.
    #[serde(default = "yes", deserialize_with = "given_or_yes")]
    #[cfg_attr(feature = "server", oai(default = "yes"))]
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

impl TryFrom<RequestWire> for Request {
    type Error = RequestError;

    fn try_from(wire: RequestWire) -> Result<Self, RequestError> {
        Ok(Self {
            mode: wire.mode,
            dry_run: wire.dry_run,
            force: wire.force,
            user: wire.user_id,
            adopt: wire.adopt,
            max_delete: wire.max_delete.as_deref().map(str::parse).transpose()?,
            min_age: Duration::from_secs(wire.min_age),
            exclude: Excludes::parse(wire.exclude)?,
            moves: wire.moves,
        })
    }
}

fn yes() -> bool {
    true
}

fn given<'de, D: Deserializer<'de>, T: Deserialize<'de> + Default>(from: D) -> Result<T, D::Error> {
    Option::deserialize(from).map(Option::unwrap_or_default)
}

fn given_or_yes<'de, D: Deserializer<'de>>(from: D) -> Result<bool, D::Error> {
    Option::deserialize(from).map(|moves| moves.unwrap_or_else(yes))
}

/// A number or a text, as people write either.
#[derive(Deserialize)]
#[serde(untagged)]
enum Either {
    Number(u64),
    Text(String),
}

fn either<'de, D: Deserializer<'de>>(from: D, wanted: &str) -> Result<Option<Either>, D::Error> {
    Option::deserialize(from).map_err(|_| D::Error::custom(wanted))
}

fn limit<'de, D: Deserializer<'de>>(from: D) -> Result<Option<String>, D::Error> {
    let wanted = "max_delete is a number of records, or a percentage such as \"5%\"";
    Ok(either(from, wanted)?.map(|given| match given {
        Either::Number(number) => number.to_string(),
        Either::Text(text) => text,
    }))
}

fn seconds<'de, D: Deserializer<'de>>(from: D) -> Result<u64, D::Error> {
    let wanted = "min_age is a number of seconds, or a duration such as \"2h\" or \"7d\"";
    match either(from, wanted)? {
        None => Ok(0),
        Some(Either::Number(seconds)) => Ok(seconds),
        Some(Either::Text(text)) => {
            humantime::parse_duration(&text).map(|age| age.as_secs()).map_err(|_| D::Error::custom(wanted))
        }
    }
}

impl RequestWire {
    /// Writes it down.
    pub fn to_json(&self) -> serde_json::Value {
        serde_json::to_value(self).unwrap_or_default()
    }
}

fn word(status: Status) -> &'static str {
    match status {
        Status::Successful => "SUCCESSFUL",
        Status::Failed => "FAILED",
        Status::Cancelled => "CANCELLED",
    }
}

/// Writes down how a run ended.
pub fn outcome_of(report: &Report) -> Outcome {
    let Answer { result, .. } = report.into();
    let status = word(report.status);
    let errors = serde_json::to_value(&result.errors).unwrap_or_default();
    Outcome { status, result: serde_json::to_value(&result).unwrap_or_default(), errors }
}
