//! What stands at the front of the two streams -> a finding, and what is done about it at once.

use super::closing::Whose;
use super::doubts::Shadow;
use super::evidence::{self, About, Found};
use super::finding::{StaleReason, compare};
use super::rename::Side;
use super::report::{Action, FindingKind, IndexSide};
use super::run::Run;
use super::stop::Stop;
use crate::index::{IndexError, NewIdentity, NewRecord, Refresh};
use crate::model::{ObjectFacts, Orphan, RecordFacts, RecordId, RenameProof};
use crate::storage::content_type_of;

impl Run<'_> {
    pub(super) fn unclaimed(&mut self, object: &ObjectFacts) {
        self.report.tally.unclaimed += u64::from(!self.one_user);
        if self.observer.wants(FindingKind::Unclaimed) {
            let about = About { user: None, path_at: 0, content_type: content_type_of(&object.key) };
            let found = Found { kind: FindingKind::Unclaimed, action: Action::None, reasons: vec!["no_user"] };
            self.observer.finding(&evidence::of_object(found, about, object, None));
        }
    }

    /// Takes an object that has no record: a user who has none at all gets it at once, for others it may be a renamed
    /// file.
    pub(super) fn missing(&mut self, object: ObjectFacts) -> Result<(), Stop> {
        let Some(scope) = self.scopes.current() else { return Ok(()) };
        let whose = Whose::of(scope);
        // What is left out is a record as well.
        let first = scope.records() + scope.unjudged == 0 && self.cursor.peek_path().is_none();
        if self.proof != RenameProof::Nothing && !first {
            return Ok(self.waiting.missing(object)?);
        }
        self.create(object, &whose, first)
    }

    /// Makes a record for an object that has none.
    pub(super) fn create(&mut self, object: ObjectFacts, whose: &Whose, first: bool) -> Result<(), Stop> {
        let (user, path_at) = (whose.user, whose.path_at);
        self.report.tally.missing += 1;
        let content_type = content_type_of(&object.key);
        let action = if self.policy.adds { Action::Create } else { Action::None };
        if self.observer.wants(FindingKind::Missing) {
            let about = About { user: Some(user), path_at, content_type };
            let found = Found { kind: FindingKind::Missing, action, reasons: vec!["no_record"] };
            self.observer.finding(&evidence::of_object(found, about, &object, None));
        }
        if self.observer.wants(FindingKind::Orphaned) {
            self.strays.missing(self.proof.fingerprint(&object), user)?;
        }
        if action == Action::Create {
            if let Some(scope) = self.scopes.current() {
                scope.added += 1;
                self.mounts.add(&scope.start, &object.key[path_at..]);
            }
            self.writes.creates.push(NewRecord { user, object, path_at, content_type, first });
        }
        Ok(())
    }

    /// Judges an object and the record that stands at the cursor.
    pub(super) fn pair(&mut self, object: ObjectFacts) -> Result<(), Stop> {
        let (record, scope) = (self.cursor.peek(), self.scopes.current());
        if let Some(damaged) = record.filter(|record| record.damaged) {
            self.damaged(&IndexError::Damaged(damaged.id));
        } else if let (Some(record), Some(scope)) = (record, scope) {
            let whose = Whose::of(scope);
            let content_type = content_type_of(&object.key);
            let reasons = compare(&object, content_type, &record, self.storage.etag_meaning());
            let (then, now) = match (self.proof, &reasons) {
                // A file that is in step is nobody's but its own; a content may be another object's as well.
                (RenameProof::Nothing, _) | (RenameProof::File, None) => (None, None),
                _ => (self.proof.fingerprint(&record), self.proof.fingerprint(&object)),
            };
            match reasons {
                // Its content may have come from elsewhere, or gone elsewhere.
                Some(reasons) if then.is_some() && then != now => {
                    let record = Orphan::of(whose.user, &record);
                    self.waiting.stale(record, object, reasons)?;
                }
                Some(reasons) => {
                    self.waiting.note(now, Side::Twin, 0)?;
                    let record = Orphan::of(whose.user, &record);
                    self.refresh(record, object, &reasons, &whose);
                }
                None => {
                    self.waiting.note(now, Side::Twin, 0)?;
                    if object.device.is_some() {
                        scope.inodes.count(&object, &record);
                        let identity = new_identity(&object, &record).filter(|_| self.policy.acts());
                        self.writes.identities.extend(identity);
                    }
                    if self.observer.wants(FindingKind::Matched) {
                        let index = Some(IndexSide::from(&Orphan::of(whose.user, &record)));
                        let about = About { user: Some(whose.user), path_at: whose.path_at, content_type };
                        let found = Found { kind: FindingKind::Matched, action: Action::None, reasons: Vec::new() };
                        self.observer.finding(&evidence::of_object(found, about, &object, index));
                    }
                }
            }
        }
        self.pass_record(true);
        Ok(())
    }

    /// Brings a record up to date.
    pub(super) fn refresh(&mut self, record: Orphan, object: ObjectFacts, reasons: &[StaleReason], whose: &Whose) {
        let content_type = content_type_of(&object.key);
        let action = if self.policy.adds { Action::Update } else { Action::None };
        self.report.tally.stale += 1;
        if self.observer.wants(FindingKind::Stale) {
            let about = About { user: Some(whose.user), path_at: whose.path_at, content_type };
            let reasons = reasons.iter().copied().map(StaleReason::as_str).collect();
            let found = Found { kind: FindingKind::Stale, action, reasons };
            let index = Some(IndexSide::from(&record));
            self.observer.finding(&evidence::of_object(found, about, &object, index));
        }
        if action == Action::Update {
            let (id, version): (RecordId, Vec<u8>) = (record.id, record.version.into_bytes());
            self.writes.updates.push(Refresh { id, version, object, path_at: whose.path_at, content_type });
        }
    }

    /// Takes the record at the cursor, for which there is no object.
    pub(super) fn orphan(&mut self) -> Result<(), Stop> {
        if self.is_left_out() {
            return self.pass_left_out(None);
        }
        let record = self.cursor.peek();
        if let Some(damaged) = record.filter(|record| record.damaged) {
            self.damaged(&IndexError::Damaged(damaged.id));
        } else if let (Some(record), Some(scope)) = (record, self.scopes.current()) {
            let key = scope.user.prefix.key_of(record.path);
            let print = self.proof.fingerprint(&record);
            match self.doubts.shadow(&key) {
                Shadow::None => self.waiting.orphan(Orphan::of(scope.user.id, &record))?,
                Shadow::Itself => self.waiting.note(print, Side::Twin, 0)?,
                Shadow::Below => {
                    self.waiting.note(print, Side::Hidden, id_of(&record))?;
                    if !std::mem::replace(&mut scope.hides_records, true) {
                        scope.complete = false;
                        let why = "has records below an entry that could not be entered; these are not judged";
                        let message = format!("user {} {why}: {key:?}", scope.user.id);
                        self.report.note("hidden_records", message, Some(key));
                    }
                }
            }
        }
        self.pass_record(false);
        Ok(())
    }

    /// Leaves the record at the cursor, about which nobody can say whether its object is there.
    pub(super) fn pass_hidden(&mut self) -> Result<(), Stop> {
        if self.is_left_out() {
            return self.pass_left_out(None);
        }
        if let Some(record) = self.cursor.peek().filter(|record| !record.damaged) {
            self.waiting.note(self.proof.fingerprint(&record), Side::Hidden, id_of(&record))?;
        }
        self.pass_record(false);
        Ok(())
    }

    fn is_left_out(&self) -> bool {
        self.cursor.peek_path().is_some_and(|path| self.excludes.matches(path))
    }

    /// Leaves the record at the cursor, and its `object`, if there is one, as both are excluded. Where they are not one file,
    /// the record's file may have gone to where it is listed.
    pub(super) fn pass_left_out(&mut self, object: Option<&ObjectFacts>) -> Result<(), Stop> {
        if let Some(record) = self.cursor.peek().filter(|record| !record.damaged) {
            let then = self.proof.fingerprint(&record);
            let now = object.and_then(|object| self.proof.fingerprint(object));
            match then == now {
                true => self.waiting.note(then, Side::Twin, 0)?,
                false => {
                    self.waiting.note(then, Side::Hidden, id_of(&record))?;
                    self.waiting.note(now, Side::Twin, 0)?;
                }
            }
        }
        if let Some(scope) = self.scopes.current() {
            scope.unjudged += 1;
        }
        self.report.tally.excluded += 1;
        self.cursor.advance();
        Ok(())
    }

    fn pass_record(&mut self, matched: bool) {
        self.scopes.count_record(|| self.cursor.peek().and_then(|record| record.created_at));
        if let (Some(scope), Some(path)) = (self.scopes.current(), self.cursor.peek_path()) {
            self.mounts.count(&scope.start, path, matched);
        }
        self.cursor.advance();
        self.report.tally.records += 1;
    }

    /// Tells of a record that nobody can judge; it is left as it is, and the others are judged.
    pub(super) fn damaged(&mut self, error: &IndexError) {
        self.report.note(error.code(), error.to_string(), None);
    }
}

/// Returns what is to be stored of a file that is in step, but is another file than the record says.
fn new_identity(object: &ObjectFacts, record: &RecordFacts<'_>) -> Option<NewIdentity> {
    let version = || record.version.to_vec();
    (object.file_id != record.file_id).then(|| NewIdentity {
        id: record.id,
        version: version(),
        file_id: object.file_id,
    })
}

fn id_of(record: &RecordFacts<'_>) -> u64 {
    u64::try_from(record.id).unwrap_or(0)
}
