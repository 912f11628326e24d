//! Queued deletions and what is known of the run -> what may go, or a refusal. Pure. Only this file can make a
//! [`Cleared`] deletion, and only a cleared deletion can be carried out.

use std::collections::HashSet;

use serde::{Deserialize, Serialize};

use super::identity::{Standing, is_half};
use super::request::MaxDelete;
use crate::model::{Orphan, UserId};

/// Above so many deletions the share counts.
const MANY: u64 = 100;
/// Above so many of a hundred records, many deletions are refused.
const MOST_PERCENT: u64 = 50;
/// A user with more records than this does not lose all of them at once.
const FEW: u64 = 10;

/// How many records would go, of how many, and how many are certainly about the storage.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Share {
    /// The records.
    pub(super) records: u64,
    /// Those that wait for their deletion.
    pub(super) queued: u64,
    /// Those that have an object under their key, or have moved.
    pub(super) matched: u64,
}

/// What a run knows of one user's deletions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct UserDeletions {
    /// Who.
    pub(super) user: UserId,
    /// The user's records, and how many of them wait for their deletion.
    pub(super) now: Share,
    /// The same of those records alone that were there before a run that was refused or broke off, if there was one:
    /// what such a run has added neither softens the limits for the next one nor proves the storage to it.
    pub(super) before: Option<Share>,
}

impl UserDeletions {
    /// Returns the shares that deletions are measured with, each with what has to be said of it.
    fn shares(&self) -> impl Iterator<Item = (&'static str, Share)> {
        std::iter::once(("", self.now)).chain(self.before.map(|before| (EARLIER, before)))
    }

    /// Returns the share of which less than half shows that the records are about the storage, if there is one.
    fn unproven(&self) -> Option<(&'static str, Share)> {
        self.shares().find(|(_, share)| !is_half(share.matched, share.records))
    }
}

/// Why deletions are withheld.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// One stable word.
    pub code: RefusalCode,
    /// The numbers, and the flag that would allow it, where one does.
    pub message: String,
}

/// The kinds of refusal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(feature = "server", derive(poem_openapi::Enum), oai(rename_all = "snake_case"))]
pub enum RefusalCode {
    /// More deletions than are let through at once.
    TooManyDeletions,
    /// The storage is not the one that the index is bound to.
    WrongStorage,
    /// The index is bound to no storage, and cannot be bound to this one.
    StorageUnbound,
    /// There is an object in the marker's place that is no marker.
    MarkerUnreadable,
    /// Without a marker, deletions of users of whom less than half of the records have an object.
    IdentityUnproven,
}

impl RefusalCode {
    /// Returns the word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::TooManyDeletions => "too_many_deletions",
            Self::WrongStorage => "wrong_storage",
            Self::StorageUnbound => "storage_unbound",
            Self::MarkerUnreadable => "marker_unreadable",
            Self::IdentityUnproven => "identity_unproven",
        }
    }
}

/// The guard's word on a run.
#[derive(Debug)]
pub(super) struct Verdict {
    open: HashSet<UserId>,
    /// Set when anything is withheld.
    pub(super) refusal: Option<Refusal>,
}

/// A deletion that the guard let through.
#[derive(Debug)]
pub(super) struct Cleared<'q> {
    orphan: &'q Orphan,
}

impl<'q> Cleared<'q> {
    /// Returns the record that may go.
    pub(super) fn orphan(&self) -> &'q Orphan {
        self.orphan
    }
}

impl Verdict {
    /// Lets `orphan` through, or not.
    pub(super) fn clear<'q>(&self, orphan: &'q Orphan) -> Option<Cleared<'q>> {
        self.is_open(orphan.user).then_some(Cleared { orphan })
    }

    /// Tells whether deletions of `user` are let through.
    pub(super) fn is_open(&self, user: UserId) -> bool {
        self.open.contains(&user)
    }

    /// Tells whether too much would have gone at once.
    pub(super) fn is_too_much(&self) -> bool {
        self.refusal.as_ref().is_some_and(|r| r.code == RefusalCode::TooManyDeletions)
    }

    /// Lets nothing through any more, and returns whose deletions it did let through.
    pub(super) fn close(&mut self) -> Vec<UserId> {
        self.open.drain().collect()
    }

    /// Tells whether nothing at all may go.
    pub(super) fn is_closed(&self) -> bool {
        self.open.is_empty()
    }
}

/// Judges the deletions of a run: of each user and of all together. Too many for one means that none go.
pub(super) fn judge(users: &[UserDeletions], limit: Option<MaxDelete>, standing: &Standing) -> Verdict {
    if let (Standing::Unmarked(why), waiting @ 1..) = (standing, users.iter().map(|u| u.now.queued).sum::<u64>()) {
        return Verdict { open: HashSet::new(), refusal: Some(unmarked(why, waiting)) };
    }
    let proven = |u: &&UserDeletions| *standing != Standing::Unchecked || u.unproven().is_none();
    let trusted = || users.iter().filter(proven);
    // What is not trusted does not go, but its records are there.
    let of_all = |share: fn(&UserDeletions) -> Share| Share {
        queued: trusted().map(|u| share(u).queued).sum(),
        records: users.iter().map(|u| share(u).records).sum(),
        matched: 0,
    };
    let (now, before) = (of_all(|u| u.now), of_all(|u| u.before.unwrap_or(u.now)));
    let each = trusted().flat_map(|u| u.shares().map(|(when, share)| (format!("user {}{when}", u.user), share, true)));
    let everyone = "all users together";
    let refused = each
        .chain([(everyone.to_owned(), now, false), (format!("{everyone}{EARLIER}"), before, false)])
        .find_map(|(whose, share, one)| too_many(&whose, share, one, limit));
    if let Some(message) = refused {
        // The flag has to let everything through that waits, or the next run is refused once more.
        let message =
            format!("{message}; nothing was deleted. If this is right, run again with --max-delete {}", now.queued);
        return Verdict {
            open: HashSet::new(),
            refusal: Some(Refusal { code: RefusalCode::TooManyDeletions, message }),
        };
    }
    let unproven: Vec<&UserDeletions> = users.iter().filter(|u| u.now.queued > 0 && !proven(u)).collect();
    let refusal = unproven
        .first()
        .map(|first| identity_unproven(first, unproven.len(), unproven.iter().map(|u| u.now.queued).sum()));
    Verdict { open: trusted().filter(|u| u.now.queued > 0).map(|u| u.user).collect(), refusal }
}

/// Withholds what would be deleted on a storage that cannot be known again.
fn unmarked(why: &str, waiting: u64) -> Refusal {
    let message = format!(
        "{waiting} deletions were withheld, because the index is bound to no storage and this one takes no marker: {why}. Have \
         its owner upload what `storm-index storage bind --print` prints, or set identity = \"none\" (--identity none)"
    );
    Refusal { code: RefusalCode::StorageUnbound, message }
}

/// Withholds the deletions of users whose records do not show that they are about the storage.
fn identity_unproven(first: &UserDeletions, users: usize, waiting: u64) -> Refusal {
    let others = if users > 1 { format!(" (and too few of {} more)", users - 1) } else { String::new() };
    let (when, share) = first.unproven().unwrap_or(("", first.now));
    let message = format!(
        "{waiting} deletions were withheld: without a marker records are deleted only of users of whom at least half of the \
         records have an object, and of user {} it is {} of {}{when}{others}. Check the storage; if it is the right one, give it a \
         marker (storm-index storage bind --force) and leave identity = \"none\" out",
        first.user, share.matched, share.records
    );
    Refusal { code: RefusalCode::IdentityUnproven, message }
}

/// Said of records that were there before a run that was refused or broke off.
const EARLIER: &str = " from before the last run that was refused or broke off";

/// Says why deletions are too many, if they are.
fn too_many(whose: &str, share: Share, one_user: bool, limit: Option<MaxDelete>) -> Option<String> {
    let Share { records, queued, .. } = share;
    let over = |percent: u64| u128::from(queued) * 100 > u128::from(records) * u128::from(percent);
    let of = format!("{queued} of the {records} records of {whose}");
    match limit {
        Some(MaxDelete::Count(most)) if queued > most => Some(format!("{of} would go, more than --max-delete {most}")),
        Some(MaxDelete::Percent(most)) if over(u64::from(most)) => {
            Some(format!("{of} would go, more than --max-delete {most}%"))
        }
        Some(_) => None,
        None if queued > MANY && over(MOST_PERCENT) => {
            Some(format!("{of} would go, more than {MANY} and more than {MOST_PERCENT}%"))
        }
        None if one_user && records > FEW && queued == records => Some(format!("{of} would go, all of them")),
        None => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn share(records: u64, queued: u64) -> Share {
        Share { records, queued, matched: records - queued }
    }

    fn user(user: UserId, records: u64, queued: u64) -> UserDeletions {
        UserDeletions { user, now: share(records, queued), before: None }
    }

    fn matching(matched: u64, user: UserDeletions) -> UserDeletions {
        UserDeletions { now: Share { matched, ..user.now }, ..user }
    }

    fn earlier(user: UserDeletions, records: u64, queued: u64) -> UserDeletions {
        UserDeletions { before: Some(share(records, queued)), ..user }
    }

    fn refused(users: &[UserDeletions], limit: Option<&str>) -> Option<RefusalCode> {
        let verdict = judge(users, limit.map(|l| l.parse().unwrap()), &Standing::New);
        verdict.refusal.map(|r| r.code)
    }

    #[test]
    fn law_08_not_too_much_at_once() {
        const NO: Option<RefusalCode> = None;
        const TOO_MANY: Option<RefusalCode> = Some(RefusalCode::TooManyDeletions);
        for (users, limit, want) in [
            (vec![], None, NO),
            (vec![user(1, 10, 10)], None, NO),
            (vec![user(1, 11, 11)], None, TOO_MANY),
            (vec![user(1, 11, 10)], None, NO),
            (vec![user(1, 100, 99)], None, NO),
            (vec![user(1, 200, 100)], None, NO),
            (vec![user(1, 202, 101)], None, NO),
            (vec![user(1, 201, 101)], None, TOO_MANY),
            (vec![earlier(user(1, 401, 200), 200, 200)], None, TOO_MANY),
            (vec![earlier(user(1, 12, 11), 11, 11)], None, TOO_MANY),
            (vec![earlier(user(1, 24, 12), 12, 12)], Some("50%"), TOO_MANY),
            (vec![earlier(user(1, 24, 12), 12, 12)], Some("12"), NO),
            (vec![earlier(user(1, 60, 60), 5, 5)], None, TOO_MANY),
            (vec![earlier(user(1, 60, 5), 5, 5)], None, NO),
            (vec![earlier(user(1, 5_000, 11), 11, 0)], None, NO),
            (vec![earlier(user(1, 500, 113), 11, 3)], None, NO),
            (vec![earlier(user(1, 20, 0), 20, 0), user(2, 5_150, 141)], None, NO),
            (vec![earlier(user(1, 60, 1), 0, 0)], Some("10%"), NO),
            (
                vec![
                    earlier(user(1, 99, 60), 99, 60),
                    earlier(user(2, 99, 60), 99, 60),
                    earlier(user(3, 100, 0), 0, 0),
                ],
                None,
                TOO_MANY,
            ),
            (vec![user(1, 100_000, 50_000)], None, NO),
            (vec![user(1, 99, 60), user(2, 99, 60)], None, TOO_MANY),
            (vec![user(1, 10, 10), user(2, 10, 10)], None, NO),
            (vec![user(1, 10_000, 0), user(2, 11, 11)], None, TOO_MANY),
            (vec![user(1, 11, 11)], Some("11"), NO),
            (vec![user(1, 11, 11)], Some("10"), TOO_MANY),
            (vec![user(1, 11, 6), user(2, 11, 5)], Some("10"), TOO_MANY),
            (vec![user(1, 500, 500)], Some("100%"), NO),
            (vec![user(1, 100, 11)], Some("10%"), TOO_MANY),
            (vec![user(1, 100, 10)], Some("10%"), NO),
            (vec![user(1, 5, 1)], Some("0"), TOO_MANY),
            (vec![user(1, 5, 0)], Some("0"), NO),
            (vec![user(1, u64::MAX / 200, 1)], Some("0%"), TOO_MANY),
        ] {
            assert_eq!(refused(&users, limit), want, "{users:?} {limit:?}");
        }
    }

    #[test]
    fn only_what_waits_is_let_through() {
        let verdict = judge(&[user(1, 5, 2), user(2, 50, 0)], None, &Standing::New);
        assert!(verdict.refusal.is_none());
        let orphan = |user| Orphan {
            user,
            id: 1,
            path: "p".into(),
            size: None,
            content_type: None,
            etag: None,
            last_modified: None,
            file_id: None,
            created_at: None,
            version: String::new(),
        };
        assert!(verdict.clear(&orphan(1)).is_some());
        assert!(verdict.clear(&orphan(2)).is_none() && verdict.clear(&orphan(3)).is_none());
        assert!(judge(&[user(1, 11, 11)], None, &Standing::New).clear(&orphan(1)).is_none());
    }

    #[test]
    fn law_07_without_a_marker_each_user_has_to_prove_the_storage() {
        use RefusalCode::{IdentityUnproven, TooManyDeletions};
        for (users, open, code) in [
            (vec![user(1, 4, 2)], vec![1], None),
            (vec![user(1, 5, 3)], vec![], Some(IdentityUnproven)),
            (vec![user(1, 5, 3), user(2, 4, 1)], vec![2], Some(IdentityUnproven)),
            // Less than half matches, but nothing waits: it is all shared, or young.
            (vec![matching(0, user(1, 5, 0)), user(2, 4, 1)], vec![2], None),
            // What does not prove itself does not count as too much either.
            (vec![user(1, 500, 400), user(2, 4, 1)], vec![2], Some(IdentityUnproven)),
            (vec![matching(300, user(1, 400, 300))], vec![], Some(TooManyDeletions)),
            // What a refused run has added from this storage proves nothing.
            (vec![earlier(user(1, 130, 59), 60, 59)], vec![], Some(IdentityUnproven)),
            (vec![earlier(user(1, 130, 30), 60, 30)], vec![1], None),
            (vec![earlier(user(1, 70, 0), 0, 0), user(2, 4, 1)], vec![2], None),
        ] {
            let verdict = judge(&users, None, &Standing::Unchecked);
            let mut let_through: Vec<_> = verdict.open.into_iter().collect();
            let_through.sort_unstable();
            assert_eq!((let_through, verdict.refusal.map(|r| r.code)), (open, code), "{users:?}");
        }
        let message = judge(&[user(7, 9, 6), user(8, 9, 6)], None, &Standing::Unchecked).refusal.unwrap().message;
        assert!(
            message.contains("12 deletions") && message.contains("user 7 it is 3 of 9 (and too few of 1 more)"),
            "{message}"
        );
        let message = judge(&[earlier(user(7, 90, 6), 9, 6)], None, &Standing::Unchecked).refusal.unwrap().message;
        assert!(message.contains("user 7 it is 3 of 9 from before the last run"), "{message}");
    }

    #[test]
    fn law_07_a_storage_that_takes_no_marker_loses_no_record() {
        let standing = Standing::Unmarked("read-only".into());
        let verdict = judge(&[user(1, 5, 1), user(2, 5, 2)], None, &standing);
        assert!(verdict.is_closed());
        let refusal = verdict.refusal.unwrap();
        assert_eq!(refusal.code, RefusalCode::StorageUnbound);
        for word in ["3 deletions", "read-only", "bind --print", "identity = \"none\""] {
            assert!(refusal.message.contains(word), "{}", refusal.message);
        }
        assert!(judge(&[user(1, 5, 0)], None, &standing).refusal.is_none(), "nothing is withheld where nothing waits");
    }

    #[test]
    fn a_refusal_names_the_flag_that_would_do() {
        let users = [user(1, 201, 101), user(2, 20, 5)];
        let message = judge(&users, None, &Standing::New).refusal.unwrap().message;
        assert!(
            message.contains("101 of the 201 records of user 1") && message.ends_with("--max-delete 106"),
            "{message}"
        );
        assert!(judge(&users, Some(MaxDelete::Count(106)), &Standing::New).refusal.is_none());
    }
}
