//! Keys to the API, of which only a hash is kept; and what was asked with an `Idempotency-Key`.

use sea_orm_migration::prelude::*;

#[derive(DeriveMigrationName)]
pub(crate) struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let column = |name: &str| ColumnDef::new(Alias::new(name));
        let goes_with = |name: &str, from: &str, column: &str, to: &str| {
            let mut key = ForeignKey::create();
            key.name(name).from(Alias::new(from), Alias::new(column)).to(Alias::new(to), Alias::new("id"));
            // A key of somebody who is gone opens nothing.
            key.on_delete(ForeignKeyAction::Cascade).to_owned()
        };
        manager
            .create_table(
                Table::create()
                    .table(Alias::new("api_keys"))
                    .col(column("id").big_integer().not_null().auto_increment().primary_key())
                    .col(column("user_id").big_integer().not_null())
                    .col(column("name").text().not_null().default(""))
                    .col(column("prefix").text().not_null().unique_key())
                    .col(column("hash").text().not_null())
                    .col(column("is_admin").boolean().not_null().default(false))
                    .col(column("created_at").timestamp_with_time_zone().not_null().default(Expr::current_timestamp()))
                    .col(column("expires_at").timestamp_with_time_zone())
                    .col(column("last_used_at").timestamp_with_time_zone())
                    .col(column("revoked_at").timestamp_with_time_zone())
                    .foreign_key(&mut goes_with("fk_api_keys_user", "api_keys", "user_id", "users"))
                    .to_owned(),
            )
            .await?;
        manager
            .create_table(
                Table::create()
                    .table(Alias::new("idempotency_keys"))
                    .col(column("api_key_id").big_integer().not_null())
                    .col(column("idempotency_key").text().not_null())
                    .col(column("body_hash").text().not_null())
                    .col(column("task_id").text().not_null())
                    // Seconds since 1970 by the database's clock.
                    .col(column("created_at").double().not_null())
                    .primary_key(Index::create().col(Alias::new("api_key_id")).col(Alias::new("idempotency_key")))
                    .foreign_key(&mut goes_with("fk_idempotency_api_key", "idempotency_keys", "api_key_id", "api_keys"))
                    .to_owned(),
            )
            .await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        manager.drop_table(Table::drop().table(Alias::new("idempotency_keys")).to_owned()).await?;
        manager.drop_table(Table::drop().table(Alias::new("api_keys")).to_owned()).await
    }
}
