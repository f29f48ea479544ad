//! Jobs that wait for a mover that is not there: somebody is told, and what to do.
//!
//! A machine is reached by its host's mover alone, so nobody else may do them; they wait for as long as it takes.

use crate::alerts::Trouble;
use crate::machines::OWN_MOVER;
use crate::{Control, Result};
use catalog::WaitingJobs;
use jiff::{SignedDuration, Timestamp};
use model::VaultId;
use std::collections::BTreeMap;

/// A mover asks twice a minute. One that starts again, or whose network is away for a moment, is no trouble yet.
const SILENT: SignedDuration = SignedDuration::from_mins(10);

impl Control {
    /// Tells of jobs that wait for movers that were removed or are silent, once for each vault; and that it is over.
    ///
    /// # Errors
    /// The catalog's.
    pub async fn tick_waiting(&self, now: Timestamp) -> Result<()> {
        let movers: BTreeMap<String, Option<Timestamp>> =
            self.catalog.movers().await?.into_iter().map(|mover| (mover.name, mover.seen)).collect();
        let mut texts: BTreeMap<VaultId, Vec<String>> = BTreeMap::new();
        for waiting in self.catalog.jobs_waiting(now - SILENT).await? {
            let seen = movers.get(&waiting.mover);
            let is_there = seen.is_some_and(|seen| seen.is_some_and(|seen| now - SILENT < seen));
            if !is_there {
                texts.entry(waiting.vault).or_default().push(text(&waiting, seen.copied()));
            }
        }
        for vault in self.catalog.vaults().await? {
            match texts.remove(&vault.id) {
                Some(texts) => {
                    let subject = vault.id.to_string();
                    self.raise_anew(Trouble::MoverGone, &subject, texts.join("; ")).await?;
                }
                None => self.resolve(Trouble::MoverGone, vault.id.0).await?,
            }
        }
        Ok(())
    }
}

/// `seen`: none of a mover that was removed.
fn text(waiting: &WaitingJobs, seen: Option<Option<Timestamp>>) -> String {
    let WaitingJobs { mover, jobs, since, .. } = waiting;
    let jobs = if *jobs == 1 { "1 job waits".to_owned() } else { format!("{jobs} jobs wait") };
    let why = match seen {
        None => "which was removed".to_owned(),
        Some(None) => "which was never heard of".to_owned(),
        Some(Some(at)) => format!("which was last heard of at {at}"),
    };
    let hint = match seen {
        _ if mover == OWN_MOVER => "start a server without --no-mover".to_owned(),
        None => format!(
            "join a mover of this name again (`strongroom mover token`, then `strongroom mover join --name {mover}` \
             on its host), or cancel them"
        ),
        Some(_) => format!(
            "start it on its host; if the host is gone for good, `strongroom mover remove {mover}` and join another \
             of this name, or cancel them"
        ),
    };
    format!("{jobs} since {since} for the mover {mover}, {why}: {hint}")
}
