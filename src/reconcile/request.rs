//! What was asked -> what this run may do. `force` is checked here and exists nowhere after.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::excludes::Excludes;
use crate::model::{Timestamp, UserId};

/// What a run is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[cfg_attr(feature = "server", derive(poem_openapi::Enum), oai(rename_all = "lowercase"))]
pub enum Mode {
    /// Report only.
    Audit,
    /// Add missing records, refresh stale ones.
    Sync,
    /// Delete orphaned records.
    Clean,
    /// Sync and clean.
    Full,
}

impl Mode {
    /// All modes, in the order of their power.
    pub const ALL: [Self; 4] = [Self::Audit, Self::Sync, Self::Clean, Self::Full];

    /// Returns the word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Audit => "audit",
            Self::Sync => "sync",
            Self::Clean => "clean",
            Self::Full => "full",
        }
    }

    fn adds(self) -> bool {
        matches!(self, Self::Sync | Self::Full)
    }

    fn deletes(self) -> bool {
        matches!(self, Self::Clean | Self::Full)
    }
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Mode {
    type Err = RequestError;

    fn from_str(text: &str) -> Result<Self, RequestError> {
        Self::ALL.into_iter().find(|m| m.as_str() == text).ok_or_else(|| RequestError::UnknownMode(text.to_owned()))
    }
}

/// A limit on deletions that replaces the built-in one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MaxDelete {
    /// So many records.
    Count(u64),
    /// So many of a hundred records.
    Percent(u8),
}

impl fmt::Display for MaxDelete {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Count(n) => write!(f, "{n}"),
            Self::Percent(p) => write!(f, "{p}%"),
        }
    }
}

impl FromStr for MaxDelete {
    type Err = RequestError;

    fn from_str(text: &str) -> Result<Self, RequestError> {
        let limit = match text.strip_suffix('%') {
            // A number may have a sign, a limit has none.
            _ if text.starts_with('+') => None,
            Some(percent) => percent.parse().ok().filter(|p| *p <= 100).map(Self::Percent),
            None => text.parse().ok().map(Self::Count),
        };
        limit.ok_or_else(|| RequestError::BadMaxDelete(text.to_owned()))
    }
}

/// What is asked of a run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// What for.
    pub mode: Mode,
    /// Count and report, but write nothing.
    pub dry_run: bool,
    /// The consent without which a mode that deletes does not run.
    pub force: bool,
    /// Only this user; else all.
    pub user: Option<UserId>,
    /// Register a user for each top-level folder that nobody owns.
    pub adopt: bool,
    /// A limit on deletions that replaces the built-in one.
    pub max_delete: Option<MaxDelete>,
    /// Orphans whose record is younger are kept.
    pub min_age: Duration,
    /// What is left out, in the storage and in the index alike.
    pub exclude: Excludes,
    /// Whether renamed files are looked for, so that their records keep their id and links.
    pub moves: bool,
}

impl Request {
    /// Asks for `mode` over all users, for real, without force.
    pub fn new(mode: Mode) -> Self {
        Self {
            mode,
            dry_run: false,
            force: false,
            user: None,
            adopt: false,
            max_delete: None,
            min_age: Duration::ZERO,
            exclude: Excludes::default(),
            moves: true,
        }
    }

    /// Tells whether the run will write into the index, or only read it.
    pub fn writes(&self) -> bool {
        self.mode != Mode::Audit && !self.dry_run
    }

    /// Checks whether the request could be carried out on any storage and index.
    ///
    /// # Errors
    /// When it lacks consent or contradicts itself.
    pub fn check(&self) -> Result<(), RequestError> {
        Policy::of(self, Timestamp::from_micros(0)).map(drop)
    }
}

/// Why a request cannot be carried out as it stands.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum RequestError {
    /// Not a mode.
    #[error("unknown mode {0:?}; modes are audit, sync, clean and full")]
    UnknownMode(String),
    /// Not a limit.
    #[error("{0:?} is no limit on deletions; write a number of records, or a percentage from 0% to 100%")]
    BadMaxDelete(String),
    /// Not a pattern.
    #[error("{0:?} is no pattern to exclude: {1}; write e.g. '*.tmp', '/cache/' or 'raw/**/*.nef'")]
    BadExclude(String, String),
    /// A mode that deletes, without consent.
    #[error("mode {0} deletes records; run it with --force, or look first with --dry-run")]
    ForceRequired(Mode),
    /// Adoption in a mode that adds nothing.
    #[error("--adopt goes with the modes audit, sync and full; mode clean adds nothing")]
    AdoptInClean,
    /// Adoption within one user.
    #[error("--adopt looks at the whole storage and does not go with --user-id")]
    AdoptWithUser,
}

impl RequestError {
    /// Returns one stable word for it.
    pub fn code(&self) -> &'static str {
        match self {
            Self::UnknownMode(_) => "invalid_mode",
            Self::BadMaxDelete(_) => "invalid_max_delete",
            Self::BadExclude(..) => "invalid_exclude",
            Self::ForceRequired(_) => "force_required",
            Self::AdoptInClean | Self::AdoptWithUser => "invalid_adopt",
        }
    }
}

/// What a run may do, after authorisation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Policy {
    /// Whether anything may be written.
    pub(super) writes: bool,
    /// Whether missing records are added and stale ones refreshed.
    pub(super) adds: bool,
    /// Whether orphaned records are deleted.
    pub(super) deletes: bool,
    /// Whether users are registered for folders that nobody owns.
    pub(super) adopts: bool,
    /// The limit that replaces the built-in one.
    pub(super) max_delete: Option<MaxDelete>,
    /// Only records made before this moment may go.
    pub(super) made_before: Option<Timestamp>,
}

impl Policy {
    /// Tells whether the run is for more than looking: it changes records, or would if it were no dry run.
    pub(super) fn acts(self) -> bool {
        self.adds || self.deletes
    }

    /// Authorises `request`, at the moment `now`.
    pub(super) fn of(request: &Request, now: Timestamp) -> Result<Self, RequestError> {
        let mode = request.mode;
        if mode.deletes() && !request.force && !request.dry_run {
            return Err(RequestError::ForceRequired(mode));
        }
        if request.adopt && mode == Mode::Clean {
            return Err(RequestError::AdoptInClean);
        }
        if request.adopt && request.user.is_some() {
            return Err(RequestError::AdoptWithUser);
        }
        let age = i64::try_from(request.min_age.as_micros()).unwrap_or(i64::MAX);
        Ok(Self {
            writes: request.writes(),
            adds: mode.adds(),
            deletes: mode.deletes(),
            adopts: request.adopt,
            max_delete: request.max_delete,
            made_before: (age > 0).then(|| Timestamp::from_micros(now.micros().saturating_sub(age))),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn law_03_force_is_wanted_by_what_deletes_and_by_nothing_else() {
        let now = Timestamp::from_micros(0);
        for mode in Mode::ALL {
            for dry_run in [false, true] {
                for force in [false, true] {
                    let request = Request { dry_run, force, ..Request::new(mode) };
                    let refused = matches!(mode, Mode::Clean | Mode::Full) && !force && !dry_run;
                    let policy = Policy::of(&request, now);
                    assert_eq!(policy == Err(RequestError::ForceRequired(mode)), refused, "{request:?}");
                    assert!(policy.is_err() || !(dry_run && policy.unwrap().writes));
                }
            }
        }
    }

    #[test]
    fn only_the_right_modes_adopt_add_and_delete() {
        let now = Timestamp::from_micros(1_000_000_000);
        let policy = |mode, adopt| Policy::of(&Request { force: true, adopt, ..Request::new(mode) }, now);
        for (mode, adds, deletes) in [
            (Mode::Audit, false, false),
            (Mode::Sync, true, false),
            (Mode::Clean, false, true),
            (Mode::Full, true, true),
        ] {
            let plain = policy(mode, false).unwrap();
            assert_eq!((plain.adds, plain.deletes, plain.writes), (adds, deletes, mode != Mode::Audit));
            assert_eq!(policy(mode, true).is_err(), mode == Mode::Clean);
        }
        let one = Request { adopt: true, user: Some(1), ..Request::new(Mode::Sync) };
        assert_eq!(Policy::of(&one, now), Err(RequestError::AdoptWithUser));
        let aged = Request { min_age: Duration::from_secs(10), ..Request::new(Mode::Audit) };
        assert_eq!(Policy::of(&aged, now).unwrap().made_before, Some(Timestamp::from_micros(990_000_000)));
    }

    #[test]
    fn limits_are_parsed_or_refused() {
        assert_eq!("0".parse(), Ok(MaxDelete::Count(0)));
        assert_eq!("250".parse(), Ok(MaxDelete::Count(250)));
        assert_eq!("100%".parse(), Ok(MaxDelete::Percent(100)));
        for bad in ["", "%", "-1", "101%", "ten", "5.5%", "300%"] {
            assert!(bad.parse::<MaxDelete>().is_err(), "{bad}");
        }
        assert!("AUDIT".parse::<Mode>().is_err());
    }
}
