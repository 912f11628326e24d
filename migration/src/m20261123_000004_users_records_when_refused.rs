//! How many records a user had when deletions were refused, so that additions made since do not soften the limits.

use sea_orm_migration::prelude::*;

#[derive(DeriveMigrationName)]
pub(crate) struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let column = ColumnDef::new(Alias::new("records_when_refused")).big_integer().to_owned();
        manager.alter_table(Table::alter().table(Alias::new("users")).add_column(column).to_owned()).await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let column = Alias::new("records_when_refused");
        manager.alter_table(Table::alter().table(Alias::new("users")).drop_column(column).to_owned()).await
    }
}
