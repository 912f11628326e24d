//! A request -> a run: everything that can be wrong with it is found before the first write.

use std::collections::HashSet;
use std::time::Duration;

use uuid::Uuid;

use super::adoption::Adoption;
use super::apply::{IndexSink, Preview, Sink, WriteBatch};
use super::cancel::{Cancel, CancelReason};
use super::cursor::RecordCursor;
use super::doubts::Doubts;
use super::excludes::is_noise;
use super::last_word::{LastWord, Ran, lose_lease};
use super::looks::Looks;
use super::mounts::Mounts;
use super::report::{Observer, Report, Status};
use super::request::{Mode, Policy, Request};
use super::run::Run;
use super::scopes::Scopes;
use super::spans::Spans;
use super::spool::Spool;
use super::stop::Stop;
use super::strays::Strays;
use super::waiting::Waiting;
use super::wire::{RequestWire, outcome_of};
use crate::clock;
use crate::error::{Error, ErrorKind};
use crate::index::{Index, IndexError, Lease, LeaseTerms};
use crate::model::{Identity, Prefix, RenameProof};
use crate::storage::{Marker, Step, Storage, StorageReader};

/// Brings an index in step with a storage.
#[derive(Debug, Clone)]
pub struct Reconciler {
    pub(super) storage: StorageReader,
    pub(super) marker: Marker,
    pub(super) index: Index,
    pub(super) identity: Identity,
    lease_terms: LeaseTerms,
    journal_keep: Option<Duration>,
    notes: bool,
    cancel: Cancel,
}

impl Reconciler {
    /// Takes the two that are to agree. The storage is only ever read, but for its marker.
    pub fn new(storage: &Storage, index: &Index) -> Self {
        Self {
            storage: storage.reader(),
            marker: storage.marker(),
            index: index.clone(),
            identity: Identity::default(),
            lease_terms: LeaseTerms::default(),
            journal_keep: None,
            notes: true,
            cancel: Cancel::default(),
        }
    }

    /// Sets by what a run knows that it is on the storage that the index is about: by its marker, or by its objects alone.
    #[must_use]
    pub fn with_identity(mut self, identity: Identity) -> Self {
        self.identity = identity;
        self
    }

    /// Leaves no row of a run that only looks.
    #[must_use]
    pub fn without_notes(mut self) -> Self {
        self.notes = false;
        self
    }

    /// Sets how long the lease of a writing run lives without a sign of it.
    #[must_use]
    pub fn with_lease_terms(mut self, terms: LeaseTerms) -> Self {
        self.lease_terms = terms;
        self
    }

    /// Sets how much of the journal is kept when a writing run has ended well; without it, all of it is.
    #[must_use]
    pub fn with_journal_keep(mut self, keep: Option<Duration>) -> Self {
        self.journal_keep = keep;
        self
    }

    /// Sets the word at which a run ends before its end, at its next border between two batches.
    #[must_use]
    pub fn with_cancel(mut self, cancel: Cancel) -> Self {
        self.cancel = cancel;
        self
    }

    /// Carries out `request` and tells `observer` what it finds.
    ///
    /// Trouble in the middle ends in the report: what was written by then stays, and is complete in itself.
    ///
    /// # Errors
    /// When the run cannot begin: the request is wrong, or index or storage cannot be read. Nothing is changed then.
    pub async fn run(&self, request: &Request, observer: &mut dyn Observer) -> Result<Report, Error> {
        self.run_as(Uuid::now_v7(), request, observer).await
    }

    /// As [`Reconciler::run`], as the task of this id.
    ///
    /// # Errors
    /// As there.
    pub async fn run_as(&self, task: Uuid, request: &Request, observer: &mut dyn Observer) -> Result<Report, Error> {
        let (ended, word) = self.run_to_the_end(task, request, observer).await?;
        if let LastWord::Unsaid(lease, error) = word {
            lease.give_up(&error);
        }
        ended
    }

    /// As [`Reconciler::run_as`], and tells what became of the last word on the run.
    ///
    /// # Errors
    /// When it cannot begin.
    pub(crate) async fn run_to_the_end(
        &self,
        task: Uuid,
        request: &Request,
        observer: &mut dyn Observer,
    ) -> Result<Ran, Error> {
        let policy = Policy::of(request, clock::now())?;
        let users = match request.user {
            Some(id) => vec![self.index.user(id).await?],
            None => self.index.users().await?,
        };
        let mut scopes = Scopes::new(users)?;
        if policy.deletes {
            scopes.remember(&self.index.unsettled().await?);
        }
        let adoption = match self.plan_adoption(policy, &scopes, request).await {
            // The asker's mistake comes first, unless the folders are a wrong storage's: then that is what is wrong.
            Err(error) if error.kind() == ErrorKind::Usage && !self.is_refused().await => return Err(error),
            // What is wrong with the world comes after the lease.
            planned => planned,
        };
        let mut report = Report::new(request.mode, request.dry_run);
        report.task_id = task;
        let (asked, started) = (RequestWire::from(request).to_json(), clock::now());
        if !policy.writes {
            observer.begins();
            let ended = self.run_under(None, request, policy, (scopes, adoption), report, observer).await;
            if let Ok(report) = &ended
                && self.notes
            {
                self.index.note_task(&task.to_string(), &asked, started, &outcome_of(report)).await;
            }
            return Ok((ended, LastWord::Owed));
        }
        let lease = self.index.take_lease(task, &asked, self.lease_terms).await?;
        observer.begins();
        let asked_to_end = lease.asked_to_end();
        let heed = async {
            asked_to_end.await;
            self.cancel.cancel(CancelReason::Asked);
            std::future::pending().await
        };
        let mut ended = tokio::select! {
            ended = self.run_under(Some(&lease), request, policy, (scopes, adoption), report, observer) => ended,
            never = heed => never,
        };
        let outcome = match &ended {
            Ok(report) => outcome_of(report),
            Err(error) => {
                let mut report = Report::new(request.mode, request.dry_run);
                report.fail(error.code(), error.to_string());
                outcome_of(&report)
            }
        };
        if let Some(keep) = self.journal_keep
            && ended.as_ref().is_ok_and(|report| report.status == Status::Successful)
            && let Err(error) = lease.writer().trim_journal(keep).await
        {
            tracing::warn!(%error, "the journal could not be trimmed; the next run does it");
        }
        let word = match lease.try_end(&outcome).await {
            Ok(()) => LastWord::Said,
            Err(IndexError::LeaseLost) => {
                // Somebody else has ended it, and for all who look it has failed.
                if let Ok(report) = &mut ended {
                    lose_lease(report);
                    if self.notes {
                        self.index.note_task(&task.to_string(), &asked, started, &outcome_of(report)).await;
                    }
                }
                LastWord::Owed
            }
            Err(error) => LastWord::Unsaid(lease, error),
        };
        Ok((ended, word))
    }

    async fn run_under(
        &self,
        lease: Option<&Lease>,
        request: &Request,
        policy: Policy,
        (scopes, adoption): (Scopes, Result<Adoption, Error>),
        mut report: Report,
        observer: &mut dyn Observer,
    ) -> Result<Report, Error> {
        let writer = lease.map(Lease::writer);
        let only_looks = request.mode == Mode::Audit;
        let stood = tokio::select! {
            stood = self.stand(writer.as_ref(), only_looks, &mut report) => Ok(stood?),
            // A storage that hangs holds nobody: what it was asked for so far is whole, or not there.
            reason = self.cancel.cancelled() => Err(reason),
        };
        let ground = match stood {
            Ok(Some(ground)) => ground,
            Ok(None) => return Ok(report),
            Err(reason) => {
                report.stop(reason);
                return Ok(report);
            }
        };
        let adoption = adoption?;
        let one_user = request.user.and_then(|_| scopes.iter().next().map(|s| s.user.prefix.clone()));
        let sink: Box<dyn Sink> = match writer {
            Some(writer) => Box::new(IndexSink::new(writer)),
            None => Box::new(Preview::default()),
        };
        let total = match observer.wants_progress() {
            true => Some(self.index.count_records(request.user).await?).filter(|count| *count > 0),
            false => None,
        };
        let storage = self.storage_in_order().await?;
        let listing = storage.listing(one_user.as_ref(), &scopes.prefixes());
        let cursor = RecordCursor::new(self.index.records(scopes.users()));
        let mounts = Mounts::new(if storage.is_remote() { Vec::new() } else { self.index.mounts().await? });
        let mut run = Run {
            storage: &storage,
            index: &self.index,
            one_user: request.user.is_some(),
            policy,
            standing: ground.standing,
            scopes,
            adoption,
            cursor,
            doubts: Doubts::default(),
            last: None,
            sink,
            writes: WriteBatch::default(),
            waiting: Waiting::default(),
            orphans: Vec::new(),
            queue: Spool::default(),
            doomed: 0,
            strays: Strays::default(),
            spans: Spans::default(),
            excludes: request.exclude.clone(),
            proof: if request.moves { storage.renames() } else { RenameProof::Nothing },
            mounts,
            wrong: HashSet::new(),
            as_of: Some(clock::now()),
            looks: Looks::new(&storage),
            unsettled: false,
            observer,
            report,
            cancel: self.cancel.clone(),
            total,
            longest_path: self.index.longest_path(),
        };
        let ended = run.all(listing).await;
        let mut report = run.close().await;
        report.refusal = report.refusal.or(ground.refusal);
        match ended {
            Ok(()) => {}
            Err(Stop::Cancelled(reason)) => report.stop(reason),
            Err(stop) => report.fail(stop.code(), stop.to_string()),
        }
        Ok(report)
    }

    async fn plan_adoption(&self, policy: Policy, scopes: &Scopes, request: &Request) -> Result<Adoption, Error> {
        if !policy.adopts {
            return Ok(Adoption::default());
        }
        let mut folders = self.storage.top_folders().await.map_err(Error::Trouble)?;
        folders.retain(|folder| !is_noise(folder) && !request.exclude.match_folder(folder));
        let next_id = self.index.next_user_id().await?;
        loop {
            let taken = match Adoption::plan(folders.clone(), scopes, next_id) {
                Ok(adoption) => return Ok(adoption),
                Err(taken) => taken,
            };
            let mut empty = HashSet::new();
            for (folder, error) in taken {
                // Only a disk has folders in which nothing is, and nothing hinders nobody.
                if self.has_object(&folder, request).await {
                    return Err(error.into());
                }
                empty.insert(folder);
            }
            folders.retain(|folder| !empty.contains(folder));
        }
    }

    /// Tells whether a folder at the top has an object that is not left out, or may have.
    async fn has_object(&self, folder: &str, request: &Request) -> bool {
        let Ok(prefix) = Prefix::parse(folder) else { return true };
        let mut listing = self.storage.listing(Some(&prefix), std::slice::from_ref(&prefix));
        loop {
            match listing.next().await {
                Step::Batch(batch) => {
                    let left_out = |key: &String| request.exclude.matches(key);
                    if !batch.objects.iter().all(|object| left_out(&object.key)) || !batch.late.is_empty() {
                        return true;
                    }
                }
                Step::Complete => return false,
                Step::Incomplete(_) => return true,
            }
        }
    }
}
