//! Share links: what people made. The foreign key is RESTRICT, so that no delete of a record, by whatever program,
//! takes a link along.

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
                    .table(Alias::new("share_links"))
                    .col(column("id").big_integer().not_null().auto_increment().primary_key())
                    .col(column("stored_file_id").big_integer().not_null())
                    .col(column("token").text().not_null().unique_key())
                    .col(column("is_active").boolean().not_null().default(true))
                    .col(column("expires_at").timestamp_with_time_zone())
                    .col(column("created_at").timestamp_with_time_zone().not_null().default(Expr::current_timestamp()))
                    .foreign_key(
                        ForeignKey::create()
                            .name("share_links_stored_file_id")
                            .from(Alias::new("share_links"), Alias::new("stored_file_id"))
                            .to(Alias::new("stored_files"), Alias::new("id"))
                            .on_delete(ForeignKeyAction::Restrict),
                    )
                    .to_owned(),
            )
            .await?;
        manager
            .create_index(
                Index::create()
                    .name("share_links_stored_file_id")
                    .table(Alias::new("share_links"))
                    .col(Alias::new("stored_file_id"))
                    .to_owned(),
            )
            .await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        manager.drop_table(Table::drop().table(Alias::new("share_links")).to_owned()).await
    }
}
