//! What could be hidden near the place where the listing is.

use std::collections::VecDeque;

use crate::model::{BadEntry, BadReason, Hides};

/// How many keys that nobody can address are kept in mind; there may be any number of them with no object between them.
/// Beyond that they are forgotten, which spares nobody: a record of such a key stays whatever is said of it.
const ODD: usize = 10_000;

/// How a record stands to what is hidden.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Shadow {
    /// Nothing hides it: without an object it is an orphan.
    None,
    /// An entry of exactly its key is there, which is no object. It hides nothing but itself.
    Itself,
    /// It lies below an entry that the listing did not enter: its object may be there.
    Below,
}

/// The bad entries that could still hide a key; those that the listing has passed are forgotten.
#[derive(Debug, Default)]
pub(super) struct Doubts {
    /// In the order of their keys.
    entries: VecDeque<Doubt>,
    /// The top folder of the last place that could not be read and that the listing has passed.
    failed: Option<String>,
}

#[derive(Debug)]
struct Doubt {
    hides: Hides,
    failure: bool,
}

impl Doubt {
    /// Returns the first key that could be hidden.
    fn first_key(&self) -> &str {
        self.hides.first_key().unwrap_or_default()
    }
}

impl Doubts {
    /// Notes an entry, before the listing comes to what it could hide.
    pub(super) fn note(&mut self, entry: &BadEntry) {
        let is_odd = entry.reason == BadReason::Unaddressable;
        if entry.hides != Hides::Nothing && !(is_odd && self.entries.len() >= ODD) {
            let doubt = Doubt { hides: entry.hides.clone(), failure: entry.reason.is_failure() };
            // They come in order, but for the odd keys of one page of an object store.
            let at = self.entries.iter().rposition(|e| e.first_key() <= doubt.first_key()).map_or(0, |at| at + 1);
            self.entries.insert(at, doubt);
        }
    }

    /// Says how a record of `key` stands. Records are asked for in key order: what lies before is forgotten.
    pub(super) fn shadow(&mut self, key: &str) -> Shadow {
        while let Some(passed) = self.entries.pop_front_if(|doubt| doubt.hides.ends_before(key)) {
            self.remember_failure(&passed);
        }
        let mut shadow = Shadow::None;
        for Doubt { hides, .. } in self.entries.iter().take_while(|doubt| doubt.first_key() <= key) {
            match hides {
                Hides::Tree(top) if hides.covers(key) && top != key => return Shadow::Below,
                _ if hides.covers(key) => shadow = Shadow::Itself,
                _ => {}
            }
        }
        shadow
    }

    /// Tells whether reading failed where keys that begin with `start` could be.
    pub(super) fn failed_within(&self, start: &str) -> bool {
        let folder = start.split('/').next();
        if self.failed.is_some() && self.failed.as_deref() == folder {
            return true;
        }
        self.entries.iter().filter(|doubt| doubt.failure).any(|doubt| match &doubt.hides {
            Hides::Tree(top) => {
                top.is_empty() || format!("{top}/").starts_with(start) || start.starts_with(&format!("{top}/"))
            }
            Hides::Key(_) | Hides::Nothing => false,
        })
    }

    /// Forgets what lies before `key`, where the listing is now.
    pub(super) fn pass(&mut self, key: &str) {
        for doubt in std::mem::take(&mut self.entries) {
            if doubt.hides.ends_before(key) {
                self.remember_failure(&doubt);
            } else {
                self.entries.push_back(doubt);
            }
        }
    }

    /// A user who is adopted at a later object of the same folder has to know of it.
    fn remember_failure(&mut self, passed: &Doubt) {
        if passed.failure {
            self.failed = passed.first_key().split('/').next().map(str::to_owned);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn law_14_keys_that_nobody_can_address_are_not_all_kept_in_mind() {
        let mut doubts = Doubts::default();
        let note = |doubts: &mut Doubts, key: String, reason| {
            doubts.note(&BadEntry { shown: key.clone(), reason, hides: Hides::Key(key) });
        };
        for n in 0..3 * ODD {
            note(&mut doubts, format!("1/a//{n:06}"), BadReason::Unaddressable);
        }
        assert_eq!(doubts.entries.len(), ODD);
        note(&mut doubts, "1/b".into(), BadReason::Special);
        assert_eq!((doubts.shadow("1/b"), doubts.entries.len()), (Shadow::Itself, 1), "all others are");
    }

    #[test]
    fn a_shadow_falls_on_what_is_below_and_ends_where_it_ends() {
        let mut doubts = Doubts::default();
        for hides in [Hides::Key("1/x#12".into()), Hides::Tree("1/link".into()), Hides::Nothing] {
            doubts.note(&BadEntry { shown: String::new(), reason: BadReason::LinkOutside, hides });
        }
        assert!(!doubts.failed_within("1/"), "a link that is not followed is no failure");
        for (key, shadow) in [
            ("1/a", Shadow::None),
            ("1/link", Shadow::Itself),
            ("1/link-a", Shadow::None),
            ("1/link/a", Shadow::Below),
            ("1/m", Shadow::None),
            ("1/x#12", Shadow::Itself),
            ("1/x#12/a", Shadow::None),
        ] {
            assert_eq!(doubts.shadow(key), shadow, "{key}");
        }
        assert!(doubts.entries.is_empty(), "what lies behind is forgotten");
        let reason = BadReason::Unreadable("closed".into());
        doubts.note(&BadEntry { shown: String::new(), reason, hides: Hides::Tree("2/closed".into()) });
        assert!(doubts.failed_within("2/") && doubts.failed_within("2/closed/deep/") && !doubts.failed_within("1/"));
    }
}
