//! `share list --dangling`: links whose file is gone from the storage. Nothing is changed.

use futures::{StreamExt as _, stream};

use super::args::Format;
use super::exit::{Exit, Failure};
use super::output;
use crate::config::Config;
use crate::error::Error;
use crate::index::{Access, Index, PlacedLink, ShareLink};
use crate::reconcile::RunVerdict;
use crate::storage::{self, Glance, Step, StorageReader, Trouble};

/// How many keys are asked for at a time.
const GLANCES: usize = 32;

/// After so many links in a row of which the storage did not say, it is not asked any more.
const PATIENCE: u64 = 2 * GLANCES as u64;

pub(super) async fn run(format: Format, config: &Config) -> Result<Exit, Failure> {
    let storage = storage::open(config.storage()?).map_err(Error::from)?;
    let index = super::open_index(config, Access::Read).await?;
    let storage = storage.without_files(index.files());
    // On another storage, or none, all of them would dangle.
    match super::reconciler(&storage, &index, config).outlook().await?.verdict {
        RunVerdict::Go => {}
        RunVerdict::Refused(refusal) => return Err(Failure::new(Exit::Refused, refusal.message)),
        RunVerdict::Trouble(trouble) => return Err(Failure::new(Exit::Failed, trouble.message)),
    }
    let storage = storage.reader();
    let mut list = List { format, storage, trusted: false, found: 0, unaddressable: 0, unanswered: 0 };
    list.begin();
    let looked = list.look(&index).await;
    list.end();
    index.close().await;
    looked
}

/// A list that is printed while it is made.
struct List {
    format: Format,
    storage: StorageReader,
    /// Whether the storage has shown that it is there at all.
    trusted: bool,
    found: u64,
    unaddressable: u64,
    unanswered: u64,
}

impl List {
    async fn look(&mut self, index: &Index) -> Result<Exit, Failure> {
        let (mut after, mut in_a_row) = (None, 0);
        loop {
            let page = index.placed_links(after).await?;
            let Some(last) = page.last() else { break };
            after = Some(last.link.id);
            let storage = self.storage.clone();
            let mut glances = stream::iter(page)
                .map(|PlacedLink { link, key }| {
                    let storage = &storage;
                    async move {
                        let glance = match &key {
                            Some(key) => storage.glance(key).await,
                            None => Glance::Unaddressable,
                        };
                        (link, glance)
                    }
                })
                .buffered(GLANCES);
            while let Some((link, glance)) = glances.next().await {
                in_a_row = if matches!(glance, Glance::Unknown(_)) { in_a_row + 1 } else { 0 };
                match glance {
                    Glance::Present => self.trusted = true,
                    Glance::Unaddressable => self.unaddressable += 1,
                    Glance::Unknown(trouble) => self.unanswered(&link, &trouble),
                    Glance::Absent => {
                        self.trust().await?;
                        self.print(&link);
                    }
                }
                if in_a_row == PATIENCE {
                    let message = "the storage does not answer; the further links are not looked at";
                    return Err(Failure::new(Exit::Failed, message));
                }
            }
        }
        if self.unaddressable > 0 {
            let count = self.unaddressable;
            output::advise(&format!("{count} links have a path that no storage could have; they are not listed"));
        }
        Ok(if self.unanswered == 0 { Exit::Done } else { Exit::Failed })
    }

    /// Makes sure that there is a storage: to a server, a key in a bucket that does not exist is "not found" as well.
    async fn trust(&mut self) -> Result<(), Failure> {
        if !self.trusted
            && let Step::Incomplete(doubt) = self.storage.listing(None).next().await
        {
            return Err(Failure::new(Exit::Failed, doubt.to_string()));
        }
        self.trusted = true;
        Ok(())
    }

    fn unanswered(&mut self, link: &ShareLink, trouble: &Trouble) {
        self.unanswered += 1;
        output::complain(&format!("{:?} of user {}: {}", link.path, link.user_id, trouble.message));
    }

    fn begin(&self) {
        match self.format {
            Format::Json => output::raw(b"["),
            Format::Text => output::line(&columns(["TOKEN", "USER", "STATE", "ENDS", "PATH"])),
        }
    }

    fn print(&mut self, link: &ShareLink) {
        match self.format {
            // Texts and numbers always serialise.
            Format::Json => {
                let text = serde_json::to_string(link).unwrap_or_default();
                output::raw(format!("{}{text}", if self.found == 0 { "" } else { "," }).as_bytes());
            }
            Format::Text => {
                let state = if link.is_active { "active" } else { "ended" };
                let ends = link.expires_at.as_deref().unwrap_or("never");
                let user = link.user_id.to_string();
                output::line(&columns([&link.token, &user, state, ends, &link.path]));
            }
        }
        self.found += 1;
    }

    fn end(&self) {
        if self.format == Format::Json {
            output::line("]");
        }
    }
}

/// Puts a row into columns that are as wide as is usual: how wide they would have to be is known only at the end.
fn columns([token, user, state, ends, path]: [&str; 5]) -> String {
    let row = format!("{:<64}  {user:<4}  {state:<6}  {ends:<32}  {}", output::visible(token), output::visible(path));
    row.trim_end().to_owned()
}
