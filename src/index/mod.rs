//! The rebuildable index: the only room that speaks SQL.

mod connect;
mod deletes;
mod entity;
mod error;
mod links;
mod packed;
mod records;
mod schema;
mod users;
mod writes;

pub use connect::{Access, Index};
pub use deletes::{Candidate, Fate};
pub use error::IndexError;
pub use links::{NewLink, ShareLink};
pub use packed::RecordPage;
pub use records::RecordPages;
pub use schema::MigrationState;
pub use users::{NewUser, User, UserRow};
pub(crate) use users::{check_free, check_name};
pub use writes::{NewRecord, Refresh, Writer, Written};
