//! Records: one row a file, unique by user and path, with ids that are never given twice.

use sea_orm_migration::prelude::*;

#[derive(DeriveMigrationName)]
pub(crate) struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let column = |name: &str| ColumnDef::new(Alias::new(name));
        let time = |name: &str| {
            ColumnDef::new(Alias::new(name))
                .timestamp_with_time_zone()
                .not_null()
                .default(Expr::current_timestamp())
                .to_owned()
        };
        // PostgreSQL orders text by a language unless it is told not to. It also checks a foreign key row by row, which
        // takes as long as loading the rows: there the users of a batch are checked at once, when it is written.
        let is_postgres = manager.get_database_backend() == sea_orm_migration::sea_orm::DbBackend::Postgres;
        let bytewise = if is_postgres { "COLLATE \"C\"" } else { "" };
        let mut users = ForeignKey::create();
        users
            .name("stored_files_user_id")
            .from(Alias::new("stored_files"), Alias::new("user_id"))
            .to(Alias::new("users"), Alias::new("id"))
            .on_delete(ForeignKeyAction::Restrict);
        let mut table = Table::create();
        if !is_postgres {
            table.foreign_key(&mut users);
        }
        manager
            .create_table(
                table
                    .table(Alias::new("stored_files"))
                    .col(column("id").big_integer().not_null().auto_increment().primary_key())
                    .col(column("user_id").big_integer().not_null())
                    .col(column("path").text().not_null().extra(bytewise))
                    .col(column("name").text().not_null().default(""))
                    .col(column("parent_path").text().not_null().default(""))
                    .col(column("size").big_integer())
                    .col(column("content_type").text())
                    .col(column("etag").text())
                    .col(column("last_modified").timestamp_with_time_zone())
                    .col(time("created_at"))
                    .col(time("updated_at"))
                    .to_owned(),
            )
            .await?;
        // The one order that everything reads and writes in: the bytes of the path within a user.
        manager
            .create_index(
                Index::create()
                    .name("stored_files_user_id_path")
                    .table(Alias::new("stored_files"))
                    .col(Alias::new("user_id"))
                    .col(Alias::new("path"))
                    .unique()
                    .to_owned(),
            )
            .await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        manager.drop_table(Table::drop().table(Alias::new("stored_files")).to_owned()).await
    }
}
