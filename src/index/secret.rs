//! Database URLs as they may be told: without the password, whatever else is wrong with them.

use url::Url;

/// Leaves the password out of `url`.
pub(super) fn without_secret(url: &str) -> String {
    let (scheme, rest) = match url.split_once("://") {
        Some((scheme, rest)) => (format!("{scheme}://"), rest),
        None => match url.split_once(':') {
            Some((scheme, rest)) => (format!("{scheme}:"), rest),
            None => return url.to_owned(),
        },
    };
    // Up to the last `@`: a password that was not encoded may have any character in it.
    let parses = Url::parse(url).is_ok_and(|parsed| parsed.has_host());
    let authority = if parses { rest.find(['/', '?', '#']).unwrap_or(rest.len()) } else { rest.len() };
    let shown = match rest[..authority].rfind('@') {
        Some(at) => match rest[..at].split_once(':') {
            Some((user, _)) => format!("{scheme}{user}:***{}", &rest[at..]),
            None => url.to_owned(),
        },
        None => url.to_owned(),
    };
    match shown.split_once('?') {
        Some((before, query)) if has_password(query) => format!("{before}?***"),
        _ => shown,
    }
}

fn has_password(query: &str) -> bool {
    url::form_urlencoded::parse(query.as_bytes()).any(|(key, _)| key.to_ascii_lowercase().contains("pass"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_password_is_told_however_the_url_is_wrong() {
        for url in [
            "postgres://u:sesame@h/d",
            "postgres://u:se#same@h/d",
            "postgres://u:se/same@h/d",
            "postgres://u:se?same@h/d",
            "postgres://u:se@same@h/d",
            "postgres://u:sesame@h:port/d",
            "postgres://u:sesame@/d",
            "postgres://u:sesame@[::1/d",
            "POSTGRES://u:sesame@h/d",
            " postgres://u:sesame@h/d",
            "mysql://u:sesame@h/d",
            "postgres:u:sesame@h/d",
            "postgres://u@h/d?PASSWORD=sesame",
            "postgres://u@h/d?pass%77ord=sesame&x=1",
        ] {
            let told = without_secret(url);
            assert!(!told.contains("same") && !told.contains(":se"), "{url} is told as {told}");
        }
        for url in ["sqlite://data/i.sqlite3", "postgres://u@h:5432/d?sslmode=require", "postgres://h/a@b", "x", ""] {
            assert_eq!(without_secret(url), url);
        }
    }
}
