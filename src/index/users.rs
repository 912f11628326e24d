//! Users: registering, renaming, removing, and the rules that keep their prefixes apart.

use std::collections::HashMap;

use sea_orm::{
    ActiveValue::Set, ColumnTrait as _, ConnectionTrait, DatabaseTransaction, DbErr, EntityTrait as _,
    QueryFilter as _, QueryResult, Value,
};
use serde::Serialize;

use super::connect::Index;
use super::dialect::sequence::{Numbered, step_over};
use super::dialect::{Dialect, keep_user_id, lossy, run, sql};
use super::entity::users;
use super::error::IndexError;
use super::retry::{patiently, unconfirmed};
use super::writes::{Writer, json, unix_seconds};
use crate::clock;
use crate::model::{HIGHEST_USER_ID, Prefix, Timestamp, UserId};

/// A registered user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct User {
    /// The id.
    pub id: UserId,
    /// The name, unique.
    pub name: String,
    /// Which keys belong to the user.
    pub prefix: Prefix,
}

/// A user as the row stands, whatever is in it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct UserRow {
    /// The id.
    pub id: UserId,
    /// The name.
    pub name: String,
    /// What should be a prefix.
    pub prefix: String,
}

impl UserRow {
    /// Reads the prefix.
    ///
    /// # Errors
    /// When another program has written one that cannot be.
    fn parse(self) -> Result<User, IndexError> {
        match Prefix::parse(&self.prefix) {
            Ok(prefix) => Ok(User { id: self.id, name: self.name, prefix }),
            Err(why) => Err(IndexError::DamagedUser { id: self.id, name: self.name, prefix: self.prefix, why }),
        }
    }
}

impl From<&User> for UserRow {
    fn from(user: &User) -> Self {
        Self { id: user.id, name: user.name.clone(), prefix: user.prefix.to_string() }
    }
}

/// A user to be registered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewUser {
    /// The name.
    pub name: String,
    /// The id; without one, the next free id.
    pub id: Option<UserId>,
    /// The prefix; without one, the id.
    pub prefix: Option<String>,
}

impl Index {
    /// Returns all users, in the order of their ids.
    ///
    /// # Errors
    /// When the index cannot be read, or another program has written a prefix that cannot be one.
    pub async fn users(&self) -> Result<Vec<User>, IndexError> {
        load(&self.reader).await
    }

    /// Returns the rows of all users as they stand, in the order of their ids.
    ///
    /// # Errors
    /// When the index cannot be read.
    pub async fn user_rows(&self) -> Result<Vec<UserRow>, IndexError> {
        rows(&self.reader).await
    }

    /// Returns since when users' records may have been added by runs that were refused or broke off, for whom that is so.
    ///
    /// # Errors
    /// When the index cannot be read.
    pub async fn unsettled(&self) -> Result<HashMap<UserId, Timestamp>, IndexError> {
        let dialect = Dialect::of(&self.reader);
        let since = dialect.bytes("unsettled_since");
        let query = format!("SELECT id, {since} FROM users WHERE unsettled_since IS NOT NULL");
        let rows = self.reader.query_all_raw(dialect.sql(&query, [])).await.map_err(IndexError::Read)?;
        let read = |row: &QueryResult| Ok((row.try_get_by_index(0)?, lossy(row, 1)?.unwrap_or_default()));
        let rows: Vec<(UserId, String)> =
            rows.iter().map(read).collect::<Result<_, DbErr>>().map_err(IndexError::Read)?;
        Ok(rows.into_iter().filter_map(|(id, since)| Some((id, Timestamp::from_text(&since)?))).collect())
    }

    /// Returns the user `id`.
    ///
    /// # Errors
    /// When there is none, or the index cannot be read.
    pub async fn user(&self, id: UserId) -> Result<User, IndexError> {
        let mut rows = self.user_rows().await?;
        let at = rows.iter().position(|u| u.id == id).ok_or_else(|| IndexError::UnknownUser(id.to_string()))?;
        let user = rows.swap_remove(at).parse()?;
        // Others whose row is damaged are no hindrance, but whoever shares a part of the storage is.
        let others: Vec<User> = rows.into_iter().filter_map(|row| row.parse().ok()).collect();
        check_free(&others, user.id, &user.name, &user.prefix)?;
        Ok(user)
    }

    /// Returns the lowest id above all that users have or had.
    ///
    /// # Errors
    /// When the index cannot be read.
    pub async fn next_user_id(&self) -> Result<UserId, IndexError> {
        next_id(&self.reader).await
    }

    /// Registers a user.
    ///
    /// # Errors
    /// When the name, id or prefix is taken, the prefix would nest with another, or the index cannot be written.
    pub async fn add_user(&self, new: NewUser) -> Result<User, IndexError> {
        self.writer()?.add_user(new).await
    }

    /// Gives the user `name` another name; the prefix stays.
    ///
    /// # Errors
    /// When there is no such user, the name is taken, or the index cannot be written.
    pub async fn rename_user(&self, name: &str, new: &str) -> Result<User, IndexError> {
        check_name(new)?;
        patiently(|| self.rename_user_once(name, new)).await
    }

    async fn rename_user_once(&self, name: &str, new: &str) -> Result<User, IndexError> {
        let transaction = self.writer()?.begin_on_users().await?;
        let users = load(&transaction).await?;
        let user = find(&users, name)?;
        if let Some(other) = users.iter().find(|u| u.name == new && u.id != user.id) {
            return Err(taken(user.prefix.as_str(), new.to_owned(), "name", other));
        }
        users::Entity::update_many()
            .col_expr(users::Column::Name, sea_orm::sea_query::Expr::value(new))
            .filter(users::Column::Id.eq(user.id))
            .exec(&transaction)
            .await
            .map_err(IndexError::Write)?;
        let renamed = User { name: new.to_owned(), ..user.clone() };
        transaction.commit().await.map_err(unconfirmed)?;
        Ok(renamed)
    }

    /// Removes the user `name` with the user's records, which can be rebuilt, and dead links. Objects are not touched.
    ///
    /// # Errors
    /// When there is no such user, an active share link would be lost, or the index cannot be written.
    pub async fn remove_user(&self, name: &str) -> Result<UserRow, IndexError> {
        // No journal keeps the ids of what goes with a user.
        step_over(self.writing()?, &[Numbered::Records, Numbered::Links]).await;
        patiently(|| self.remove_user_once(name)).await
    }

    async fn remove_user_once(&self, name: &str) -> Result<UserRow, IndexError> {
        let transaction = self.writer()?.begin_on_users().await?;
        // A user whose row is damaged can be removed like any other.
        let user = rows(&transaction).await?.into_iter().find(|u| u.name == name);
        let user = user.ok_or_else(|| IndexError::UnknownUser(format!("{name:?}")))?;
        let words = Dialect::of(&transaction).words();
        for lock in words.lock_records {
            let user = lock.contains('?').then(|| user.id.into());
            run(&transaction, lock, user).await.map_err(IndexError::Write)?;
        }
        let links = format!(
            "SELECT {} FROM share_links WHERE stored_file_id IN (SELECT id FROM stored_files WHERE user_id = ?){}",
            Dialect::of(&transaction).keeps_record(),
            words.lock
        );
        let values = [unix_seconds(self.clock.now()).into(), user.id.into()];
        let rows = transaction.query_all_raw(sql(&transaction, &links, values)).await.map_err(IndexError::Read)?;
        let active: Vec<bool> =
            rows.iter().map(|row| row.try_get_by_index(0)).collect::<Result<_, DbErr>>().map_err(IndexError::Read)?;
        let links = active.into_iter().filter(|active| *active).count() as u64;
        if links > 0 {
            return Err(IndexError::StillShared { name: user.name, links });
        }
        for statement in [
            "DELETE FROM share_links WHERE stored_file_id IN (SELECT id FROM stored_files WHERE user_id = ?)",
            "DELETE FROM stored_files WHERE user_id = ?",
            "INSERT INTO journal (action, record_id, user_id, path) SELECT 'remove_user', 0, id, prefix FROM users WHERE id = ?",
            "DELETE FROM users WHERE id = ?",
        ] {
            transaction.execute_raw(sql(&transaction, statement, [user.id.into()])).await.map_err(IndexError::Write)?;
        }
        transaction.commit().await.map_err(unconfirmed)?;
        Ok(user)
    }
}

impl Writer {
    /// Registers a user; see [`Index::add_user`].
    ///
    /// # Errors
    /// As there.
    pub async fn add_user(&self, new: NewUser) -> Result<User, IndexError> {
        check_name(&new.name)?;
        patiently(|| self.add_user_once(&new)).await
    }

    async fn add_user_once(&self, new: &NewUser) -> Result<User, IndexError> {
        let transaction = self.begin_on_users().await?;
        let users = load(&transaction).await?;
        let id = match new.id {
            Some(id) => id,
            None => next_id(&transaction).await?,
        };
        let prefix = Prefix::parse(&new.prefix.clone().unwrap_or_else(|| id.to_string()))?;
        check_free(&users, id, &new.name, &prefix)?;
        let user = User { id, name: new.name.clone(), prefix };
        insert(&transaction, &user).await?;
        self.commit(transaction).await?;
        Ok(user)
    }

    /// Begins a transaction that nobody else's change of users can come between.
    pub(super) async fn begin_on_users(&self) -> Result<DatabaseTransaction, IndexError> {
        let transaction = self.begin().await?;
        run(&transaction, Dialect::of(&transaction).words().lock_users, []).await.map_err(IndexError::Write)?;
        Ok(transaction)
    }

    /// Notes that what is added for `users` from now on comes from a run that has not ended well yet.
    ///
    /// # Errors
    /// When the database does.
    pub async fn unsettle(&self, users: &[UserId]) -> Result<(), IndexError> {
        let now = clock::now().to_text();
        let set = |d: Dialect| format!("{} WHERE unsettled_since IS NULL", d.time("?"));
        patiently(|| self.update_users(set, vec![now.as_str().into()], users)).await
    }

    /// Notes that a run has ended well for `users`.
    ///
    /// # Errors
    /// When the database does.
    pub async fn settle(&self, users: &[UserId]) -> Result<(), IndexError> {
        let set = |_| "NULL WHERE unsettled_since IS NOT NULL".to_owned();
        patiently(|| self.update_users(set, Vec::new(), users)).await
    }

    async fn update_users(
        &self,
        set: impl Fn(Dialect) -> String,
        mut values: Vec<Value>,
        users: &[UserId],
    ) -> Result<(), IndexError> {
        let transaction = self.begin().await?;
        let dialect = Dialect::of(&transaction);
        values.push(json(users.iter()).into());
        let update = format!("UPDATE users SET unsettled_since = {} AND id IN {}", set(dialect), dialect.words().ids);
        transaction.execute_raw(dialect.sql(&update, values)).await.map_err(IndexError::Write)?;
        self.commit(transaction).await
    }

    /// Registers a user for a whole top-level folder. Looks only at users who could be in the way, since a lost index
    /// may have to be given thousands.
    ///
    /// # Errors
    /// As [`Index::add_user`].
    pub async fn adopt_user(&self, user: &User) -> Result<(), IndexError> {
        patiently(|| self.adopt_user_once(user)).await
    }

    async fn adopt_user_once(&self, user: &User) -> Result<(), IndexError> {
        let folder = user.prefix.as_str();
        let transaction = self.begin_on_users().await?;
        let bytewise = Dialect::of(&transaction).words().bytewise;
        let near = format!(
            "SELECT id, name, prefix FROM users WHERE id = ? OR name = ? OR prefix = '' OR prefix = ? \
             OR (prefix{bytewise} >= ? AND prefix{bytewise} < ?)"
        );
        let values = [
            user.id.into(),
            user.name.as_str().into(),
            folder.into(),
            // `/` is followed by `0`: between the two lies what begins with the folder.
            format!("{folder}/").into(),
            format!("{folder}0").into(),
        ];
        let rows = transaction.query_all_raw(sql(&transaction, &near, values)).await.map_err(IndexError::Read)?;
        for row in rows {
            let read =
                |row: &QueryResult| Ok((row.try_get_by_index(0)?, row.try_get_by_index(1)?, row.try_get_by_index(2)?));
            let (id, name, prefix): (i64, String, String) = read(&row).map_err(IndexError::Read)?;
            let other = UserRow { id, name, prefix }.parse()?;
            check_free(&[other], user.id, &user.name, &user.prefix)?;
        }
        insert(&transaction, user).await?;
        self.commit(transaction).await
    }
}

async fn insert(db: &impl ConnectionTrait, user: &User) -> Result<(), IndexError> {
    let row = users::ActiveModel {
        id: Set(user.id),
        name: Set(user.name.clone()),
        prefix: Set(user.prefix.as_str().to_owned()),
        created_at: Set(clock::now_utc()),
        ..Default::default()
    };
    users::Entity::insert(row).exec_without_returning(db).await.map_err(IndexError::Write)?;
    keep_user_id(db, user.id).await.map_err(IndexError::Write)
}

/// Checks that a user with these three could stand beside `users`.
///
/// # Errors
/// Names what is in the way, and whose it is.
pub(crate) fn check_free(users: &[User], id: UserId, name: &str, prefix: &Prefix) -> Result<(), IndexError> {
    for other in users {
        if other.id == id {
            return Err(taken(prefix.as_str(), id.to_string(), "id", other));
        }
        if other.name == name {
            return Err(taken(prefix.as_str(), format!("{name:?}"), "name", other));
        }
        if other.prefix.nests_with(prefix) {
            return Err(IndexError::Nested {
                new: prefix.to_string(),
                old: other.prefix.to_string(),
                owner: other.name.clone(),
            });
        }
    }
    Ok(())
}

fn taken(prefix: &str, wanted: String, what: &'static str, owner: &User) -> IndexError {
    IndexError::Taken { prefix: prefix.to_owned(), wanted, what, owner: owner.prefix.to_string() }
}

/// The longest name, in bytes: as long as a key, from which a name may come.
const LONGEST_NAME: usize = 1_024;

/// Checks that a text can be a user's name.
///
/// # Errors
/// When it is blank, too long, or has a control character.
pub(crate) fn check_name(name: &str) -> Result<(), IndexError> {
    let bad = name.trim().is_empty() || name.len() > LONGEST_NAME || name.chars().any(char::is_control);
    if bad { Err(IndexError::BadName(name.to_owned())) } else { Ok(()) }
}

fn find<'u>(users: &'u [User], name: &str) -> Result<&'u User, IndexError> {
    users.iter().find(|u| u.name == name).ok_or_else(|| IndexError::UnknownUser(format!("{name:?}")))
}

async fn load(db: &impl ConnectionTrait) -> Result<Vec<User>, IndexError> {
    rows(db).await?.into_iter().map(UserRow::parse).collect()
}

pub(super) async fn rows(db: &impl ConnectionTrait) -> Result<Vec<UserRow>, IndexError> {
    let dialect = Dialect::of(db);
    let (name, prefix) = (dialect.bytes("name"), dialect.bytes("prefix"));
    let query = format!("SELECT id, {name}, {prefix} FROM users ORDER BY id");
    let rows = db.query_all_raw(dialect.sql(&query, [])).await.map_err(IndexError::Read)?;
    let read = |row: &QueryResult| {
        let (name, prefix) = (lossy(row, 1)?.unwrap_or_default(), lossy(row, 2)?.unwrap_or_default());
        Ok(UserRow { id: row.try_get_by_index(0)?, name, prefix })
    };
    rows.iter().map(read).collect::<Result<_, DbErr>>().map_err(IndexError::Read)
}

/// Returns an id that no user has or had.
async fn next_id(db: &impl ConnectionTrait) -> Result<UserId, IndexError> {
    let query = Dialect::of(db).words().last_user_id;
    let row = db.query_one_raw(sql(db, query, [])).await.map_err(IndexError::Read)?;
    let last = row.map_or(Ok(0), |row| row.try_get_by_index(0)).map_err(IndexError::Read)?;
    Some(last).filter(|last| *last < HIGHEST_USER_ID).map(|last| last + 1).ok_or(IndexError::NoIdLeft)
}
