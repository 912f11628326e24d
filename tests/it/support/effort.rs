//! How many cases the tests try that draw them at random: worlds with faults, moments at which to kill.

/// How thorough a run of the tests is; the profile of cargo-nextest decides.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Effort {
    /// While working on the code: `default`, and `cargo test`.
    Quick,
    /// Before each change is merged: `ci`, `postgres`.
    Thorough,
    /// Once a night: `nightly`, `nightly-postgres`.
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

    /// Returns the value for this effort.
    pub(crate) fn pick<T>(self, quick: T, thorough: T, nightly: T) -> T {
        match self {
            Self::Quick => quick,
            Self::Thorough => thorough,
            Self::Nightly => nightly,
        }
    }
}
