//! Whether a record that a run has moved may go back: is this the right storage, and what is at the old path?

use std::collections::BTreeMap;
use std::fmt;

use async_trait::async_trait;

use super::identity::{Decision, decide};
use super::reconciler::Reconciler;
use super::standing::with_hint;
use crate::index::{Mount, PathLook};
use crate::model::{PathQuery, PathState, Prefix};
use crate::storage::StorageReader;

/// Opens the storage.
type Open<'o> = Box<dyn FnOnce() -> Result<Reconciler, String> + Send + 'o>;

/// Looks at the storage of a reconciler. It is opened for the first question: a restore that asks none needs no storage.
pub struct StorageLook<'o> {
    open: Option<Open<'o>>,
    opened: Option<Result<Reconciler, String>>,
    /// Whether enough records match a storage that is known by no marker.
    matches: Option<Result<(), String>>,
    /// Whether the server stopped answering.
    silent: bool,
}

impl fmt::Debug for StorageLook<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StorageLook")
            .field("opened", &self.opened)
            .field("silent", &self.silent)
            .finish_non_exhaustive()
    }
}

impl<'o> StorageLook<'o> {
    /// Takes what opens the storage, with the index that is about it. An error says in one line why it does not open.
    pub fn new(open: impl FnOnce() -> Result<Reconciler, String> + Send + 'o) -> Self {
        Self { open: Some(Box::new(open)), opened: None, matches: None, silent: false }
    }
}

impl From<Reconciler> for StorageLook<'_> {
    fn from(reconciler: Reconciler) -> Self {
        Self { open: None, opened: Some(Ok(reconciler)), matches: None, silent: false }
    }
}

#[async_trait]
impl PathLook for StorageLook<'_> {
    async fn look(&mut self, queries: &[PathQuery]) -> Vec<Result<PathState, String>> {
        if let Some(open) = self.open.take() {
            self.opened = Some(open());
        }
        let reconciler = match &self.opened {
            Some(Ok(reconciler)) => reconciler.clone(),
            Some(Err(why)) => return vec![Err(why.clone()); queries.len()],
            None => return vec![Err("the storage was not opened".to_owned()); queries.len()],
        };
        match self.ask(&reconciler, queries).await {
            Ok(found) => found,
            Err(why) => vec![Err(why); queries.len()],
        }
    }
}

impl StorageLook<'_> {
    /// Asks the storage; an error is one of all questions.
    async fn ask(
        &mut self,
        reconciler: &Reconciler,
        queries: &[PathQuery],
    ) -> Result<Vec<Result<PathState, String>>, String> {
        if self.silent {
            return Err(StorageReader::not_asked().message);
        }
        let has_marker = reconciler.is_bound_storage().await?;
        let mut by_prefix: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
        for (at, query) in queries.iter().enumerate() {
            by_prefix.entry(query.prefix.as_str()).or_default().push(at);
        }
        let mut found: Vec<Result<PathState, String>> = vec![Err(StorageReader::not_asked().message); queries.len()];
        for places in by_prefix.into_values().filter(|places| !places.is_empty()) {
            if self.silent {
                break;
            }
            let of_prefix: Vec<PathQuery> = places.iter().map(|at| queries[*at].clone()).collect();
            let states = reconciler.storage.path_states(&of_prefix[0].prefix, &of_prefix).await;
            self.silent = states.iter().any(|state| *state == Err(StorageReader::not_asked()));
            for (at, state) in places.into_iter().zip(states) {
                found[at] = state.map_err(|trouble| trouble.message);
            }
        }
        if found.contains(&Ok(PathState::Empty)) {
            self.doubt_empty(reconciler, has_marker, queries, &mut found).await?;
        }
        Ok(found)
    }

    /// Takes "empty" back where it may only mean that the storage, or a file system in it, is not there.
    async fn doubt_empty(
        &mut self,
        reconciler: &Reconciler,
        has_marker: bool,
        queries: &[PathQuery],
        found: &mut [Result<PathState, String>],
    ) -> Result<(), String> {
        let doubt =
            if has_marker { reconciler.is_bound_storage().await.err() } else { self.matches(reconciler).await.err() };
        let lost = reconciler.lost_mounts().await?;
        for (query, state) in queries.iter().zip(found).filter(|(_, state)| **state == Ok(PathState::Empty)) {
            let key = query.prefix.key_of(&query.path);
            let below = |mount: &&Mount| key.strip_prefix(&mount.path).is_some_and(|rest| rest.starts_with('/'));
            if let Some(doubt) = &doubt {
                *state = Err(doubt.clone());
            } else if let Some(mount) = lost.iter().find(below) {
                *state = Err(format!(
                    "the {} file system that was mounted at {:?} is not there; mount it again or, if it is not coming back: \
                     storm-index storage mounts forget {:?}",
                    mount.fs_type, mount.path, mount.path
                ));
            }
        }
        Ok(())
    }

    /// Counts once whether enough records match a storage that is known by no marker.
    async fn matches(&mut self, reconciler: &Reconciler) -> Result<(), String> {
        if self.matches.is_none() {
            self.matches = Some(reconciler.records_match().await);
        }
        self.matches.clone().unwrap_or(Ok(()))
    }
}

impl Reconciler {
    /// Tells whether this is the storage that the index is bound to, by its marker; false where no marker is asked for.
    ///
    /// # Errors
    /// When it is not, or that cannot be found out; in one line.
    async fn is_bound_storage(&self) -> Result<bool, String> {
        let seen = self.see().await.map_err(|trouble| with_hint(&trouble))?;
        let bound = self.index.binding().await.map_err(|error| error.to_string())?;
        let has_records = self.index.has_records().await.map_err(|error| error.to_string())?;
        match decide(self.identity, bound, seen, has_records) {
            Decision::Go(_) => Ok(true),
            Decision::Unchecked => Ok(false),
            Decision::Refuse(refusal) => Err(refusal.message),
            Decision::Bind(_) | Decision::Prove(_) => {
                Err("the index is bound to no storage; run an audit or storm-index storage bind --force".to_owned())
            }
        }
    }

    /// Counts whether at least half of all records have their object.
    async fn records_match(&self) -> Result<(), String> {
        match super::proof::prove(&self.storage, &self.index).await {
            Ok(proof) if proof.is_enough() => Ok(()),
            Ok(proof) => Err(format!(
                "only {} of the {} records of the index match the storage, so an empty path proves nothing",
                proof.matched, proof.records
            )),
            Err(stop) => Err(stop.to_string()),
        }
    }

    /// Returns the remembered mounts of which the file system is not there now.
    async fn lost_mounts(&self) -> Result<Vec<Mount>, String> {
        let mut lost = Vec::new();
        if self.storage.is_remote() {
            return Ok(lost);
        }
        for mount in self.index.mounts().await.map_err(|error| error.to_string())? {
            let there = match Prefix::parse(&mount.path) {
                Ok(directory) => self.storage.file_system(&directory).await.unwrap_or(None),
                Err(_) => None,
            };
            let is_there = there.is_some_and(|there| there.kind == mount.fs_type && there.id == mount.fs_id);
            if !is_there {
                lost.push(mount);
            }
        }
        Ok(lost)
    }
}
