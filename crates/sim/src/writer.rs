//! A machine that is backed up: its disks change, points are made, checked, deleted and had back.

use crate::oracle::{Expect, Kept, SimDisk};
use crate::random::Random;
use crate::scenario::Actor;
use crate::weather::Weather;
use futures_util::stream::{self, StreamExt, TryStreamExt};
use std::sync::Arc;
use vault::{
    Base, CHUNK_BYTES, DiskMap, DiskRecord, ErrorKind, MachineKey, Point, PointDraft, PointId, Session,
    SessionId, Vault,
};

/// Blocks of one call of the session.
const BATCH_BLOCKS: usize = 3;
/// Calls under way at once.
const BATCHES: usize = 3;
/// How often a program that was cut off begins again.
const LIVES: u64 = 3;

/// The machine.
pub(crate) struct Writer {
    actor: Actor,
    disks: Vec<SimDisk>,
    /// What changed on each disk since the last point that was acknowledged.
    changed: Vec<Vec<u64>>,
    last: Option<PointId>,
    mine: Vec<PointId>,
}

/// What a backup is to make.
struct Plan {
    session: SessionId,
    point: PointId,
    machine: MachineKey,
    now: jiff::Timestamp,
    parent: Option<Point>,
    disks: Vec<SimDisk>,
    changed: Vec<Vec<u64>>,
}

impl Writer {
    pub(crate) fn new(mut actor: Actor) -> Self {
        let disks: Vec<_> =
            (0..1 + actor.random.below(2)).map(|_| SimDisk::draw(&mut actor.random)).collect();
        Self { changed: vec![Vec::new(); disks.len()], disks, actor, last: None, mine: Vec::new() }
    }

    /// Lives until all its rounds are done.
    pub(crate) async fn live(mut self) -> Result<(), String> {
        let mut rounds = self.actor.scenario.numbers.rounds;
        for life in (0..LIVES).rev() {
            let process = self.actor.process(life);
            let work = async {
                let Some(vault) = self.actor.open(&process).await? else { return Ok::<_, String>(()) };
                while rounds > 0 {
                    rounds -= 1;
                    self.round(&vault).await?;
                    self.actor.rest().await;
                }
                Ok(())
            };
            tokio::select! {
                biased;
                () = process.death() => {}
                done = work => done?,
            }
            if rounds == 0 {
                break;
            }
            self.actor.rest().await;
        }
        Ok(())
    }

    async fn round(&mut self, vault: &Arc<Vault>) -> Result<(), String> {
        match self.actor.random.below(10) {
            0..6 => Box::pin(self.back_up(vault)).await,
            6 => self.delete(vault).await,
            7 => self.undelete(vault).await,
            8 => self.check(vault).await,
            _ => Box::pin(self.give_up(vault)).await,
        }
    }

    /// Changes the disks and backs them up.
    async fn back_up(&mut self, vault: &Arc<Vault>) -> Result<(), String> {
        let random = &mut self.actor.random;
        for (disk, changed) in self.disks.iter_mut().zip(&mut self.changed) {
            changed.extend(disk.change(random, 8));
            changed.sort_unstable();
            changed.dedup();
        }
        let plan = self.plan();
        let (id, oracle) = (plan.point, self.actor.scenario.oracle.clone());
        let kept = Kept { expect: Expect::Unknown, disks: self.disks.clone(), point: None };
        oracle.points().insert(id, kept);
        self.mine.push(id);
        let made = self.actor.try_act("backup", Box::pin(plan.make(vault))).await?;
        if let Ok(point) = made {
            let kept = Kept { expect: Expect::Live, disks: self.disks.clone(), point: Some(point) };
            oracle.points().insert(id, kept);
            self.last = Some(id);
            self.changed.iter_mut().for_each(Vec::clear);
        } else {
            // What it may build on next is for the log to say; reading everything is always right.
            self.last = None;
        }
        Ok(())
    }

    fn plan(&mut self) -> Plan {
        let scenario = &self.actor.scenario;
        let (millis, now) = (scenario.world.millis(), scenario.world.now());
        let parent = self.last.filter(|_| self.actor.random.happens(700));
        Plan {
            session: SessionId(self.actor.random.uuid_at(millis)),
            point: PointId(self.actor.random.uuid_at(millis)),
            machine: MachineKey::new(self.actor.name.clone()).expect("a short word"),
            now,
            parent: parent.and_then(|id| scenario.oracle.get(id)).and_then(|kept| kept.point),
            disks: self.disks.clone(),
            changed: self.changed.clone(),
        }
    }

    /// Deletes one of its points.
    async fn delete(&mut self, vault: &Arc<Vault>) -> Result<(), String> {
        let Some((id, before)) = self.pick() else { return Ok(()) };
        let oracle = self.actor.scenario.oracle.clone();
        oracle.expect(id, Expect::Unknown);
        let now = self.actor.scenario.world.now();
        match self.actor.try_act("delete", vault.delete_point(id, now)).await? {
            Ok(()) => oracle.expect(id, Expect::Deleted),
            Err(error) if error.kind() == ErrorKind::Conflict => {
                if before == Expect::Live {
                    return Err(format!("delete {id}: it was acknowledged, and now: {error}"));
                }
                oracle.expect(id, before);
            }
            Err(_) => {}
        }
        Ok(())
    }

    /// Has one back.
    async fn undelete(&mut self, vault: &Arc<Vault>) -> Result<(), String> {
        let Some((id, before)) = self.pick() else { return Ok(()) };
        let oracle = self.actor.scenario.oracle.clone();
        if before == Expect::Live {
            return Ok(());
        }
        oracle.expect(id, Expect::Unknown);
        let now = self.actor.scenario.world.now();
        match self.actor.try_act("undelete", vault.undelete_point(id, now)).await? {
            Ok(()) => oracle.expect(id, Expect::Live),
            Err(error) if error.kind() == ErrorKind::Conflict => oracle.expect(id, before),
            Err(_) => {}
        }
        Ok(())
    }

    /// Reads one back while the others work.
    async fn check(&mut self, vault: &Arc<Vault>) -> Result<(), String> {
        let Some((id, Expect::Live)) = self.pick() else { return Ok(()) };
        let scenario = &self.actor.scenario;
        let Some(point) = scenario.oracle.get(id).and_then(|kept| kept.point) else { return Ok(()) };
        let compared = Box::pin(scenario.oracle.compare(vault, &point)).await;
        scenario.world.note(&self.actor.name, format_args!("check {id}: {}", compared.is_ok()));
        match compared {
            Ok(right) => right,
            Err(error) if may_fail(&scenario.world.inner().weather, &error) => Ok(()),
            Err(error) => Err(format!("check {id}: {error}")),
        }
    }

    /// Begins a session that never ends.
    async fn give_up(&mut self, vault: &Arc<Vault>) -> Result<(), String> {
        let mut plan = self.plan();
        plan.parent = None;
        let stored = Box::pin(async { plan.store(vault).await.map(drop) });
        self.actor.act("give up", stored).await.map(drop)
    }

    fn pick(&mut self) -> Option<(PointId, Expect)> {
        let id = (!self.mine.is_empty()).then(|| *self.actor.random.one(&self.mine))?;
        Some((id, self.actor.scenario.oracle.get(id)?.expect))
    }
}

/// Whether a point that is there may be unreadable in this weather.
fn may_fail(weather: &Weather, error: &block::Error) -> bool {
    match error.kind() {
        block::ErrorKind::Corrupt | block::ErrorKind::NotFound => weather.spoils(),
        _ => !weather.is_calm(),
    }
}

impl Plan {
    /// Makes the point.
    pub(crate) async fn make(&self, vault: &Arc<Vault>) -> vault::Result<Point> {
        let (session, maps) = self.store(vault).await?;
        let record = |(number, map): (usize, DiskMap)| DiskRecord {
            name: format!("disk{number}"),
            map,
            tracking: String::new(),
            read_bytes: 0,
        };
        let draft = PointDraft {
            id: self.point,
            machine: self.machine.clone(),
            machine_name: self.machine.to_string(),
            instant: self.now,
            parent: self.parent.as_ref().map(|parent| parent.id),
            consistency: serde_json::Value::Null,
            description: serde_json::Value::Null,
            service: serde_json::Value::Null,
        };
        session.commit(draft, maps.into_iter().enumerate().map(record).collect()).await
    }

    /// Stores all disks, without making a point of them.
    async fn store(&self, vault: &Arc<Vault>) -> vault::Result<(Session, Vec<DiskMap>)> {
        let session = Session::begin(vault, self.session, self.now).await?;
        let mut maps = Vec::new();
        for (number, disk) in self.disks.iter().enumerate() {
            let base = self.parent.as_ref();
            let base = base.map(|point| Base { point: point.id, map: &point.disks[number].map });
            maps.push(store_disk(&session, disk, base, &self.changed[number]).await?);
        }
        Ok((session, maps))
    }
}

/// The mover's loop in small: batches in any order, recorded by offset.
async fn store_disk(
    session: &Session,
    disk: &SimDisk,
    base: Option<Base<'_>>,
    changed: &[u64],
) -> vault::Result<DiskMap> {
    let mut writer = session.disk(disk.size(), base).await?;
    let all: Vec<u64> = (0..disk.blocks.len() as u64).collect();
    let wanted = if base.is_some() { changed } else { &all };
    let batches = stream::iter(batches(disk, wanted)).map(|(first, bytes)| async move {
        let offset = first * CHUNK_BYTES as u64;
        vault::Result::Ok(match bytes {
            Some(bytes) => (offset, Some(session.store(offset, bytes).await?)),
            None => (offset, None),
        })
    });
    let mut batches = batches.buffered(BATCHES);
    while let Some((offset, batch)) = batches.try_next().await? {
        match batch {
            Some(batch) => {
                writer.record(session, &batch).await?;
            }
            None => {
                writer.record_zeros(session, offset, (disk.size() - offset).min(CHUNK_BYTES as u64)).await?;
            }
        }
    }
    drop(batches);
    writer.finish(session).await
}

/// Blocks to be stored, neighbours together; nothing where all is zero.
fn batches(disk: &SimDisk, wanted: &[u64]) -> Vec<(u64, Option<Vec<u8>>)> {
    let mut batches: Vec<(u64, Option<Vec<u8>>)> = Vec::new();
    for &block in wanted {
        match (disk.block(block), batches.last_mut()) {
            (Some(bytes), Some((first, Some(batch))))
                if *first + (batch.len() / CHUNK_BYTES) as u64 == block
                    && batch.len() < BATCH_BLOCKS * CHUNK_BYTES =>
            {
                batch.extend_from_slice(&bytes);
            }
            (bytes, _) => batches.push((block, bytes)),
        }
    }
    batches
}

/// A backup by somebody who comes after everything.
pub(crate) async fn back_up_after(
    vault: &Arc<Vault>,
    random: &mut Random,
    millis: u64,
    now: jiff::Timestamp,
) -> vault::Result<(Point, Vec<SimDisk>)> {
    let disks = vec![SimDisk::draw(random)];
    let plan = Plan {
        session: SessionId(random.uuid_at(millis)),
        point: PointId(random.uuid_at(millis)),
        machine: MachineKey::new("after").expect("a short word"),
        now,
        parent: None,
        disks: disks.clone(),
        changed: vec![Vec::new()],
    };
    Ok((plan.make(vault).await?, disks))
}
