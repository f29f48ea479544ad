//! Deleting points: softly first, for good later.

use crate::log::Told;
use crate::point::Point;
use crate::protocol::Record;
use crate::vault::Vault;
use crate::{MachineKey, PointId, Result};
use jiff::Timestamp;

impl Vault {
    /// Deletes a point. It is no longer listed, but everything it needs is kept until it is purged.
    ///
    /// # Errors
    /// `Conflict` if there is no such point, or it is deleted already.
    pub async fn delete_point(&self, point: PointId, now: Timestamp) -> Result<()> {
        self.append_when_possible(Told::default(), &Record::SoftDelete { point }, now).await.map(drop)
    }

    /// Brings a deleted point back.
    ///
    /// # Errors
    /// `Conflict` if it was not deleted, or is purged.
    pub async fn undelete_point(&self, point: PointId, now: Timestamp) -> Result<()> {
        self.append_when_possible(Told::default(), &Record::Undelete { point }, now).await.map(drop)
    }

    /// Purges a point: nothing brings it back. Its space comes back with the next collection.
    ///
    /// The record comes first. CRASH: between the two, an object of a point that the log has given up; the
    /// next collection removes it.
    pub(crate) async fn purge_point(
        &self,
        machine: &MachineKey,
        point: PointId,
        now: Timestamp,
    ) -> Result<()> {
        self.append_when_possible(Told::default(), &Record::Purge { point }, now).await?;
        self.store().delete(&Point::object(machine, point)).await
    }
}
