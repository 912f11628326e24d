//! Share links: what people made, and therefore what a rebuild never loses.

use sea_orm::{ActiveValue::Set, ColumnTrait as _, EntityTrait as _, QueryFilter as _, QuerySelect as _, SqlErr};
use serde::Serialize;

use super::connect::Index;
use super::deletes::linked_ids;
use super::dialect::sequence::{Numbered, step_over};
use super::entity::{share_links, stored_files};
use super::error::IndexError;
use super::writes::json;
use crate::clock;
use crate::model::{RecordId, Timestamp, UserId};
use std::collections::HashSet;

/// A link to be made.
#[derive(Debug, Clone)]
pub struct NewLink {
    /// The user whose file it is.
    pub user: UserId,
    /// The path below the user's prefix.
    pub path: String,
    /// The secret that opens it.
    pub token: String,
    /// When it ends, if ever.
    pub expires_at: Option<Timestamp>,
}

/// A share link and the file that it opens.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ShareLink {
    /// The id.
    pub id: i64,
    /// The secret that opens it.
    pub token: String,
    /// The user whose file it is, unless the record is gone.
    pub user_id: Option<UserId>,
    /// The path below the user's prefix, unless the record is gone.
    pub path: Option<String>,
    /// The record of the file. No run takes it away, but on SQLite a program that does not ask for foreign keys could.
    pub stored_file_id: RecordId,
    /// Whether it opens anything now: neither revoked, nor ended by the database's clock or by the run's.
    pub is_active: bool,
    /// When it ends, as the database has it.
    pub expires_at: Option<String>,
    /// When it was made, as the database has it.
    pub created_at: String,
}

impl Index {
    /// Returns which of the records `ids` have a share link that is active by the database's clock or by the run's: no run
    /// deletes them.
    ///
    /// # Errors
    /// When the index cannot be read.
    pub async fn protected(&self, ids: &[RecordId]) -> Result<HashSet<RecordId>, IndexError> {
        linked_ids(&self.reader, &json(ids.iter()), self.clock.now(), "").await.map_err(IndexError::Read)
    }

    /// Makes a link to a file that has a record.
    ///
    /// # Errors
    /// When the file has no record, or the index cannot be written.
    pub async fn create_link(&self, new: NewLink) -> Result<ShareLink, IndexError> {
        let db = self.writing()?;
        step_over(db, &[Numbered::Links]).await;
        let created_at = clock::now();
        let mut gone = None;
        let (record, id) = loop {
            let record = self.record_at(new.user, &new.path).await?;
            let record = record.filter(|record| gone != Some(*record));
            let record = record.ok_or_else(|| IndexError::UnknownPath { user: new.user, path: new.path.clone() })?;
            let link = share_links::ActiveModel {
                stored_file_id: Set(record),
                token: Set(new.token.clone()),
                is_active: Set(true),
                expires_at: Set(new.expires_at.map(Timestamp::to_utc)),
                created_at: Set(created_at.to_utc()),
                ..Default::default()
            };
            match share_links::Entity::insert(link).exec(db).await {
                Ok(link) => break (record, link.last_insert_id),
                // The record went in this very moment; it may have been replaced by another one.
                Err(error) if matches!(error.sql_err(), Some(SqlErr::ForeignKeyConstraintViolation(_))) => {
                    gone = Some(record);
                }
                Err(error) => return Err(IndexError::Write(error)),
            }
        };
        Ok(ShareLink {
            id,
            token: new.token,
            user_id: Some(new.user),
            path: Some(new.path),
            stored_file_id: record,
            is_active: true,
            expires_at: new.expires_at.map(Timestamp::to_text),
            created_at: created_at.to_text(),
        })
    }

    /// Returns the record of a path, as whoever writes sees it.
    async fn record_at(&self, user: UserId, path: &str) -> Result<Option<RecordId>, IndexError> {
        stored_files::Entity::find()
            .select_only()
            .column(stored_files::Column::Id)
            .filter(stored_files::Column::UserId.eq(user))
            .filter(stored_files::Column::Path.eq(path))
            .into_tuple()
            .one(self.writing()?)
            .await
            .map_err(IndexError::Read)
    }

    /// Ends a link for good. The row stays, so that it can be seen that there was one.
    ///
    /// # Errors
    /// When there is no such link, or the index cannot be written.
    pub async fn revoke_link(&self, token: &str) -> Result<(), IndexError> {
        let ended = share_links::Entity::update_many()
            .col_expr(share_links::Column::IsActive, sea_orm::sea_query::Expr::value(false))
            .filter(share_links::Column::Token.eq(token))
            .exec(self.writing()?)
            .await
            .map_err(IndexError::Write)?;
        if ended.rows_affected == 0 { Err(IndexError::UnknownLink(token.to_owned())) } else { Ok(()) }
    }
}

/// Writes a time in the one way that both databases are told; what is no time stays as it is.
pub(super) fn told(text: String) -> String {
    Timestamp::from_text(&text).map_or(text, Timestamp::to_text)
}
