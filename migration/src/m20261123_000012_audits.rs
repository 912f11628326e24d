//! The standing audit: which server makes it, and what the last one came to. One row, which is always there.

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
                    .table(Alias::new("audits"))
                    .col(column("id").integer().not_null().primary_key())
                    .col(column("holder").text())
                    .col(column("machine").text())
                    .col(column("process").text())
                    // Times are seconds since 1970 by the database's clock, which all servers share.
                    .col(column("expires_at").double())
                    .col(column("finished_at").double())
                    .col(column("result").text())
                    .to_owned(),
            )
            .await?;
        let mut row = Query::insert();
        row.into_table(Alias::new("audits")).columns([Alias::new("id")]).values_panic([1.into()]);
        manager.execute(row).await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        manager.drop_table(Table::drop().table(Alias::new("audits")).to_owned()).await
    }
}
