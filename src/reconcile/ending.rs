//! The end of a run: the guard speaks once, with everything known; what it lets through is deleted; what was done is
//! counted.

use super::deletion::Deletion;
use super::guard::{RefusalCode, UserDeletions, Verdict, judge};
use super::report::Report;
use super::run::Run;
use super::stop::Stop;
use crate::model::UserId;

impl Run<'_> {
    /// Deletes what waits and may go.
    pub(super) async fn delete(&mut self) -> Result<(), Stop> {
        let of = |user: &UserId| self.queued.get(user).copied().unwrap_or(0);
        let users: Vec<UserDeletions> = self
            .scopes
            .iter()
            .map(|s| UserDeletions {
                user: s.user.id,
                records: s.records_to_judge(),
                queued: of(&s.user.id),
                complete: s.complete,
            })
            .collect();
        let verdict = judge(&users, self.policy.max_delete);
        self.report.refusal = verdict.refusal.clone();
        if self.policy.deletes {
            self.remember_refusal(&users, &verdict).await?;
        }
        let deletion = Deletion {
            storage: self.storage,
            prefixes: self.scopes.iter().map(|s| (s.user.id, s.user.prefix.clone())).collect(),
            verdict,
            sink: self.sink.as_mut(),
            report: &mut self.report,
            observer: &mut *self.observer,
            silent: 0,
        };
        deletion.run(std::mem::take(&mut self.queue)).await
    }

    /// Has the index remember whom deletions were refused to, and how many records they had then; and forget it for
    /// whom nothing is withheld any more.
    async fn remember_refusal(&mut self, users: &[UserDeletions], verdict: &Verdict) -> Result<(), Stop> {
        let all = verdict.refusal.as_ref().is_some_and(|r| r.code == RefusalCode::TooManyDeletions);
        let changed: Vec<(UserId, Option<u64>)> = self
            .scopes
            .iter()
            .zip(users)
            .map(|(scope, judged)| match judged.queued {
                _ if all => (scope, Some(judged.records)),
                0 if judged.complete => (scope, None),
                0 => (scope, scope.when_refused),
                _ if verdict.is_open(judged.user) => (scope, None),
                _ => (scope, Some(judged.records)),
            })
            .filter(|(scope, now)| scope.when_refused != *now)
            .map(|(scope, now)| (scope.user.id, now))
            .collect();
        if !changed.is_empty() {
            self.sink.remember_refusal(&changed).await?;
        }
        Ok(())
    }

    /// Waits for what is under way, and counts what was done.
    pub(super) async fn close(mut self) -> Report {
        let settled = self.sink.settle().await;
        match settled {
            Ok(written) => {
                self.report.tally.created = written.created;
                self.report.tally.updated = written.updated;
            }
            Err(error) => self.report.fail(error.code(), error.to_string()),
        }
        self.report.tally.users_scanned = self.scopes.iter().filter(|s| s.walked).count() as u64;
        self.report.incomplete_users = self.scopes.iter().filter(|s| !s.complete).map(|s| s.user.id).collect();
        self.report.incomplete_users.sort_unstable();
        self.report
    }
}
