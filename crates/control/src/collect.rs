//! Space is given back: every day in every vault, at a moment of each vault's own.

use crate::request::{Request, When};
use crate::{Control, Result};
use api::Code;
use jiff::civil::Time;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use model::VaultId;
use model::job::JobKind;

/// A day has so many.
const SECONDS: u64 = 24 * 60 * 60;

/// When a vault's space is freed on the day of `now`, which counts in UTC: the same moment every day, spread evenly over
/// it for many vaults.
fn moment(vault: VaultId, now: Timestamp) -> Option<Timestamp> {
    let midnight = now.to_zoned(TimeZone::UTC).with().time(Time::midnight()).build().ok()?;
    // Ids are random in their lower half.
    let delay = vault.0.as_u64_pair().1 % SECONDS;
    midnight.timestamp().checked_add(SignedDuration::from_secs(delay.cast_signed())).ok()
}

impl Control {
    /// Queues the day's collection of each vault.
    ///
    /// # Errors
    /// The catalog's.
    pub async fn tick_collect(&self, now: Timestamp) -> Result<()> {
        for vault in self.catalog.vaults().await? {
            let Some(ready) = moment(vault.id, now).filter(|ready| *ready <= now) else { continue };
            let slot = ready.to_string();
            let subject = vault.id.to_string();
            if self.catalog.job_of_slot(&subject, JobKind::Collect, &slot).await?.is_some() {
                continue;
            }
            match self
                .queue(vault.id, vault.id.0, &Request::Collect {}, When { ready, slot: Some(slot) })
                .await
            {
                // Another server was quicker, or yesterday's is still under way.
                Err(error) if error.code() == Code::Conflict => {}
                queued => drop(queued?),
            }
        }
        Ok(())
    }
}
