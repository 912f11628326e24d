//! The storage library's errors -> one stable word and one clear line.

use std::error::Error as _;

use object_store::Error;

use super::s3::Redirected;

/// Why the storage did not answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trouble {
    /// A stable word, e.g. `storage_refused`.
    pub code: &'static str,
    /// One line: what is wrong and, where it can be known, how to mend it.
    pub message: String,
}

/// The word for a server that cannot be reached.
pub const UNREACHABLE: &str = "storage_unreachable";

/// The word for a server that sends the client elsewhere.
pub const REDIRECTED: &str = "storage_redirected";

/// How the storage library tells the status of an answer.
const STATUS: &str = "status code: ";

/// Words in an answer of an S3 server, what they mean, and how to mend it.
const ANSWERS: &[(&str, &str, &str)] = &[
    (
        "NoSuchBucket",
        "storage_missing",
        "the bucket does not exist; check the name in the storage URL and the endpoint",
    ),
    (
        "RequestTimeTooSkewed",
        "storage_refused",
        "the clock of this machine and that of the server differ too much; set the clock (NTP)",
    ),
    ("InvalidAccessKeyId", "storage_refused", "the access key is unknown to the server; check AWS_ACCESS_KEY_ID"),
    ("SignatureDoesNotMatch", "storage_refused", "the secret key is wrong; check AWS_SECRET_ACCESS_KEY"),
    ("AccessDenied", "storage_refused", "access denied; check the credentials and what they may list"),
    ("403 Forbidden", "storage_refused", "access denied; check AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"),
    (
        "401 Unauthorized",
        "storage_refused",
        "the server wants credentials; set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY",
    ),
    ("instance credentials", "storage_refused", "no credentials; set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"),
    ("error sending request", UNREACHABLE, "the server cannot be reached; check AWS_ENDPOINT_URL and the network"),
];

/// Says what went wrong in `error`, in one line.
pub(super) fn trouble_of(error: &Error) -> Trouble {
    if let Some(redirected) = redirect_in(error) {
        return Trouble { code: REDIRECTED, message: redirected.to_string() };
    }
    let line = line_of(error);
    if let Some((word, code, mend)) = ANSWERS.iter().find(|(word, ..)| line.contains(word)) {
        return Trouble { code, message: format!("{mend} ({word})") };
    }
    let code = match error {
        Error::NotFound { .. } => "storage_missing",
        Error::PermissionDenied { .. } | Error::Unauthenticated { .. } => "storage_refused",
        Error::InvalidPath { .. } => "unaddressable_key",
        _ => "storage_failed",
    };
    Trouble { code, message: line.chars().take(400).collect() }
}

/// Tells whether the server was asked in vain, rather than heard: it cannot be reached, or failed each time or was too busy
/// whenever it was asked again. Each such question costs all the time that there is for one.
pub(super) fn is_silence(error: &Error) -> bool {
    // All other kinds are made of an answer, or of no question at all.
    let Error::Generic { .. } = error else { return false };
    let line = line_of(error);
    let status =
        line.split_once(STATUS).and_then(|(_, rest)| rest.get(..3)).and_then(|status| status.parse::<u16>().ok());
    match status {
        Some(status) => status >= 500 || matches!(status, 408 | 429),
        None => redirect_in(error).is_none(),
    }
}

/// Returns the redirect that is the cause of `error`, if one is.
fn redirect_in(error: &Error) -> Option<&Redirected> {
    let mut source = error.source();
    while let Some(cause) = source {
        if let Some(redirected) = cause.downcast_ref() {
            return Some(redirected);
        }
        source = cause.source();
    }
    None
}

/// Says all that `error` and its causes say, in one line.
fn line_of(error: &Error) -> String {
    let mut whole = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let text = cause.to_string();
        if !whole.contains(&text) {
            whole = format!("{whole}: {text}");
        }
        source = cause.source();
    }
    whole.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use object_store::client::{HttpError, HttpErrorKind};

    use super::*;

    #[test]
    fn an_answer_of_the_server_is_told_with_its_mend() {
        let from = |text: &str| trouble_of(&Error::Generic { store: "S3", source: text.to_owned().into() });
        let refused = from("status code: 403 Forbidden: <Error><Code>SignatureDoesNotMatch</Code></Error>");
        assert_eq!(refused.code, "storage_refused");
        assert!(refused.message.contains("AWS_SECRET_ACCESS_KEY"), "{}", refused.message);
        let skewed = from("status code: 403 Forbidden: <Error><Code>RequestTimeTooSkewed</Code></Error>");
        assert!(skewed.code == "storage_refused" && skewed.message.contains("clock"), "{}", skewed.message);
        assert_eq!(from("status 404: <Code>NoSuchBucket</Code>").code, "storage_missing");
        assert_eq!(from("error sending request for url").code, "storage_unreachable");
        assert_eq!(from("status code: 503 Service Unavailable").code, "storage_failed");
        let other = from("line one\n   line two");
        assert_eq!((other.code, other.message.lines().count()), ("storage_failed", 1));
    }
    fn redirect() -> Error {
        let redirect = Redirected::Region { region: "eu-west-1".into(), status: "301 Moved Permanently".into() };
        let error = HttpError::new(HttpErrorKind::Decode, redirect);
        Error::Generic { store: "S3", source: Box::new(error) }
    }

    #[test]
    fn a_redirect_is_found_below_other_errors() {
        let told = trouble_of(&redirect());
        assert_eq!(told.code, REDIRECTED);
        assert!(told.message.ends_with("set AWS_REGION=eu-west-1"), "{}", told.message);
    }

    #[test]
    fn a_server_that_says_no_is_not_silent() {
        let generic = |text: &str| Error::Generic { store: "S3", source: text.to_owned().into() };
        let told = |status: &str| generic(&format!("GET /status 7: Server returned non-2xx status code: {status}: "));
        for (error, silent) in [
            (told("403 Forbidden"), false),
            (told("400 Bad Request"), false),
            (told("416 Range Not Satisfiable"), false),
            (told("304 Not Modified"), false),
            (redirect(), false),
            (Error::PermissionDenied { path: "a".into(), source: "status code: 403 Forbidden".into() }, false),
            (told("500 Internal Server Error"), true),
            (told("503 Service Unavailable"), true),
            (told("429 Too Many Requests"), true),
            (told("408 Request Timeout"), true),
            (generic("error sending request for url"), true),
            (generic("operation timed out"), true),
        ] {
            assert_eq!(is_silence(&error), silent, "{error}");
        }
    }
}
