//! How far the journal has forgotten. One row, which is always there.

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
                    .table(Alias::new("journal_horizon"))
                    .col(column("id").integer().not_null().primary_key())
                    // What is older may be forgotten; NULL as long as nothing was.
                    .col(column("forgotten_before").timestamp_with_time_zone())
                    .to_owned(),
            )
            .await?;
        let mut row = Query::insert();
        row.into_table(Alias::new("journal_horizon")).columns([Alias::new("id")]).values_panic([1.into()]);
        manager.execute(row).await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        manager.drop_table(Table::drop().table(Alias::new("journal_horizon")).to_owned()).await
    }
}
