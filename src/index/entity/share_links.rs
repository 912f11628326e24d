//! What people made: links to files.

use sea_orm::entity::prelude::*;

#[sea_orm::model]
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "share_links")]
pub(crate) struct Model {
    #[sea_orm(primary_key)]
    pub(crate) id: i64,
    pub(crate) stored_file_id: i64,
    #[sea_orm(unique)]
    pub(crate) token: String,
    pub(crate) is_active: bool,
    pub(crate) expires_at: Option<DateTimeUtc>,
    pub(crate) created_at: DateTimeUtc,
}

impl ActiveModelBehavior for ActiveModel {}
