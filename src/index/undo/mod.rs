//! Undoing what a task did to records: what is to become of each, judged from the journal and from what is there now.
//! Values in, values out; [`gather`] reads and [`apply`] writes.

pub(super) mod apply;
pub(super) mod gather;
mod image;
pub(super) mod links;

use std::collections::{HashMap, HashSet};

use serde_json::Value;

pub(super) use self::image::Image;
use crate::model::{RecordId, UserId};

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
    /// Whether that change was an undoing of this very task.
    pub(super) is_undone: bool,
    /// Whether its user is there.
    pub(super) has_user: bool,
    /// Whether it has an active share link.
    pub(super) is_shared: bool,
    /// The record that is where it goes back to.
    pub(super) holder: Option<RecordId>,
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
    /// It has an active share link, which would be lost.
    Shared,
    /// The journal's line cannot be read.
    Unreadable,
    /// Another link has the token of a link that went along with it.
    TokenTaken,
    /// Another link has the id of a link that went along with it.
    LinkIdTaken,
}

impl Conflict {
    /// Returns one stable word for it.
    pub(super) fn code(self) -> &'static str {
        match self {
            Self::UserGone => "user_gone",
            Self::Edited => "record_edited",
            Self::Gone => "record_gone",
            Self::PlaceHeld => "path_held",
            Self::Shared => "record_shared",
            Self::Unreadable => "journal_damaged",
            Self::TokenTaken => "token_taken",
            Self::LinkIdTaken => "link_id_taken",
        }
    }

    /// Says what is the matter.
    pub(super) fn why(self) -> &'static str {
        match self {
            Self::UserGone => "its user is gone; `storm-index user add --id` brings the user back, then restore again",
            Self::Edited => "somebody has changed it since, by hand; it stays as it is",
            Self::Gone => "it was deleted since, by hand or with its user; it stays deleted",
            Self::PlaceHeld => "its path is held by a record that cannot be moved back; it stays as it is",
            Self::Shared => "it has an active share link by now, so it stays; revoke the link and restore again",
            Self::Unreadable => "its line in the journal cannot be read; it stays as it is",
            Self::TokenTaken => "another share link has the token of one of its links; that link is not brought back",
            Self::LinkIdTaken => "another share link has the id of one of its links; that link is not brought back",
        }
    }
}

/// Judges a record alone.
fn judge(case: &Case) -> Verdict {
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
    /// Returns what the record becomes: what it was, or where another one gives it its place, with the facts of today.
    pub(super) fn becomes(&self, holder: Option<&Image>) -> Option<Image> {
        let was = self.was.clone()?.named();
        Some(match holder {
            Some(holder) => was.with_facts_of(holder),
            None => was,
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

    /// A record that the task changed from size 1 to size 2, and that nobody has touched since.
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
            is_undone: false,
            has_user: true,
            is_shared: false,
            holder: None,
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
            (Case { now: None, last: None, ..plain() }, Return),
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
}
