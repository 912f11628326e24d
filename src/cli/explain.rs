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
use crate::reconcile::{Action, Evidence, FindingKind, Mode, Observer, Progress, RefusalCode, RefusalWire, Request};
use crate::storage::{self, Glance};

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
    finding: Option<Evidence>,
    rule: String,
    refusal: Option<RefusalWire>,
    journal: Vec<Entry>,
}

/// Waits for the finding that is about one path.
struct Witness<'p> {
    path: &'p str,
    finding: Option<Evidence>,
}

impl Observer for Witness<'_> {
    fn wants(&self, _kind: FindingKind) -> bool {
        true
    }

    fn finding(&mut self, evidence: &Evidence) {
        let was_there = evidence.kind == FindingKind::Moved
            && evidence.index.as_ref().is_some_and(|record| record.path == self.path);
        if evidence.path == self.path || was_there {
            self.finding = Some(evidence.clone());
        }
    }

    fn progress(&mut self, _progress: Progress) {}
}

pub(super) async fn run(args: ExplainArgs, config: &Config) -> Result<Exit, Failure> {
    let storage = storage::open(config.storage()?).map_err(Error::from)?;
    let index = super::open_index(config, Access::Read).await?;
    let storage = storage.without_files(index.files());
    let user = index.user(args.user_id).await?;
    let key = user.prefix.key_of(&args.path);
    let glance = storage.reader().glance(&key).await;
    let mut witness = Witness { path: &args.path, finding: None };
    // The same run that would do it, with nothing to do it with.
    let request = Request { dry_run: true, user: Some(user.id), ..Request::new(Mode::Full) };
    let report = super::reconciler(&storage, &index, config).without_notes().run(&request, &mut witness).await?;
    let record = index.record_row(user.id, &args.path).await?;
    let id = record.as_ref().map(|record| record.id);
    let links = match id {
        Some(id) => index.links_of(id).await?,
        None => Vec::new(),
    };
    let journal = index.journal_of(user.id, &args.path, id).await?;
    index.close().await;
    let refusal = report.refusal.as_ref().map(RefusalWire::from);
    let rule = rule(witness.finding.as_ref(), &args.path, record.is_some(), &glance);
    let (storage, trouble) = match glance {
        Glance::Present => ("present", None),
        Glance::Absent => ("absent", None),
        Glance::Unaddressable => ("unaddressable", None),
        Glance::Unknown(trouble) => ("unknown", Some(trouble.message)),
    };
    let finding = witness.finding;
    let explanation = Explanation {
        user_id: user.id,
        path: args.path,
        key,
        storage,
        record: record.map(|r| r.columns.into_iter().map(|(column, text)| (column, value(column, text))).collect()),
        links,
        finding,
        rule,
        refusal,
        journal,
    };
    match args.format {
        Format::Json => output::json(&explanation),
        Format::Text => tell(&explanation),
    }
    let problems: Vec<&str> = report.problems.iter().map(|p| p.message.as_str()).collect();
    problems.iter().copied().chain(trouble.as_deref()).for_each(output::complain);
    let wrong = matches!(
        report.refusal.as_ref().map(|refusal| refusal.code),
        Some(RefusalCode::WrongStorage | RefusalCode::StorageUnbound)
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

/// Names the rule that decides.
fn rule(finding: Option<&Evidence>, path: &str, has_record: bool, glance: &Glance) -> String {
    let Some(evidence) = finding else {
        return match (has_record, glance) {
            (true, Glance::Present) => {
                "there are an object and a record, but the listing did not come to it: see the errors"
            }
            (true, _) => "there is a record, and nobody can say whether its object is there: it is kept",
            (false, Glance::Present) => "there is an object, but the listing did not come to it: see the errors",
            (false, _) => "neither an object nor a record",
        }
        .to_owned();
    };
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
            "it might be a renamed file, but which is which cannot be decided: it is left alone (--no-moves decides)"
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
    let facts = explanation.finding.as_ref().and_then(|f| f.storage.as_ref());
    if let Some(facts) = facts {
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
    if let Some(finding) = &explanation.finding {
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
