//! The binding: which storage the index is about.

use sea_orm::ConnectionTrait as _;
use uuid::Uuid;

use super::connect::Index;
use super::dialect::{Dialect, lossy, sql};
use super::error::IndexError;
use super::retry::patiently;
use super::writes::Writer;
use crate::clock;
use crate::model::Order;

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

    /// Returns the order in which the storage that the index is bound to lists, if a listing has shown it.
    ///
    /// # Errors
    /// When the index cannot be read.
    pub async fn listing_order(&self) -> Result<Option<Order>, IndexError> {
        let query = format!(
            "SELECT {} FROM storage_binding WHERE id = 1 AND storage_id IS NOT NULL",
            Dialect::of(&self.reader).bytes("listing_order")
        );
        let row = self.reader.query_one_raw(sql(&self.reader, &query, [])).await.map_err(IndexError::Read)?;
        let text = row.map(|row| lossy(&row, 0)).transpose().map_err(IndexError::Read)?.flatten();
        // What is no order is none that is known.
        Ok(text.and_then(|text| Order::from_text(&text)).filter(|order| *order != Order::Auto))
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
    /// Remembers that the storage of the id `storage` lists in `order`, if the index is bound to it.
    ///
    /// # Errors
    /// When the database does.
    pub async fn remember_order(&self, storage: Uuid, order: Order) -> Result<(), IndexError> {
        patiently(|| self.remember_order_once(storage, order)).await
    }

    async fn remember_order_once(&self, storage: Uuid, order: Order) -> Result<(), IndexError> {
        let transaction = self.begin().await?;
        let remember = "UPDATE storage_binding SET listing_order = ? WHERE id = 1 AND storage_id = ?";
        let values = [order.as_str().into(), storage.to_string().into()];
        transaction.execute_raw(sql(&transaction, remember, values)).await.map_err(IndexError::Write)?;
        self.commit(transaction).await
    }

    /// Binds the index to the storage of the id `storage`, of whose order nothing is known then.
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
             ON CONFLICT (id) DO UPDATE SET storage_id = excluded.storage_id, bound_at = excluded.bound_at, \
             listing_order = NULL",
            Dialect::of(&transaction).time("?")
        );
        // What is mounted below the root of one storage says nothing of another one.
        let forget = "DELETE FROM mounts WHERE NOT EXISTS (SELECT 1 FROM storage_binding WHERE storage_id = ?)";
        transaction
            .execute_raw(sql(&transaction, forget, [storage.to_string().into()]))
            .await
            .map_err(IndexError::Write)?;
        let values = [storage.to_string().into(), clock::now().to_text().into()];
        transaction.execute_raw(sql(&transaction, &bind, values)).await.map_err(IndexError::Write)?;
        self.commit(transaction).await
    }
}
