//! Share links: what people made, and therefore what a rebuild never loses.

use sea_orm::sea_query::SimpleExpr;
use sea_orm::{
    ActiveValue::Set, ColumnTrait as _, DbErr, EntityTrait as _, QueryFilter as _, QuerySelect as _, SqlErr,
};
use serde::{Serialize, Serializer};

use super::connect::Index;
use super::deletes::linked_ids;
use super::dialect::sequence::{Numbered, step_over};
use super::entity::{share_links, stored_files};
use super::error::IndexError;
use super::token::{Token, masked};
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
    pub token: Token,
    /// When it ends, if ever.
    pub expires_at: Option<Timestamp>,
}

/// A share link and the file that it opens.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ShareLink {
    /// The id.
    pub id: i64,
    /// The secret that opens it, masked where this is serialised; see [`ShareLink::revealed`].
    pub token: Token,
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

/// A share link with its token, as it is serialised for those who asked for the token.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct RevealedLink<'l> {
    id: i64,
    #[serde(serialize_with = "reveal")]
    token: &'l Token,
    user_id: Option<UserId>,
    path: Option<&'l str>,
    stored_file_id: RecordId,
    is_active: bool,
    expires_at: Option<&'l str>,
    created_at: &'l str,
}

fn reveal<S: Serializer>(token: &&Token, to: S) -> Result<S::Ok, S::Error> {
    to.serialize_str(token.reveal())
}

impl ShareLink {
    /// Returns what is serialised with the whole token.
    pub fn revealed(&self) -> RevealedLink<'_> {
        let Self { id, token, user_id, path, stored_file_id, is_active, expires_at, created_at } = self;
        RevealedLink {
            id: *id,
            token,
            user_id: *user_id,
            path: path.as_deref(),
            stored_file_id: *stored_file_id,
            is_active: *is_active,
            expires_at: expires_at.as_deref(),
            created_at,
        }
    }
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
    /// When the file has no record, another link has the token, or the index cannot be written.
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
                token: Set(new.token.reveal().to_owned()),
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
                // What PostgreSQL says of it has the token in it.
                Err(error) if is_token_taken(&error) => return Err(IndexError::TokenTaken),
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

    /// Ends a link for good, by its id or its token. The row stays, so that it can be seen that there was one.
    ///
    /// # Errors
    /// When there is no such link, `which` is the id of one link and the token of another, or the index cannot be written.
    pub async fn revoke_link(&self, which: &str) -> Result<(), IndexError> {
        let id = self.link_named(which).await?;
        let ended = share_links::Entity::update_many()
            .col_expr(share_links::Column::IsActive, sea_orm::sea_query::Expr::value(false))
            .filter(share_links::Column::Id.eq(id))
            .exec(self.writing()?)
            .await
            .map_err(IndexError::Write)?;
        if ended.rows_affected == 0 { Err(unknown(which)) } else { Ok(()) }
    }

    /// Returns the id of the link that has the id or the token `which`.
    async fn link_named(&self, which: &str) -> Result<i64, IndexError> {
        // No database has such a token, and PostgreSQL takes no such text.
        if which.contains('\0') {
            return Err(unknown(which));
        }
        let find = |condition: SimpleExpr| {
            share_links::Entity::find()
                .select_only()
                .column(share_links::Column::Id)
                .filter(condition)
                .into_tuple::<i64>()
        };
        let db = self.writing()?;
        let by_token = find(share_links::Column::Token.eq(which)).one(db).await.map_err(IndexError::Read)?;
        let by_id = match number(which) {
            Some(id) => find(share_links::Column::Id.eq(id)).one(db).await.map_err(IndexError::Read)?,
            None => None,
        };
        match (by_id, by_token) {
            (Some(id), Some(other)) if id != other => Err(IndexError::AmbiguousLink { other }),
            (Some(id), _) | (None, Some(id)) => Ok(id),
            (None, None) => Err(unknown(which)),
        }
    }

    /// Removes a link that was just made and whose token reached no one: nothing is left of it.
    ///
    /// # Errors
    /// When the index cannot be written.
    pub async fn discard_link(&self, link: &ShareLink) -> Result<(), IndexError> {
        share_links::Entity::delete_many()
            .filter(share_links::Column::Id.eq(link.id))
            .filter(share_links::Column::Token.eq(link.token.reveal()))
            .exec(self.writing()?)
            .await
            .map(drop)
            .map_err(IndexError::Write)
    }
}

/// Tells whether a link was refused because another one has its token.
fn is_token_taken(error: &DbErr) -> bool {
    let names = ["share_links.token", "share_links_token_key"];
    matches!(error.sql_err(), Some(SqlErr::UniqueConstraintViolation(what)) if names.iter().any(|name| what.contains(name)))
}

/// Returns the id that a text is, if it is one as it is listed.
fn number(which: &str) -> Option<i64> {
    which.parse::<i64>().ok().filter(|id| id.to_string() == which)
}

/// Says that there is no such link. What was given may be a token of another index: only an id, or what is too short for a
/// token, is told whole.
fn unknown(which: &str) -> IndexError {
    const SHORT: usize = 8;
    let is_told = number(which).is_some() || which.chars().count() <= SHORT;
    IndexError::UnknownLink(if is_told { which.to_owned() } else { masked(which) })
}

/// Writes a time in the one way that both databases are told; what is no time stays as it is.
pub(super) fn told(text: String) -> String {
    Timestamp::from_text(&text).map_or(text, Timestamp::to_text)
}
