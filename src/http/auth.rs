//! Who may come in: admins with a key that is neither revoked nor expired. Failures are limited per address.
//!
//! A right key is let in however many wrong ones came from its address before: behind a proxy all clients share one, and
//! nobody guesses 256 bits.

use std::net::IpAddr;
use std::num::NonZeroU32;
use std::time::Duration;

use governor::clock::Clock as _;
use governor::{DefaultKeyedRateLimiter, Quota, RateLimiter};
use poem::Request;
use poem::http::{StatusCode, header};

use super::problem::{NO_KEY, Problem};
use super::scrub::Scrub;
use super::secret;
use crate::clock;
use crate::index::{ApiKey, Index, within};
use crate::model::Timestamp;
use crate::task::{Desk, TaskError};

/// How long an answer of the database is waited for.
const PATIENCE: Duration = Duration::from_secs(5);

/// After how long the use of a key is noted again.
const NOTED: Duration = Duration::from_secs(60);

/// How many addresses are remembered before those are forgotten that have been quiet.
const ADDRESSES: usize = 10_000;

/// What an address is told that guesses.
pub(super) const TOO_MANY_FAILURES: &str =
    "too many requests without a valid key from this address; send a valid one, or wait as long as Retry-After says";

/// Who asks.
#[derive(Debug, Clone, Copy)]
pub(super) struct Caller {
    /// The key.
    pub(super) key: i64,
}

/// Lets admins in.
#[derive(Debug)]
pub(super) struct Guard {
    failures: DefaultKeyedRateLimiter<IpAddr>,
}

impl Guard {
    /// Allows an address so many failures at once, and so many more a minute.
    pub(super) fn new(failures: NonZeroU32) -> Self {
        Self { failures: RateLimiter::keyed(Quota::per_minute(failures)) }
    }

    /// Returns who asks.
    ///
    /// # Errors
    /// Says why nobody is let in.
    pub(super) async fn admit(&self, request: &Request, desk: &Desk, scrub: &Scrub) -> Result<Caller, Problem> {
        let key = match self.known(request, desk, scrub).await {
            Ok(key) => key,
            Err(problem) if problem.status == 401 => return Err(self.failed(request, problem)),
            Err(problem) => return Err(problem),
        };
        if !key.row.is_admin {
            let detail = "this key is not an admin's; make one with `storm-index key create --admin`";
            return Err(Problem::new(StatusCode::FORBIDDEN, "admin_required", detail));
        }
        Ok(Caller { key: key.row.id })
    }

    fn failed(&self, request: &Request, problem: Problem) -> Problem {
        let address = request.remote_addr().as_socket_addr().map(|address| address.ip());
        let Some(address) = address else { return problem };
        if self.failures.len() > ADDRESSES {
            self.failures.retain_recent();
        }
        match self.failures.check_key(&address) {
            Ok(()) => problem,
            Err(over) => {
                let wait = over.wait_time_from(self.failures.clock().now());
                let mut problem = Problem::new(StatusCode::TOO_MANY_REQUESTS, "too_many_failures", TOO_MANY_FAILURES);
                let seconds = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
                problem.retry_after = u32::try_from(seconds.max(1)).unwrap_or(u32::MAX);
                problem
            }
        }
    }

    async fn known(&self, request: &Request, desk: &Desk, scrub: &Scrub) -> Result<ApiKey, Problem> {
        let refuse = |code, detail: &str| Problem::new(StatusCode::UNAUTHORIZED, code, detail);
        let Some(given) = request.headers().get(header::AUTHORIZATION) else {
            return Err(refuse("key_missing", NO_KEY));
        };
        let bearer = given.to_str().ok().and_then(|text| {
            let (scheme, secret) = text.split_once(' ')?;
            scheme.eq_ignore_ascii_case("bearer").then(|| secret.trim())
        });
        let invalid = || refuse("invalid_key", "this is no valid key; see `storm-index key list`");
        let secret = bearer.ok_or_else(invalid)?;
        let prefix = secret::prefix_of(secret).ok_or_else(invalid)?;
        let index = desk.index().await.map_err(|error| Problem::of_task(&error, scrub))?;
        let found = tokio::time::timeout(PATIENCE, index.key(prefix)).await;
        let found = found.map_err(|_| Problem::of_task(&TaskError::NoIndex(None), scrub))?;
        let found = found.map_err(|error| Problem::of_task(&error.into(), scrub))?;
        let key = found.filter(|key| secret::matches(secret, &key.hash)).ok_or_else(invalid)?;
        if key.row.revoked_at.is_some() {
            return Err(refuse("key_revoked", "this key was revoked; make another one"));
        }
        if key.is_expired(clock::now()) {
            return Err(refuse("key_expired", "this key has expired; make another one"));
        }
        note_use(&index, &key);
        Ok(key)
    }
}

/// Notes that a key was used, if that is not known to the minute, without anybody waiting for it.
fn note_use(index: &Index, key: &ApiKey) {
    let last = key.row.last_used_at.as_deref().and_then(Timestamp::from_text);
    let age = last.map(|last| clock::now().micros().saturating_sub(last.micros()).unsigned_abs());
    if age.is_some_and(|age| u128::from(age) < NOTED.as_micros()) {
        return;
    }
    let (index, id) = (index.clone(), key.row.id);
    tokio::spawn(async move {
        if let Err(error) = within(PATIENCE, index.use_key(id)).await {
            tracing::debug!(%error, "that a key was used could not be noted");
        }
    });
}
