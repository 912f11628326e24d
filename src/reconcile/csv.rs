//! Findings as CSV: <https://www.rfc-editor.org/rfc/rfc4180>, with the names of the columns in the first line.

/// The names of the columns. What begins with `storage_` or `index_` is said by that side.
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
pub fn csv_header() -> String {
    format!("{}\r\n", COLUMNS.join(","))
}

/// Writes a finding, as it is in JSON, as one line; what is not there is empty.
pub fn csv_line(finding: &serde_json::Value) -> String {
    let cells = COLUMNS.map(|column| {
        let side = ["storage", "index"]
            .into_iter()
            .find_map(|side| Some((side, column.strip_prefix(side)?.strip_prefix('_')?)));
        let value = side.map_or(&finding[column], |(side, column)| &finding[side][column]);
        cell(&text(value))
    });
    format!("{}\r\n", cells.join(","))
}

fn text(value: &serde_json::Value) -> String {
    match value {
        serde_json::Value::Null => String::new(),
        serde_json::Value::String(text) => text.clone(),
        serde_json::Value::Array(words) => words.iter().map(text).collect::<Vec<_>>().join(" "),
        other => other.to_string(),
    }
}

/// Writes a cell. What a spreadsheet would take for a formula is made a text by an apostrophe, and what would not be one
/// cell is put in quotation marks.
fn cell(text: &str) -> String {
    let formula = text.starts_with(['=', '+', '-', '@', '\t', '\r']);
    let text = if formula { format!("'{text}") } else { text.to_owned() };
    match text.contains([',', '"', '\r', '\n']) || text.starts_with(' ') || text.ends_with(' ') {
        true => format!("\"{}\"", text.replace('"', "\"\"")),
        false => text,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn cells_are_quoted_and_no_formulas() {
        for (text, want) in [
            ("a", "a"),
            ("", ""),
            ("a,b", "\"a,b\""),
            ("a\"b", "\"a\"\"b\""),
            ("a\nb", "\"a\nb\""),
            (" a", "\" a\""),
            ("=1+1", "'=1+1"),
            ("-a,b", "\"'-a,b\""),
        ] {
            assert_eq!(cell(text), want);
        }
    }

    #[test]
    fn a_line_has_as_many_cells_as_the_header() {
        let finding = json!({
            "kind": "stale", "user_id": 1, "path": "a", "reasons": ["size", "etag"], "action": "update",
            "storage": { "key": "1/a", "size": 7, "content_type": "x/y", "etag": null, "last_modified": "now" },
            "index": { "id": 5, "path": "a", "size": 8, "content_type": null, "etag": "e", "last_modified": null },
        });
        assert_eq!(csv_line(&finding), "stale,1,a,size etag,update,1/a,7,x/y,,now,5,a,8,,e,\r\n");
        let bare =
            csv_line(&json!({ "kind": "unclaimed", "user_id": null, "path": "b", "storage": null, "index": null }));
        assert_eq!(bare.matches(',').count(), csv_header().matches(',').count());
    }
}
