//! The storage library's errors -> one stable word and one clear line.

use std::error::Error as _;

use object_store::Error;

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

/// Words in an answer of an S3 server, what they mean, and how to mend it.
const ANSWERS: &[(&str, &str, &str)] = &[
    (
        "NoSuchBucket",
        "storage_missing",
        "the bucket does not exist; check the name in the storage URL and the endpoint",
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
    let mut whole = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let text = cause.to_string();
        if !whole.contains(&text) {
            whole = format!("{whole}: {text}");
        }
        source = cause.source();
    }
    let line = whole.split_whitespace().collect::<Vec<_>>().join(" ");
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_of_the_server_is_told_with_its_mend() {
        let from = |text: &str| trouble_of(&Error::Generic { store: "S3", source: text.to_owned().into() });
        let refused = from("status code: 403 Forbidden: <Error><Code>SignatureDoesNotMatch</Code></Error>");
        assert_eq!(refused.code, "storage_refused");
        assert!(refused.message.contains("AWS_SECRET_ACCESS_KEY"), "{}", refused.message);
        assert_eq!(from("status 404: <Code>NoSuchBucket</Code>").code, "storage_missing");
        assert_eq!(from("error sending request for url").code, "storage_unreachable");
        let other = from("line one\n   line two");
        assert_eq!((other.code, other.message.lines().count()), ("storage_failed", 1));
    }
}
