//! Whether the records of an index are about a storage: one pass over listing and records that only counts, for an index
//! that is bound to no storage yet.

use super::cursor::RecordCursor;
use super::identity::is_half;
use super::merge::{Front, front};
use super::scopes::{Place, Scopes};
use super::stop::Stop;
use crate::index::Index;
use crate::model::ObjectFacts;
use crate::storage::{Doubt, Step, StorageReader};

/// What the records prove.
#[derive(Debug)]
pub(super) struct Proof {
    /// All records of the index.
    pub(super) records: u64,
    /// Those whose object is there, with their size if they have one. The counting ends when they are enough.
    pub(super) matched: u64,
    /// Why the listing cannot be trusted, if it cannot: then it proves what it has shown, and no more.
    pub(super) doubt: Option<Doubt>,
}

impl Proof {
    /// Tells whether enough records match.
    pub(super) fn is_enough(&self) -> bool {
        is_half(self.matched, self.records)
    }
}

/// Counts the records of all users, whomever the run is for.
pub(super) async fn prove(storage: &StorageReader, index: &Index) -> Result<Proof, Stop> {
    let scopes = Scopes::new(index.users().await?)?;
    let walls = scopes.prefixes();
    let cursor = RecordCursor::new(index.records(scopes.users()));
    let records = index.count_records(None).await?;
    let mut count = Count { scopes, cursor, proof: Proof { records, matched: 0, doubt: None } };
    let mut listing = storage.listing(None, &walls);
    while !count.proof.is_enough() {
        match listing.next().await {
            Step::Batch(batch) => {
                for object in &batch.objects {
                    count.object(object).await?;
                }
            }
            Step::Complete => break,
            Step::Incomplete(doubt) => {
                count.proof.doubt = Some(doubt);
                break;
            }
        }
    }
    Ok(count.proof)
}

struct Count {
    scopes: Scopes,
    cursor: RecordCursor,
    proof: Proof,
}

impl Count {
    async fn object(&mut self, object: &ObjectFacts) -> Result<(), Stop> {
        loop {
            match self.scopes.place(&object.key) {
                Place::Inside => break,
                Place::Outside => return Ok(()),
                Place::Behind => self.leave_user().await?,
            }
        }
        let Some(scope) = self.scopes.current() else { return Ok(()) };
        let (user, path) = (scope.user.id, &object.key[scope.start.len()..]);
        loop {
            self.cursor.load(user).await?;
            match front(path, self.cursor.peek_path()) {
                Front::Record => self.cursor.advance(),
                Front::Object => return Ok(()),
                Front::Both => {
                    let size = self.cursor.peek().and_then(|record| record.size);
                    self.proof.matched += u64::from(size.is_none_or(|size| size == object.size));
                    self.cursor.advance();
                    return Ok(());
                }
            }
        }
    }

    /// Passes the rest of the current user's records.
    async fn leave_user(&mut self) -> Result<(), Stop> {
        let Some(scope) = self.scopes.current() else { return Ok(()) };
        let user = scope.user.id;
        self.cursor.load(user).await?;
        while self.cursor.peek_path().is_some() {
            self.cursor.advance();
            self.cursor.load(user).await?;
        }
        self.cursor.leave();
        self.scopes.advance();
        Ok(())
    }
}
