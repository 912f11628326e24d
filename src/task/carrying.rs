//! A task that was accepted -> its run, and how it ended.

use std::sync::Arc;

use serde_json::json;
use tracing::Instrument as _;

use super::desk::{Desk, GRACE, Settings, TICK};
use super::error::TaskError;
use super::findings::{self, Spool};
use super::live::{Live, State};
use super::meter::Meter;
use crate::clock;
use crate::error::{Error, ErrorKind};
use crate::index::{Index, IndexError, within};
use crate::model::Timestamp;
use crate::reconcile::{
    Answer, CancelReason, LastWord, Ran, Reconciler, Report, Request, RequestWire, lose_lease, outcome_of,
};
use crate::storage;

/// How often it is tried to write down what became of a task.
const NOTES: u32 = 60;

impl Desk {
    /// Carries a task out, and notes how it ended whatever happens.
    pub(super) async fn carry_out(self: Arc<Self>, live: Arc<Live>, index: Index, request: Request) {
        let (id, started) = (live.id, clock::now());
        let ticks = Arc::clone(&self).tick(Arc::clone(&live), index.clone(), request.writes());
        let ticker = tokio::spawn(ticks.in_current_span());
        let begun = tokio::time::Instant::now();
        let running = {
            let (desk, live, index, request) = (Arc::clone(&self), Arc::clone(&live), index.clone(), request.clone());
            let (engine, span) = (tokio::runtime::Handle::current(), tracing::Span::current());
            // On a thread of its own: a run reads and compares without a pause, and the server has to answer meanwhile.
            tokio::task::spawn_blocking(move || engine.block_on(desk.run(live, index, request).instrument(span)))
        };
        let ended = running.await;
        ticker.abort();
        let mut report = Report::new(request.mode, request.dry_run);
        report.task_id = id;
        let (refused, word) = match ended {
            Ok((Ok(ended), word)) => {
                report = ended;
                (None, word)
            }
            Ok((Err(error), word)) => {
                report.fail(error.code(), error.to_string());
                ((error.kind() != ErrorKind::Failed).then(|| TaskError::from(error)), word)
            }
            Err(error) => {
                tracing::error!(%error, "a run broke down");
                report.fail("internal", "the run broke down; the server's log says where");
                (None, LastWord::Owed)
            }
        };
        if let Some(progress) = live.progress() {
            let progress = serde_json::to_value(&progress).unwrap_or_default();
            // It lives until its end is written down, and whoever looks for the dead meanwhile must not find it among them.
            let (told, alive) = (id.to_string(), self.settings.lease_terms.expiry);
            let _ = within(self.patience(), index.touch_task(&told, &progress, alive)).await;
        }
        if refused.is_some() && live.forget() {
            // What could not begin is as if it had never been asked, before anybody hears of its refusal.
            let told = id.to_string();
            self.persist(|| index.forget_task(&told)).await.ok();
            if let LastWord::Unsaid(lease, _) = word {
                lease.release().await;
            }
        } else {
            self.say(&index, word, (&request, started), &mut report).await;
        }
        let answer = Answer::from(&report);
        if refused.is_none() {
            self.note_audit(&index, &request, &answer, begun).await;
        }
        let outcome = if refused.is_some() { "REFUSED" } else { answer.status.as_str() };
        let labels = [("mode", request.mode.to_string()), ("outcome", outcome.to_lowercase())];
        metrics::counter!("storm_index_runs_total", &labels).increment(1);
        metrics::histogram!("storm_index_run_duration_seconds", "mode" => request.mode.to_string())
            .record(begun.elapsed().as_secs_f64());
        tracing::info!(status = outcome, mode = %request.mode, dry_run = request.dry_run, "task ended");
        self.remove(id);
        live.set(match refused {
            Some(error) => {
                findings::forget(&self.settings.findings, id);
                State::Refused(error)
            }
            None => State::Ended(Arc::new(answer)),
        });
    }

    /// Sees to it that how a run ended is written down, and that this is how it ended.
    async fn say(&self, index: &Index, word: LastWord, (request, started): (&Request, Timestamp), report: &mut Report) {
        match word {
            LastWord::Said => return,
            LastWord::Owed => {}
            LastWord::Unsaid(lease, _) => {
                let outcome = outcome_of(report);
                match self.persist(|| lease.try_end(&outcome)).await {
                    Ok(()) => return,
                    Err(IndexError::LeaseLost) => lose_lease(report),
                    Err(error) => {
                        let why = "how the run ended could not be written down, so it will be listed as FAILED";
                        report.note_always("end_unwritten", format!("{why}: {error}"));
                        return lease.give_up(&error);
                    }
                }
            }
        }
        let (id, asked) = (report.task_id.to_string(), RequestWire::from(request).to_json());
        let outcome = outcome_of(report);
        self.persist(|| index.try_note_task(&id, &asked, started, &outcome)).await.ok();
    }

    /// Writes down what became of a task, as often as it takes: what is answered is what is known afterwards.
    async fn persist<F>(&self, writing: impl Fn() -> F) -> Result<(), IndexError>
    where
        F: Future<Output = Result<(), IndexError>>,
    {
        let mut tried = 0;
        loop {
            tried += 1;
            let error = match within(self.patience(), writing()).await {
                Err(error) if !matches!(error, IndexError::LeaseLost) => error,
                done => return done,
            };
            if tried == 1 || tried == NOTES {
                tracing::warn!(%error, "what became of the task could not be written down");
            }
            if tried == NOTES || self.closing().reason().is_some() {
                return Err(error);
            }
            tokio::time::sleep(TICK).await;
        }
    }

    async fn run(self: Arc<Self>, live: Arc<Live>, index: Index, request: Request) -> Ran {
        self.try_run(live, index, request).await.unwrap_or_else(|error| (Err(error), LastWord::Owed))
    }

    async fn try_run(self: Arc<Self>, live: Arc<Live>, index: Index, request: Request) -> Result<Ran, Error> {
        let (id, mode, dry_run) = (live.id, request.mode, request.dry_run);
        let stopped = move |reason: CancelReason| {
            let mut report = Report::new(mode, dry_run);
            report.task_id = id;
            report.stop(reason);
            Ok((Ok(report), LastWord::Owed))
        };
        let places = Arc::clone(&self.places);
        let place = async {
            // Of those who write there is one at a time anyway, and it waits for nobody who only looks.
            if request.writes() { None } else { places.acquire_owned().await.ok() }
        };
        let place = tokio::select! {
            biased;
            reason = live.cancel.cancelled() => Err(reason),
            place = place => Ok(place),
        };
        // However it ends from here on, it has findings, if only none.
        let spool = Spool::create(&self.settings.findings, live.id, |task| self.live(task).is_some());
        let spool = spool.inspect_err(|error| tracing::warn!(%error, "findings cannot be kept")).ok();
        let place = match place {
            Ok(place) => place,
            Err(reason) => return stopped(reason),
        };
        if let Some(user) = request.user {
            within(self.patience(), index.user(user)).await?;
        }
        if request.writes()
            && let Some(holder) = within(self.patience(), index.lease_holder()).await?
        {
            return Err(IndexError::Held(holder).into());
        }
        tracing::info!(mode = %request.mode, dry_run = request.dry_run, user = request.user, "task begins");
        // What hangs must hang nobody else.
        let url = self.settings.storage.clone();
        let opening = tokio::task::spawn_blocking(move || storage::open(&url));
        let opened = tokio::select! {
            opened = opening => opened,
            reason = live.cancel.cancelled() => return stopped(reason),
        };
        let Ok(opened) = opened else { return stopped(CancelReason::ShutDown) };
        let storage = match opened {
            Ok(storage) => {
                let Settings { order, inode_numbers, .. } = self.settings;
                storage.with_order(order).with_inode_numbers(inode_numbers).without_files(index.files())
            }
            Err(error) => {
                // The server's setting, and not the request, is what is wrong.
                let mut report = Report::new(request.mode, request.dry_run);
                report.task_id = live.id;
                report.fail(error.code(), error.to_string());
                return Ok((Ok(report), LastWord::Owed));
            }
        };
        let mut meter = Meter { live: Arc::clone(&live), spool };
        let reconciler = Reconciler::new(&storage, &index)
            .with_identity(self.settings.identity)
            .with_lease_terms(self.settings.lease_terms)
            .with_cancel(live.cancel.clone())
            // It is noted here, and until it is.
            .without_notes();
        let ended = if request.writes() {
            reconciler.run_to_the_end(id, &request, &mut meter).await
        } else {
            let too_late = async {
                let reason = live.cancel.cancelled().await;
                tokio::time::sleep(GRACE).await;
                reason
            };
            let late = tokio::select! {
                ended = reconciler.run_to_the_end(id, &request, &mut meter) => Ok(ended),
                // It writes nothing, so it may be dropped wherever it is.
                reason = too_late => Err(reason),
            };
            match late {
                Ok(ended) => ended,
                Err(reason) => stopped(reason),
            }
        };
        if let Some(Err(error)) = meter.spool.as_mut().map(Spool::flush) {
            tracing::warn!(%error, "the last findings could not be kept");
            meter.lose();
        }
        drop(place);
        ended
    }

    /// Says about once a second how far a task is, and hears whether it is asked to end.
    async fn tick(self: Arc<Self>, live: Arc<Live>, index: Index, writes: bool) {
        let id = live.id.to_string();
        let mut begins = !writes;
        loop {
            tokio::select! {
                () = tokio::time::sleep(TICK) => {}
                state = live.begun(), if begins => {
                    begins = false;
                    if matches!(state, State::Running)
                        && let Err(error) = within(self.patience(), index.start_task(&id)).await
                    {
                        tracing::warn!(%error, "that a task runs could not be noted");
                    }
                    continue;
                }
            }
            let progress = live.progress().map_or(json!(null), |p| serde_json::to_value(p).unwrap_or_default());
            let touching = index.touch_task(&id, &progress, self.settings.lease_terms.expiry);
            match within(self.settings.lease_terms.sign_patience(), touching).await {
                Ok(true) => live.cancel.cancel(CancelReason::Asked),
                Ok(false) => {}
                Err(error) => tracing::warn!(%error, "how far the task is could not be noted"),
            }
        }
    }
}
