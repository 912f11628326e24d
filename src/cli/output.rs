//! The only place that prints: results on stdout, everything else on stderr.

use std::io::{self, IsTerminal as _, Write as _};
use std::sync::atomic::{AtomicBool, Ordering};

use chrono::SecondsFormat;
use serde::Serialize;

use crate::clock;
use crate::config::LogFormat;

/// Set when each line on stderr is a JSON object, as those of the log are.
static OBJECTS: AtomicBool = AtomicBool::new(false);

/// Set when a part of a result could not be written.
static LOST: AtomicBool = AtomicBool::new(false);

/// Remembers trouble with stdout. A reader who has gone away has seen enough; a full disk has not.
fn note(written: io::Result<()>) {
    if written.is_err_and(|e| e.kind() != io::ErrorKind::BrokenPipe) {
        LOST.store(true, Ordering::Relaxed);
    }
}

/// Writes out what is left, and tells whether all of the result was written.
pub(super) fn is_whole() -> bool {
    note(io::stdout().lock().flush());
    !LOST.load(Ordering::Relaxed)
}

/// Prints a result as one JSON document.
pub(super) fn json<T: Serialize>(value: &T) {
    // These values always serialise; a reader who has gone away is no error.
    if let Ok(text) = serde_json::to_string(value) {
        line(&text);
    }
}

/// Prints a line with a secret that is shown only now. Unlike with other results, a reader who has gone away is an error.
pub(super) fn deliver(text: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    // In one piece, so that nothing of it waits in a buffer when it fails.
    out.write_all(format!("{text}\n").as_bytes())?;
    out.flush()
}

/// Prints a line of a result.
pub(super) fn line(text: &str) {
    note(writeln!(io::stdout().lock(), "{text}"));
}

/// Prints a text that ends by itself.
pub(super) fn raw(text: &[u8]) {
    let mut out = io::stdout().lock();
    note(out.write_all(text).and_then(|()| out.flush()));
}

/// Says what lines on stderr look like from now on.
pub(super) fn speak(format: LogFormat) {
    OBJECTS.store(format == LogFormat::Json, Ordering::Relaxed);
}

/// Tells whether lines on stderr are for programs.
pub(super) fn speaks_json() -> bool {
    OBJECTS.load(Ordering::Relaxed)
}

/// Says something that is no result, on stderr.
pub(super) fn advise(text: &str) {
    if speaks_json() { say(&object("INFO", text)) } else { say(text) }
}

/// Says what is wrong, on stderr.
pub(super) fn complain(text: &str) {
    let text = visible(text);
    say(&if speaks_json() { object("ERROR", &text) } else { format!("error: {text}") });
}

fn say(line: &str) {
    let _ = writeln!(io::stderr().lock(), "{line}");
}

/// A line as the log has them.
#[derive(Serialize)]
struct Line<'t> {
    timestamp: String,
    level: &'static str,
    fields: Fields<'t>,
    target: &'static str,
}

#[derive(Serialize)]
struct Fields<'t> {
    message: &'t str,
}

fn object(level: &'static str, message: &str) -> String {
    let timestamp = clock::now().to_utc().to_rfc3339_opts(SecondsFormat::Micros, true);
    let line = Line { timestamp, level, fields: Fields { message }, target: module_path!() };
    // Texts always serialise.
    serde_json::to_string(&line).unwrap_or_default()
}

/// Tells whether a terminal stands behind stdout, and wants colour.
pub(super) fn wants_colour() -> bool {
    io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|v| v.is_empty())
}

/// Returns `text` with its control characters spelt out: a file's name must not steer a terminal.
pub(super) fn visible(text: &str) -> std::borrow::Cow<'_, str> {
    if !text.chars().any(char::is_control) {
        return text.into();
    }
    text.chars()
        .map(|c| if c.is_control() { c.escape_default().to_string() } else { c.to_string() })
        .collect::<String>()
        .into()
}

/// Prints rows in columns that are as wide as their widest cell.
pub(super) fn table(head: &[&str], rows: &[Vec<String>]) {
    let shown: Vec<Vec<String>> =
        rows.iter().map(|row| row.iter().map(|cell| visible(cell).into_owned()).collect()).collect();
    let width = |column: usize| {
        let cells = shown.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count());
        cells.chain(head.get(column).map(|h| h.len())).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..head.len()).map(width).collect();
    let print = |cells: Vec<&str>| {
        let padded = cells.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}"));
        line(padded.collect::<Vec<_>>().join("  ").trim_end());
    };
    print(head.to_vec());
    for row in &shown {
        print(row.iter().map(String::as_str).collect());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_cannot_steer_a_terminal() {
        assert_eq!(visible("plain é"), "plain é");
        assert_eq!(visible("a\u{1b}[2Jb\n"), "a\\u{1b}[2Jb\\n");
    }
}
