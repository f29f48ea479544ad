//! Reads a point back: every block of its disks is opened and compared with its id, and goes nowhere.

use super::backup::key_of;
use super::failure::Result;
use super::order::Run;
use crate::Progress;
use async_trait::async_trait;
use block::{BlockSink, BlockSource, CopyOptions};
use model::PointId;
use model::job::Step;
use serde_json::json;
use std::sync::Arc;
use uuid::Uuid;
use vault::{ErrorKind, Point, PointDisk, Vault};

/// Reads a point back: from the vault if that has it, else from the snapshot tier.
pub(super) async fn verify(run: &Run, item: Uuid, point: PointId) -> Result<()> {
    let tiers = run.vaults().tiers(&run.order.vault).await?;
    let stores = std::iter::once(&tiers.vault).chain(&tiers.snapshots);
    let (store, point) = find(stores, item, point).await?;
    run.lease.begin(&Step::ReadBack.to_string(), point.disks.iter().map(|disk| disk.map.size).sum());
    let (bytes, data) = read_back(run, store, &point).await?;
    run.lease.step_done(Step::ReadBack, Some(json!({ "bytes": bytes, "data_bytes": data })));
    Ok(())
}

/// Reads all of a point that a store has: bytes of its disks, and those of them that are data.
pub(super) async fn read_back(run: &Run, store: &Arc<Vault>, point: &Point) -> Result<(u64, u64)> {
    let (mut bytes, mut data) = (0, 0);
    for record in &point.disks {
        let (name, size) = (record.name.clone(), record.map.size);
        run.lease.progress(Progress::Disk { name, size, tracking: String::new() });
        let disk = PointDisk::new(Arc::clone(store), record.map.clone());
        let options = CopyOptions { sink_is_zero: true, ..CopyOptions::default() };
        let advance = |bytes| run.lease.progress(Progress::Advance(bytes));
        let read = block::copy(&disk, &Nowhere(disk.size()), options, &advance).await?;
        bytes += size;
        data += read.data;
    }
    Ok((bytes, data))
}

/// A point, and the first of these stores that has it.
pub(super) async fn find<'a>(
    stores: impl Iterator<Item = &'a Arc<Vault>>,
    item: Uuid,
    point: PointId,
) -> Result<(&'a Arc<Vault>, Point)> {
    let mut missing = None;
    for store in stores {
        match store.find_point(&key_of(item)?, vault::PointId(point.0)).await {
            Err(error) if error.kind() == ErrorKind::NotFound => missing = Some(error),
            found => return Ok((store, found?)),
        }
    }
    Err(missing.expect("a vault has a store").into())
}

/// A disk that keeps nothing, of so many bytes.
struct Nowhere(u64);

#[async_trait]
impl BlockSink for Nowhere {
    fn size(&self) -> u64 {
        self.0
    }

    async fn write(&self, _: u64, data: Vec<u8>) -> block::Result<Vec<u8>> {
        Ok(data)
    }

    async fn zero(&self, _: u64, _: u64) -> block::Result<()> {
        Ok(())
    }

    async fn flush(&self) -> block::Result<()> {
        Ok(())
    }
}
