//! Undoing what a task did to records: what is to become of each, judged from the journal and from what is there now.
//! Values in, values out; [`gather`] reads and [`apply`] writes.

pub(super) mod apply;
pub(super) mod gather;
mod image;
pub(super) mod links;

use std::collections::{HashMap, HashSet};

use serde_json::Value;

pub(super) use self::image::Image;
use crate::model::{PathQuery, PathState, Prefix, RecordId, UserId};

/// A record that the task touched, and all that decides about it.
#[derive(Debug, Clone)]
pub(super) struct Case {
    /// Which.
    pub(super) id: RecordId,
    /// Whose it was.
    pub(super) user: UserId,
    /// Where it was.
    pub(super) path: String,
    /// What it was before the task; `None` when the task brought it back.
    pub(super) was: Option<Image>,
    /// Whether the journal's line can be read.
    pub(super) is_readable: bool,
    /// The journal's line.
    pub(super) line: i64,
    /// Whether the task deleted it.
    pub(super) was_deleted: bool,
    /// The links that went along with it.
    pub(super) links: Vec<Value>,
    /// What it is now, if it is there.
    pub(super) now: Option<Image>,
    /// What it became by the last journaled change of all; `None` when that deleted it.
    pub(super) last: Option<Image>,
    /// What it was when the last journaled change of all deleted it.
    pub(super) gone: Option<Image>,
    /// Whether that change was an undoing of this very task.
    pub(super) is_undone: bool,
    /// Whether its user is there.
    pub(super) has_user: bool,
    /// The prefix of its user, if there is one that can be a prefix.
    pub(super) prefix: Option<Prefix>,
    /// Whether it has an active share link.
    pub(super) is_shared: bool,
    /// The record that is where it goes back to.
    pub(super) holder: Option<RecordId>,
    /// What the storage has where it goes back to, if that was asked, or why that is not known.
    pub(super) found: Option<Result<PathState, String>>,
}

/// What is to become of a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Nothing: it is as it was, or has been brought back already.
    Unchanged,
    /// It comes back.
    Return,
    /// It becomes again what it was.
    Revert,
    /// It goes: the task had brought it back.
    Remove,
    /// It stays as it is, for a reason that is told.
    Conflict(Conflict),
}

/// Why something cannot be undone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Conflict {
    /// Its user is gone.
    UserGone,
    /// A person has changed it since.
    Edited,
    /// A person has deleted it since.
    Gone,
    /// A record that cannot leave is where it goes back to.
    PlaceHeld,
    /// It was moved, and where it goes back to is a file, or the record of a file, that is not provably its own.
    PathTaken,
    /// It was moved, and the storage does not say what is where it goes back to.
    PathUnknown,
    /// It has an active share link, which would be lost.
    Shared,
    /// The journal's line cannot be read.
    Unreadable,
    /// Another link has the token of a link that went along with it.
    TokenTaken,
    /// Another link has the id of a link that went along with it.
    LinkIdTaken,
    /// A link that went along with it leads to another path by now.
    LinkElsewhere,
}

impl Conflict {
    /// Returns one stable word for it.
    pub(super) fn code(self) -> &'static str {
        match self {
            Self::UserGone => "user_gone",
            Self::Edited => "record_edited",
            Self::Gone => "record_gone",
            Self::PlaceHeld => "path_held",
            Self::PathTaken => "path_taken",
            Self::PathUnknown => "path_unknown",
            Self::Shared => "record_shared",
            Self::Unreadable => "journal_damaged",
            Self::TokenTaken => "token_taken",
            Self::LinkIdTaken => "link_id_taken",
            Self::LinkElsewhere => "link_elsewhere",
        }
    }

    /// Says what is the matter.
    pub(super) fn why(self) -> &'static str {
        match self {
            Self::UserGone => "its user is gone; `storm-index user add --id` brings the user back, then restore again",
            Self::Edited => "somebody has changed it since, by hand; it stays as it is",
            Self::Gone => "it was deleted since, by hand or with its user; it stays deleted",
            Self::PlaceHeld => "its path is held by a record that cannot be moved back",
            Self::PathTaken => {
                "a file or a record that is not provably of the same file is there now, and its links would open another file"
            }
            Self::PathUnknown => "the storage does not say whether the path is free",
            Self::Shared => "it has an active share link by now, so it stays; revoke the link and restore again",
            Self::Unreadable => "its line in the journal cannot be read; it stays as it is",
            Self::TokenTaken => "another share link has the token of one of its links; that link is not brought back",
            Self::LinkIdTaken => "another share link has the id of one of its links; that link is not brought back",
            Self::LinkElsewhere => {
                "one of its share links leads to the file at another path by now; that link stays there"
            }
        }
    }

    /// Tells whether the record is kept for what is where it goes back to.
    pub(super) fn is_of_path(self) -> bool {
        matches!(self, Self::PlaceHeld | Self::PathTaken | Self::PathUnknown)
    }
}

/// Judges a record alone.
fn judge(case: &Case) -> Verdict {
    let verdict = judge_record(case);
    if !case.is_moved_by(verdict) {
        return verdict;
    }
    match &case.found {
        Some(Ok(PathState::Empty | PathState::SameFile)) => verdict,
        Some(Ok(PathState::Other)) => Verdict::Conflict(Conflict::PathTaken),
        Some(Err(_)) | None => Verdict::Conflict(Conflict::PathUnknown),
    }
}

/// Judges a record by the journal and by what it is now.
fn judge_record(case: &Case) -> Verdict {
    let is_edited = |now| !case.last.as_ref().is_some_and(|last| last.agrees_with(now));
    match (&case.was, &case.now) {
        _ if !case.is_readable => Verdict::Conflict(Conflict::Unreadable),
        (None, None) => Verdict::Unchanged,
        _ if !case.has_user => Verdict::Conflict(Conflict::UserGone),
        (None, Some(now)) if is_edited(now) => Verdict::Conflict(Conflict::Edited),
        (None, Some(_)) => Verdict::Remove,
        (Some(_), None) if case.last.is_some() => Verdict::Conflict(Conflict::Gone),
        (Some(_), None) => Verdict::Return,
        (Some(_), Some(_)) if case.was_deleted || case.is_undone => Verdict::Unchanged,
        (Some(was), Some(now)) if was.agrees_with(now) => Verdict::Unchanged,
        (Some(_), Some(now)) if is_edited(now) => Verdict::Conflict(Conflict::Edited),
        (Some(_), Some(_)) => Verdict::Revert,
    }
}

/// A record that gives its place to an older one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Replaced {
    /// Which goes.
    pub(super) id: RecordId,
    /// Which comes, and gets its links.
    pub(super) by: RecordId,
    /// Whether dead links come over too; they do not where an undoing is undone that had brought them.
    pub(super) all_links: bool,
}

/// What is to become of all records of a batch.
#[derive(Debug)]
pub(super) struct Plan {
    /// One a case.
    pub(super) verdicts: Vec<Verdict>,
    /// Records that give their places away.
    pub(super) replaced: Vec<Replaced>,
}

/// Judges records together: whoever cannot leave its place keeps others from coming back to it.
pub(super) fn settle(cases: &[Case]) -> Plan {
    let mut verdicts: Vec<Verdict> = cases.iter().map(judge).collect();
    let places = |verdict: Verdict| matches!(verdict, Verdict::Return | Verdict::Revert);
    let mut taken = HashSet::new();
    for (case, verdict) in cases.iter().zip(&mut verdicts) {
        if places(*verdict) && !taken.insert((case.user, case.path.as_str())) {
            *verdict = Verdict::Conflict(Conflict::PlaceHeld);
        }
    }
    let at: HashMap<RecordId, usize> = cases.iter().enumerate().map(|(at, case)| (case.id, at)).collect();
    // A newer record without a file gives its place to no record that was moved: nothing proves that both are of one file.
    for (case, verdict) in cases.iter().zip(&mut verdicts) {
        let is_stranger = case.holder.is_some_and(|holder| !at.contains_key(&holder));
        if is_stranger && case.is_moved_by(*verdict) && case.found != Some(Ok(PathState::SameFile)) {
            *verdict = Verdict::Conflict(Conflict::PathTaken);
        }
    }
    let wanted: HashMap<RecordId, usize> = (0..cases.len())
        .filter(|at| places(verdicts[*at]))
        .filter_map(|at| Some((cases[at].holder.filter(|holder| *holder != cases[at].id)?, at)))
        .collect();
    // A record of the task that is there again is no newer stranger, wherever it has gone since.
    let stays = |id: &RecordId, verdicts: &[Verdict]| {
        at.get(id).is_some_and(|at| matches!(verdicts[*at], Verdict::Conflict(_) | Verdict::Unchanged))
    };
    let mut staying: Vec<RecordId> = wanted.keys().copied().filter(|id| stays(id, &verdicts)).collect();
    while let Some(stays) = staying.pop() {
        let Some(at) = wanted.get(&stays).copied().filter(|at| places(verdicts[*at])) else { continue };
        verdicts[at] = Verdict::Conflict(Conflict::PlaceHeld);
        staying.push(cases[at].id);
    }
    let mut replaced = Vec::new();
    for (&holder, &by) in wanted.iter().filter(|(_, by)| places(verdicts[**by])) {
        let verdict = at.get(&holder).map(|at| verdicts[*at]);
        if verdict != Some(Verdict::Revert) {
            let all_links = verdict != Some(Verdict::Remove);
            replaced.push(Replaced { id: holder, by: cases[by].id, all_links });
        }
    }
    let followed: HashSet<RecordId> = replaced.iter().map(|r| r.id).collect();
    for (case, verdict) in cases.iter().zip(&mut verdicts) {
        if *verdict == Verdict::Remove && case.is_shared && !followed.contains(&case.id) {
            *verdict = Verdict::Conflict(Conflict::Shared);
        }
    }
    replaced.sort_by_key(|r| r.id);
    Plan { verdicts, replaced }
}

impl Case {
    /// Returns the record as it is now, or as it was when it was deleted.
    fn present(&self) -> Option<&Image> {
        self.now.as_ref().or(self.gone.as_ref())
    }

    /// Tells whether `verdict` brings the record to another path than it has, or had when a later run deleted it. What the
    /// task itself deleted comes back to the path at which it was deleted.
    fn is_moved_by(&self, verdict: Verdict) -> bool {
        let moves = match verdict {
            Verdict::Revert => true,
            Verdict::Return => !self.was_deleted,
            Verdict::Unchanged | Verdict::Remove | Verdict::Conflict(_) => false,
        };
        moves && self.present().map(Image::path) != self.was.as_ref().map(Image::path)
    }

    /// Returns what the storage has to be asked before the record can be undone, if that was not asked yet.
    pub(super) fn query(&self) -> Option<PathQuery> {
        let is_due = self.found.is_none() && self.is_moved_by(judge_record(self));
        let (present, prefix) = (self.present().filter(|_| is_due)?, self.prefix.clone()?);
        Some(PathQuery { prefix, path: self.was.as_ref()?.path().to_owned(), record: present.orphan() })
    }

    /// Returns what the record becomes: what it was, or where another one gives it its place, with the facts of today.
    ///
    /// What names its file stays what it is now where the storage has shown that very file, and where size and modification
    /// time are what they are now: runs bring it up to date without a line in the journal.
    pub(super) fn becomes(&self, holder: Option<&Image>) -> Option<Image> {
        let was = self.was.clone()?.named();
        let image = match holder {
            Some(holder) => was.with_facts_of(holder),
            None => was,
        };
        let is_same = self.found == Some(Ok(PathState::SameFile));
        Some(match self.present().filter(|now| is_same || (holder.is_none() && image.is_of_content_of(now))) {
            Some(now) => image.with_file_id_of(now),
            None => image,
        })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn image(id: RecordId, path: &str, size: u64) -> Image {
        let image = json!({"id": id, "user_id": 1, "path": path, "size": size, "created_at": "then"});
        Image::parse(&image.to_string()).unwrap()
    }

    /// A record that the task changed from size 1 to size 2, and that nobody has touched since. The storage has nothing at
    /// another path to which it would go back.
    fn changed(id: RecordId, from: &str, to: &str) -> Case {
        Case {
            id,
            user: 1,
            path: from.to_owned(),
            was: Some(image(id, from, 1)),
            is_readable: true,
            line: 1,
            was_deleted: false,
            links: Vec::new(),
            now: Some(image(id, to, 2)),
            last: Some(image(id, to, 2)),
            gone: None,
            is_undone: false,
            has_user: true,
            prefix: Prefix::parse("1").ok(),
            is_shared: false,
            holder: None,
            found: (from != to).then_some(Ok(PathState::Empty)),
        }
    }

    fn deleted(id: RecordId, path: &str) -> Case {
        Case { was_deleted: true, now: None, last: None, ..changed(id, path, path) }
    }

    /// A record that the task, an undoing, brought back.
    fn brought(id: RecordId, path: &str) -> Case {
        Case { was: None, ..changed(id, path, path) }
    }

    #[test]
    fn a_record_alone_is_judged() {
        use Conflict::{Edited, Gone, Unreadable, UserGone};
        use Verdict::{Conflict as No, Remove, Return, Revert, Unchanged};
        let plain = || changed(1, "a", "a");
        for (case, want) in [
            (plain(), Revert),
            (changed(1, "a", "b"), Revert),
            (deleted(1, "a"), Return),
            (brought(1, "a"), Remove),
            // Later journaled changes are no person's.
            (Case { now: Some(image(1, "a", 3)), last: Some(image(1, "a", 3)), ..plain() }, Revert),
            (Case { now: None, last: None, gone: Some(image(1, "a", 3)), ..plain() }, Return),
            // It is as it was, or there again, or has been undone before.
            (Case { now: Some(image(1, "a", 1)), ..plain() }, Unchanged),
            (Case { now: Some(image(1, "c", 9)), ..deleted(1, "a") }, Unchanged),
            (Case { is_undone: true, ..plain() }, Unchanged),
            (Case { now: None, last: None, ..brought(1, "a") }, Unchanged),
            // A person was here.
            (Case { now: Some(image(1, "a", 3)), ..plain() }, No(Edited)),
            (Case { now: Some(image(1, "a", 3)), ..brought(1, "a") }, No(Edited)),
            (Case { now: None, ..plain() }, No(Gone)),
            (Case { has_user: false, ..deleted(1, "a") }, No(UserGone)),
            (Case { has_user: false, now: None, ..plain() }, No(UserGone)),
            (Case { is_readable: false, ..deleted(1, "a") }, No(Unreadable)),
        ] {
            assert_eq!(judge(&case), want, "{case:?}");
        }
    }

    #[test]
    fn law_10_a_moved_record_goes_back_only_to_an_empty_path_or_to_its_own_file() {
        use Conflict::{PathTaken, PathUnknown};
        use PathState::{Empty, Other, SameFile};
        use Verdict::{Conflict as No, Return, Revert, Unchanged};
        let unknown = || Some(Err("no answer".to_owned()));
        let moved = |found| Case { found, ..changed(1, "a", "b") };
        // A later run has deleted it, at the path to which the task had moved it, or elsewhere.
        let since_deleted = |at, found| Case { now: None, last: None, gone: Some(image(1, at, 2)), ..moved(found) };
        let refreshed = |found| Case { found, ..changed(1, "a", "a") };
        let refreshed_then_moved =
            |found| Case { now: Some(image(1, "c", 2)), last: Some(image(1, "c", 2)), ..refreshed(found) };
        let brought_back = |found| Case { found, ..deleted(1, "a") };
        for (case, asks, want) in [
            (moved(None), true, No(PathUnknown)),
            (moved(Some(Ok(Empty))), false, Revert),
            (moved(Some(Ok(SameFile))), false, Revert),
            (moved(Some(Ok(Other))), false, No(PathTaken)),
            (moved(unknown()), false, No(PathUnknown)),
            (Case { prefix: None, ..moved(None) }, false, No(PathUnknown)),
            (Case { is_undone: true, ..moved(None) }, false, Unchanged),
            (since_deleted("b", None), true, No(PathUnknown)),
            (since_deleted("b", Some(Ok(SameFile))), false, Return),
            (since_deleted("b", Some(Ok(Other))), false, No(PathTaken)),
            (since_deleted("a", None), false, Return),
            (Case { gone: None, ..since_deleted("b", None) }, false, No(PathUnknown)),
            (refreshed(None), false, Revert),
            (refreshed_then_moved(None), true, No(PathUnknown)),
            (refreshed_then_moved(Some(Ok(Other))), false, No(PathTaken)),
            (brought_back(None), false, Return),
            (brought_back(Some(Ok(Other))), false, Return),
        ] {
            assert_eq!((judge(&case), case.query().is_some()), (want, asks), "{case:?}");
        }
        let query = Case { now: Some(image(1, "b", 2)), ..moved(None) }.query().unwrap();
        assert_eq!((query.prefix.as_str(), query.path.as_str(), query.record.path.as_str()), ("1", "a", "b"));
    }

    #[test]
    fn law_10_a_moved_record_replaces_a_newer_one_only_of_its_own_file() {
        for (found, want) in [
            (PathState::Empty, Verdict::Conflict(Conflict::PathTaken)),
            (PathState::Other, Verdict::Conflict(Conflict::PathTaken)),
            (PathState::SameFile, Verdict::Revert),
        ] {
            let plan =
                settle(&[Case { holder: Some(9), found: Some(Ok(found)), ..changed(1, "a", "b") }, deleted(2, "c")]);
            let replaced =
                if want == Verdict::Revert { vec![Replaced { id: 9, by: 1, all_links: true }] } else { vec![] };
            assert_eq!((plan.verdicts, plan.replaced), (vec![want, Verdict::Return], replaced), "{found:?}");
        }
    }

    #[test]
    fn records_are_judged_together() {
        use Verdict::{Conflict as No, Remove, Return, Revert, Unchanged};
        let held_by = |holder, case| Case { holder: Some(holder), ..case };
        let replaced = |id, by, all_links| Replaced { id, by, all_links };
        let edited = |case: Case| Case { last: None, ..case };
        for (cases, verdicts, gone) in [
            // A newer record gives its place away; a swap and a chain replace nobody.
            (vec![held_by(9, deleted(1, "a"))], vec![Return], vec![replaced(9, 1, true)]),
            (vec![held_by(2, changed(1, "a", "b")), held_by(1, changed(2, "b", "a"))], vec![Revert, Revert], vec![]),
            (vec![held_by(2, deleted(1, "a")), changed(2, "b", "a")], vec![Return, Revert], vec![]),
            // A swap whose files are still swapped, and a chain of which one cannot go back.
            (
                vec![
                    Case { found: Some(Ok(PathState::Other)), ..held_by(2, changed(1, "a", "b")) },
                    Case { found: Some(Ok(PathState::Other)), ..held_by(1, changed(2, "b", "a")) },
                ],
                vec![No(Conflict::PathTaken), No(Conflict::PathTaken)],
                vec![],
            ),
            (
                vec![
                    changed(1, "a", "b"),
                    Case { found: Some(Err(String::new())), ..held_by(1, changed(2, "b", "c")) },
                    held_by(2, changed(3, "c", "d")),
                    held_by(3, deleted(4, "d")),
                ],
                vec![Revert, No(Conflict::PathUnknown), No(Conflict::PlaceHeld), No(Conflict::PlaceHeld)],
                vec![],
            ),
            // Onto itself, when only facts changed.
            (vec![held_by(1, changed(1, "a", "a"))], vec![Revert], vec![]),
            // One who stays keeps all others from coming.
            (
                vec![held_by(2, deleted(1, "a")), held_by(3, changed(2, "b", "a")), edited(changed(3, "c", "b"))],
                vec![No(Conflict::PlaceHeld), No(Conflict::PlaceHeld), No(Conflict::Edited)],
                vec![],
            ),
            // What had been brought back gives way to what it replaced, shared or not; alone it stays while it is shared.
            (
                vec![held_by(1, deleted(9, "a")), Case { is_shared: true, ..brought(1, "a") }],
                vec![Return, Remove],
                vec![replaced(1, 9, false)],
            ),
            (vec![Case { is_shared: true, ..brought(1, "a") }], vec![No(Conflict::Shared)], vec![]),
            (vec![brought(1, "a")], vec![Remove], vec![]),
            (
                vec![held_by(1, deleted(9, "a")), edited(brought(1, "a"))],
                vec![No(Conflict::PlaceHeld), No(Conflict::Edited)],
                vec![],
            ),
            // Two that were at one path, one after the other.
            (vec![deleted(1, "a"), deleted(2, "a")], vec![Return, No(Conflict::PlaceHeld)], vec![]),
            // One that is there again is no stranger: it stays, and keeps all others from coming.
            (
                vec![
                    held_by(2, changed(1, "a", "d")),
                    Case { now: Some(image(2, "a", 5)), ..deleted(2, "b") },
                    held_by(1, deleted(3, "d")),
                ],
                vec![No(Conflict::PlaceHeld), Unchanged, No(Conflict::PlaceHeld)],
                vec![],
            ),
        ] {
            let plan = settle(&cases);
            assert_eq!((plan.verdicts, plan.replaced), (verdicts, gone), "{cases:?}");
        }
    }

    #[test]
    fn facts_of_today_come_with_the_place() {
        let old = deleted(1, "a");
        let became = old.becomes(Some(&image(9, "a", 7))).unwrap();
        assert_eq!((became.columns()["size"].as_u64(), became.columns()["id"].as_i64()), (Some(7), Some(1)));
        assert_eq!(old.becomes(None).unwrap().columns()["name"], "a");
    }

    /// Runs bring what names a file up to date without a line in the journal.
    #[test]
    fn law_10_what_names_the_file_is_that_of_the_file_which_the_record_has() {
        let named = |path: &str, size: u64, file_id: Option<&str>| {
            let mut image = json!({"id": 1, "user_id": 1, "path": path, "size": size, "last_modified": "then"});
            file_id.into_iter().for_each(|id| image["file_id"] = id.into());
            Image::parse(&image.to_string()).unwrap()
        };
        use PathState::{Empty, SameFile};
        for (was, now, found, want) in [
            ((1, Some("1-1")), (1, Some("1-1")), Empty, json!("1-1")),
            // It was copied to a new disk since; and an older version has not written down what names it.
            ((1, Some("1-1")), (1, Some("2-2")), Empty, json!("2-2")),
            ((1, None), (1, Some("2-2")), Empty, json!("2-2")),
            ((1, Some("1-1")), (1, None), Empty, json!("1-1")),
            // It was written anew since.
            ((1, Some("1-1")), (2, Some("2-2")), Empty, json!("1-1")),
            ((1, None), (2, Some("2-2")), Empty, json!(null)),
            ((1, Some("1-1")), (2, Some("2-2")), SameFile, json!("2-2")),
        ] {
            let case = Case {
                was: Some(named("a", was.0, was.1)),
                now: Some(named("b", now.0, now.1)),
                found: Some(Ok(found)),
                ..changed(1, "a", "b")
            };
            let became = case.becomes(None).unwrap();
            assert_eq!((&became.columns()["file_id"], became.path()), (&want, "a"), "{was:?} {now:?} {found:?}");
        }
    }
}
