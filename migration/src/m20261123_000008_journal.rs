//! The journal: what each record was before it was changed or deleted, and what it became, so that it can be undone.

use sea_orm_migration::prelude::*;

#[derive(DeriveMigrationName)]
pub(crate) struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let column = |name: &str| ColumnDef::new(Alias::new(name));
        let is_postgres = manager.get_database_backend() == sea_orm_migration::sea_orm::DbBackend::Postgres;
        let bytewise = if is_postgres { "COLLATE \"C\"" } else { "" };
        manager
            .create_table(
                Table::create()
                    .table(Alias::new("journal"))
                    .col(column("id").big_integer().not_null().auto_increment().primary_key())
                    .col(column("task_id").text())
                    .col(column("action").text().not_null())
                    .col(column("record_id").big_integer().not_null())
                    .col(column("user_id").big_integer().not_null())
                    // Where the record was, and where a move leads.
                    .col(column("path").text().not_null().extra(bytewise))
                    .col(column("new_path").text().extra(bytewise))
                    // Images of the record, and the links that went along: JSON.
                    .col(column("before").text())
                    .col(column("after").text())
                    .col(column("links").text())
                    .col(column("created_at").timestamp_with_time_zone().not_null().default(Expr::current_timestamp()))
                    .to_owned(),
            )
            .await?;
        for (name, columns) in [
            ("journal_task_id", ["task_id", "id"]),
            ("journal_record_id", ["record_id", "id"]),
            ("journal_user_id_path", ["user_id", "path"]),
        ] {
            let mut index = Index::create();
            index.name(name).table(Alias::new("journal"));
            for column in columns {
                index.col(Alias::new(column));
            }
            manager.create_index(index).await?;
        }
        Ok(())
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        manager.drop_table(Table::drop().table(Alias::new("journal")).to_owned()).await
    }
}
