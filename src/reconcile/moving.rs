//! Renamed files: their records are carried to where the files are now, with id and links.

use std::collections::{HashMap, HashSet};

use super::closing::Whose;
use super::evidence::{self, About, Found};
use super::first_look::Respelled;
use super::looks::code_of;
use super::numbers::Numbers;
use super::plan::SkipReason;
use super::report::{Action, FindingKind, IndexSide, Phase, Progress};
use super::run::Run;
use super::stop::Stop;
use super::waiting::{CAME, DEFERRED, Decided, Item, Parked, join, lower, upper};
use crate::index::{Carried, Carry, Merging};
use crate::model::{Orphan, Prefix, RecordId, Timestamp};
use crate::storage::{Claim, Glance, MoveProof, content_type_of};

/// How many records one transaction carries to free paths.
const MOVES: usize = 1_000;

/// Said of a file that was renamed.
const SAME_FILE: &str = "same_file";
/// Said of a file whose name is listed in another spelling.
const OTHER_SPELLING: &str = "other_spelling";

/// A claim, and the places of the record and of the object among what waits; a hidden record has none.
type Move = (Claim, Option<u64>, u64);

impl Run<'_> {
    /// Carries the records of renamed files of the current user. Returns the places of those that turn out not to have moved.
    pub(super) async fn carry_all(
        &mut self,
        parked: &Parked,
        decided: &Decided,
        whose: &Whose,
        prefix: &Prefix,
    ) -> Result<Numbers, Stop> {
        let mut unproven = Numbers::default();
        let claim = |from, to| -> Result<Option<Move>, Stop> {
            let (record, gone) = match parked.items.get(from)? {
                Item::Orphan(record) => (record, true),
                Item::Stale(record, ..) => (record, false),
                Item::Missing(_) => return Ok(None),
            };
            let (Item::Missing(object) | Item::Stale(_, object, _)) = parked.items.get(to)? else { return Ok(None) };
            Ok(Some((Claim { record, gone, object, path_at: whose.path_at }, Some(from), to)))
        };
        // Where paths change hands, what hangs together is one transaction: half of it would leave two records at one path.
        let mut tangles = decided.tangles.iter()?;
        while let Some((_, moves)) = tangles.next()? {
            self.cancel.reason().map_or(Ok(()), Err)?;
            let batch = moves.into_iter().map(|(from, to)| claim(from, to)).collect::<Result<Vec<_>, Stop>>()?;
            self.carry_proven(batch.into_iter().flatten().collect(), whose, prefix, &mut unproven).await?;
        }
        let (mut moves, mut batch) = (decided.moves.iter(), Vec::new());
        while let Some(next) = moves.next()? {
            batch.extend(claim(lower(next), upper(next))?);
            if batch.len() == MOVES {
                self.cancel.reason().map_or(Ok(()), Err)?;
                self.carry_proven(std::mem::take(&mut batch), whose, prefix, &mut unproven).await?;
            }
        }
        self.carry_proven(batch, whose, prefix, &mut unproven).await?;
        Ok(unproven)
    }

    /// Carries those whose proof holds, by what is there now.
    async fn carry_proven(
        &mut self,
        batch: Vec<Move>,
        whose: &Whose,
        prefix: &Prefix,
        unproven: &mut Numbers,
    ) -> Result<(), Stop> {
        if batch.is_empty() {
            return Ok(());
        }
        // A run that only looks does not ask a server for each of them.
        let proofs = match self.policy.adds || !self.storage.is_remote() {
            true => {
                let claims: Vec<Claim> = batch.iter().map(|(claim, ..)| claim.clone()).collect();
                self.looks.prove(prefix, &claims).await
            }
            false => batch
                .iter()
                .map(|(claim, ..)| match self.proof.holds(&claim.record, &claim.object) {
                    true => MoveProof::Proven(None),
                    false => MoveProof::Unproven("file_changed"),
                })
                .collect(),
        };
        let failed: Vec<bool> = proofs
            .iter()
            .map(|p| !matches!(p, MoveProof::Proven(_) | MoveProof::NotGone(Glance::Unknown(_))))
            .collect();
        let stays = hanging_together(&batch, &failed);
        let mut proven = Vec::with_capacity(batch.len());
        for (((claim, from, to), proof), stays) in batch.into_iter().zip(proofs).zip(stays) {
            match proof {
                MoveProof::NotGone(Glance::Unlisted { since }) => {
                    let key = prefix.key_of(&claim.record.path);
                    self.doubt_listing(whose.user, &key, since);
                }
                MoveProof::NotGone(Glance::Unknown(why)) if !stays => {
                    let key = prefix.key_of(&claim.record.path);
                    let code = code_of(&why);
                    let why = why.message;
                    let message = format!("{key:?} could not be looked for, so its record is not moved: {why}");
                    self.report.note(code, message, Some(key));
                    self.report.tally.moved += 1;
                    self.tell_move(&claim, whose, Action::Skip, SAME_FILE, Some(SkipReason::Unanswered));
                    continue;
                }
                MoveProof::Proven(now) if !stays => {
                    let object = now.unwrap_or_else(|| claim.object.clone());
                    proven.push(Claim { object, ..claim });
                    continue;
                }
                _ => {}
            }
            if let Some(from) = from {
                unproven.push(join(from, 1))?;
            }
            unproven.push(join(to, 1))?;
        }
        self.carry(proven, whose, SAME_FILE).await
    }

    /// Carries records whose files have provably moved.
    async fn carry(&mut self, claims: Vec<Claim>, whose: &Whose, why: &'static str) -> Result<(), Stop> {
        self.report.tally.moved += claims.len() as u64;
        for claim in claims.iter().filter(|claim| claim.gone) {
            self.scopes.count_matched(|| claim.record.created_at.map(Timestamp::from_micros));
        }
        if !self.policy.adds {
            claims.iter().for_each(|claim| self.tell_move(claim, whose, Action::None, why, None));
            return Ok(());
        }
        let carries: Vec<Carry> = claims
            .iter()
            .map(|Claim { record, object, .. }| Carry {
                id: record.id,
                user: whose.user,
                version: record.version.clone().into_bytes(),
                object: object.clone(),
                path_at: whose.path_at,
                content_type: content_type_of(&object.key),
            })
            .collect();
        let carried = if carries.is_empty() { Vec::new() } else { self.sink.carry(&carries).await? };
        for (claim, carried) in claims.iter().zip(carried) {
            match carried {
                Carried::Done => {
                    self.report.tally.carried += 1;
                    self.tell_move(claim, whose, Action::Move, why, None);
                }
                Carried::Changed => self.tell_move(claim, whose, Action::Skip, why, Some(SkipReason::Changed)),
                Carried::Taken => self.tell_move(claim, whose, Action::Skip, why, Some(SkipReason::Taken)),
            }
        }
        self.observer.progress(Progress { phase: Phase::Moving, done: self.report.tally.moved, total: None });
        Ok(())
    }

    /// Brings records to the spelling that their directories list. Where that has a record already, it takes over the links.
    pub(super) async fn respell(
        &mut self,
        parked: &Parked,
        respelled: Respelled,
        whose: &Whose,
        prefix: &Prefix,
    ) -> Result<(), Stop> {
        let mut all = respelled.iter()?;
        loop {
            let batch = all.batch(MOVES)?;
            if batch.is_empty() {
                return Ok(());
            }
            self.cancel.reason().map_or(Ok(()), Err)?;
            let (mut claims, mut twins) = (Vec::new(), Vec::new());
            for (from, path, to) in batch {
                let Item::Orphan(record) = parked.items.get(from)? else { continue };
                match to.map(|to| parked.items.get(to)).transpose()? {
                    Some(Item::Missing(object)) => {
                        claims.push(Claim { record, gone: true, object, path_at: whose.path_at });
                    }
                    _ => twins.push((record, path)),
                }
            }
            let proofs = self.looks.prove(prefix, &claims).await;
            let proven = claims.into_iter().zip(proofs).filter_map(|(claim, proof)| match proof {
                MoveProof::Proven(Some(object)) => Some(Claim { object, ..claim }),
                _ => None,
            });
            self.carry(proven.collect(), whose, OTHER_SPELLING).await?;
            self.merge(twins, whose, prefix).await?;
        }
    }

    /// Merges records with those of the spelling that is listed.
    async fn merge(&mut self, twins: Vec<(Orphan, String)>, whose: &Whose, prefix: &Prefix) -> Result<(), Stop> {
        let paths: Vec<String> = twins.iter().map(|(record, _)| record.path.clone()).collect();
        let glances = self.looks.look(prefix, &paths).await;
        // What has changed since it was looked at first waits for the next run.
        let same = |((_, path), glance): &(_, Glance)| matches!(glance, Glance::Respelled { path: now } if now == path);
        let twins: Vec<(Orphan, String)> = twins.into_iter().zip(glances).filter(same).map(|(twin, _)| twin).collect();
        self.report.tally.moved += twins.len() as u64;
        let merges: Vec<Merging> = twins
            .iter()
            .map(|(record, path)| Merging {
                id: record.id,
                user: whose.user,
                version: record.version.clone().into_bytes(),
                into: path.clone(),
            })
            .collect();
        let merged = match self.policy.adds && !merges.is_empty() {
            true => self.sink.merge(&merges).await?,
            false => vec![false; merges.len()],
        };
        for ((record, path), merged) in twins.into_iter().zip(merged) {
            let (action, skip) = match (self.policy.adds, merged) {
                (false, _) => (Action::None, None),
                (true, true) => (Action::Move, None),
                (true, false) => (Action::Skip, Some(SkipReason::Changed)),
            };
            self.report.tally.carried += u64::from(merged);
            if self.observer.wants(FindingKind::Moved) {
                let reasons = std::iter::once(OTHER_SPELLING).chain(skip.map(SkipReason::as_str)).collect();
                let found = Found { kind: FindingKind::Moved, action, reasons };
                let mut told = evidence::of_orphan(found, &record, prefix.key_of(&path));
                told.path = path;
                self.observer.finding(&told);
            }
        }
        Ok(())
    }

    /// Asks for the keys of hidden records that missing objects may be of: gone is a move, there is none, and no answer lets
    /// the object wait. Returns what has become of the objects.
    pub(super) async fn ask_hidden(
        &mut self,
        parked: &Parked,
        decided: &Decided,
        whose: &Whose,
        prefix: &Prefix,
    ) -> Result<Numbers, Stop> {
        let (mut marks, mut asks) = (Numbers::default(), decided.asks.iter());
        let mut taken: HashSet<RecordId> = HashSet::new();
        loop {
            let mut batch: Vec<(u64, RecordId)> = Vec::new();
            while let Some(next) = asks.peek()? {
                // All that is asked for one object stands together.
                if batch.len() >= MOVES && batch.last().is_some_and(|(to, _)| *to != upper(next)) {
                    break;
                }
                asks.next()?;
                batch.push((upper(next), RecordId::try_from(lower(next)).unwrap_or(0)));
            }
            if batch.is_empty() {
                return Ok(marks);
            }
            self.cancel.reason().map_or(Ok(()), Err)?;
            let ids: Vec<RecordId> = batch.iter().map(|(_, id)| *id).collect();
            let records = self.index.records_by_id(whose.user, &ids).await?;
            let records: HashMap<RecordId, Orphan> = records.into_iter().map(|record| (record.id, record)).collect();
            let mut claims: Vec<Move> = Vec::new();
            for (to, id) in batch {
                let (Some(record), Item::Missing(object)) = (records.get(&id), parked.items.get(to)?) else { continue };
                if self.proof.holds(record, &object) {
                    let claim = Claim { record: record.clone(), gone: true, object, path_at: whose.path_at };
                    claims.push((claim, None, to));
                }
            }
            let asked: Vec<Claim> = claims.iter().map(|(claim, ..)| claim.clone()).collect();
            let proofs = self.looks.prove(prefix, &asked).await;
            let (mut proven, mut silent, mut done) = (Vec::new(), Vec::new(), HashSet::new());
            for ((claim, _, to), proof) in claims.into_iter().zip(proofs) {
                match proof {
                    MoveProof::Proven(now) if !done.contains(&to) && taken.insert(claim.record.id) => {
                        done.insert(to);
                        marks.push(join(to, CAME))?;
                        let object = now.unwrap_or_else(|| claim.object.clone());
                        proven.push(Claim { object, ..claim });
                    }
                    MoveProof::NotGone(Glance::Unknown(_)) => silent.push(to),
                    _ => {}
                }
            }
            silent.into_iter().filter(|to| !done.contains(to)).try_for_each(|to| marks.push(join(to, DEFERRED)))?;
            self.carry(proven, whose, SAME_FILE).await?;
        }
    }

    fn tell_move(&mut self, claim: &Claim, whose: &Whose, action: Action, why: &'static str, skip: Option<SkipReason>) {
        if self.observer.wants(FindingKind::Moved) {
            let reasons = std::iter::once(why).chain(skip.map(SkipReason::as_str)).collect();
            let found = Found { kind: FindingKind::Moved, action, reasons };
            let content_type = content_type_of(&claim.object.key);
            let about = About { user: Some(whose.user), path_at: whose.path_at, content_type };
            let index = Some(IndexSide::from(&claim.record));
            self.observer.finding(&evidence::of_object(found, about, &claim.object, index));
        }
    }
}

/// Says which of a batch of moves stay because one of those stays that they hang together with: no record goes to a path
/// that is not left, and none leaves a path to which none comes.
fn hanging_together(batch: &[Move], failed: &[bool]) -> Vec<bool> {
    let by_from: HashMap<u64, usize> =
        batch.iter().enumerate().filter_map(|(at, (_, from, _))| Some(((*from)?, at))).collect();
    let by_to: HashMap<u64, usize> = batch.iter().enumerate().map(|(at, (.., to))| (*to, at)).collect();
    let mut stays = failed.to_vec();
    let mut open: Vec<usize> = (0..batch.len()).filter(|at| stays[*at]).collect();
    while let Some(at) = open.pop() {
        let (_, from, to) = &batch[at];
        let next = from.and_then(|from| by_to.get(&from));
        for other in next.into_iter().chain(by_from.get(to)).copied() {
            if !std::mem::replace(&mut stays[other], true) {
                open.push(other);
            }
        }
    }
    stays
}
