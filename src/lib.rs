//! storm-index keeps a database index of files in step with the object storage that is their truth.
//!
//! The storage is the truth, the index is rebuildable, and nothing a person made (a share link) is lost to a rebuild.
//!
//! # The path of the data
//!
//! ```text
//!  storage ── listing (key order) ──┐
//!                                   ├─ merge ─ finding ─ plan ─┬─ additions, refreshes ─ sink ── index
//!  index ──── records (key order) ──┘                          └─ deletions wait on disk
//!                                                                      │  the listing has ended
//!                                                 guard ─ one more look at the storage ─ sink ── index
//! ```
//!
//! # The rooms
//!
//! - [`model`]: the plain words that everyone speaks; no I/O.
//! - [`storage`]: the truth, read-only by construction but for its marker.
//! - [`index`]: the rebuildable tables; the only room that speaks SQL.
//! - [`reconcile`]: the engine; `storage` and `index` meet only here.
//! - `cli`, `config` (feature `cli`): the command line.
//! - `task`, `http` (feature `server`): runs as tasks, and the API over them.
//! - [`error`], [`clock`]: what can go wrong, and what time it is.
//! - `private`: files and directories that only their owner can read.
//!
//! # Use
//!
//! ```
//! use std::sync::Arc;
//!
//! use object_store::{ObjectStoreExt as _, memory::InMemory, path::Path};
//! use storm_index::index::{Access, Index, NewUser};
//! use storm_index::reconcile::{Mode, Reconciler, Request, Silent};
//! use storm_index::storage::Storage;
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let store = Arc::new(InMemory::new());
//! store.put(&Path::parse("photos/cat.jpg")?, "whiskers".into()).await?;
//! store.put(&Path::parse("photos/2025/snow.jpg")?, "white".into()).await?;
//!
//! let index = Index::open("sqlite::memory:", Access::Write).await?;
//! index.add_user(NewUser { name: "ann".into(), id: None, prefix: Some("photos".into()) }).await?;
//!
//! let reconciler = Reconciler::new(&Storage::new(store), &index);
//! let report = reconciler.run(&Request::new(Mode::Sync), &mut Silent).await?;
//! assert_eq!((report.tally.missing, report.tally.created), (2, 2));
//!
//! let again = reconciler.run(&Request::new(Mode::Audit), &mut Silent).await?;
//! assert!(!again.tally.has_drift());
//! # Ok(())
//! # }
//! ```

#[cfg(feature = "cli")]
pub mod cli;
pub mod clock;
#[cfg(feature = "cli")]
pub mod config;
pub mod error;
#[cfg(feature = "server")]
pub mod http;
pub mod index;
pub mod model;
mod private;
pub mod reconcile;
pub mod storage;
#[cfg(feature = "server")]
pub mod task;
