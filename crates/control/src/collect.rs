//! Space is given back: every day in every vault, at a moment of each vault's own.

use crate::request::{Request, When};
use crate::{Control, Result};
use api::Code;
use jiff::civil::Time;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use model::VaultId;
use model::job::JobKind;

const DAY: SignedDuration = SignedDuration::from_hours(24);

/// When a vault's space was last to be freed. Days count in UTC: the same moment every day, spread evenly over them for
/// many vaults.
pub(crate) fn last_moment(vault: VaultId, now: Timestamp) -> Option<Timestamp> {
    let midnight = now.to_zoned(TimeZone::UTC).with().time(Time::midnight()).build().ok()?;
    // Ids are random in their lower half.
    let delay = vault.0.as_u64_pair().1 % DAY.as_secs().unsigned_abs();
    let today = midnight.timestamp().checked_add(SignedDuration::from_secs(delay.cast_signed())).ok()?;
    if today <= now { Some(today) } else { today.checked_sub(DAY).ok() }
}

impl Control {
    /// Queues the day's collection of each vault.
    ///
    /// # Errors
    /// The catalog's.
    pub async fn tick_collect(&self, now: Timestamp) -> Result<()> {
        for vault in self.catalog.vaults().await? {
            // What was missed is made up for once.
            let moment = last_moment(vault.id, now).filter(|moment| vault.created <= *moment);
            let Some(ready) = moment else { continue };
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
