//! `share list --dangling`: links whose file is gone from the storage. Nothing is changed.

use futures::{StreamExt as _, stream};

use super::args::Format;
use super::exit::{Exit, Failure};
use super::link_list::LinkList;
use super::output;
use crate::config::Config;
use crate::error::Error;
use crate::index::{Access, Index, PlacedLink, ShareLink};
use crate::reconcile::RunVerdict;
use crate::storage::{Glance, StorageReader, Trouble};

/// How many keys are asked for at a time.
const GLANCES: usize = 32;

/// After so many links in a row of which the storage did not say, it is not asked any more.
const PATIENCE: u64 = 2 * GLANCES as u64;

pub(super) async fn run(show_tokens: bool, format: Format, config: &Config) -> Result<Exit, Failure> {
    let storage = super::open_storage(config.storage()?, config).map_err(Error::from)?;
    let index = super::open_index(config, Access::Read).await?;
    let storage = storage.without_files(index.files());
    // On another storage, or none, all of them would dangle.
    match super::reconciler(&storage, &index, config).outlook().await?.verdict {
        RunVerdict::Go => {}
        RunVerdict::Refused(refusal) => return Err(Failure::new(Exit::Refused, refusal.message)),
        RunVerdict::Trouble(trouble) => return Err(Failure::new(Exit::Failed, trouble.message)),
    }
    let storage = storage.reader();
    let list = LinkList::begin(show_tokens, format);
    let mut search = Search { list, storage, trusted: false, unaddressable: 0, unanswered: 0 };
    let looked = search.look(&index).await;
    search.list.end();
    index.close().await;
    looked
}

/// What was found so far.
struct Search {
    list: LinkList,
    storage: StorageReader,
    /// Whether the storage has shown that it is there at all.
    trusted: bool,
    unaddressable: u64,
    unanswered: u64,
}

impl Search {
    async fn look(&mut self, index: &Index) -> Result<Exit, Failure> {
        let (mut after, mut in_a_row) = (None, 0);
        loop {
            let page = index.placed_links(after).await?;
            let Some(last) = page.last() else { break };
            after = Some(last.link.id);
            let storage = self.storage.clone();
            let mut glances = stream::iter(page)
                .map(|PlacedLink { link, prefix, .. }| {
                    let storage = &storage;
                    async move {
                        let glance = match prefix.as_ref().zip(link.path.as_ref()) {
                            Some((prefix, path)) => storage.glance(prefix, path).await,
                            // Without a record it opens nothing, whatever the storage has.
                            None if link.path.is_none() => Glance::Absent,
                            None => Glance::Unaddressable,
                        };
                        (link, glance)
                    }
                })
                .buffered(GLANCES);
            while let Some((link, glance)) = glances.next().await {
                in_a_row = if matches!(glance, Glance::Unknown(_)) { in_a_row + 1 } else { 0 };
                match glance {
                    Glance::Present { .. } | Glance::Respelled { .. } | Glance::Unlisted { .. } => self.trusted = true,
                    Glance::Unaddressable => self.unaddressable += 1,
                    Glance::Unknown(trouble) => self.unanswered(&link, &trouble),
                    Glance::Absent => {
                        self.trust().await?;
                        self.list.print(&link);
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
            output::advise(&format!(
                "{count} links have a path that no storage could have, or a user who is gone; they are not listed"
            ));
        }
        Ok(if self.unanswered == 0 { Exit::Done } else { Exit::Failed })
    }

    /// Makes sure that there is a storage: to a server, a key in a bucket that does not exist is "not found" as well.
    async fn trust(&mut self) -> Result<(), Failure> {
        if !self.trusted {
            self.storage.check().await.map_err(|trouble| Failure::new(Exit::Failed, trouble.message))?;
        }
        self.trusted = true;
        Ok(())
    }

    fn unanswered(&mut self, link: &ShareLink, trouble: &Trouble) {
        self.unanswered += 1;
        let (path, user) = (link.path.as_deref().unwrap_or_default(), link.user_id.unwrap_or_default());
        output::complain(&format!("{path:?} of user {user}: {}", trouble.message));
    }
}
