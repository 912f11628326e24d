//! A JSON value as YAML that people can read: blocks, and every text in quotation marks.

use serde_json::Value;

/// Writes a document.
pub(super) fn write(value: &Value) -> String {
    let mut text = String::new();
    block(value, 0, &mut text);
    text
}

fn block(value: &Value, depth: usize, text: &mut String) {
    let indent = "  ".repeat(depth);
    match value {
        Value::Object(fields) if !fields.is_empty() => {
            for (name, field) in fields {
                let name = if is_plain(name) { name.clone() } else { Value::from(name.as_str()).to_string() };
                *text += &format!("{indent}{name}:");
                beside(field, depth, text);
            }
        }
        Value::Array(items) if !items.is_empty() => {
            for item in items {
                *text += &format!("{indent}-");
                beside(item, depth, text);
            }
        }
        // A JSON scalar, or an empty collection, is YAML as it is.
        scalar => *text += &format!("{indent}{scalar}\n"),
    }
}

fn beside(value: &Value, depth: usize, text: &mut String) {
    let is_block = value.as_object().is_some_and(|f| !f.is_empty()) || value.as_array().is_some_and(|i| !i.is_empty());
    if is_block {
        text.push('\n');
        block(value, depth + 1, text);
    } else {
        *text += &format!(" {value}\n");
    }
}

/// Tells whether a name means itself without quotation marks.
fn is_plain(name: &str) -> bool {
    let begins = name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '/' || c == '$');
    let odd = |c: char| !c.is_ascii_alphanumeric() && !"/_-.$".contains(c);
    begins
        && !name.contains(odd)
        && !["true", "false", "null", "yes", "no", "on", "off", "y", "n"].contains(&name.to_lowercase().as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_are_indented_and_texts_quoted() {
        let value = serde_json::json!({"a": {"b": ["x: y", {"c": 1, "d": []}], "200": null}, "e": "no"});
        let want = "a:\n  \"200\": null\n  b:\n    - \"x: y\"\n    -\n      c: 1\n      d: []\ne: \"no\"\n";
        let mut lines: Vec<String> = write(&value).lines().map(str::to_owned).collect();
        let mut wanted: Vec<String> = want.lines().map(str::to_owned).collect();
        lines.sort();
        wanted.sort();
        assert_eq!(lines, wanted);
    }
}
