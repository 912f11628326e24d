//! `explain`: what is known of one path, what a full run would do about it, and by which rule.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::Value;

use super::args::{ExplainArgs, Format};
use super::exit::{Exit, Failure};
use super::output;
use crate::config::Config;
use crate::error::Error;
use crate::index::{Access, Entry, ShareLink};
use crate::model::{Prefix, RESERVED_FOLDER, UserId, is_reserved};
use crate::reconcile::{
    Action, Evidence, FindingKind, Mode, Observer, Problem, Progress, RefusalCode, RefusalWire, Report, Request,
};
use crate::storage::Glance;

/// The columns of a record that hold numbers.
const NUMBERS: [&str; 3] = ["id", "user_id", "size"];

/// All that there is to say.
#[derive(Debug, Serialize)]
struct Explanation {
    user_id: i64,
    path: String,
    key: String,
    /// What one look at the storage says.
    storage: &'static str,
    record: Option<BTreeMap<&'static str, Value>>,
    links: Vec<ShareLink>,
    /// The first of the findings.
    finding: Option<Evidence>,
    /// All that the run finds at the path: something may come to it and something else go from it.
    findings: Vec<Evidence>,
    rule: String,
    refusal: Option<RefusalWire>,
    journal: Vec<Entry>,
}

/// How many findings of one path are kept: more than names that look alike make of it nobody reads.
const MOST_FINDINGS: usize = 100;

/// Waits for the findings that are about one path of one user.
struct Witness<'p> {
    user: UserId,
    path: &'p str,
    findings: Vec<Evidence>,
}

impl Observer for Witness<'_> {
    fn wants(&self, _kind: FindingKind) -> bool {
        true
    }

    fn finding(&mut self, evidence: &Evidence) {
        let was_there = evidence.kind == FindingKind::Moved
            && evidence.index.as_ref().is_some_and(|record| record.path == self.path);
        let is_here = evidence.user_id == Some(self.user) && (evidence.path == self.path || was_there);
        if is_here && self.findings.len() < MOST_FINDINGS {
            self.findings.push(evidence.clone());
        }
    }

    fn progress(&mut self, _progress: Progress) {}
}

pub(super) async fn run(args: ExplainArgs, config: &Config) -> Result<Exit, Failure> {
    let storage = super::open_storage(config.storage()?, config).map_err(Error::from)?;
    let index = super::open_index(config, Access::Read).await?;
    let storage = storage.without_files(index.files());
    let user = index.user(args.user_id).await?;
    let key = user.prefix.key_of(&args.path);
    let glance = storage.reader().glance(&user.prefix, &args.path).await;
    let mut witness = Witness { user: user.id, path: &args.path, findings: Vec::new() };
    // The same run that would do it, with nothing to do it with: over all users, because the guard judges all of them
    // together, and files move from one to another.
    let request = Request { dry_run: true, ..Request::new(Mode::Full) };
    let report = super::reconciler(&storage, &index, config).without_notes().run(&request, &mut witness).await?;
    let record = index.record_row(user.id, &args.path).await?;
    let id = record.as_ref().map(|record| record.id);
    let links = match id {
        Some(id) => index.links_of(id).await?,
        None => Vec::new(),
    };
    let journal = index.journal_of(user.id, &args.path, id).await?;
    index.close().await;
    let findings = witness.findings;
    // What is wrong with other users' files says nothing of this one.
    let concerns = |problem: &Problem| problem.key.as_ref().is_none_or(|at| meets(at, &user.prefix));
    let problems: Vec<&str> =
        report.problems.iter().filter(|problem| concerns(problem)).map(|problem| problem.message.as_str()).collect();
    let rules: Vec<String> = match findings.is_empty() {
        true => vec![rule_without_finding(&report, &key, record.is_some(), &glance, !problems.is_empty())],
        false => findings.iter().map(|evidence| rule(evidence, &args.path)).collect(),
    };
    // The listing has seen for certain what a look cannot name.
    let is_certain = findings.iter().any(|evidence| evidence.kind == FindingKind::Unindexable);
    let (storage, trouble) = match glance {
        Glance::Present { .. } => ("present", None),
        Glance::Respelled { .. } => ("other_spelling", None),
        Glance::Unlisted { .. } => ("unlisted", None),
        Glance::Absent => ("absent", None),
        Glance::Unaddressable => ("unaddressable", None),
        Glance::Unknown(trouble) => ("unknown", Some(trouble.message).filter(|_| !is_certain)),
    };
    let explanation = Explanation {
        user_id: user.id,
        path: args.path,
        key,
        storage,
        record: record.map(|r| r.columns.into_iter().map(|(column, text)| (column, value(column, text))).collect()),
        links,
        finding: findings.first().cloned(),
        findings,
        rule: rules.join("; and "),
        refusal: report.refusal.as_ref().map(RefusalWire::from),
        journal,
    };
    match args.format {
        Format::Json => output::json(&explanation),
        Format::Text => tell(&explanation),
    }
    problems.iter().copied().chain(trouble.as_deref()).for_each(output::complain);
    let wrong = matches!(
        report.refusal.as_ref().map(|refusal| refusal.code),
        Some(RefusalCode::WrongStorage | RefusalCode::StorageUnbound | RefusalCode::MarkerUnreadable)
    );
    Ok(match (problems.is_empty() && trouble.is_none(), wrong) {
        (false, _) => Exit::Failed,
        (true, true) => Exit::Refused,
        (true, false) => Exit::Done,
    })
}

/// Returns what stands in a column of a record: a number in one of numbers, unless another program has put something else
/// there.
fn value(column: &str, text: Option<String>) -> Value {
    let Some(text) = text else { return Value::Null };
    let number = if NUMBERS.contains(&column) { text.parse::<i64>().ok() } else { None };
    number.filter(|number| number.to_string() == text).map_or_else(|| Value::from(text.clone()), Value::from)
}

/// Tells whether `key` may have to do with what lies under `prefix`.
fn meets(key: &str, prefix: &Prefix) -> bool {
    let (start, folder) = (prefix.scope(), format!("{key}/"));
    key.is_empty() || key.starts_with(&start) || start.starts_with(&folder)
}

/// Names the rule that decides about what the run has not found.
fn rule_without_finding(report: &Report, key: &str, has_record: bool, glance: &Glance, has_problems: bool) -> String {
    if is_reserved(key) {
        return format!("the folder {RESERVED_FOLDER} belongs to storm-index itself: it is never indexed");
    }
    if report.tally.users_scanned == 0 && report.refusal.is_some() {
        return "the run is refused as a whole, so nothing would be done".to_owned();
    }
    let unlisted = if has_problems {
        "the listing did not come to it: see the errors"
    } else {
        "the listing did not come to it: it is not what it was a moment ago"
    };
    match (has_record, glance) {
        (true, Glance::Present { .. }) => format!("there are an object and a record, but {unlisted}"),
        (true, _) => "there is a record, and nobody can say whether its object is there: it is kept".to_owned(),
        (false, Glance::Present { .. }) => format!("there is an object, but {unlisted}"),
        (false, Glance::Respelled { path }) => format!("the storage lists it as {path:?}"),
        (false, Glance::Unknown(_) | Glance::Unlisted { .. }) => {
            "there is no record, and the storage does not say whether there is an object: nothing is done".to_owned()
        }
        (false, Glance::Absent | Glance::Unaddressable) => "neither an object nor a record".to_owned(),
    }
}

/// Names the rule that decides about a finding.
fn rule(evidence: &Evidence, path: &str) -> String {
    let has = |reason: &str| evidence.reasons.contains(&reason);
    let text = match (evidence.kind, evidence.action) {
        (FindingKind::Matched, _) => "object and record agree: nothing to do",
        (FindingKind::Missing, _) => "an object without a record gets one (sync, full)",
        (FindingKind::Stale, _) => "the record differs from its object and is brought up to date (sync, full)",
        (FindingKind::Moved, _) if evidence.path == path => {
            "a renamed file: its record comes here, with id and links (sync, full)"
        }
        (FindingKind::Moved, _) => {
            "a renamed file: the record goes to where the file is now, with id and links (sync, full)"
        }
        (FindingKind::Deferred, _) => {
            "a record in a range that was not listed may be of the same file, and the storage does not say: it waits"
        }
        (FindingKind::Unindexable, _) => "it cannot be a record: reported, never touched",
        (FindingKind::Unclaimed, _) => "nobody owns it: reported, never touched",
        (FindingKind::Orphaned, Action::Delete) => {
            "a record without an object, which was looked for once more, and without an active link goes (clean, full)"
        }
        (FindingKind::Orphaned, Action::None) if has("refused") => {
            "a record without an object would go, but deletions are refused as a whole"
        }
        (FindingKind::Orphaned, _) if has("active_share") => "a record with an active share link is never deleted",
        (FindingKind::Orphaned, _) if has("reappeared") => "its object is there again: the record is kept",
        (FindingKind::Orphaned, _) if has("unanswered") => {
            "the storage does not say whether the object is there: the record is kept"
        }
        (FindingKind::Orphaned, _) if has("unaddressable") => {
            "no storage can be asked for such a key: the record is kept"
        }
        (FindingKind::Orphaned, _) => "a record without an object is kept for now",
    };
    let strayed = if has("moved_to_user") { "; its file may be another user's now" } else { "" };
    format!("{text}{strayed}")
}

fn tell(explanation: &Explanation) {
    let line = |what: &str, text: &str| output::line(&format!("{what:>8}  {}", output::visible(text)));
    line("key", &explanation.key);
    line("storage", explanation.storage);
    for facts in explanation.findings.iter().filter_map(|finding| finding.storage.as_ref()) {
        let etag = facts.etag.as_deref().unwrap_or("-");
        line(
            "object",
            &format!("{}: {} bytes, {}, {etag}, {}", facts.key, facts.size, facts.content_type, facts.last_modified),
        );
    }
    match &explanation.record {
        None => line("record", "none"),
        Some(record) => {
            let or = |column: &str| match record.get(column) {
                None | Some(Value::Null) => "-".to_owned(),
                Some(Value::String(text)) => text.clone(),
                Some(number) => number.to_string(),
            };
            let facts = ["size", "content_type", "etag", "last_modified"].map(or);
            let [size, kind, etag, modified] = facts;
            line("record", &format!("{}: {size} bytes, {kind}, {etag}, {modified}", or("id")));
            line("made", &format!("{}, last changed {}", or("created_at"), or("updated_at")));
        }
    }
    for link in &explanation.links {
        let state = if link.is_active { "active" } else { "ended" };
        let ends = link.expires_at.as_deref().unwrap_or("never");
        line("link", &format!("{} {state}, ends {ends}", link.token));
    }
    for finding in &explanation.findings {
        let word = |value: Value| value.as_str().unwrap_or_default().to_owned();
        let (kind, action) = (serde_json::to_value(finding.kind), serde_json::to_value(finding.action));
        let (kind, action) = (word(kind.unwrap_or_default()), word(action.unwrap_or_default()));
        line("finding", &format!("{kind} ({}), action {action}", finding.reasons.join(", ")));
    }
    line("rule", &explanation.rule);
    if let Some(refusal) = &explanation.refusal {
        line("refused", &refusal.message);
    }
    for entry in &explanation.journal {
        let to = entry.new_path.as_ref().map_or_else(String::new, |to| format!(" -> {to}"));
        let task = entry.task_id.as_deref().unwrap_or("-");
        line(
            "journal",
            &format!(
                "{} {} of record {} {}{to} by task {task}",
                entry.created_at, entry.action, entry.record_id, entry.path
            ),
        );
    }
}
