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
    ///
    /// `is_due` is asked of exactly the records before: a point that somebody has back, or has deleted again
    /// just now, is not purged. Gives what the log says then, and whether the point was purged.
    pub(crate) async fn purge_point(
        &self,
        told: Told,
        (machine, point): (&MachineKey, PointId),
        now: Timestamp,
        is_due: impl Fn(&Told) -> bool,
    ) -> Result<(Told, bool)> {
        let purged = self.append_while(told, (&Record::Purge { point }, now), is_due).await?;
        if purged.1 {
            self.store().delete(&Point::object(machine, point)).await?;
        }
        Ok(purged)
    }
}
