//! How long a client wants to wait (RFC 7240).

use std::time::Duration;

use super::lists::split;

/// How long is waited when nobody says otherwise.
const USUAL: Duration = Duration::from_secs(10);

/// The longest wait.
const LONGEST: u64 = 300;

/// What a client prefers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Preference {
    /// How long it is waited for the end of a task.
    pub(super) wait: Duration,
    /// What is said to have been heeded.
    pub(super) applied: Option<String>,
}

/// Reads a `Prefer`. What is not understood is ignored, as the RFC wants it.
pub(super) fn preference(prefer: Option<&str>) -> Preference {
    let mut wait = None;
    for preference in split(prefer.unwrap_or_default(), ',') {
        // What follows belongs to it, and says nothing that is known here.
        let word = split(preference, ';').next().unwrap_or_default();
        let (name, value) = word.split_once('=').map_or((word, ""), |(name, value)| (name, value));
        let (name, value) = (name.trim(), value.trim().trim_matches('"'));
        if name.eq_ignore_ascii_case("respond-async") {
            return Preference { wait: Duration::ZERO, applied: Some("respond-async".to_owned()) };
        }
        if name.eq_ignore_ascii_case("wait") && wait.is_none() {
            let is_number = !value.is_empty() && value.bytes().all(|b| b.is_ascii_digit());
            // A number that is too long to be read is a long time.
            wait = is_number.then(|| value.parse::<u64>().map_or(LONGEST, |seconds| seconds.min(LONGEST)));
        }
    }
    match wait {
        Some(seconds) => Preference { wait: Duration::from_secs(seconds), applied: Some(format!("wait={seconds}")) },
        None => Preference { wait: USUAL, applied: None },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn preferences_are_heeded_or_ignored() {
        for (prefer, wait, applied) in [
            (None, 10, None),
            (Some("wait=3"), 3, Some("wait=3")),
            (Some("handling=lenient, Wait = \"0\""), 0, Some("wait=0")),
            (Some("respond-async"), 0, Some("respond-async")),
            (Some("wait=100, respond-async"), 0, Some("respond-async")),
            (Some("wait=99999"), 300, Some("wait=300")),
            (Some("wait=99999999999999999999999999"), 300, Some("wait=300")),
            (Some("wait=2, wait=5"), 2, Some("wait=2")),
            (Some("handling=lenient, , respond-async; x=y"), 0, Some("respond-async")),
            (Some("foo=\"a, respond-async\", wait=\"1\"; wait=7"), 1, Some("wait=1")),
            (Some("foo; wait=1"), 10, None),
            (Some("foo; respond-async"), 10, None),
            (Some("wait=+1"), 10, None),
            (Some("wait="), 10, None),
            (Some("wait=soon"), 10, None),
            (Some("wait=-1"), 10, None),
            (Some("return=minimal"), 10, None),
            (Some(""), 10, None),
        ] {
            let want = Preference { wait: Duration::from_secs(wait), applied: applied.map(str::to_owned) };
            assert_eq!(preference(prefer), want, "{prefer:?}");
        }
    }
}
