//! A run as a task: accepted, carried out, watched, asked to end, and known after its end.
//!
//! `READY` (accepted; until it may begin) → `RUNNING` → `SUCCESSFUL`, `FAILED` or `CANCELLED`. Rows in the index say so to
//! everybody; what one server carries out itself is known here at once.

mod audit;
mod carrying;
mod desk;
mod error;
mod findings;
mod live;
mod look;
mod meter;
mod schedule;

pub use audit::{AuditResult, StandingAudit};
pub use desk::{Desk, Settings};
pub use error::TaskError;
pub use findings::{Finding, FindingsPage};
pub use live::{Live, State};
pub use meter::ProgressWire;
pub use schedule::{Schedule, ScheduleError};
