//! storm
#[cfg(feature = "cli")]
pub mod cli;
pub mod clock;
#[cfg(feature = "cli")]
pub mod config;
pub mod error;
pub mod index;
pub mod model;
pub mod reconcile;
pub mod storage;
