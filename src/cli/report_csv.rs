//! Findings as CSV: <https://www.rfc-editor.org/rfc/rfc4180>, with the names of the columns in the first line.

use serde::Serialize;

use crate::reconcile::Evidence;

/// The names of the columns.
const COLUMNS: [&str; 16] = [
    "kind",
    "user_id",
    "path",
    "reasons",
    "action",
    "storage_key",
    "storage_size",
    "storage_content_type",
    "storage_etag",
    "storage_last_modified",
    "index_id",
    "index_path",
    "index_size",
    "index_content_type",
    "index_etag",
    "index_last_modified",
];

/// Returns the first line.
pub(super) fn header() -> String {
    format!("{}\r\n", COLUMNS.join(","))
}

/// Writes a finding as one line; what is not there is empty.
pub(super) fn line(evidence: &Evidence) -> String {
    let (storage, index) = (evidence.storage.as_ref(), evidence.index.as_ref());
    let text = |text: Option<&str>| text.unwrap_or_default().to_owned();
    let number = |number: Option<i128>| number.map_or_else(String::new, |n| n.to_string());
    let fields: [String; COLUMNS.len()] = [
        word(&evidence.kind),
        number(evidence.user_id.map(i128::from)),
        evidence.path.clone(),
        evidence.reasons.join(" "),
        word(&evidence.action),
        text(storage.map(|s| s.key.as_str())),
        number(storage.map(|s| i128::from(s.size))),
        text(storage.map(|s| s.content_type)),
        text(storage.and_then(|s| s.etag.as_deref())),
        text(storage.map(|s| s.last_modified.as_str())),
        number(index.map(|i| i128::from(i.id))),
        text(index.map(|i| i.path.as_str())),
        number(index.and_then(|i| i.size).map(i128::from)),
        text(index.and_then(|i| i.content_type.as_deref())),
        text(index.and_then(|i| i.etag.as_deref())),
        text(index.and_then(|i| i.last_modified.as_deref())),
    ];
    format!("{}\r\n", fields.map(|field| quoted(&field)).join(","))
}

/// Returns the word that stands for a value on the wire.
fn word(value: &impl Serialize) -> String {
    serde_json::to_value(value).ok().and_then(|word| word.as_str().map(str::to_owned)).unwrap_or_default()
}

/// Puts quotes around what would not be one field without them.
fn quoted(field: &str) -> String {
    match field.contains([',', '"', '\r', '\n']) || field.starts_with(' ') || field.ends_with(' ') {
        true => format!("\"{}\"", field.replace('"', "\"\"")),
        false => field.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_quoted_where_they_have_to_be() {
        for (field, want) in
            [("a", "a"), ("", ""), ("a,b", "\"a,b\""), ("a\"b", "\"a\"\"b\""), ("a\nb", "\"a\nb\""), (" a", "\" a\"")]
        {
            assert_eq!(quoted(field), want);
        }
    }
}
