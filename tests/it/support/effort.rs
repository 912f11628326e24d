//! How much the tests do whose subject is endless: random worlds, and kills at random moments.

/// How much is done, which the profile of cargo-nextest decides.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Effort {
    /// For who is at work on the code: `default`, and `cargo test`.
    Quick,
    /// For each change: `ci`, `postgres`.
    Thorough,
    /// For each night: `nightly`, `nightly-postgres`.
    Nightly,
}

impl Effort {
    pub(crate) fn of_this_run() -> Self {
        match std::env::var("NEXTEST_PROFILE").as_deref() {
            Ok("nightly" | "nightly-postgres") => Self::Nightly,
            Ok("ci" | "postgres") => Self::Thorough,
            _ => Self::Quick,
        }
    }

    /// Returns the count that is meant for this effort.
    pub(crate) fn pick<T>(self, quick: T, thorough: T, nightly: T) -> T {
        match self {
            Self::Quick => quick,
            Self::Thorough => thorough,
            Self::Nightly => nightly,
        }
    }
}
