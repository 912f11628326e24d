//! The schema of the storm-index database: one file a step, applied in order, never edited afterwards.
//!
//! A migration is history, so nothing here imports the entities: they describe the present.

use sea_orm_migration::prelude::*;

mod m20261123_000001_users;
mod m20261123_000002_stored_files;
mod m20261123_000003_share_links;
mod m20261123_000004_users_unsettled_since;
mod m20261123_000005_lease;
mod m20261123_000006_tasks;
mod m20261123_000007_users_with_records_stay;
mod m20261123_000008_journal;
mod m20261123_000009_storage_binding;
mod m20261123_000010_tasks_alive;
mod m20261123_000011_api_keys;
mod m20261123_000012_audits;
mod m20261126_000013_journal_horizon;
mod m20261126_000014_linked_files_stay;
mod m20261130_000015_file_identity;

pub use sea_orm_migration::MigratorTrait;

/// Applies the steps in order and remembers them in `seaql_migrations`.
#[derive(Debug, Clone, Copy)]
pub struct Migrator;

#[async_trait::async_trait]
impl MigratorTrait for Migrator {
    fn migrations() -> Vec<Box<dyn MigrationTrait>> {
        vec![
            Box::new(m20261123_000001_users::Migration),
            Box::new(m20261123_000002_stored_files::Migration),
            Box::new(m20261123_000003_share_links::Migration),
            Box::new(m20261123_000004_users_unsettled_since::Migration),
            Box::new(m20261123_000005_lease::Migration),
            Box::new(m20261123_000006_tasks::Migration),
            Box::new(m20261123_000007_users_with_records_stay::Migration),
            Box::new(m20261123_000008_journal::Migration),
            Box::new(m20261123_000009_storage_binding::Migration),
            Box::new(m20261123_000010_tasks_alive::Migration),
            Box::new(m20261123_000011_api_keys::Migration),
            Box::new(m20261123_000012_audits::Migration),
            Box::new(m20261126_000013_journal_horizon::Migration),
            Box::new(m20261126_000014_linked_files_stay::Migration),
            Box::new(m20261130_000015_file_identity::Migration),
        ]
    }
}
