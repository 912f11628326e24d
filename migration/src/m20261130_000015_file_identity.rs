//! What tells files apart on a local disk (inode number and birth time), the mounts below a storage's root, and the order
//! in which the storage lists its keys.

use sea_orm_migration::prelude::*;

#[derive(DeriveMigrationName)]
pub(crate) struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let column = |name: &str| ColumnDef::new(Alias::new(name));
        let table = |name: &str| Table::alter().table(Alias::new(name)).to_owned();
        // One column a statement: SQLite adds no more at once.
        manager.alter_table(table("stored_files").add_column(column("file_id").text()).to_owned()).await?;
        manager.alter_table(table("storage_binding").add_column(column("listing_order").text()).to_owned()).await?;
        let mut path = column("path");
        path.text().not_null().primary_key();
        if manager.get_database_backend() == sea_orm_migration::sea_orm::DbBackend::Postgres {
            path.extra("COLLATE \"C\"");
        }
        manager
            .create_table(
                Table::create()
                    .table(Alias::new("mounts"))
                    // The key of the directory at which the file system is mounted.
                    .col(path)
                    .col(column("fs_type").text().not_null())
                    .col(column("fs_id").text().not_null())
                    // How many records there were below it when it was last seen.
                    .col(column("records").big_integer().not_null())
                    .col(column("seen_at").timestamp_with_time_zone().not_null())
                    .to_owned(),
            )
            .await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let table = |name: &str| Table::alter().table(Alias::new(name)).to_owned();
        manager.drop_table(Table::drop().table(Alias::new("mounts")).to_owned()).await?;
        manager.alter_table(table("storage_binding").drop_column(Alias::new("listing_order")).to_owned()).await?;
        manager.alter_table(table("stored_files").drop_column(Alias::new("file_id")).to_owned()).await
    }
}
