//! On SQLite, where a foreign key holds only for those programs that ask for it: a record that has share links, and a user
//! who has records, cannot be deleted by any other either.

use sea_orm_migration::prelude::*;
use sea_orm_migration::sea_orm::DbBackend;

#[derive(DeriveMigrationName)]
pub(crate) struct Migration;

const TRIGGERS: [(&str, &str); 2] = [
    (
        "linked_files_stay",
        "BEFORE DELETE ON stored_files WHEN EXISTS (SELECT 1 FROM share_links WHERE stored_file_id = OLD.id) \
         BEGIN SELECT RAISE(ABORT, 'FOREIGN KEY constraint failed: the record has share links'); END",
    ),
    (
        "users_with_records_stay",
        "BEFORE DELETE ON users WHEN EXISTS (SELECT 1 FROM stored_files WHERE user_id = OLD.id) \
         BEGIN SELECT RAISE(ABORT, 'FOREIGN KEY constraint failed: the user has records; use storm-index user remove'); END",
    ),
];

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        if manager.get_database_backend() != DbBackend::Sqlite {
            return Ok(());
        }
        for (name, what) in TRIGGERS {
            manager.get_connection().execute_unprepared(&format!("CREATE TRIGGER {name} {what}")).await?;
        }
        Ok(())
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        if manager.get_database_backend() != DbBackend::Sqlite {
            return Ok(());
        }
        for (name, _) in TRIGGERS {
            manager.get_connection().execute_unprepared(&format!("DROP TRIGGER {name}")).await?;
        }
        Ok(())
    }
}
