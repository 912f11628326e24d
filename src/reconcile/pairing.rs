//! What stands at the front of the two streams -> a finding, and what is done about it at once.

use super::closing::Whose;
use super::doubts::Shadow;
use super::evidence::{self, About, Found};
use super::finding::{StaleReason, compare};
use super::rename::Side;
use super::report::{Action, FindingKind, IndexSide};
use super::run::Run;
use super::stop::Stop;
use crate::index::{IndexError, NewRecord, Refresh};
use crate::model::{ObjectFacts, Orphan, RecordId};
use crate::storage::{StorageReader, content_type_of};

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
        if self.moves && !first {
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
        if self.moves && self.observer.wants(FindingKind::Orphaned) {
            self.strays.missing(object.fingerprint(), user)?;
        }
        if action == Action::Create {
            if let Some(scope) = self.scopes.current() {
                scope.added += 1;
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
            let (then, now) = match self.moves {
                true => (record.fingerprint(), object.fingerprint()),
                false => (None, None),
            };
            match reasons {
                // Its content may have come from elsewhere, or gone elsewhere.
                Some(reasons) if then.is_some() && then != now => {
                    let record = Orphan::of(whose.user, &record);
                    self.waiting.stale(record, object, reasons)?;
                }
                reasons => {
                    if then == now {
                        self.waiting.note(then, Side::Both)?;
                    } else {
                        self.waiting.note(then, Side::Record)?;
                        self.waiting.note(now, Side::Object)?;
                    }
                    match reasons {
                        Some(reasons) => {
                            let record = Orphan::of(whose.user, &record);
                            self.refresh(record, object, &reasons, &whose);
                        }
                        None if self.observer.wants(FindingKind::Matched) => {
                            let index = Some(IndexSide::from(&Orphan::of(whose.user, &record)));
                            let about = About { user: Some(whose.user), path_at: whose.path_at, content_type };
                            let found = Found { kind: FindingKind::Matched, action: Action::None, reasons: Vec::new() };
                            self.observer.finding(&evidence::of_object(found, about, &object, index));
                        }
                        None => {}
                    }
                }
            }
        }
        self.pass_record();
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
            // What no storage could have cannot be looked for, and so cannot be said to have moved.
            let may_move = self.moves && StorageReader::is_addressable(&key);
            let print = record.fingerprint().filter(|_| may_move);
            match self.doubts.shadow(&key) {
                Shadow::None => self.waiting.orphan(Orphan::of(scope.user.id, &record), print)?,
                Shadow::Itself => self.waiting.note(print, Side::Record)?,
                Shadow::Below => {
                    self.waiting.note(print, Side::Hidden)?;
                    if !std::mem::replace(&mut scope.hides_records, true) {
                        scope.complete = false;
                        let why = "has records below an entry that could not be entered; these are not judged";
                        let message = format!("user {} {why}: {key:?}", scope.user.id);
                        self.report.note("hidden_records", message, Some(key));
                    }
                }
            }
        }
        self.pass_record();
        Ok(())
    }

    /// Leaves the record at the cursor, about which nobody can say whether its object is there.
    pub(super) fn pass_hidden(&mut self) -> Result<(), Stop> {
        if self.is_left_out() {
            return self.pass_left_out(None);
        }
        if let Some(record) = self.cursor.peek().filter(|record| self.moves && !record.damaged) {
            self.waiting.note(record.fingerprint(), Side::Hidden)?;
        }
        self.pass_record();
        Ok(())
    }

    fn is_left_out(&self) -> bool {
        self.cursor.peek_path().is_some_and(|path| self.excludes.matches(path))
    }

    /// Leaves the record at the cursor, and its `object`, if there is one, as nobody wants to hear of them. Where they are not
    /// one file, either may be what was renamed all the same.
    pub(super) fn pass_left_out(&mut self, object: Option<&ObjectFacts>) -> Result<(), Stop> {
        let record = self.cursor.peek().filter(|record| self.moves && !record.damaged);
        let then = record.and_then(|record| record.fingerprint());
        let now = object.filter(|_| self.moves).and_then(ObjectFacts::fingerprint);
        if then == now {
            self.waiting.note(then, Side::Both)?;
        } else {
            self.waiting.note(then, Side::Hidden)?;
            self.waiting.note(now, Side::HiddenObject)?;
        }
        if let Some(scope) = self.scopes.current() {
            scope.unjudged += 1;
        }
        self.cursor.advance();
        Ok(())
    }

    fn pass_record(&mut self) {
        self.scopes.count_record(|| self.cursor.peek().and_then(|record| record.created_at));
        self.cursor.advance();
        self.report.tally.records += 1;
    }

    /// Tells of a record that nobody can judge; it is left as it is, and the others are judged.
    pub(super) fn damaged(&mut self, error: &IndexError) {
        self.report.note(error.code(), error.to_string(), None);
    }
}
