//! Findings in the form that is asked for.

use poem_openapi::payload::{Json, PlainText};

use super::lists::split;
use super::wire::{FindingPage, Findings};
use crate::reconcile::{csv_header, csv_line};
use crate::task::{Finding, FindingsPage};

/// In which form findings are sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    Json,
    Ndjson,
    Csv,
}

/// The forms and their names; where the client does not care, the first.
const FORMS: [(Form, &[&str]); 3] = [
    (Form::Json, &["application/json", "application/*", "*/*"]),
    (Form::Ndjson, &["application/x-ndjson", "application/ndjson", "application/*", "*/*"]),
    (Form::Csv, &["text/csv", "text/*", "*/*"]),
];

/// Writes a page in the form that `accept` likes best; as JSON, if it likes none.
pub(super) fn body(page: FindingsPage, accept: Option<&str>) -> Findings {
    match form(accept.unwrap_or_default()) {
        Form::Json => Findings::Json(Json(FindingPage { findings: page.findings, next: page.next })),
        Form::Ndjson => Findings::Ndjson(PlainText(lines(&page.findings, |line| line.to_string() + "\n"))),
        Form::Csv => Findings::Csv(PlainText(csv_header() + &lines(&page.findings, csv_line))),
    }
}

fn lines(findings: &[Finding], line: impl Fn(&serde_json::Value) -> String) -> String {
    findings.iter().filter_map(|finding| serde_json::to_value(finding).ok()).map(|finding| line(&finding)).collect()
}

/// Chooses by the weights of an `Accept`; of equal ones what is named first, and of a form its closest name counts.
fn form(accept: &str) -> Form {
    let asked: Vec<(String, f32)> = split(accept, ',').map(weighed).collect();
    let liked = FORMS.iter().filter_map(|(form, names)| {
        let at = names.iter().find_map(|name| asked.iter().position(|(asked, _)| asked == name))?;
        Some((*form, asked[at].1, at))
    });
    let liked = liked.filter(|(_, weight, _)| *weight > 0.0);
    let best = liked.reduce(|best, next| if (next.1, best.2) > (best.1, next.2) { next } else { best });
    best.map_or(Form::Json, |(form, ..)| form)
}

/// Reads a kind of content and its weight.
fn weighed(range: &str) -> (String, f32) {
    let mut parts = split(range, ';');
    let kind = parts.next().unwrap_or_default().to_ascii_lowercase();
    let weight = parts.find_map(|part| {
        let (name, value) = part.split_once('=')?;
        name.trim().eq_ignore_ascii_case("q").then(|| value.trim().parse().unwrap_or(1.0))
    });
    (kind, weight.unwrap_or(1.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_client_chooses_the_form() {
        for (accept, want) in [
            ("", Form::Json),
            ("text/html", Form::Json),
            ("*/*", Form::Json),
            ("text/csv", Form::Csv),
            ("Text/CSV; charset=utf-8", Form::Csv),
            ("text/*", Form::Csv),
            ("application/ndjson", Form::Ndjson),
            ("text/csv, application/json", Form::Csv),
            ("application/json, text/csv", Form::Json),
            ("text/html, */*", Form::Json),
            ("text/csv, */*", Form::Csv),
            ("text/csv;q=0.5, application/x-ndjson;q=0.8", Form::Ndjson),
            ("text/csv;q=0, application/json", Form::Json),
            ("text/csv;q=0", Form::Json),
            ("*/*, application/json;q=0", Form::Ndjson),
            ("*/*;q=0.1, text/csv;q=0.2", Form::Csv),
        ] {
            assert_eq!(form(accept), want, "{accept}");
        }
    }
}
