//! The file systems that are mounted below the root of the storage, as they were last seen.

use sea_orm::{EntityTrait as _, QueryOrder as _, sea_query::OnConflict};

use super::connect::Index;
use super::entity::mounts;
use super::error::IndexError;
use super::retry::patiently;
use super::writes::Writer;
use crate::clock;
use crate::model::Timestamp;

/// A mounted file system that is remembered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mount {
    /// The key of the directory at which it is mounted.
    pub path: String,
    /// Its kind, e.g. `ext4`.
    pub fs_type: String,
    /// What tells it apart from others of its kind.
    pub fs_id: String,
    /// How many records there were below it when it was last seen.
    pub records: u64,
    /// When it was last seen.
    pub seen_at: Timestamp,
}

impl Index {
    /// Returns the remembered mounts, in the order of their paths.
    ///
    /// # Errors
    /// When the index cannot be read.
    pub async fn mounts(&self) -> Result<Vec<Mount>, IndexError> {
        let rows = mounts::Entity::find().order_by_asc(mounts::Column::Path).all(&self.reader).await;
        let mut all: Vec<Mount> = rows.map_err(IndexError::Read)?.into_iter().map(Mount::from).collect();
        all.sort_unstable_by(|a, b| a.path.cmp(&b.path));
        Ok(all)
    }

    /// Forgets the mount at `path`: what the storage shows there counts from then on. Tells whether there was one.
    ///
    /// # Errors
    /// When the index cannot be written.
    pub async fn forget_mount(&self, path: &str) -> Result<bool, IndexError> {
        let forgotten = mounts::Entity::delete_by_id(path).exec(self.writing()?).await.map_err(IndexError::Write)?;
        Ok(forgotten.rows_affected > 0)
    }
}

impl Writer {
    /// Remembers the mounts `seen`, and forgets those at the paths `gone`, all or nothing.
    ///
    /// # Errors
    /// When the database does.
    pub async fn remember_mounts(&self, seen: &[Mount], gone: &[String]) -> Result<(), IndexError> {
        if seen.is_empty() && gone.is_empty() {
            return Ok(());
        }
        patiently(|| self.remember_mounts_once(seen, gone)).await
    }

    async fn remember_mounts_once(&self, seen: &[Mount], gone: &[String]) -> Result<(), IndexError> {
        let transaction = self.begin().await?;
        for path in gone {
            mounts::Entity::delete_by_id(path.as_str()).exec(&transaction).await.map_err(IndexError::Write)?;
        }
        for mount in seen {
            let columns =
                [mounts::Column::FsType, mounts::Column::FsId, mounts::Column::Records, mounts::Column::SeenAt];
            let again = OnConflict::column(mounts::Column::Path).update_columns(columns).to_owned();
            let row = mounts::ActiveModel::from(mount);
            let insert = mounts::Entity::insert(row).on_conflict(again).exec_without_returning(&transaction);
            insert.await.map_err(IndexError::Write)?;
        }
        self.commit(transaction).await
    }
}

impl From<mounts::Model> for Mount {
    fn from(row: mounts::Model) -> Self {
        let mounts::Model { path, fs_type, fs_id, records, seen_at } = row;
        let records = u64::try_from(records).unwrap_or(0);
        Self { path, fs_type, fs_id, records, seen_at: seen_at.into() }
    }
}

impl From<&Mount> for mounts::ActiveModel {
    fn from(mount: &Mount) -> Self {
        use sea_orm::ActiveValue::Set;
        Self {
            path: Set(mount.path.clone()),
            fs_type: Set(mount.fs_type.clone()),
            fs_id: Set(mount.fs_id.clone()),
            records: Set(i64::try_from(mount.records).unwrap_or(i64::MAX)),
            seen_at: Set(clock::now().to_utc()),
        }
    }
}
