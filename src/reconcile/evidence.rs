//! What a finding is told with, put together only when somebody listens.

use super::report::{Action, Evidence, FindingKind, IndexSide, StorageSide};
use super::scopes::Scope;
use crate::model::{BadEntry, ObjectFacts, Orphan, UserId};

/// What was found, and what is done about it.
pub(super) struct Found {
    pub(super) kind: FindingKind,
    pub(super) action: Action,
    pub(super) reasons: Vec<&'static str>,
}

/// Whose an object is, and what its key says.
#[derive(Debug, Clone, Copy)]
pub(super) struct About {
    pub(super) user: Option<UserId>,
    pub(super) path_at: usize,
    pub(super) content_type: &'static str,
}

/// Tells of an object, and of its record if it has one.
pub(super) fn of_object(found: Found, about: About, object: &ObjectFacts, index: Option<IndexSide>) -> Evidence {
    Evidence {
        kind: found.kind,
        user_id: about.user,
        path: object.key[about.path_at..].to_owned(),
        key: object.key.clone(),
        reasons: found.reasons,
        action: found.action,
        storage: Some(StorageSide {
            key: object.key.clone(),
            size: object.size,
            content_type: about.content_type,
            etag: object.etag.clone(),
            last_modified: object.last_modified.to_text(),
        }),
        index,
        candidate: None,
    }
}

/// Tells of an entry that cannot be an object.
pub(super) fn of_entry(entry: &BadEntry, scope: Option<&Scope>) -> Evidence {
    Evidence {
        kind: FindingKind::Unindexable,
        user_id: scope.map(|s| s.user.id),
        path: entry.shown[scope.map_or(0, |s| s.start.len())..].to_owned(),
        key: entry.shown.clone(),
        reasons: vec![entry.reason.code()],
        action: Action::None,
        storage: None,
        index: None,
        candidate: None,
    }
}

/// Tells of a record without an object.
pub(super) fn of_orphan(found: Found, orphan: &Orphan, key: String) -> Evidence {
    Evidence {
        kind: found.kind,
        user_id: Some(orphan.user),
        path: orphan.path.clone(),
        key,
        reasons: found.reasons,
        action: found.action,
        storage: None,
        index: Some(IndexSide::from(orphan)),
        candidate: None,
    }
}
