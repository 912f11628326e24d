//! The rebuildable index: the only room that speaks SQL.

mod binding;
mod connect;
mod deletes;
mod dialect;
mod entity;
mod error;
mod journal;
mod lease;
mod links;
mod moves;
mod page;
mod process;
mod records;
mod restore;
mod retry;
mod schema;
mod secret;
mod tasks;
mod undo;
mod users;
mod writes;

pub use connect::{Access, Index, READERS};
pub use deletes::{Candidate, Fate};
pub use error::IndexError;
pub use lease::{Holder, Lease, LeaseTerms};
pub use links::{NewLink, ShareLink};
pub use moves::{Carried, Carry};
pub use page::RecordPage;
pub use records::RecordPages;
pub use restore::{RestoreProblem, RestoreReport, RestoreTally};
pub use schema::MigrationState;
pub use tasks::{Outcome, Task};
pub use users::{NewUser, User, UserRow};
pub(crate) use users::{check_free, check_name};
pub use writes::{NewRecord, Refresh, Writer, Written};
