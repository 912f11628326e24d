//! Tasks: what every run was asked and came to.

use sea_orm_migration::prelude::*;

#[derive(DeriveMigrationName)]
pub(crate) struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let column = |name: &str| ColumnDef::new(Alias::new(name));
        manager
            .create_table(
                Table::create()
                    .table(Alias::new("tasks"))
                    // A UUID of version 7: in the order in which runs began.
                    .col(column("id").text().not_null().primary_key())
                    .col(column("request").text().not_null())
                    .col(column("status").text().not_null())
                    .col(column("progress").text())
                    .col(column("result").text())
                    .col(column("errors").text().not_null().default("[]"))
                    .col(column("created_at").timestamp_with_time_zone().not_null().default(Expr::current_timestamp()))
                    .col(column("started_at").timestamp_with_time_zone())
                    .col(column("finished_at").timestamp_with_time_zone())
                    .to_owned(),
            )
            .await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        manager.drop_table(Table::drop().table(Alias::new("tasks")).to_owned()).await
    }
}
