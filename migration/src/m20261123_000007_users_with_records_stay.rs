//! On PostgreSQL, where records have no foreign key to their users: a user who has records cannot be deleted all the same.

use sea_orm_migration::prelude::*;
use sea_orm_migration::sea_orm::DbBackend;

#[derive(DeriveMigrationName)]
pub(crate) struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        if manager.get_database_backend() != DbBackend::Postgres {
            return Ok(());
        }
        let statements = "CREATE FUNCTION users_with_records_stay() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN \
             IF EXISTS (SELECT 1 FROM stored_files WHERE user_id = OLD.id) THEN \
             RAISE foreign_key_violation USING MESSAGE = format('user %s has records; use storm-index user remove', OLD.id); \
             END IF; RETURN CASE TG_OP WHEN 'DELETE' THEN OLD ELSE NEW END; END $$; \
             CREATE TRIGGER users_with_records_stay BEFORE DELETE OR UPDATE OF id ON users \
             FOR EACH ROW EXECUTE FUNCTION users_with_records_stay()";
        manager.get_connection().execute_unprepared(statements).await.map(drop)
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        if manager.get_database_backend() != DbBackend::Postgres {
            return Ok(());
        }
        let statements = "DROP TRIGGER users_with_records_stay ON users; DROP FUNCTION users_with_records_stay()";
        manager.get_connection().execute_unprepared(statements).await.map(drop)
    }
}
