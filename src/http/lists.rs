//! Headers whose value is a list: several fields of one name are one list (RFC 9110, section 5.3).

use poem::http::{HeaderMap, HeaderName, HeaderValue};

/// Joins the fields `name` to one. What is not ASCII is no word of a list, and left out.
pub(super) fn join(headers: &mut HeaderMap, name: &HeaderName) {
    if headers.get_all(name).iter().nth(1).is_none() {
        return;
    }
    let words: Vec<&str> = headers.get_all(name).iter().filter_map(|value| value.to_str().ok()).collect();
    if let Ok(joined) = HeaderValue::from_str(&words.join(", ")) {
        headers.insert(name, joined);
    }
}

/// Splits a list, or what belongs to an element of one, at a mark that is not within quotation marks.
pub(super) fn split(text: &str, mark: char) -> impl Iterator<Item = &str> {
    let (mut quoted, mut escaped) = (false, false);
    let parts = text.split(move |c: char| {
        if escaped {
            escaped = false;
            return false;
        }
        escaped = quoted && c == '\\';
        quoted ^= c == '"';
        !quoted && c == mark
    });
    parts.map(str::trim)
}

#[cfg(test)]
mod tests {
    use poem::http::header::ACCEPT;

    use super::*;

    #[test]
    fn fields_of_one_name_are_one_list() {
        for (fields, want) in [
            (&["a"][..], "a"),
            (&["a", "b;q=1", ""], "a, b;q=1, "),
            (&["\u{e9}", "b"], "b"),
            (&["a, b", "c"], "a, b, c"),
        ] {
            let mut headers = HeaderMap::new();
            for field in fields {
                headers.append(ACCEPT, HeaderValue::from_bytes(field.as_bytes()).unwrap());
            }
            join(&mut headers, &ACCEPT);
            assert_eq!(headers.get_all(ACCEPT).iter().collect::<Vec<_>>(), [want], "{fields:?}");
        }
    }

    #[test]
    fn marks_within_quotation_marks_split_nothing() {
        for (text, want) in [
            ("a, b", &["a", "b"][..]),
            ("a=\"x, y\", b", &["a=\"x, y\"", "b"]),
            ("a=\"x\\\", y\", b", &["a=\"x\\\", y\"", "b"]),
            ("", &[""]),
        ] {
            assert_eq!(split(text, ',').collect::<Vec<_>>(), want);
        }
    }
}
