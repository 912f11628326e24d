//! A list of share links that is printed while it is made, however long it is.

use super::args::Format;
use super::output;
use crate::index::ShareLink;

/// The list, so far.
#[derive(Debug)]
pub(super) struct LinkList {
    show_tokens: bool,
    format: Format,
    printed: u64,
}

impl LinkList {
    /// Prints what stands before the first link.
    pub(super) fn begin(show_tokens: bool, format: Format) -> Self {
        match format {
            Format::Json => output::raw(b"["),
            Format::Text => output::line(&columns(show_tokens, ["ID", "TOKEN", "USER", "STATE", "ENDS", "PATH"])),
        }
        Self { show_tokens, format, printed: 0 }
    }

    pub(super) fn print(&mut self, link: &ShareLink) {
        match self.format {
            // Texts and numbers always serialise.
            Format::Json => {
                let text = match self.show_tokens {
                    true => serde_json::to_string(&link.revealed()),
                    false => serde_json::to_string(link),
                }
                .unwrap_or_default();
                output::raw(format!("{}{text}", if self.printed == 0 { "" } else { "," }).as_bytes());
            }
            Format::Text => {
                let state = if link.is_active { "active" } else { "ended" };
                let ends = link.expires_at.as_deref().unwrap_or("never");
                let user = link.user_id.map_or_else(|| "-".to_owned(), |user| user.to_string());
                let path = link.path.as_deref().unwrap_or("(its record is gone)");
                let token = if self.show_tokens { link.token.reveal().to_owned() } else { link.token.to_string() };
                output::line(&columns(self.show_tokens, [&link.id.to_string(), &token, &user, state, ends, path]));
            }
        }
        self.printed += 1;
    }

    /// Prints what stands behind the last link.
    pub(super) fn end(self) {
        if self.format == Format::Json {
            output::line("]");
        }
    }
}

/// Puts a row into columns that are as wide as is usual: how wide they would have to be is known only at the end.
fn columns(show_tokens: bool, [id, token, user, state, ends, path]: [&str; 6]) -> String {
    let width = if show_tokens { 64 } else { 7 };
    let row = format!(
        "{id:<4}  {:<width$}  {user:<4}  {state:<6}  {ends:<32}  {}",
        output::visible(token),
        output::visible(path)
    );
    row.trim_end().to_owned()
}
