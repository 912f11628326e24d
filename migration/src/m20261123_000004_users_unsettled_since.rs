//! Since when a user's records may have been added by runs that were refused or broke off: such additions do not soften the
//! limits on deletions.

use sea_orm_migration::prelude::*;

#[derive(DeriveMigrationName)]
pub(crate) struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let column = ColumnDef::new(Alias::new("unsettled_since")).timestamp_with_time_zone().to_owned();
        manager.alter_table(Table::alter().table(Alias::new("users")).add_column(column).to_owned()).await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let column = Alias::new("unsettled_since");
        manager.alter_table(Table::alter().table(Alias::new("users")).drop_column(column).to_owned()).await
    }
}
