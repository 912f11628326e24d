//! Whether an answer is a page of a listing, and how it says that the listing goes on.

use thiserror::Error;

use super::xml::{root, text_of, unescape};

/// What every page is.
const PAGE: &str = "ListBucketResult";

/// Why an answer cannot be taken for a page.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub(super) enum PageError {
    /// It is something else, described here.
    #[error("instead of a list of objects the server sent {0}; check the endpoint (AWS_ENDPOINT_URL)")]
    Other(String),
    /// It goes on, nobody knows where.
    #[error("the server says that there are more objects, but not how to ask for them (no NextContinuationToken)")]
    NoToken,
    /// Its keys are written in a way that nobody asked for, which is named here.
    #[error("the server writes keys in a way that was not asked for ({0})")]
    Encoded(&'static str),
    /// It goes on where it began.
    #[error("the listing goes round in a circle: the server says again and again that it goes on at the same place")]
    SamePlace,
    /// It has keys from before, and shows none that would tell.
    #[error("the server went back to {0:?} in the listing, perhaps in the place of what comes next")]
    WentBack(String),
    /// It is one of many that bring nothing.
    #[error("the listing goes round in a circle: more than {0} answers in a row had no new key")]
    Barren(usize),
    /// It is one of some that bring nothing for too long.
    #[error("the listing does not end: for more than {0} minutes no answer had a new key")]
    Stalled(u64),
    /// It has more or fewer entries than it says.
    #[error("the server says that its answer lists {said:?} entries (KeyCount), but it lists {found}")]
    Count {
        /// What it says.
        said: String,
        /// What it has.
        found: usize,
    },
    /// It lists what was not asked for.
    #[error("the server was asked to list {asked:?} and answers that it lists {said:?} (Prefix)")]
    Prefix {
        /// What it says.
        said: String,
        /// What was asked for.
        asked: String,
    },
    /// It is of another bucket than the pages before it.
    #[error("the answers of one listing are of two buckets, {before:?} and {said:?} (Name)")]
    Name {
        /// What it says.
        said: String,
        /// What the first one said.
        before: String,
    },
}

/// Checks that `text`, the answer to a request for what comes behind `token`, is a page that says how it goes on.
///
/// # Errors
/// When it is none: nothing of it may be believed then.
pub(super) fn check(text: &str, token: Option<&str>) -> Result<(), PageError> {
    match root(text) {
        Some(PAGE) => {}
        Some(other) => {
            let code = text_of(text, "Code").map(|code| format!(" ({code})")).unwrap_or_default();
            return Err(PageError::Other(format!("<{}>{code}", shortened(other))));
        }
        None if text.trim().is_empty() => return Err(PageError::Other("nothing".to_owned())),
        None => return Err(PageError::Other("no XML".to_owned())),
    }
    if text_of(text, "EncodingType").is_some_and(|kind| !kind.is_empty()) {
        return Err(PageError::Encoded("EncodingType"));
    }
    if memchr::memmem::find(text.as_bytes(), b"<![CDATA[").is_some() {
        return Err(PageError::Encoded("CDATA"));
    }
    let next = text_of(text, "NextContinuationToken").filter(|token| !token.is_empty()).map(unescape);
    let truncated = text_of(text, "IsTruncated").map(|word| !matches!(word, "false" | "False" | "FALSE" | "0"));
    match (next, truncated) {
        (Some(next), _) if token.is_some_and(|token| token.trim() == next.trim()) => Err(PageError::SamePlace),
        (None, Some(true)) => Err(PageError::NoToken),
        // There are servers that say nothing where there is no more.
        (Some(_), _) | (None, Some(false) | None) => Ok(()),
    }
}

/// Checks what a page that has so many `entries`, and was asked for below `prefix`, says of itself beside them in `frame`.
///
/// # Errors
/// When it says something else: the listing cannot be trusted then. What it does not say is not missed.
pub(super) fn check_fields(frame: &str, entries: usize, prefix: &str) -> Result<(), PageError> {
    let count = text_of(frame, "KeyCount").filter(|count| !count.is_empty());
    if let Some(said) = count.filter(|said| said.parse() != Ok(entries)) {
        return Err(PageError::Count { said: shortened(said), found: entries });
    }
    match text_of(frame, "Prefix").map(unescape) {
        Some(said) if said.trim() != prefix.trim() => Err(PageError::Prefix { said, asked: prefix.to_owned() }),
        _ => Ok(()),
    }
}

fn shortened(name: &str) -> String {
    name.chars().take(40).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_says_what_it_is_and_how_it_goes_on() {
        let other = |what: &str| Err(PageError::Other(what.to_owned()));
        let encoded = |how| Err(PageError::Encoded(how));
        let (good, no_token) = (Ok(()), Err(PageError::NoToken));
        let declaration = "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n";
        let open = "<ListBucketResult xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\">";
        for (text, want) in [
            (format!("\u{feff}{declaration}{open}<IsTruncated>false</IsTruncated></ListBucketResult>"), good.clone()),
            ("<ListBucketResult><IsTruncated> false </IsTruncated></ListBucketResult>".into(), good.clone()),
            ("<ListBucketResult><KeyCount>0</KeyCount></ListBucketResult>".into(), good.clone()),
            (
                format!("{open}<IsTruncated>true</IsTruncated><NextContinuationToken>t</NextContinuationToken>"),
                good.clone(),
            ),
            (format!("{open}<NextContinuationToken>t</NextContinuationToken>"), good),
            (format!("{open}<IsTruncated>true</IsTruncated>"), no_token.clone()),
            (format!("{open}<IsTruncated>true</IsTruncated><NextContinuationToken/>"), no_token.clone()),
            (
                format!("{open}<IsTruncated>1</IsTruncated><NextContinuationToken> </NextContinuationToken>"),
                no_token.clone(),
            ),
            (format!("{open}<IsTruncated x='y'>true</IsTruncated><KeyCount>1</KeyCount>"), no_token),
            ("<ListBucketResult/>".into(), Ok(())),
            (format!("{open}<EncodingType/><IsTruncated>false</IsTruncated>"), Ok(())),
            (
                format!("{open}<EncodingType>url</EncodingType><IsTruncated>false</IsTruncated>"),
                encoded("EncodingType"),
            ),
            (format!("{open}<Contents><Key><![CDATA[a//b]]></Key></Contents>"), encoded("CDATA")),
            ("<html><body>Login</body></html>".into(), other("<html>")),
            ("<!DOCTYPE html><html>".into(), other("<!DOCTYPE>")),
            (format!("{declaration}<Error><Code>SlowDown</Code></Error>"), other("<Error> (SlowDown)")),
            ("<ListBucketResults><IsTruncated>false</IsTruncated>".into(), other("<ListBucketResults>")),
            (String::new(), other("nothing")),
            (" \n".into(), other("nothing")),
            ("{}".into(), other("no XML")),
        ] {
            assert_eq!(check(&text, None), want, "{text}");
        }
    }

    #[test]
    fn what_a_page_says_of_itself_is_checked_where_it_says_it() {
        let count = |said: &str, found| Err(PageError::Count { said: said.to_owned(), found });
        let lists = |said: &str, asked: &str| Err(PageError::Prefix { said: said.to_owned(), asked: asked.to_owned() });
        for (frame, entries, prefix, want) in [
            ("", 3, "1/", Ok(())),
            ("<KeyCount>3</KeyCount><Prefix>1/</Prefix>", 3, "1/", Ok(())),
            ("<KeyCount/><Prefix/>", 0, "", Ok(())),
            ("<KeyCount> 0 </KeyCount><Prefix></Prefix>", 0, "", Ok(())),
            ("<Prefix>a&amp;b &#xE9;/</Prefix>", 0, "a&b é/", Ok(())),
            ("<Prefix> a/</Prefix>", 0, " a/", Ok(())),
            ("<KeyCount>7</KeyCount>", 2, "", count("7", 2)),
            ("<KeyCount>1</KeyCount>", 2, "", count("1", 2)),
            ("<KeyCount>-1</KeyCount>", 0, "", count("-1", 0)),
            ("<KeyCount>many</KeyCount>", 1, "", count("many", 1)),
            ("<Prefix>1</Prefix>", 0, "1/", lists("1", "1/")),
            ("<Prefix>2/</Prefix>", 0, "1/", lists("2/", "1/")),
            ("<Prefix/>", 0, "1/", lists("", "1/")),
            ("<Prefix>1/</Prefix>", 0, "", lists("1/", "")),
        ] {
            assert_eq!(check_fields(frame, entries, prefix), want, "{frame} {entries} {prefix:?}");
        }
    }

    #[test]
    fn a_page_that_goes_on_where_it_began_is_none() {
        let page = "<ListBucketResult><NextContinuationToken>a&amp;b</NextContinuationToken></ListBucketResult>";
        assert_eq!(check(page, Some("a&b")), Err(PageError::SamePlace));
        assert_eq!(check(page, Some("a&amp;b")), Ok(()));
        assert_eq!(check(page, None), Ok(()));
    }
}
