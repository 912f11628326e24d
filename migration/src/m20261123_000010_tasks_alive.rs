//! Tasks: by whom a run is carried out that holds no lease, until when it counts as alive, and whether it was asked to end.

use sea_orm_migration::prelude::*;

#[derive(DeriveMigrationName)]
pub(crate) struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        // One column a statement, which is all that SQLite takes.
        for column in columns() {
            let mut table = Table::alter();
            manager.alter_table(table.table(Alias::new("tasks")).add_column(column).to_owned()).await?;
        }
        Ok(())
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        for name in ["cancel_requested", "machine", "process", "alive_until"] {
            let mut table = Table::alter();
            manager.alter_table(table.table(Alias::new("tasks")).drop_column(Alias::new(name)).to_owned()).await?;
        }
        Ok(())
    }
}

fn columns() -> [ColumnDef; 4] {
    let column = |name: &str| ColumnDef::new(Alias::new(name));
    [
        column("cancel_requested").boolean().not_null().default(false).to_owned(),
        column("machine").text().to_owned(),
        column("process").text().to_owned(),
        // Seconds since 1970 by the database's clock.
        column("alive_until").double().to_owned(),
    ]
}
