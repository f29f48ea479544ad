//! The audit of change tracking: no record of changes is believed blindly.
//!
//! Before each incremental a few blocks of every disk are chosen at random among those that hold data in the
//! parent. The hypervisor reads them shortly before the instant; where the record of changes, as it stands at
//! the instant, calls them unchanged, they must hash to what the parent holds. One that does not proves that
//! the record lies, and nothing that it says is believed any more.
//!
//! A record that misses a share f of the blocks is caught by a run with probability 1 - (1 - f)^n: with
//! [`BLOCKS`] and f = 1/10, by every second run.

use crate::error::{Doing, Result};
use block::{BlockSource, ExtentKind};
use hypervisor::FrozenDisk;
use std::collections::BTreeMap;
use vault::{BlockSample, Point, PointId, Vault};

/// Blocks of a disk that each incremental audits unless told otherwise: half a MiB, so that an incremental of an
/// idle disk reads less than one.
pub const BLOCKS: usize = 8;

/// What is to be audited, by disk.
pub(crate) struct Audit {
    samples: BTreeMap<String, Vec<BlockSample>>,
    /// Disks whose blocks in the parent cannot even be told.
    pub(crate) distrusted: BTreeMap<String, String>,
}

/// What came of a disk's audit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// So many blocks that are called unchanged are what they were.
    Agrees(usize),
    /// The block at this offset is called unchanged, and is not.
    Lies(u64),
}

impl Audit {
    /// Chooses up to `blocks` of each disk of the parent. `seed` is fresh and random, as a new point's id is.
    pub(crate) async fn choose(
        vault: &Vault,
        parent: Option<&Point>,
        blocks: usize,
        seed: PointId,
    ) -> Result<Self> {
        let (mut samples, mut distrusted) = (BTreeMap::new(), BTreeMap::new());
        let mut state = seed.0.as_u64_pair().1;
        let mut random = || next_random(&mut state);
        for disk in parent.iter().flat_map(|point| &point.disks) {
            match vault.sample_blocks(&disk.map, blocks, &mut random).await {
                Ok(chosen) => drop(samples.insert(disk.name.clone(), chosen)),
                // What it held then cannot be built on; reading everything heals it.
                Err(error) if error.kind() == vault::ErrorKind::Corrupt => {
                    distrusted.insert(disk.name.clone(), format!("the earlier point is damaged: {error}"));
                }
                Err(error) => return Err(error).doing(|| "choose the blocks to audit".into()),
            }
        }
        Ok(Self { samples, distrusted })
    }

    /// What was found stands; a second freeze of the same run need not read it again.
    pub(crate) fn forget_samples(&mut self) {
        self.samples.clear();
    }

    /// What the hypervisor is to read of each disk.
    pub(crate) fn ranges(&self) -> BTreeMap<String, Vec<(u64, usize)>> {
        let ranges =
            |samples: &Vec<BlockSample>| samples.iter().map(|one| (one.offset, one.length)).collect();
        self.samples.iter().map(|(disk, samples)| (disk.clone(), ranges(samples))).collect()
    }

    /// Compares what was read of a disk with the parent, where `frozen`, the disk at the instant, calls it
    /// unchanged.
    pub(crate) async fn judge(
        &self,
        vault: &Vault,
        disk: &FrozenDisk,
        frozen: &dyn BlockSource,
    ) -> block::Result<Verdict> {
        let mut agreed = 0;
        let wanted = self.samples.get(&disk.id).into_iter().flatten();
        for sample in wanted {
            let Some(read) = disk.samples.iter().find(|read| read.offset == sample.offset) else { continue };
            let extents = frozen.extents(sample.offset, sample.length as u64).await?;
            if extents.iter().any(|extent| extent.kind != ExtentKind::Unchanged) {
                continue;
            }
            if !vault.is_same(sample, &read.bytes) {
                return Ok(Verdict::Lies(sample.offset));
            }
            agreed += 1;
        }
        Ok(Verdict::Agrees(agreed))
    }
}

/// SplitMix64: a seed's worth of numbers that nobody need keep secret.
fn next_random(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut mixed = *state;
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}
