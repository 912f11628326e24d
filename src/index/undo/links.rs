//! The links that went along with records: which come back, which are pointed back, and which cannot.

use std::collections::HashMap;

use serde_json::Value;

use super::{Case, Conflict, Verdict};
use crate::model::{RecordId, UserId};

/// A link that is there now.
#[derive(Debug, Clone)]
pub(in crate::index) struct LinkNow {
    pub(in crate::index) token: String,
    /// The record to which it belongs.
    pub(in crate::index) record: RecordId,
    /// Whose record that is, and at which path; none where the record is gone.
    pub(in crate::index) place: Option<(UserId, String)>,
    /// Whether it is active, as far as any clock says so.
    pub(in crate::index) is_active: bool,
}

impl LinkNow {
    /// Tells whether it would open what is at another path if it belonged to the record of `case`.
    fn leads_elsewhere(&self, case: &Case) -> bool {
        let is_there = self.place.as_ref().is_none_or(|(user, path)| (*user, path) == (case.user, &case.path));
        self.is_active && !is_there
    }
}

/// The links that are there now, as far as they could be in the way.
#[derive(Debug, Default)]
pub(in crate::index) struct LinksNow {
    /// By their ids.
    pub(in crate::index) by_id: HashMap<i64, LinkNow>,
    /// By their tokens: id.
    pub(in crate::index) by_token: HashMap<String, i64>,
}

/// What is to become of links.
#[derive(Debug, Default, PartialEq)]
pub(in crate::index) struct LinkPlan {
    /// Links that are made again, and for which record.
    pub(in crate::index) make: Vec<(RecordId, Value)>,
    /// Links that are pointed back, and to which record.
    pub(in crate::index) point: Vec<(RecordId, i64)>,
    /// What cannot be done, by the place of the case.
    pub(in crate::index) conflicts: Vec<(usize, Conflict)>,
}

/// Decides about the links of those records that are there in the end.
pub(in crate::index) fn plan(cases: &[Case], verdicts: &[Verdict], now: &LinksNow) -> LinkPlan {
    let mut plan = LinkPlan::default();
    for (at, (case, verdict)) in cases.iter().zip(verdicts).enumerate() {
        let comes = *verdict == Verdict::Return;
        let is_there = *verdict == Verdict::Unchanged && case.now.is_some();
        if !(comes || is_there) {
            continue;
        }
        for link in &case.links {
            let (Some(id), Some(token)) = (link["id"].as_i64(), link["token"].as_str()) else {
                plan.conflicts.push((at, Conflict::Unreadable));
                continue;
            };
            match (now.by_id.get(&id), now.by_token.get(token)) {
                // Where it is since, it was put when its record went; and it may have moved on with the file.
                (Some(link), _) if link.token == token => match comes && link.record != case.id {
                    true if link.leads_elsewhere(case) => plan.conflicts.push((at, Conflict::LinkElsewhere)),
                    true => plan.point.push((case.id, id)),
                    false => {}
                },
                (_, Some(_)) => plan.conflicts.push((at, Conflict::TokenTaken)),
                (Some(_), None) => plan.conflicts.push((at, Conflict::LinkIdTaken)),
                (None, None) => plan.make.push((case.id, link.clone())),
            }
        }
    }
    plan
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::Image;
    use super::*;

    #[test]
    fn links_come_back_unless_somebody_has_their_token() {
        let image = Image::parse(r#"{"id":1,"user_id":1,"path":"a"}"#);
        let link = json!({"id": 5, "token": "t", "is_active": false, "expires_at": null});
        let case = Case {
            id: 1,
            user: 1,
            path: "a".to_owned(),
            was: image.clone(),
            is_readable: true,
            line: 1,
            was_deleted: true,
            links: vec![link.clone()],
            now: image,
            last: None,
            gone: None,
            prefix: None,
            found: None,
            is_undone: false,
            has_user: true,
            is_shared: false,
            holder: None,
        };
        let none = LinkPlan::default;
        let made = || LinkPlan { make: vec![(1, link.clone())], ..none() };
        let conflict = |why| LinkPlan { conflicts: vec![(0, why)], ..none() };
        for (verdict, now, want) in [
            (Verdict::Return, vec![], made()),
            (Verdict::Unchanged, vec![], made()),
            (Verdict::Conflict(Conflict::UserGone), vec![], none()),
            (Verdict::Return, vec![(5, "t", 1)], none()),
            (Verdict::Return, vec![(5, "t", 9)], LinkPlan { point: vec![(1, 5)], ..none() }),
            // It has moved on with the file: an active link is not brought back to the path of another file.
            (Verdict::Return, vec![(5, "t", 8)], conflict(Conflict::LinkElsewhere)),
            (Verdict::Return, vec![(5, "t", 7)], LinkPlan { point: vec![(1, 5)], ..none() }),
            (Verdict::Return, vec![(5, "t", 6)], conflict(Conflict::LinkElsewhere)),
            // What is there under its id already, keeps its links and takes none away.
            (Verdict::Unchanged, vec![(5, "t", 9)], none()),
            (Verdict::Return, vec![(6, "t", 9)], conflict(Conflict::TokenTaken)),
            (Verdict::Return, vec![(5, "u", 9)], conflict(Conflict::LinkIdTaken)),
        ] {
            // Record 9 is at the same path, 8 and 7 are at another one, 6 is another user's; the link of 7 is dead.
            let link = |token: &str, record| LinkNow {
                token: token.to_owned(),
                record,
                place: Some(if record == 6 { (2, "a") } else { (1, if record >= 9 { "a" } else { "z" }) })
                    .map(|(user, path)| (user, path.to_owned())),
                is_active: record != 7,
            };
            let there = LinksNow {
                by_id: now.iter().map(|&(id, token, record)| (id, link(token, record))).collect(),
                by_token: now.iter().map(|&(id, token, _)| (token.to_owned(), id)).collect(),
            };
            assert_eq!(plan(std::slice::from_ref(&case), &[verdict], &there), want, "{verdict:?} {now:?}");
        }
    }
}
