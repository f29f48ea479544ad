//! The collector's hands and eyes: what the protocol says to do, done in a store.

use super::due::is_due;
use super::mark::Marker;
use super::{CollectOptions, Collected, check_share};
use crate::log::Told;
use crate::protocol::{CollectorDoes, CollectorSees, Doom, Record};
use crate::vault::Vault;
use crate::{Error, ErrorKind, PackId, Result};
use std::collections::{BTreeMap, BTreeSet};

/// One run of a collector.
pub(super) struct Run<'a> {
    vault: &'a Vault,
    options: &'a CollectOptions,
    pub(super) told: Told,
    marker: Marker<'a>,
    packs: BTreeMap<PackId, u64>,
    /// The name of the intent that is published.
    intent: Option<String>,
    /// Whether the log may say that packs are being deleted on the strength of that intent.
    is_deleting: bool,
    pub(super) done: &'a mut Collected,
}
impl<'a> Run<'a> {
    pub(super) fn new(marker: Marker<'a>, options: &'a CollectOptions, done: &'a mut Collected) -> Self {
        let (vault, told) = (marker.vault(), Told::default());
        Self { vault, options, told, marker, packs: BTreeMap::new(), intent: None, is_deleting: false, done }
    }

    pub(super) async fn step(&mut self, does: CollectorDoes) -> Result<CollectorSees> {
        let vault = self.vault;
        Ok(match does {
            CollectorDoes::Mark => {
                self.told = vault.read_log(std::mem::take(&mut self.told)).await?;
                self.packs = vault.list_packs().await?;
                self.marker.learn(&self.told, &self.packs, vault.read_intents(None).await?);
                self.marker.mark_roots(&self.told, &[]).await?;
                let packs = self.packs.keys().copied().collect();
                let referred = self.marker.referred();
                CollectorSees::Marked { state: self.told.state.clone(), packs, referred }
            }
            CollectorDoes::Append(record) => CollectorSees::Appended(self.append(&record).await?),
            CollectorDoes::ReadLog => {
                self.told = vault.read_log(std::mem::take(&mut self.told)).await?;
                let mut state = self.told.state.clone();
                // Grace: what was condemned too lately is not this run's business.
                state
                    .doomed
                    .retain(|pack, doom| *doom == Doom::Deleting || is_due(&self.told, pack, self.options));
                CollectorSees::Log(state)
            }
            CollectorDoes::PublishIntent(packs) => {
                self.intent = Some(vault.put_intent(&packs).await?);
                CollectorSees::Published
            }
            CollectorDoes::LookAgain(packs) => {
                // Our own intent is published: whoever publishes one now will find it.
                let others = vault.read_intents(self.intent.as_deref()).await?;
                self.marker.learn(&self.told, &vault.list_packs().await?, others);
                self.marker.mark_objects(&self.told).await?;
                CollectorSees::Referred(packs.into_iter().filter(|p| self.marker.refers_to(p)).collect())
            }
            CollectorDoes::Delete(packs) => {
                self.delete(&packs).await?;
                CollectorSees::Deleted
            }
            CollectorDoes::Confirm(packs) => {
                let there = vault.list_packs().await?;
                let gone = packs.iter().all(|pack| !there.contains_key(pack));
                if !gone {
                    return Err(Error::new(
                        ErrorKind::Store,
                        "the store still lists packs that it has deleted",
                    ));
                }
                CollectorSees::Gone(true)
            }
            CollectorDoes::DropIntent => {
                if let Some(intent) = self.intent.take() {
                    vault.store().delete(&intent).await?;
                }
                CollectorSees::Dropped
            }
            CollectorDoes::Rest => unreachable!("the caller stops here"),
        })
    }

    /// Takes the intent back, after an error before anything was to be deleted. If that fails too, it stays.
    pub(super) async fn withdraw(&mut self) {
        if let Some(intent) = self.intent.take().filter(|_| !self.is_deleting) {
            let _ = self.vault.store().delete(&intent).await;
        }
    }

    async fn append(&mut self, record: &Record) -> Result<bool> {
        if let Record::Condemn { packs } = record {
            // What was retired is kept elsewhere: its going is no loss that a breaker should stop.
            let lost = packs.iter().filter(|pack| !self.told.state.retired.contains(pack));
            let bytes = lost.filter_map(|pack| self.packs.get(pack)).sum();
            check_share(bytes, self.packs.values().sum(), self.options)?;
        }
        self.is_deleting |= matches!(record, Record::Delete { .. });
        let stands = self.vault.append(&self.told, record, self.options.now).await?;
        if let (true, Record::Condemn { packs }) = (stands, record) {
            self.done.condemned += packs.len();
        }
        Ok(stands)
    }

    async fn delete(&mut self, packs: &BTreeSet<PackId>) -> Result<()> {
        for pack in packs {
            self.vault.store().delete(&pack.object()).await?;
            self.done.deleted += 1;
            self.done.freed_bytes += self.packs.get(pack).copied().unwrap_or(0);
        }
        Ok(())
    }

    /// Deletes what the log says is being deleted and a run that died left. Nothing takes such a pack back.
    pub(super) async fn finish_deletes(&mut self) -> Result<()> {
        self.told = self.vault.read_log(std::mem::take(&mut self.told)).await?;
        let there = self.vault.list_packs().await?;
        let doomed = self.told.state.doomed.iter().filter(|(_, doom)| **doom == Doom::Deleting);
        let left: BTreeSet<PackId> =
            doomed.map(|(pack, _)| *pack).filter(|pack| there.contains_key(pack)).collect();
        self.packs.extend(there);
        self.delete(&left).await
    }
}
