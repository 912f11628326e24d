//! Findings in the form that is asked for.

use poem_openapi::payload::{Json, PlainText};

use super::wire::{FindingPage, Findings};
use crate::task::{Finding, FindingsPage};

/// The columns of the CSV.
const COLUMNS: &str = "kind,user_id,path,reasons,action,storage_key,size,content_type,etag,last_modified,record_id\r\n";

/// Writes a page in the first form of `accept` that is known; JSON, if none is.
pub(super) fn body(page: FindingsPage, accept: Option<&str>) -> Findings {
    for wanted in accept.unwrap_or_default().split(',') {
        let wanted = wanted.split(';').next().unwrap_or_default().trim();
        match wanted.to_ascii_lowercase().as_str() {
            "application/json" => break,
            "application/x-ndjson" | "application/ndjson" => {
                return Findings::Ndjson(PlainText(ndjson(&page.findings)));
            }
            "text/csv" => return Findings::Csv(PlainText(csv(&page.findings))),
            _ => {}
        }
    }
    Findings::Json(Json(FindingPage { findings: page.findings, next: page.next }))
}

fn ndjson(findings: &[Finding]) -> String {
    findings
        .iter()
        .filter_map(|finding| serde_json::to_string(finding).ok())
        .fold(String::new(), |text, line| text + &line + "\n")
}

fn csv(findings: &[Finding]) -> String {
    let mut text = COLUMNS.to_owned();
    for finding in findings {
        let side = |name: &str| {
            let side = finding.storage.as_ref().or(finding.index.as_ref());
            let value = side.and_then(|side| side.get(name)).filter(|value| !value.is_null());
            value.map(|value| value.as_str().map_or_else(|| value.to_string(), str::to_owned)).unwrap_or_default()
        };
        let record = finding.index.as_ref().map(|index| index["id"].to_string()).unwrap_or_default();
        let key = if finding.storage.is_some() { side("key") } else { String::new() };
        let cells = [
            finding.kind.clone(),
            finding.user_id.map(|id| id.to_string()).unwrap_or_default(),
            finding.path.clone(),
            finding.reasons.join(" "),
            finding.action.clone(),
            key,
            side("size"),
            side("content_type"),
            side("etag"),
            side("last_modified"),
            record,
        ];
        text += &cells.map(|cell| quoted(&cell)).join(",");
        text += "\r\n";
    }
    text
}

/// Writes a cell as RFC 4180 has it. What a spreadsheet would take for a formula is made a text by a quotation mark.
fn quoted(cell: &str) -> String {
    let cell = if cell.starts_with(['=', '+', '-', '@', '\t', '\r']) { format!("'{cell}") } else { cell.to_owned() };
    if cell.contains([',', '"', '\n', '\r']) { format!("\"{}\"", cell.replace('"', "\"\"")) } else { cell }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_are_quoted_and_no_formulas() {
        for (cell, want) in
            [("a", "a"), ("a,b", "\"a,b\""), ("a\"b", "\"a\"\"b\""), ("=1+1", "'=1+1"), ("a\nb", "\"a\nb\"")]
        {
            assert_eq!(quoted(cell), want);
        }
    }
}
