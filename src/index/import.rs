//! Lines of a file -> users, share links and keys of this index, batch by batch, beside whoever else is writing.
//!
//! A link belongs to a key of the storage, whoever owns that key here: a lost index is rebuilt by adopting top-level
//! folders, and what was the user `teams/alpha` may have become a part of the user `teams`. What is there already is left
//! as it is, so that a second import changes nothing.

use std::collections::{BTreeMap, HashMap};
use std::io::BufRead;

use sea_orm::TransactionTrait as _;
use serde::Serialize;

use super::brought::Brought;
use super::connect::Index;
use super::dialect::Dialect;
use super::dialect::sequence::{Numbered, step_over};
use super::error::IndexError;
use super::keying::{self, KeyLot, WantedKey};
use super::linking::{Lot, Wanted, insert, judge};
use super::owners::{self, Owners};
use super::people::{EXPORT_VERSION, Header, KeyLine, Line, Lines, LinkLine, Read, Unkept, UserLine};
use super::retry::{Patience, unconfirmed};
use crate::model::{Prefix, UserId};

/// How many lines are taken in one transaction.
const BATCH: usize = 1_000;

/// What an import came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct Imported {
    /// The users.
    pub users: ImportedUsers,
    /// The share links.
    pub links: ImportedLinks,
    /// The keys to the API.
    pub keys: ImportedKeys,
}

/// What became of the users of the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct ImportedUsers {
    /// How many the file has.
    pub in_file: u64,
    /// Registered.
    pub registered: u64,
    /// There, called by their prefix, and given back their name.
    pub renamed: u64,
    /// There already.
    pub present: u64,
    /// Contradicting the index.
    pub conflicts: u64,
}

/// What became of the share links of the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct ImportedLinks {
    /// How many the file has.
    pub in_file: u64,
    /// Made.
    pub imported: u64,
    /// There already, for the same file; they are as they were.
    pub present: u64,
    /// Without a record of their file.
    pub without_record: u64,
    /// With a token that opens another file here, or that this database cannot hold.
    pub conflicts: u64,
}

/// What became of the keys of the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct ImportedKeys {
    /// How many the file has.
    pub in_file: u64,
    /// Made.
    pub imported: u64,
    /// There already.
    pub present: u64,
    /// There, living, and ended because the file says that they were.
    pub revoked: u64,
    /// Of users who are not here, or not by that name.
    pub without_owner: u64,
    /// With a prefix that names another key here.
    pub conflicts: u64,
}

/// An import that is under way.
struct Import<'i> {
    index: &'i Index,
    /// What a dry run has brought so far; a real one finds it in the index.
    brought: Option<Brought>,
    told: &'i mut (dyn FnMut(Unkept) + Send),
    owners: Owners,
    /// The users of the file, by the ids that it gives them.
    file: HashMap<UserId, Prefix>,
    users: Vec<(u64, UserLine)>,
    links: Vec<(u64, LinkLine)>,
    keys: Vec<(u64, KeyLine)>,
    imported: Imported,
}

impl Index {
    /// Takes over what the `file` of an export has and this index has not, and tells through `told` what cannot be. A dry
    /// run only counts.
    ///
    /// # Errors
    /// When the file is no export (then nothing is imported), or breaks off, or the index cannot be read or written. The
    /// batches before that stay, and importing again goes on.
    pub async fn import(
        &self,
        file: impl BufRead,
        dry_run: bool,
        told: &mut (dyn FnMut(Unkept) + Send),
    ) -> Result<Imported, IndexError> {
        let mut lines = Lines::new(file);
        let first = lines.next().map_err(IndexError::ExportUnreadable)?;
        let mut counts = header(first)?.counts;
        let owners = Owners::read(&self.reader, self.longest_path()).await?;
        let mut import = Import {
            index: self,
            brought: if dry_run { Some(Brought::new().await.map_err(IndexError::Read)?) } else { None },
            told,
            owners,
            file: HashMap::new(),
            users: Vec::new(),
            links: Vec::new(),
            keys: Vec::new(),
            imported: Imported::default(),
        };
        let (mut seen, mut broken) = (BTreeMap::<String, u64>::new(), 0);
        let mut unknown = BTreeMap::<String, (u64, u64)>::new();
        let mut note = |what: String, number: u64| unknown.entry(what).or_insert((number, 0)).1 += 1;
        while let Some((number, read)) = lines.next().map_err(IndexError::ExportUnreadable)? {
            let kind = match read {
                Read::Line(line, strange) => {
                    let kind = import.take(number, line, &mut counts).await?;
                    strange.into_iter().for_each(|field| note(format!("field {field:?} of {kind}"), number));
                    kind.to_owned()
                }
                Read::Unknown(kind) => {
                    note(format!("kind {kind:?}"), number);
                    kind
                }
                Read::Broken(why) => {
                    broken += 1;
                    let message = format!("line {number} is not taken over: {why}");
                    (import.told)(Unkept { code: "bad_line", message, line: Some(number), ..Unkept::default() });
                    continue;
                }
            };
            *seen.entry(kind).or_default() += 1;
        }
        import.flush().await?;
        for (what, (number, times)) in unknown {
            let message = format!(
                "{what}, first on line {number}, {times} in all, is not known to this version and not taken over; use a newer one"
            );
            (import.told)(Unkept { code: "unknown_kind", message, line: Some(number), ..Unkept::default() });
        }
        for (kind, promised) in counts {
            let found = seen.get(&kind).copied().unwrap_or(0);
            if found + broken < promised {
                let message = format!(
                    "the file has {found} of the {promised} lines of kind {kind:?} that its first line promises; it was cut off, or lines were left out"
                );
                (import.told)(Unkept { code: "lines_missing", message, ..Unkept::default() });
            }
        }
        Ok(import.imported)
    }
}

/// Reads the first line.
fn header(first: Option<(u64, Read)>) -> Result<Header, IndexError> {
    let not = |line, why: &str| Err(IndexError::NotAnExport { line, why: why.to_owned() });
    match first {
        None => not(1, "the file is empty"),
        Some((_, Read::Line(Line::Header(header), _))) if header.version >= EXPORT_VERSION => Ok(header),
        Some((number, Read::Line(Line::Header(_), _))) => not(number, "there is no such version of the format"),
        Some((number, Read::Broken(why))) => not(number, &why),
        Some((number, _)) => not(number, "the first line has to be of kind \"storm_index_export\""),
    }
}

impl Import<'_> {
    /// Takes a line, and returns its kind.
    async fn take(
        &mut self,
        number: u64,
        line: Line,
        counts: &mut BTreeMap<String, u64>,
    ) -> Result<&'static str, IndexError> {
        match line {
            Line::User(user) => {
                if !self.links.is_empty() || !self.keys.is_empty() || self.users.len() == BATCH {
                    self.flush().await?;
                }
                self.imported.users.in_file += 1;
                self.users.push((number, user));
                Ok("user")
            }
            Line::ShareLink(link) => {
                if !self.users.is_empty() || !self.keys.is_empty() || self.links.len() == BATCH {
                    self.flush().await?;
                }
                self.imported.links.in_file += 1;
                self.links.push((number, link));
                Ok("share_link")
            }
            Line::ApiKey(key) => {
                if !self.users.is_empty() || !self.links.is_empty() || self.keys.len() == BATCH {
                    self.flush().await?;
                }
                self.imported.keys.in_file += 1;
                self.keys.push((number, key));
                Ok("api_key")
            }
            // Two files, one behind the other.
            Line::Header(header) => {
                self.flush().await?;
                self.file.clear();
                header.counts.into_iter().for_each(|(kind, count)| *counts.entry(kind).or_default() += count);
                Ok("storm_index_export")
            }
        }
    }

    async fn flush(&mut self) -> Result<(), IndexError> {
        let (users, links) = (std::mem::take(&mut self.users), std::mem::take(&mut self.links));
        let keys = std::mem::take(&mut self.keys);
        if !users.is_empty() {
            self.settle(&users).await?;
        }
        if !links.is_empty() {
            self.link(links).await?;
        }
        if !keys.is_empty() {
            self.key(keys).await?;
        }
        Ok(())
    }

    async fn settle(&mut self, users: &[(u64, UserLine)]) -> Result<(), IndexError> {
        let mut patience = Patience::default();
        let settled = loop {
            match self.settle_once(users).await {
                Err(error) if patience.again(&error).await => {}
                done => break done?,
            }
        };
        let counts = &mut self.imported.users;
        counts.registered += settled.registered.len() as u64;
        counts.renamed += settled.renamed();
        counts.present += settled.present;
        counts.conflicts += settled.conflicts.len() as u64;
        for (number, user) in users {
            let Ok(prefix) = Prefix::parse(&user.prefix) else { continue };
            let known = self.file.entry(user.id).or_insert_with(|| prefix.clone());
            if *known != prefix {
                let message = format!("line {number}: the file has already another user of id {}", user.id);
                (self.told)(Unkept { code: "bad_line", message, line: Some(*number), ..Unkept::default() });
            }
        }
        settled.conflicts.into_iter().for_each(|conflict| (self.told)(conflict));
        Ok(())
    }

    async fn settle_once(&mut self, users: &[(u64, UserLine)]) -> Result<owners::Settled, IndexError> {
        if self.brought.is_some() {
            return Ok(self.owners.settle(users));
        }
        let transaction = self.index.writer()?.begin_on_users().await?;
        // As they are now, with nobody else to change them.
        self.owners = Owners::read(&transaction, self.index.longest_path()).await?;
        let settled = self.owners.settle(users);
        owners::write(&transaction, &settled).await.map_err(IndexError::Write)?;
        transaction.commit().await.map_err(unconfirmed)?;
        Ok(settled)
    }

    async fn link(&mut self, links: Vec<(u64, LinkLine)>) -> Result<(), IndexError> {
        if self.brought.is_none() {
            step_over(self.index.writing()?, &[Numbered::Links]).await;
        }
        let wanted: Vec<Wanted> = links.into_iter().map(|(number, line)| self.locate(number, line)).collect();
        let mut patience = Patience::default();
        let lots = loop {
            match self.link_once(&wanted).await {
                Err(error) if patience.again(&error).await => {}
                done => break done?,
            }
        };
        for (link, lot) in wanted.iter().zip(lots) {
            let counts = &mut self.imported.links;
            match lot {
                Lot::Import(_) => counts.imported += 1,
                Lot::Present => counts.present += 1,
                Lot::WithoutRecord => {
                    counts.without_record += 1;
                    (self.told)(link.unkept("without_record", "has no record; run a sync first if the file is there"));
                }
                Lot::Conflict => {
                    counts.conflicts += 1;
                    let why = "has a link whose token opens another file here, or is longer than this database takes";
                    (self.told)(link.unkept("token_taken", why));
                }
            }
        }
        Ok(())
    }

    /// Finds whose the file of a link is here.
    fn locate(&self, number: u64, line: LinkLine) -> Wanted {
        let prefix = self.file.get(&line.user_id).cloned();
        // A file that somebody has put together may do without the lines of users who are there.
        let prefix = prefix.or_else(|| self.owners.named(line.user_id, &line.user));
        let owner = prefix.and_then(|prefix| {
            let key = prefix.key_of(&line.path);
            let (user, at) = self.owners.of_key(&key)?;
            Some((user, key[at..].to_owned()))
        });
        Wanted { number, line, owner }
    }

    async fn link_once(&self, wanted: &[Wanted]) -> Result<Vec<Lot>, IndexError> {
        let longest = self.index.longest_path();
        if let Some(brought) = &self.brought {
            let options = Dialect::of(&self.index.reader).snapshot();
            let look = self.index.reader.begin_with_options(options).await.map_err(IndexError::Read)?;
            let taken = brought.tokens(wanted).await.map_err(IndexError::Read)?;
            let lots = judge(&look, wanted, longest, "", taken).await.map_err(IndexError::Read)?;
            brought.make_links(wanted, &lots).await.map_err(IndexError::Read)?;
            return Ok(lots);
        }
        let transaction = self.index.writer()?.begin().await?;
        let keep = Dialect::of(&transaction).words().keep_records;
        let lots = judge(&transaction, wanted, longest, keep, HashMap::new()).await.map_err(IndexError::Write)?;
        let lots = insert(&transaction, wanted, lots).await.map_err(IndexError::Write)?;
        transaction.commit().await.map_err(unconfirmed)?;
        Ok(lots)
    }

    async fn key(&mut self, keys: Vec<(u64, KeyLine)>) -> Result<(), IndexError> {
        let owner = |line: &KeyLine| match self.file.get(&line.user_id) {
            Some(prefix) => self.owners.called(prefix, &line.user),
            None => self.owners.named(line.user_id, &line.user).map(|_| line.user_id),
        };
        let wanted = keys.into_iter().map(|(number, line)| WantedKey { number, owner: owner(&line), line });
        let wanted: Vec<WantedKey> = wanted.collect();
        let mut patience = Patience::default();
        let lots = loop {
            match self.key_once(&wanted).await {
                Err(error) if patience.again(&error).await => {}
                done => break done?,
            }
        };
        for (key, lot) in wanted.iter().zip(lots) {
            let counts = &mut self.imported.keys;
            match lot {
                KeyLot::Import(_) => counts.imported += 1,
                KeyLot::Present => counts.present += 1,
                KeyLot::Revoke(_) => counts.revoked += 1,
                KeyLot::WithoutOwner => {
                    counts.without_owner += 1;
                    let why =
                        "is not taken over: there is no such user here; give the user that name, and import again";
                    (self.told)(key.unkept("without_owner", why));
                }
                KeyLot::Conflict => {
                    counts.conflicts += 1;
                    (self.told)(key.unkept("key_taken", "is not taken over: its prefix names another key here"));
                }
            }
        }
        Ok(())
    }

    async fn key_once(&self, wanted: &[WantedKey]) -> Result<Vec<KeyLot>, IndexError> {
        let mut lots = Vec::with_capacity(wanted.len());
        if let Some(brought) = &self.brought {
            for key in wanted {
                lots.push(brought.lot(&self.index.reader, key).await.map_err(IndexError::Read)?);
            }
            return Ok(lots);
        }
        // With nobody else to change whose they are.
        let transaction = self.index.writer()?.begin_on_users().await?;
        for key in wanted {
            let there = keying::find(&transaction, key).await.map_err(IndexError::Write)?;
            let lot = keying::judge(there.as_ref(), key);
            keying::write(&transaction, key, lot).await.map_err(IndexError::Write)?;
            lots.push(lot);
        }
        transaction.commit().await.map_err(unconfirmed)?;
        Ok(lots)
    }
}
