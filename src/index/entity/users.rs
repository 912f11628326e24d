//! Who owns which prefix.

use sea_orm::entity::prelude::*;

#[sea_orm::model]
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "users")]
pub(crate) struct Model {
    #[sea_orm(primary_key)]
    pub(crate) id: i64,
    #[sea_orm(unique)]
    pub(crate) name: String,
    #[sea_orm(unique)]
    pub(crate) prefix: String,
    pub(crate) created_at: DateTimeUtc,
    pub(crate) unsettled_since: Option<DateTimeUtc>,
}

impl ActiveModelBehavior for ActiveModel {}
