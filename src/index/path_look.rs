//! The question that an undone move puts to the storage, which the index itself does not know.

use async_trait::async_trait;

use crate::model::{PathQuery, PathState};

/// Looks at the storage for paths to which records may go back.
#[async_trait]
pub trait PathLook: Send {
    /// Tells what is at the path of each of `queries` right now, in their order. An error says in one line why that is not
    /// known; then the record stays where it is.
    async fn look(&mut self, queries: &[PathQuery]) -> Vec<Result<PathState, String>>;
}
