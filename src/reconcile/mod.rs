//! The engine, its files in the order in which the data meets them.

mod request;

mod identity;
mod inodes;
mod proof;
mod standing;

mod adoption;
mod cancel;
mod cursor;
mod doubts;
mod excludes;
mod merge;
mod scopes;
mod spans;

mod finding;
mod first_look;
mod numbers;
mod plan;
mod rename;
mod spool;
mod strays;
mod tangle;
mod waiting;

mod apply;
mod closing;
mod csv;
mod deletion;
mod ending;
mod evidence;
mod guard;
mod last_word;
mod looks;
mod mounts;
mod moving;

mod pairing;
mod path_look;
mod reconciler;
mod report;
mod run;
mod stop;
mod tally;
mod wire;

pub use cancel::{Cancel, CancelReason};
pub use csv::{csv_header, csv_line};
pub use excludes::Excludes;
pub use finding::{StaleReason, compare};
pub use guard::{Refusal, RefusalCode};
pub use identity::unreadable_marker;
#[cfg(feature = "server")]
pub(crate) use last_word::{LastWord, Ran, lose_lease};
pub use path_look::StorageLook;
pub use plan::SkipReason;
pub use reconciler::Reconciler;
pub use report::{
    Action, Evidence, FindingKind, IndexSide, Observer, Phase, Problem, Progress, Report, Silent, Status, StorageSide,
};
pub use request::{MaxDelete, Mode, Request, RequestError};
pub use scopes::check_users;
pub use standing::{Outlook, RunVerdict};
pub use tally::Tally;
pub use wire::{Answer, ErrorWire, RefusalWire, RequestWire, ResultWire, outcome_of};
