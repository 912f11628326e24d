//! Renamed files: their records are carried to where the files are now, with id and links.

use super::closing::Whose;
use super::evidence::{self, About, Found};
use super::plan::SkipReason;
use super::report::{Action, FindingKind, IndexSide, Phase, Progress};
use super::run::Run;
use super::stop::Stop;
use super::waiting::{Decided, Item, lower, upper};
use crate::index::{Carried, Carry};
use crate::model::{ObjectFacts, Orphan, Prefix, Timestamp};
use crate::storage::{Glance, content_type_of};

/// How many records one transaction carries to free paths.
const MOVES: usize = 1_000;

/// A record, whether nothing is left at its path, and the object that is its file now.
type Move = (Orphan, bool, ObjectFacts);

impl Run<'_> {
    /// Carries the records of renamed files of the current user.
    pub(super) async fn carry(&mut self, decided: &Decided, whose: &Whose, prefix: &Prefix) -> Result<(), Stop> {
        let target = |place| {
            Ok::<_, Stop>(match decided.items.get(place)? {
                Item::Missing(object) | Item::Stale(_, object, _) => Some(object),
                Item::Orphan(_) => None,
            })
        };
        let source = |place| {
            Ok::<_, Stop>(match decided.items.get(place)? {
                Item::Orphan(record) => Some((record, true)),
                Item::Stale(record, ..) => Some((record, false)),
                Item::Missing(_) => None,
            })
        };
        // Where paths change hands, what hangs together is one transaction: half of it would leave two records at one path.
        let (mut batch, mut tangles) = (Vec::new(), decided.tangles.iter()?);
        while let Some((_, moves)) = tangles.next()? {
            self.cancel.reason().map_or(Ok(()), Err)?;
            for (from, to) in moves {
                batch.extend(source(from)?.zip(target(to)?).map(|((record, gone), object)| (record, gone, object)));
            }
            self.carry_batch(std::mem::take(&mut batch), whose, prefix).await?;
        }
        let mut moves = decided.moves.iter();
        while let Some(next) = moves.next()? {
            let (to, from) = (upper(next), lower(next));
            batch.extend(source(from)?.zip(target(to)?).map(|((record, gone), object)| (record, gone, object)));
            if batch.len() == MOVES {
                self.cancel.reason().map_or(Ok(()), Err)?;
                self.carry_batch(std::mem::take(&mut batch), whose, prefix).await?;
            }
        }
        self.carry_batch(batch, whose, prefix).await
    }

    async fn carry_batch(&mut self, batch: Vec<Move>, whose: &Whose, prefix: &Prefix) -> Result<(), Stop> {
        if batch.is_empty() {
            return Ok(());
        }
        self.report.tally.moved += batch.len() as u64;
        for (record, ..) in batch.iter().filter(|(_, gone, _)| *gone) {
            self.scopes.count_matched(|| record.created_at.map(Timestamp::from_micros));
        }
        if !self.policy.adds {
            for (record, _, object) in &batch {
                self.tell_move(record, object, whose, Action::None, None);
            }
            return Ok(());
        }
        let mut going = Vec::with_capacity(batch.len());
        // What is still there, or there again, has not moved.
        let keys: Vec<String> =
            batch.iter().filter(|(_, gone, _)| *gone).map(|(record, ..)| prefix.key_of(&record.path)).collect();
        let mut glances = self.looks.look(&keys).await.into_iter().zip(keys);
        for (record, gone, object) in batch {
            let look = if gone { glances.next() } else { None };
            let skip = match look {
                None | Some((Glance::Absent, _)) => {
                    going.push((record, object));
                    continue;
                }
                Some((Glance::Present, _)) => SkipReason::Reappeared,
                Some((Glance::Unaddressable, _)) => SkipReason::Unaddressable,
                Some((Glance::Unknown(why), key)) => {
                    let message =
                        format!("{key:?} could not be looked for, so its record is not moved: {}", why.message);
                    self.report.note("head_failed", message, Some(key));
                    SkipReason::Unanswered
                }
            };
            self.tell_move(&record, &object, whose, Action::Skip, Some(skip));
        }
        let carries: Vec<Carry> = going
            .iter()
            .map(|(record, object)| Carry {
                id: record.id,
                user: whose.user,
                version: record.version.clone().into_bytes(),
                object: object.clone(),
                path_at: whose.path_at,
                content_type: content_type_of(&object.key),
            })
            .collect();
        let carried = if carries.is_empty() { Vec::new() } else { self.sink.carry(&carries).await? };
        for ((record, object), carried) in going.iter().zip(carried) {
            match carried {
                Carried::Done => {
                    self.report.tally.carried += 1;
                    self.tell_move(record, object, whose, Action::Move, None);
                }
                Carried::Changed => self.tell_move(record, object, whose, Action::Skip, Some(SkipReason::Changed)),
                Carried::Taken => self.tell_move(record, object, whose, Action::Skip, Some(SkipReason::Taken)),
            }
        }
        self.observer.progress(Progress { phase: Phase::Moving, done: self.report.tally.moved, total: None });
        Ok(())
    }

    fn tell_move(
        &mut self,
        record: &Orphan,
        object: &ObjectFacts,
        whose: &Whose,
        action: Action,
        skip: Option<SkipReason>,
    ) {
        if self.observer.wants(FindingKind::Moved) {
            let reasons = std::iter::once("same_file").chain(skip.map(SkipReason::as_str)).collect();
            let found = Found { kind: FindingKind::Moved, action, reasons };
            let content_type = content_type_of(&object.key);
            let about = About { user: Some(whose.user), path_at: whose.path_at, content_type };
            self.observer.finding(&evidence::of_object(found, about, object, Some(IndexSide::from(record))));
        }
    }
}
