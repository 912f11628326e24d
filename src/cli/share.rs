//! `share`: links to files.

use super::args::{Format, ShareCommand};
use super::dangling;
use super::exit::{Exit, Failure};
use super::link_list::LinkList;
use super::output;
use crate::clock;
use crate::config::Config;
use crate::index::{Access, Index, NewLink};
use crate::model::Timestamp;

pub(super) async fn run(command: ShareCommand, config: &Config) -> Result<Exit, Failure> {
    if let ShareCommand::List { dangling: true, format } = command {
        return dangling::run(format, config).await;
    }
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
            let new = NewLink { user: user.id, path: path.clone(), token: token()?, expires_at: expires.map(ends) };
            let link = index.create_link(new).await?;
            match format {
                Format::Json => output::json(&link),
                Format::Text => {
                    output::line(&link.token);
                    let until = link.expires_at.unwrap_or_else(|| "it is revoked".to_owned());
                    output::advise(&format!("this token opens {path:?} of user {user_id} until {until}"));
                }
            }
        }
        ShareCommand::List { format, .. } => list(format, index).await?,
        ShareCommand::Revoke { token } => {
            index.revoke_link(&token).await?;
            output::advise("the link is revoked");
        }
    }
    Ok(Exit::Done)
}

/// Prints the links page by page: there may be more of them than fit into memory.
async fn list(format: Format, index: &Index) -> Result<(), Failure> {
    // A database that cannot be read has no list, not even an empty one.
    let mut page = index.placed_links(None).await?;
    let mut list = LinkList::begin(format);
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

/// Makes a secret of 256 random bits, in hexadecimal.
fn token() -> Result<String, Failure> {
    let mut bits = [0_u8; 32];
    getrandom::fill(&mut bits)
        .map_err(|e| Failure::new(Exit::Failed, format!("the system gives no random numbers: {e}")))?;
    Ok(bits.iter().map(|byte| format!("{byte:02x}")).collect())
}
