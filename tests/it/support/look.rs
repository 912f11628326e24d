//! Stand-ins for the storage that an undone move asks.

use async_trait::async_trait;
use storm_index::index::PathLook;
use storm_index::model::{PathQuery, PathState};

/// A storage in which every moved file is back at its old path; counts the questions.
#[derive(Default)]
pub(crate) struct MovedBack(pub(crate) usize);

#[async_trait]
impl PathLook for MovedBack {
    async fn look(&mut self, queries: &[PathQuery]) -> Vec<Result<PathState, String>> {
        self.0 += queries.len();
        vec![Ok(PathState::SameFile); queries.len()]
    }
}

/// For restores that undo no move: nothing is asked.
pub(crate) struct Unasked;

#[async_trait]
impl PathLook for Unasked {
    async fn look(&mut self, queries: &[PathQuery]) -> Vec<Result<PathState, String>> {
        panic!("the storage was asked: {queries:?}");
    }
}
