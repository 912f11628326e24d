//! The end of a run: the guard speaks once, with everything known; what it lets through is deleted; what was done is
//! counted.

use std::collections::HashSet;

use super::deletion::Deletion;
use super::guard::{UserDeletions, Verdict, judge};
use super::report::Report;
use super::run::Run;
use super::scopes::Scope;
use super::stop::Stop;
use crate::clock;
use crate::model::UserId;

impl Run<'_> {
    /// Deletes what waits and may go.
    pub(super) async fn delete(&mut self) -> Result<(), Stop> {
        let users: Vec<UserDeletions> = self.scopes.iter().map(|s| s.deletions()).collect();
        let verdict = judge(&users, self.policy.max_delete, &self.standing);
        self.report.refusal = verdict.refusal.clone();
        let refused: Vec<UserId> =
            users.iter().filter(|u| u.now.queued > 0 && !verdict.is_open(u.user)).map(|u| u.user).collect();
        if !refused.is_empty() {
            self.sink.unsettle(&refused).await?;
        }
        let settled = self.settled(&users, &verdict);
        let (queue, strays) = (std::mem::take(&mut self.queue), std::mem::take(&mut self.strays));
        let deletion = Deletion {
            storage: self.storage,
            standing: self.standing.clone(),
            looks: &mut self.looks,
            prefixes: self.scopes.iter().map(|s| (s.user.id, s.user.prefix.clone())).collect(),
            verdict,
            spans: &self.spans,
            sink: self.sink.as_mut(),
            report: &mut self.report,
            observer: &mut *self.observer,
            cancel: self.cancel.clone(),
            stopped: false,
            undecided: HashSet::new(),
            listed_at: self.scopes.iter().filter_map(|s| Some((s.user.id, s.listed_at?))).collect(),
            wrong: &mut self.wrong,
        };
        let Some(undecided) = deletion.run(queue, strays, self.doomed).await? else { return Ok(()) };
        // What could not be looked for waits for the next run, which has to measure it as this one did.
        let settled: Vec<UserId> = settled.into_iter().filter(|user| !undecided.contains(user)).collect();
        if !settled.is_empty() {
            self.sink.settle_users(&settled).await?;
        }
        let (seen, gone) = self.mounts.changes(!self.one_user, clock::now());
        Ok(self.sink.remember_mounts(&seen, &gone).await?)
    }

    /// Returns the users for whom this run ends well: nothing is withheld that waits, and nothing waits in hiding.
    fn settled(&self, users: &[UserDeletions], verdict: &Verdict) -> Vec<UserId> {
        let ends_well = |(scope, user): &(&Scope, &UserDeletions)| {
            let is_doubtful = scope.unsettled.is_some();
            // What refused runs have added for a user counts neither for that user nor for all of them together.
            let nothing = user.now.queued == 0 && !(verdict.is_too_much() && (scope.added > 0 || is_doubtful));
            // What was refused once may be among what nobody has judged now.
            let all_judged = scope.unjudged == 0 || !is_doubtful;
            scope.complete && all_judged && (nothing || verdict.is_open(user.user))
        };
        let known = |scope: &Scope| scope.unsettled.is_some() || self.unsettled;
        if !self.policy.deletes {
            return Vec::new();
        }
        let scopes = self.scopes.iter().zip(users);
        scopes.filter(ends_well).filter(|(scope, _)| known(scope)).map(|(scope, _)| scope.user.id).collect()
    }

    /// Waits for what is under way, and counts what was done.
    pub(super) async fn close(mut self) -> Report {
        let settled = self.sink.settle().await;
        match settled {
            Ok(written) => {
                self.report.tally.created = written.created;
                self.report.tally.updated = written.updated;
                self.report.tally.identified = written.identified;
            }
            Err(error) => self.report.fail(error.code(), error.to_string()),
        }
        self.report.tally.users_scanned = self.scopes.iter().filter(|s| s.walked).count() as u64;
        let is_incomplete = |s: &&Scope| !s.complete || self.wrong.contains(&s.user.id);
        self.report.incomplete_users = self.scopes.iter().filter(is_incomplete).map(|s| s.user.id).collect();
        self.report.incomplete_users.sort_unstable();
        self.report
    }
}
