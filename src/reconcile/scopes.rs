//! Users in the order in which an ordered listing meets them, and where in it a key lies.

use std::collections::HashMap;

use super::guard::{Share, UserDeletions};
use super::inodes::Inodes;
use crate::index::{IndexError, User};
use crate::model::{Hides, Prefix, Timestamp, UserId};
use crate::storage::Span;

/// One user's part of the storage, and what the run learns of it.
#[derive(Debug)]
pub(super) struct Scope {
    /// Who.
    pub(super) user: User,
    /// What every key of the user begins with.
    pub(super) start: String,
    /// Whether all of the listing of this part can be trusted; nothing that could be hidden is judged.
    pub(super) complete: bool,
    /// Whether it has been told that records lie below an entry that could not be entered.
    pub(super) hides_records: bool,
    /// Whether this run registered the user, who therefore has no records.
    pub(super) adopted: bool,
    /// Whether the listing came to the user's part.
    pub(super) walked: bool,
    /// Since when records of the user may have been added by runs that were refused or broke off, if they may.
    pub(super) unsettled: Option<Timestamp>,
    /// How many records this run adds.
    pub(super) added: u64,
    /// How many records may have no object without anybody judging it: orphans that are young or undecided, and what is
    /// left out.
    pub(super) unjudged: u64,
    /// Whether the files have kept their inode numbers.
    pub(super) inodes: Inodes,
    /// The moment, by the storage's clock, at which the listing came to the user's part.
    pub(super) listed_at: Option<Timestamp>,
    /// What the limits on deletions are measured with.
    pub(super) shares: Shares,
}

/// How many of a user's records would go, of all and of those that are older than doubtful additions.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Shares {
    now: Share,
    before: Share,
}

impl Scope {
    /// Returns how many records were read.
    pub(super) fn records(&self) -> u64 {
        self.shares.now.records
    }

    /// Sums up for the guard.
    pub(super) fn deletions(&self) -> UserDeletions {
        let Shares { now, before } = self.shares;
        let before = self.unsettled.map(|_| before);
        UserDeletions { user: self.user.id, now, before }
    }

    fn of(user: User, adopted: bool) -> Self {
        Self {
            start: user.prefix.scope(),
            user,
            complete: true,
            hides_records: false,
            adopted,
            walked: false,
            unsettled: None,
            added: 0,
            unjudged: 0,
            inodes: Inodes::default(),
            listed_at: None,
            shares: Shares::default(),
        }
    }
}

/// Where a key lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    /// Under the prefix of the current scope.
    Inside,
    /// Before the current scope, or behind the last one: nobody's.
    Outside,
    /// Behind the current scope, which is thereby at its end.
    Behind,
}

/// Tells whether what was made at `made` is older than `since`. Without a border everything is.
fn is_before(made: Option<Timestamp>, since: Option<Timestamp>) -> bool {
    made.zip(since).is_none_or(|(made, since)| made < since)
}

/// Checks that no prefix of `users` lies within another one.
///
/// # Errors
/// Names two that do.
pub fn check_users(users: Vec<User>) -> Result<(), IndexError> {
    Scopes::new(users).map(drop)
}

/// The scopes of a run.
#[derive(Debug)]
pub(super) struct Scopes {
    scopes: Vec<Scope>,
    at: usize,
}

impl Scopes {
    /// Orders `users` by the bytes of what their keys begin with.
    pub(super) fn new(users: Vec<User>) -> Result<Self, IndexError> {
        let mut scopes: Vec<Scope> = users.into_iter().map(|user| Scope::of(user, false)).collect();
        scopes.sort_unstable_by(|a, b| a.start.cmp(&b.start));
        // Sorted, a prefix that lies within another one stands right behind it or one of its kind.
        if let Some(pair) = scopes.windows(2).find(|pair| pair[1].user.prefix.nests_with(&pair[0].user.prefix)) {
            return Err(IndexError::Nested {
                new: pair[1].user.prefix.to_string(),
                old: pair[0].user.prefix.to_string(),
                owner: pair[0].user.name.clone(),
            });
        }
        Ok(Self { scopes, at: 0 })
    }

    /// Takes in since when users are unsettled.
    pub(super) fn remember(&mut self, unsettled: &HashMap<UserId, Timestamp>) {
        for scope in &mut self.scopes {
            scope.unsettled = unsettled.get(&scope.user.id).copied();
        }
    }

    /// Counts a record of the current scope that was made at `made`; what cannot be read counts as old.
    pub(super) fn count_record(&mut self, made: impl FnOnce() -> Option<Timestamp>) {
        let Some(scope) = self.scopes.get_mut(self.at) else { return };
        scope.shares.now.records += 1;
        // Of a settled user nobody needs to read the time.
        let made = scope.unsettled.and_then(|_| made());
        scope.shares.before.records += u64::from(is_before(made, scope.unsettled));
    }

    /// Counts a record of the current scope that was made at `made` and whose object is there.
    pub(super) fn count_matched(&mut self, made: impl FnOnce() -> Option<Timestamp>) {
        let Some(scope) = self.scopes.get_mut(self.at) else { return };
        scope.shares.now.matched += 1;
        let made = scope.unsettled.and_then(|_| made());
        scope.shares.before.matched += u64::from(is_before(made, scope.unsettled));
    }

    /// Returns the scope of a user whom the listing is at, or was at not long ago.
    fn lately(&mut self, user: UserId) -> Option<&mut Scope> {
        let end = self.scopes.len().min(self.at + 1);
        self.scopes[..end].iter_mut().rev().find(|s| s.user.id == user)
    }

    /// Counts an orphan of `user` that waits for its deletion.
    pub(super) fn count_queued(&mut self, user: UserId, made: Option<Timestamp>) {
        if let Some(scope) = self.lately(user) {
            scope.shares.now.queued += 1;
            scope.shares.before.queued += u64::from(is_before(made, scope.unsettled));
        }
    }

    /// Counts records of `user` of which nobody has judged in this run whether they have to go.
    pub(super) fn count_unjudged(&mut self, user: UserId, records: u64) {
        if let Some(scope) = self.lately(user) {
            scope.unjudged += records;
        }
    }

    /// Returns whose records are to be read, in order.
    pub(super) fn users(&self) -> Vec<UserId> {
        self.scopes.iter().map(|s| s.user.id).collect()
    }

    /// Returns the prefixes of all of them.
    pub(super) fn prefixes(&self) -> Vec<Prefix> {
        self.scopes.iter().map(|s| s.user.prefix.clone()).collect()
    }

    /// Returns all users, in the order of their scopes.
    pub(super) fn iter(&self) -> impl Iterator<Item = &Scope> {
        self.scopes.iter()
    }

    /// Returns the scope that the listing is in or before; none behind the last one.
    pub(super) fn current(&mut self) -> Option<&mut Scope> {
        self.scopes.get_mut(self.at)
    }

    /// Says where `key` lies.
    pub(super) fn place(&self, key: &str) -> Place {
        match self.scopes.get(self.at) {
            None => Place::Outside,
            Some(scope) if key.starts_with(&scope.start) => Place::Inside,
            Some(scope) if key < scope.start.as_str() => Place::Outside,
            Some(_) => Place::Behind,
        }
    }

    /// Goes on to the next scope.
    pub(super) fn advance(&mut self) {
        self.at += 1;
    }

    /// Puts a user who was registered just now where the listing is.
    pub(super) fn adopt(&mut self, user: User, complete: bool) {
        self.scopes.insert(self.at, Scope { complete, ..Scope::of(user, true) });
    }

    /// Tells whether all of `folder` could be one user's: nobody owns it, or a part of it.
    pub(super) fn is_free(&self, folder: &str) -> bool {
        let start = format!("{folder}/");
        !self.scopes.iter().any(|s| s.start.starts_with(&start) || start.starts_with(&s.start))
    }

    /// Tells whether all of a user's keys lie below `top`, or more than one user's.
    pub(super) fn has_one_below(&self, top: &str) -> bool {
        let below = format!("{top}/");
        top.is_empty() || self.scopes.iter().any(|s| s.start.starts_with(&below))
    }

    /// Tells whether keys below `top` may be a user's: it lies within a user's prefix, or a prefix below it.
    pub(super) fn touches(&self, top: &str) -> bool {
        let below = format!("{top}/");
        top.is_empty() || self.scopes.iter().any(|s| s.start.starts_with(&below) || below.starts_with(&s.start))
    }

    /// Returns the scope of a user.
    pub(super) fn find(&mut self, user: UserId) -> Option<&mut Scope> {
        self.scopes.iter_mut().find(|s| s.user.id == user)
    }

    /// Notes that the listing of what `hides` covers cannot be trusted.
    pub(super) fn distrust(&mut self, hides: &Hides) {
        let Hides::Tree(top) = hides else { return };
        let below = format!("{top}/");
        for scope in &mut self.scopes {
            if top.is_empty() || scope.start.starts_with(&below) || below.starts_with(&scope.start) {
                scope.complete = false;
            }
        }
    }

    /// Notes that nothing from the current scope on can be trusted.
    pub(super) fn distrust_rest(&mut self) {
        self.scopes.iter_mut().skip(self.at).for_each(|s| s.complete = false);
    }

    /// Notes that what lies in `span` may not have been listed.
    pub(super) fn distrust_span(&mut self, span: &Span) {
        for scope in &mut self.scopes {
            // It begins within the scope, or before it and ends in or behind it.
            let reaches = span.to.as_ref().is_none_or(|to| *to >= scope.start);
            scope.complete &= !(span.from.starts_with(&scope.start) || (span.from < scope.start && reaches));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn user(id: UserId, prefix: &str) -> User {
        User { id, name: id.to_string(), prefix: Prefix::parse(prefix).unwrap() }
    }

    #[test]
    fn keys_are_routed_by_whole_segments() {
        let mut scopes = Scopes::new(vec![user(1, "images2"), user(2, "images"), user(3, "teams/alpha")]).unwrap();
        assert_eq!(scopes.users(), [2, 1, 3]);
        for (key, place) in [
            ("a", Place::Outside),
            ("images", Place::Outside),
            ("images/x", Place::Inside),
            ("images2/x", Place::Behind),
        ] {
            assert_eq!(scopes.place(key), place, "{key}");
        }
        scopes.advance();
        assert_eq!(scopes.place("images2/x"), Place::Inside);
        scopes.advance();
        assert_eq!(scopes.place("teams/alpha"), Place::Outside);
        assert_eq!(scopes.place("teams/alpha/x"), Place::Inside);
        assert!(!scopes.is_free("teams") && scopes.is_free("team") && !scopes.is_free("images"));
        scopes.advance();
        assert_eq!(scopes.place("z"), Place::Outside);
        assert!(scopes.current().is_none());
    }

    #[test]
    fn nested_prefixes_are_refused() {
        assert!(Scopes::new(vec![user(1, "teams"), user(2, "a"), user(3, "teams/alpha")]).is_err());
        assert!(Scopes::new(vec![user(1, ""), user(2, "a")]).is_err());
        assert!(Scopes::new(vec![user(1, "")]).is_ok());
    }

    #[test]
    fn distrust_reaches_whom_a_tree_touches() {
        let doubtful = |top: &str| {
            let mut scopes = Scopes::new(vec![user(1, "a"), user(2, "teams/x"), user(3, "teams/y")]).unwrap();
            scopes.distrust(&Hides::Tree(top.into()));
            scopes.iter().filter(|s| !s.complete).map(|s| s.user.id).collect::<Vec<_>>()
        };
        assert_eq!(doubtful("a/b/c"), [1]);
        assert_eq!(doubtful("a"), [1]);
        assert_eq!(doubtful("teams"), [2, 3]);
        assert_eq!(doubtful("teams/x"), [2]);
        assert_eq!(doubtful("teams/xy"), [0; 0]);
        assert_eq!(doubtful(""), [1, 2, 3]);
    }

    #[test]
    fn a_place_holds_users_or_lies_within_one() {
        let scopes = Scopes::new(vec![user(1, "a"), user(2, "teams/x")]).unwrap();
        for (top, holds) in [("", true), ("a", true), ("a/b", false), ("teams", true), ("team", false), ("z", false)] {
            assert_eq!(scopes.has_one_below(top), holds, "{top}");
        }
        assert!(!Scopes::new(vec![user(1, "")]).unwrap().has_one_below("a"), "it is a part of that user's");
    }
}
