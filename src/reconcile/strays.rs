//! Files that have moved from one user to another: orphaned here and missing there, which is told, and nothing else.

use std::io;

use super::numbers::{Merge, Numbers, Sorted};
use super::waiting::{lower, upper};
use crate::model::{Fingerprint, UserId};

/// Sets orphans apart from the users of missing objects.
const ORPHAN: u64 = 1 << 63;

/// The fingerprints of all that is orphaned or missing.
#[derive(Debug, Default)]
pub(super) struct Strays(Numbers);

impl Strays {
    /// Notes an orphan by its number in the queue.
    pub(super) fn orphan(&mut self, fingerprint: Option<Fingerprint>, number: u64) -> io::Result<()> {
        self.note(fingerprint, ORPHAN | number)
    }

    /// Notes an object that is missing in the index of `user`.
    pub(super) fn missing(&mut self, fingerprint: Option<Fingerprint>, user: UserId) -> io::Result<()> {
        self.note(fingerprint, u64::try_from(user).unwrap_or(0) & !ORPHAN)
    }

    fn note(&mut self, fingerprint: Option<Fingerprint>, what: u64) -> io::Result<()> {
        fingerprint.map_or(Ok(()), |print| self.0.push(u128::from(print) << 64 | u128::from(what)))
    }

    /// Finds the orphans whose file may be another user's now.
    pub(super) fn find(&mut self) -> io::Result<Found> {
        let (all, mut found) = (self.0.sort()?, Numbers::default());
        let mut merge = all.iter();
        let (mut print, mut users): (Option<u64>, [Option<u64>; 2]) = (None, [None; 2]);
        while let Some(next) = merge.next()? {
            if print.replace(upper(next)) != Some(upper(next)) {
                users = [None; 2];
            }
            let what = lower(next);
            // Users come before orphans. Two are enough: one of them is another one than the orphan's.
            if what & ORPHAN == 0 {
                users = if users[0].is_none_or(|first| first == what) {
                    [Some(what), users[1]]
                } else {
                    [users[0], Some(what)]
                };
                continue;
            }
            for user in users.into_iter().flatten() {
                found.push(u128::from(what & !ORPHAN) << 64 | u128::from(user))?;
            }
        }
        Ok(Found(found.sort()?))
    }
}

/// The orphans whose file may be another user's now.
#[derive(Debug)]
pub(super) struct Found(Sorted);

impl Found {
    /// Starts asking, in the order of the queue.
    pub(super) fn iter(&self) -> Asked<'_> {
        Asked(self.0.iter())
    }
}

/// Answers in the order of the queue.
#[derive(Debug)]
pub(super) struct Asked<'s>(Merge<'s>);

impl Asked<'_> {
    /// Tells whether the file of orphan `number` of `user` may be another user's now.
    pub(super) fn of(&mut self, number: u64, user: UserId) -> io::Result<bool> {
        let mut moved = false;
        while let Some(next) = self.0.peek()?.filter(|next| upper(*next) <= number) {
            moved |= upper(next) == number && i64::try_from(lower(next)) != Ok(user);
            self.0.next()?;
        }
        Ok(moved)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_missing_at_another_user_has_moved_there() {
        let mut strays = Strays::default();
        for (print, number) in [(7, 0), (8, 1), (9, 2), (10, 3)] {
            strays.orphan(Some(print), number).unwrap();
        }
        strays.orphan(None, 4).unwrap();
        for (print, user) in [(7, 2), (8, 1), (9, 1), (9, 3), (11, 2)] {
            strays.missing(Some(print), user).unwrap();
        }
        strays.missing(None, 5).unwrap();
        let found = strays.find().unwrap();
        let mut asked = found.iter();
        let answers: Vec<bool> = (0..5).map(|number| asked.of(number, 1).unwrap()).collect();
        assert_eq!(answers, [true, false, true, false, false]);
    }
}
