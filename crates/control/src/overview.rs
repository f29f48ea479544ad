//! All at a glance.

use crate::{Control, Result};
use api::Overview;
use jiff::SignedDuration;
use model::VaultId;

/// Jobs of so long are counted.
const JOBS: SignedDuration = SignedDuration::from_hours(24);
/// A mover that was heard of within this is there: it asks for work more often.
const MOVERS: SignedDuration = SignedDuration::from_secs(60);

impl Control {
    /// How things stand in the vaults that somebody may see; none: in all, and beside them.
    ///
    /// # Errors
    /// The catalog's.
    pub async fn overview(&self, seen: Option<&[VaultId]>) -> Result<Overview> {
        let now = self.now();
        let (points, stored_bytes) = self.catalog.points_seen(seen).await?;
        Ok(Overview {
            items: self.catalog.items_seen_by_state(seen).await?.into_iter().collect(),
            unprotected: self.catalog.machines_unprotected().await?,
            jobs: self.catalog.jobs_by_state(now - JOBS, seen).await?.into_iter().collect(),
            alerts: self.catalog.open_alerts_by_severity(seen).await?.into_iter().collect(),
            points,
            stored_bytes,
            movers: self.catalog.movers_seen(now - MOVERS).await?,
            storage: self.stored_by_tier(seen).await?,
        })
    }
}
