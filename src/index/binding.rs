//! The binding: which storage the index is about.

use sea_orm::ConnectionTrait as _;
use uuid::Uuid;

use super::connect::Index;
use super::dialect::{Dialect, lossy, sql};
use super::error::IndexError;
use super::retry::patiently;
use super::writes::Writer;
use crate::clock;

impl Index {
    /// Returns the id of the storage that the index is bound to.
    ///
    /// # Errors
    /// When the index cannot be read, or what stands there is no id.
    pub async fn binding(&self) -> Result<Option<Uuid>, IndexError> {
        let query = format!(
            "SELECT {} FROM storage_binding WHERE id = 1 AND storage_id IS NOT NULL",
            Dialect::of(&self.reader).bytes("storage_id")
        );
        let row = self.reader.query_one_raw(sql(&self.reader, &query, [])).await.map_err(IndexError::Read)?;
        let text = row.map(|row| lossy(&row, 0)).transpose().map_err(IndexError::Read)?.flatten();
        text.map(|text| Uuid::try_parse(&text).map_err(|_| IndexError::BadBinding(text))).transpose()
    }

    /// Tells whether there is any record.
    ///
    /// # Errors
    /// When the index cannot be read.
    pub async fn has_records(&self) -> Result<bool, IndexError> {
        let look = sql(&self.reader, "SELECT 1 FROM stored_files LIMIT 1", []);
        Ok(self.reader.query_one_raw(look).await.map_err(IndexError::Read)?.is_some())
    }
}

impl Writer {
    /// Binds the index to the storage of the id `storage`.
    ///
    /// # Errors
    /// When the database does.
    pub async fn bind(&self, storage: Uuid) -> Result<(), IndexError> {
        patiently(|| self.bind_once(storage)).await
    }

    async fn bind_once(&self, storage: Uuid) -> Result<(), IndexError> {
        let transaction = self.begin().await?;
        let bind = format!(
            "INSERT INTO storage_binding (id, storage_id, bound_at) VALUES (1, ?, {}) \
             ON CONFLICT (id) DO UPDATE SET storage_id = excluded.storage_id, bound_at = excluded.bound_at",
            Dialect::of(&transaction).time("?")
        );
        let values = [storage.to_string().into(), clock::now().to_text().into()];
        transaction.execute_raw(sql(&transaction, &bind, values)).await.map_err(IndexError::Write)?;
        self.commit(transaction).await
    }
}
