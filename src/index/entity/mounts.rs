//! One row a file system that is mounted below the root of the storage.

use sea_orm::entity::prelude::*;

#[sea_orm::model]
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "mounts")]
pub(crate) struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub(crate) path: String,
    pub(crate) fs_type: String,
    pub(crate) fs_id: String,
    pub(crate) records: i64,
    pub(crate) seen_at: DateTimeUtc,
}

impl ActiveModelBehavior for ActiveModel {}
