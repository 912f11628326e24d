//! A run for people: a line a finding, with rclone's signs, and a summary.

use std::fmt::Write as _;

use super::output::visible;
use crate::reconcile::{Action, Evidence, FindingKind, Report, Status};

/// Writes a finding as one line: sign, key, and what there is to say about it.
pub(super) fn finding(evidence: &Evidence, colour: bool, to: &mut Vec<u8>) {
    let (sign, paint) = match evidence.kind {
        FindingKind::Missing => ('+', "32"),
        FindingKind::Orphaned => ('-', "31"),
        FindingKind::Stale => ('*', "33"),
        FindingKind::Moved => ('>', "34"),
        FindingKind::Deferred => ('~', "35"),
        FindingKind::Matched => ('=', "0"),
        FindingKind::Unindexable => ('!', "35"),
        FindingKind::Unclaimed => ('?', "36"),
    };
    let key = visible(&evidence.key);
    let line = if colour { format!("\x1b[{paint}m{sign}\x1b[0m {key}") } else { format!("{sign} {key}") };
    to.extend_from_slice(line.as_bytes());
    let remark = match (evidence.kind, evidence.action, evidence.reasons.as_slice()) {
        (FindingKind::Missing | FindingKind::Matched, ..) | (FindingKind::Orphaned, _, ["no_object"]) => None,
        (FindingKind::Moved, ..) => Some(moved(evidence)),
        (FindingKind::Orphaned, Action::Skip, reasons) => Some(format!("kept: {}", reasons.join(", "))),
        (_, _, reasons) => Some(reasons.join(", ")),
    };
    if let Some(remark) = remark {
        to.extend_from_slice(format!("  ({remark})").as_bytes());
    }
    to.push(b'\n');
}

/// Sums up a run.
pub(super) fn summary(report: &Report) -> String {
    let t = &report.tally;
    let dry = if report.dry_run { " (dry run: nothing was written)" } else { "" };
    let ended = match report.status {
        Status::Successful => "",
        Status::Failed => " FAILED",
        Status::Cancelled => " CANCELLED",
    };
    let mut text = format!("{}{ended}{dry}\n", report.mode);
    let did = if report.dry_run { "would be " } else { "" };
    let deferred = "wait: a record that was not listed may be of the same file, and the storage does not say";
    let rows: [(&str, u64, String); 10] = [
        ("users", t.users_scanned, some(t.users_adopted, &format!("{did}adopted"))),
        ("objects", t.objects, String::new()),
        ("records", t.records, String::new()),
        ("missing", t.missing, some(t.created, &format!("{did}created"))),
        ("stale", t.stale, some(t.updated, &format!("{did}updated"))),
        ("moved", t.moved, some(t.carried, &format!("{did}carried"))),
        ("orphaned", t.orphaned, [some(t.deleted, &format!("{did}deleted")), some(t.skipped, "kept")].join("")),
        ("deferred", t.deferred, hint(t.deferred, deferred)),
        ("unclaimed", t.unclaimed, hint(t.unclaimed, "nobody owns them; see `storm-index user add` and --adopt")),
        ("unindexable", t.unindexable, String::new()),
    ];
    for (what, count, remark) in rows {
        // A string always takes what is written to it.
        let _ = writeln!(text, "{}", format!("{what:>12} {count:>10}{remark}").trim_end());
    }
    text
}

/// Says where a renamed file was, and why its record stays there, if it does.
fn moved(evidence: &Evidence) -> String {
    let from = evidence.index.as_ref().map_or("", |record| record.path.as_str());
    let kept = evidence.reasons.get(1).map_or_else(String::new, |reason| format!("; kept: {reason}"));
    format!("was {}{kept}", visible(from))
}

fn some(count: u64, what: &str) -> String {
    if count == 0 { String::new() } else { format!("  {count} {what}") }
}

fn hint(count: u64, what: &str) -> String {
    if count == 0 { String::new() } else { format!("  {what}") }
}
