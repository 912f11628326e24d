//! `share`: links to files.

use std::io::{self, BufRead as _, Read as _};

use super::args::{Format, ShareCommand};
use super::dangling;
use super::exit::{Exit, Failure};
use super::link_list::LinkList;
use super::output;
use crate::clock;
use crate::config::Config;
use crate::index::{Access, Index, IndexError, NewLink};
use crate::model::Timestamp;

/// The longest line that is read, in bytes: far more than any token has.
const LONGEST_LINE: u64 = 64 << 10;

pub(super) async fn run(command: ShareCommand, config: &Config) -> Result<Exit, Failure> {
    if let ShareCommand::List { dangling: true, show_tokens, format } = command {
        return dangling::run(show_tokens, format, config).await;
    }
    let command = match command {
        // Before the database is opened, which then waits for nobody who is typing.
        ShareCommand::Revoke { link } if link == "-" => ShareCommand::Revoke { link: read_line()? },
        other => other,
    };
    let access = if matches!(command, ShareCommand::List { .. }) { Access::Read } else { Access::Write };
    let index = super::open_index(config, access).await?;
    let done = carry_out(command, &index).await;
    index.close().await;
    done
}

async fn carry_out(command: ShareCommand, index: &Index) -> Result<Exit, Failure> {
    match command {
        ShareCommand::Create { user_id, path, expires, format } => {
            let user = index.user(user_id).await?;
            let ends = |after: std::time::Duration| {
                let micros = i64::try_from(after.as_micros()).unwrap_or(i64::MAX);
                Timestamp::from_micros(clock::now().micros().saturating_add(micros))
            };
            let new =
                NewLink { user: user.id, path: path.clone(), token: token()?.into(), expires_at: expires.map(ends) };
            let link = index.create_link(new).await?;
            let text = match format {
                // Texts and numbers always serialise.
                Format::Json => serde_json::to_string(&link.revealed()).unwrap_or_default(),
                Format::Text => link.token.reveal().to_owned(),
            };
            if let Err(error) = output::deliver(&text) {
                let discarded = index.discard_link(&link).await;
                return Err(undelivered("token", &format!("share link {}", link.id), &error, discarded));
            }
            match format {
                Format::Json => {}
                Format::Text => {
                    let until = link.expires_at.unwrap_or_else(|| "it is revoked".to_owned());
                    output::advise(&format!("this token opens {path:?} of user {user_id} until {until}"));
                }
            }
        }
        ShareCommand::List { show_tokens, format, .. } => list(show_tokens, format, index).await?,
        ShareCommand::Revoke { link } => {
            index.revoke_link(&link).await?;
            output::advise("the link is revoked");
        }
    }
    Ok(Exit::Done)
}

/// Prints the links page by page: there may be more of them than fit into memory.
async fn list(show_tokens: bool, format: Format, index: &Index) -> Result<(), Failure> {
    // A database that cannot be read has no list, not even an empty one.
    let mut page = index.placed_links(None).await?;
    let mut list = LinkList::begin(show_tokens, format);
    let read = loop {
        page.iter().for_each(|placed| list.print(&placed.link));
        let Some(last) = page.last() else { break Ok(()) };
        page = match index.placed_links(Some(last.link.id)).await {
            Ok(page) => page,
            Err(error) => break Err(error.into()),
        };
    };
    list.end();
    read
}

/// Says that the secret of something new could not be printed, and what became of it.
pub(super) fn undelivered(secret: &str, what: &str, error: &io::Error, discarded: Result<(), IndexError>) -> Failure {
    let then = match discarded {
        Ok(()) => format!("{what} is removed again"),
        Err(trouble) => format!("{what} is active and could not be removed ({trouble}); revoke it by its id"),
    };
    Failure::new(Exit::Failed, format!("the {secret} could not be written to stdout: {error}; {then}"))
}

/// Reads the id or token of a link from a line on stdin.
fn read_line() -> Result<String, Failure> {
    let mut line = Vec::new();
    let read = io::stdin().lock().take(LONGEST_LINE).read_until(b'\n', &mut line);
    read.map_err(|e| Failure::new(Exit::Failed, format!("stdin cannot be read: {e}")))?;
    match String::from_utf8(line).map(|line| line.trim().to_owned()) {
        Ok(line) if !line.is_empty() => Ok(line),
        Ok(_) => Err(Failure::new(Exit::Usage, "there is no id or token on stdin; write one line")),
        Err(_) => Err(Failure::new(Exit::Usage, "what is on stdin is no text; write an id or a token on one line")),
    }
}

/// Makes a secret of 256 random bits, in hexadecimal.
fn token() -> Result<String, Failure> {
    let mut bits = [0_u8; 32];
    getrandom::fill(&mut bits)
        .map_err(|e| Failure::new(Exit::Failed, format!("the system gives no random numbers: {e}")))?;
    Ok(bits.iter().map(|byte| format!("{byte:02x}")).collect())
}
