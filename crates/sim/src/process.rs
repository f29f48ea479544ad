//! A real process at work on a vault in a real directory, to be killed or to have its system calls fail.
//!
//! It says on standard output what it begins and what was acknowledged, a line each: `begin POINT HASH`,
//! `done POINT`, `deleting POINT`, `deleted POINT`. Whoever reads along knows what must be there afterwards.

use crate::random::Random;
use block::BlockSource;
use jiff::{SignedDuration, Timestamp};
use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use uuid::Uuid;
use vault::{
    Base, CHUNK_BYTES, CollectOptions, DiskRecord, Error, ErrorKind, KeyFile, MachineKey, Point, PointDisk,
    PointDraft, PointId, Result, Session, SessionId, Store, Vault, VaultId,
};

/// Blocks of the disk.
const BLOCKS: u64 = 6;

/// Where the key to a vault lies: beside it.
pub fn key_path(folder: &Path) -> PathBuf {
    folder.with_extension("key")
}

#[allow(clippy::disallowed_methods)] // the edge reads the clock
fn now() -> Timestamp {
    Timestamp::now()
}

/// A collection a year from now, that waits for nothing.
pub fn collect_all() -> CollectOptions {
    let zero = SignedDuration::ZERO;
    let later = CollectOptions::new(now() + SignedDuration::from_hours(24 * 400));
    let session_age = SignedDuration::from_hours(24);
    CollectOptions { soft_delete: zero, grace: zero, session_age, share_max: 1.0, ..later }
}

/// Makes a vault in a directory.
pub async fn create(folder: &Path) -> Result<()> {
    let (key, id) = (KeyFile::generate(), VaultId(Uuid::new_v4()));
    key.write(&key_path(folder), id)?;
    Vault::create(Store::local(folder)?, id, now(), &key).await.map(drop)
}

/// Opens it.
pub async fn open(folder: &Path) -> Result<Arc<Vault>> {
    let key = KeyFile::read(&key_path(folder))?;
    Ok(Arc::new(Vault::open(Store::local(folder)?, &key).await?))
}

/// Backs up, increments, deletes and collects, for so many rounds; says what it does.
pub async fn work(folder: &Path, seed: u64, rounds: u64) -> Result<()> {
    let vault = open(folder).await?;
    let mut random = Random::new(seed);
    let mut disk = vec![0; BLOCKS as usize * CHUNK_BYTES];
    let mut last: Option<Point> = None;
    for round in 0..rounds {
        let block = random.below(BLOCKS);
        fill(&mut random, &mut disk[block as usize * CHUNK_BYTES..][..CHUNK_BYTES]);
        let base = last.as_ref().filter(|_| round % 3 != 0);
        let blocks = if base.is_some() { block..block + 1 } else { 0..BLOCKS };
        let id = PointId(Uuid::now_v7());
        say(&format!("begin {id} {}", blake3::hash(&disk)));
        let point = back_up(&vault, id, &disk, base, blocks).await?;
        say(&format!("done {id}"));
        if let Some(old) = last.replace(point).filter(|_| random.happens(500)) {
            say(&format!("deleting {}", old.id));
            vault.delete_point(old.id, now()).await?;
            say(&format!("deleted {}", old.id));
        }
        if random.happens(400) {
            vault.collect(&collect_all()).await?;
            // What it was built on may be gone now.
            last = None;
        }
    }
    Ok(())
}

fn fill(random: &mut Random, block: &mut [u8]) {
    for part in block.chunks_exact_mut(64) {
        part[..8].copy_from_slice(&random.next().to_le_bytes());
    }
}

fn say(line: &str) {
    let mut out = std::io::stdout().lock();
    // A reader that has gone away is nobody to tell.
    let _ = writeln!(out, "{line}").and_then(|()| out.flush());
}

async fn back_up(
    vault: &Arc<Vault>,
    id: PointId,
    disk: &[u8],
    base: Option<&Point>,
    blocks: std::ops::Range<u64>,
) -> Result<Point> {
    let session = Session::begin(vault, SessionId(Uuid::now_v7()), now()).await?;
    let old = base.map(|point| Base { point: point.id, map: &point.disks[0].map });
    let mut writer = session.disk(disk.len() as u64, old).await?;
    for block in blocks {
        let bytes = &disk[block as usize * CHUNK_BYTES..][..CHUNK_BYTES];
        let stored = session.store(block * CHUNK_BYTES as u64, bytes.to_vec()).await?;
        writer.record(&session, &stored).await?;
    }
    let map = writer.finish(&session).await?;
    let draft = PointDraft {
        id,
        machine: MachineKey::new("machine")?,
        machine_name: "machine".into(),
        instant: now(),
        parent: base.map(|point| point.id),
        consistency: serde_json::Value::Null,
        description: serde_json::Value::Null,
        service: serde_json::Value::Null,
    };
    let record = DiskRecord { name: "disk0".into(), map, tracking: String::new(), read_bytes: 0 };
    session.commit(draft, vec![record]).await
}

/// What must be true of a vault, by what processes said of it.
#[derive(Clone, Debug, Default)]
pub struct Said {
    /// Per point the hash of its disk, and whether it must be there: `None` if nobody was told.
    points: BTreeMap<PointId, (String, Option<bool>)>,
}

impl Said {
    /// Takes a line; others than ours mean nothing.
    pub fn hear(&mut self, line: &str) {
        let mut words = line.split(' ');
        let (verb, id) = (words.next(), words.next().and_then(|id| id.parse::<PointId>().ok()));
        let (Some(verb), Some(id)) = (verb, id) else { return };
        match verb {
            "begin" => drop(self.points.insert(id, (words.next().unwrap_or_default().to_owned(), None))),
            _ => {
                let must = [("done", Some(true)), ("deleting", None), ("deleted", Some(false))];
                let must = must.iter().find(|(word, _)| *word == verb);
                if let (Some(point), Some((_, must))) = (self.points.get_mut(&id), must) {
                    point.1 = *must;
                }
            }
        }
    }

    /// What is there now is what must be there.
    pub async fn of(folder: &Path) -> Result<Self> {
        let vault = open(folder).await?;
        let mut points = BTreeMap::new();
        for point in vault.points().await? {
            points.insert(point.id, (hash(&vault, &point).await?, Some(true)));
        }
        Ok(Self { points })
    }

    /// Points that were acknowledged and not deleted.
    pub fn acknowledged(&self) -> usize {
        self.points.values().filter(|(_, must)| *must == Some(true)).count()
    }

    /// Everything that was acknowledged is there and restores, nothing else is, all is whole, another backup
    /// goes through; gives the vault.
    ///
    /// # Errors
    /// The vault's, or `Corrupt` with what is not as it must be.
    pub async fn check(&mut self, folder: &Path) -> Result<Arc<Vault>> {
        let vault = open(folder).await?;
        let listed = vault.points().await?;
        for (id, (_, must)) in &mut self.points {
            let is = listed.iter().any(|point| point.id == *id);
            match must {
                Some(must) if *must != is => return Err(wrong(format!("point {id}: listed {is}"))),
                _ => *must = Some(is),
            }
        }
        for point in &listed {
            let hash = hash(&vault, point).await?;
            if self.points.get(&point.id).is_none_or(|(right, _)| *right != hash) {
                return Err(wrong(format!("point {} has other bytes", point.id)));
            }
        }
        let done = vault.verify(&|_| ()).await?;
        if !done.damage.is_empty() || !done.points.is_empty() {
            return Err(wrong(format!("{:?} {:?}", done.damage, done.points)));
        }
        let (id, disk) = (PointId(Uuid::now_v7()), vec![7; CHUNK_BYTES]);
        back_up(&vault, id, &disk, None, 0..1).await?;
        self.points.insert(id, (blake3::hash(&disk).to_string(), Some(true)));
        Ok(vault)
    }
}

/// Of what a point's disk holds.
async fn hash(vault: &Arc<Vault>, point: &Point) -> Result<String> {
    let disk = PointDisk::new(Arc::clone(vault), point.disks[0].map.clone());
    let bytes = disk.read(0, vec![0; disk.size() as usize]).await;
    let bytes = bytes.map_err(|e| Error::caused(ErrorKind::Corrupt, e.to_string(), e))?;
    Ok(blake3::hash(&bytes).to_string())
}

fn wrong(found: String) -> Error {
    Error::new(ErrorKind::Corrupt, found)
}
