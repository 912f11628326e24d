//! What can go wrong with the index, one variant an operation.

use std::time::Duration;

use sea_orm::DbErr;
use thiserror::Error;

use super::lease::Holder;
use crate::model::{PrefixError, RecordId};

/// Trouble with the index, or a request that the index cannot fulfil.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum IndexError {
    /// Not a URL of a database.
    #[error("database {url:?}: {why}")]
    BadUrl {
        /// As it was given.
        url: String,
        /// What is wrong and how to mend it.
        why: String,
    },
    /// The database cannot be opened.
    #[error("database {url:?} cannot be opened: {}", plain(.source))]
    Open {
        /// Which.
        url: String,
        /// What the driver said.
        source: DbErr,
    },
    /// Its directory cannot be made.
    #[error("the directory of database {url:?} cannot be made: {source}")]
    Directory {
        /// Which.
        url: String,
        /// What the system said.
        source: std::io::Error,
    },
    /// It cannot be where it is said to be.
    #[error("database {url:?} cannot be there: {source}; check the path")]
    NoPlace {
        /// Which.
        url: String,
        /// What the system said.
        source: std::io::Error,
    },
    /// It belongs to another program.
    #[error("database {url:?} belongs to another program (it has the table {table:?}); name another one")]
    NotOurs {
        /// Which.
        url: String,
        /// A table that is not ours.
        table: String,
    },
    /// It is a directory.
    #[error("database {url:?} is a directory; name a file in it")]
    IsDirectory {
        /// Which.
        url: String,
    },
    /// It stores text in an encoding whose order is not that of the keys' bytes.
    #[error("database {url:?} stores text as {encoding}, not as UTF-8; make a new one (`rebuild --adopt` fills it)")]
    Encoding {
        /// Which.
        url: String,
        /// As SQLite calls it.
        encoding: String,
    },
    /// It orders paths by a language.
    #[error(
        "database {url:?} orders stored_files.path by the collation {collation:?}, not by bytes; mend it: ALTER TABLE \
         stored_files ALTER COLUMN path TYPE text COLLATE \"C\""
    )]
    Collation {
        /// Which.
        url: String,
        /// By what it orders.
        collation: String,
    },
    /// An older storm-index made it, and it must not be written.
    #[error(
        "database {url:?} was made by an older storm-index; run `storm-index migrate up` on it once, as who may change it"
    )]
    Older {
        /// Which.
        url: String,
    },
    /// A newer storm-index made it.
    #[error("database {url:?} was made by a newer storm-index (step {step:?}); use that version or newer")]
    Newer {
        /// Which.
        url: String,
        /// The step that is not known.
        step: String,
    },
    /// It was opened for reading only.
    #[error("the database is open for reading only; this command has to write")]
    ReadOnly,
    /// Bringing the schema up to date failed.
    #[error("the schema cannot be brought up to date: {}", plain(.0))]
    Migrate(DbErr),
    /// Reading failed.
    #[error("the index cannot be read: {}", plain(.0))]
    Read(DbErr),
    /// Writing failed; what had been committed before stays.
    #[error("the index cannot be written: {}", plain(.0))]
    Write(DbErr),
    /// The end of a transaction was not confirmed.
    #[error("the database did not confirm the last batch ({}); run again: what is missing is done then", plain(.0))]
    Unconfirmed(DbErr),
    /// It does not answer.
    #[error("the database has not answered for {} s; check it, and the network to it", .0.as_secs())]
    Silent(Duration),
    /// Another run writes.
    #[error(
        "another run is writing into this index: task {} of {}, for {} s; wait until it has ended", .0.task_id, .0.name, .0.age
    )]
    Held(Holder),
    /// Another run has taken over.
    #[error("another run has taken over the index, since this one gave no sign of life for too long; run again")]
    LeaseLost,
    /// A user was removed while a run was under way.
    #[error("a user was removed while the run was under way; run again")]
    UserGone,
    /// The task that writes died.
    #[error("the index cannot be written: the task that writes stopped")]
    WriterStopped,
    /// A record is damaged.
    #[error("record {0} is damaged: a column is not readable text; mend or delete it by hand")]
    Damaged(RecordId),
    /// A record's path is a BLOB.
    #[error(
        "record {0} has a path that is no text but a BLOB; give it a text that no other record has as path, or delete it"
    )]
    BlobPath(RecordId),
    /// The index is bound to what is no storage's id.
    #[error("the index is bound to {0:?}, which is no storage's id; mend it: storm-index storage bind --force")]
    BadBinding(String),
    /// A user's row is damaged.
    #[error("user {id} ({name:?}) has a prefix that cannot be one, {prefix:?}: {why}; mend or remove that user")]
    DamagedUser {
        /// Who.
        id: i64,
        /// The name.
        name: String,
        /// What stands in the row.
        prefix: String,
        /// What is wrong with it.
        why: PrefixError,
    },
    /// No such user.
    #[error("no user {0}; see `storm-index user list`")]
    UnknownUser(String),
    /// No such record.
    #[error("user {user} has no record of {path:?}; run a sync first if the file is there")]
    UnknownPath {
        /// Whose.
        user: i64,
        /// Which.
        path: String,
    },
    /// No such task.
    #[error("no task {0:?}; see `storm-index task list`")]
    UnknownTask(String),
    /// No such link.
    #[error("no share link has the id or token {0:?}; see `storm-index share list`")]
    UnknownLink(String),
    /// The token of a link that is there.
    #[error("another share link has this token; choose another one")]
    TokenTaken,
    /// The id of one link that is the token of another.
    #[error(
        "this is the id of one share link and the token of another; name that one by its id, {other}, or the first one by its token"
    )]
    AmbiguousLink {
        /// The id of the link with that token.
        other: i64,
    },
    /// No such key.
    #[error("no key {0:?}; see `storm-index key list`")]
    UnknownKey(String),
    /// Not a file that an export has written.
    #[error("line {line} of the file is no beginning of an export: {why}; name a file that `index export` has written")]
    NotAnExport {
        /// The number of the line.
        line: u64,
        /// What is wrong.
        why: String,
    },
    /// A file breaks off while it is read.
    #[error("the file cannot be read to its end: {0}; what came before is taken over, so import it again")]
    ExportUnreadable(std::io::Error),
    /// Not a prefix.
    #[error(transparent)]
    Prefix(#[from] PrefixError),
    /// Two prefixes would nest.
    #[error(
        "prefix {new:?} and prefix {old:?} of user {owner:?} would lie within each other; prefixes never nest, so choose \
         another one (--prefix)"
    )]
    Nested {
        /// The prefix that was asked for.
        new: String,
        /// The prefix in its way.
        old: String,
        /// Whose that is.
        owner: String,
    },
    /// A name or id that another user has.
    #[error("prefix {prefix:?} cannot be user {wanted}'s: that {what} belongs to the user of prefix {owner:?}")]
    Taken {
        /// The prefix that wanted it.
        prefix: String,
        /// The name or id that was wanted.
        wanted: String,
        /// `name` or `id`.
        what: &'static str,
        /// The prefix of the user who has it.
        owner: String,
    },
    /// No user can come after the one of the highest id.
    #[error("no id is left above the highest one; name a free id with --id")]
    NoIdLeft,
    /// A text that cannot be a user's name.
    #[error("{0:?} cannot be a name: it is empty, longer than 1,024 bytes, or has a control character")]
    BadName(String),
    /// A user whose links would be lost.
    #[error("user {name:?} has {links} active share links; revoke them first (`storm-index share list`)")]
    StillShared {
        /// Who.
        name: String,
        /// How many.
        links: u64,
    },
}

impl IndexError {
    /// Returns one stable word for it.
    pub fn code(&self) -> &'static str {
        match self {
            Self::BadUrl { .. } => "bad_database_url",
            Self::Open { .. }
            | Self::Directory { .. }
            | Self::NoPlace { .. }
            | Self::IsDirectory { .. }
            | Self::Silent(_) => "database_unavailable",
            Self::Encoding { .. } => "database_encoding",
            Self::Collation { .. } => "database_collation",
            Self::Unconfirmed(_) => "database_failed",
            Self::UserGone => "user_gone",
            Self::Held(_) => "run_in_progress",
            Self::LeaseLost => "lease_lost",
            Self::Older { .. } => "database_older",
            Self::NotOurs { .. } => "database_not_ours",
            Self::Newer { .. } => "database_newer",
            Self::ReadOnly => "database_read_only",
            Self::Migrate(_) | Self::Read(_) | Self::Write(_) | Self::WriterStopped => "database_failed",
            Self::Damaged(_) | Self::BlobPath(_) => "record_damaged",
            Self::DamagedUser { .. } => "user_damaged",
            Self::BadBinding(_) => "binding_damaged",
            Self::UnknownUser(_) => "unknown_user",
            Self::UnknownPath { .. } => "unknown_path",
            Self::UnknownLink(_) => "unknown_link",
            Self::TokenTaken => "token_taken",
            Self::AmbiguousLink { .. } => "ambiguous_link",
            Self::UnknownTask(_) => "unknown_task",
            Self::UnknownKey(_) => "unknown_key",
            Self::NotAnExport { .. } => "not_an_export",
            Self::ExportUnreadable(_) => "file_unreadable",
            Self::Prefix(_) => "bad_prefix",
            Self::Nested { .. } => "nested_prefix",
            Self::Taken { what: "id", .. } => "id_taken",
            Self::Taken { .. } => "name_taken",
            Self::NoIdLeft => "no_id_left",
            Self::BadName(_) => "bad_name",
            Self::StillShared { .. } => "still_shared",
        }
    }

    /// Tells whether the request was wrong, rather than the database.
    pub fn is_usage(&self) -> bool {
        match self {
            Self::BadUrl { .. }
            | Self::UnknownUser(_)
            | Self::UnknownPath { .. }
            | Self::UnknownLink(_)
            | Self::TokenTaken
            | Self::AmbiguousLink { .. }
            | Self::UnknownTask(_)
            | Self::UnknownKey(_)
            | Self::NotAnExport { .. }
            | Self::Prefix(_)
            | Self::Nested { .. }
            | Self::Taken { .. }
            | Self::NoIdLeft
            | Self::BadName(_)
            | Self::StillShared { .. } => true,
            Self::Open { .. }
            | Self::Directory { .. }
            | Self::NoPlace { .. }
            | Self::NotOurs { .. }
            | Self::Newer { .. }
            | Self::ReadOnly
            | Self::Migrate(_)
            | Self::Read(_)
            | Self::Write(_)
            | Self::WriterStopped
            | Self::Damaged(_)
            | Self::BlobPath(_)
            | Self::BadBinding(_)
            | Self::DamagedUser { .. }
            | Self::IsDirectory { .. }
            | Self::Encoding { .. }
            | Self::Collation { .. }
            | Self::Unconfirmed(_)
            | Self::UserGone
            | Self::Silent(_)
            | Self::Held(_)
            | Self::LeaseLost
            | Self::ExportUnreadable(_)
            | Self::Older { .. } => false,
        }
    }
}

/// What drivers say, what it means, and how to mend it.
const MEANINGS: &[(&str, &str)] = &[
    ("database is locked", "it is locked by another program; wait until that has ended, or stop it"),
    ("database table is locked", "it is locked by another program; wait until that has ended, or stop it"),
    ("readonly database", "it is read-only; check its permissions, those of its directory, and the mount"),
    ("database or disk is full", "the disk is full; make room and run again"),
    ("disk I/O error", "the disk fails (I/O error); check it, and whether it is full"),
    ("file is not a database", "the file is not a SQLite database; name another one"),
    (
        "malformed",
        "the file is damaged; restore it from a backup, or save what people made with `storm-index index export`, then delete \
         it, rebuild with --adopt and import that",
    ),
    ("password authentication failed", "the user or the password is wrong; check DATABASE_URL"),
    ("Connection refused", "no server answers there; check host and port, and whether it runs"),
    ("failed to lookup address", "the host is unknown; check its name in DATABASE_URL"),
    (
        "pool timed out",
        "the server does not answer in time; check host, port and network, and how many connections it has left",
    ),
    ("read-only transaction", "it is read-only; name a server that can be written, and a role that may"),
    ("lock timeout", "it is locked by another program; wait until that has ended, or stop it"),
    ("statement timeout", "a statement took longer than the server lets this role wait; raise its statement_timeout"),
    ("temporary tables", "the role may not make temporary tables; GRANT TEMPORARY ON DATABASE ... TO it"),
    (
        "stored_files_pkey",
        "somebody has given ids by hand; SELECT setval('stored_files_id_seq', (SELECT max(id) FROM stored_files))",
    ),
    (
        "share_links_pkey",
        "somebody has given ids by hand; SELECT setval('share_links_id_seq', (SELECT max(id) FROM share_links))",
    ),
    ("does not support TLS", "the server has no TLS; turn it on there, or use sslmode=prefer"),
    ("No space left on device", "the disk is full; make room and run again"),
    ("could not extend file", "the disk is full; make room and run again"),
    (
        "unable to open database file",
        "the file or its directory cannot be opened; check the path, its permissions, and whether the disk can be written to",
    ),
];

/// Says in one line what `error` means.
fn plain(error: &DbErr) -> String {
    let line = error.to_string().split_whitespace().collect::<Vec<_>>().join(" ");
    let line = line.strip_prefix("Connection Error: ").unwrap_or(&line);
    // What a server says is said well; only the driver's frame is taken off.
    let line = match line.split_once("error returned from database: ") {
        Some((_, said)) => said.split(" at line ").next().unwrap_or(said),
        None => line,
    };
    match MEANINGS.iter().find(|(said, _)| line.contains(said)) {
        Some((_, meaning)) => (*meaning).to_owned(),
        None => line.to_owned(),
    }
}
