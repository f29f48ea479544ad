//! A stopped machine becomes a version of an image.

use super::check::{Checked, check};
use super::record::{ImageRecord, images, key_of, next};
use crate::backup::BackupRequest;
use crate::error::{Doing, Error, Result};
use crate::member::{Member, Ready};
use crate::progress::Progress;
use block::BlockSource;
use files::Program;
use hypervisor::offline::OfflineMachine;
use hypervisor::{FrozenMachine, MachineDescription, Outcome};
use model::image::ImageName;
use nbd::NbdDisk;
use std::sync::Arc;
use vault::{Point, Vault};

/// What is to become an image.
#[derive(Clone, Debug)]
pub struct CaptureRequest {
    /// The image that gets one more version.
    pub name: ImageName,
    /// Point, session, scratch folder, throttles and clock; the rest is settled here.
    pub backup: BackupRequest,
    /// Take it although it is not generalised.
    pub specialized: bool,
    /// Leave the version out when none is said.
    pub excluded: bool,
    /// What parses the disks, caged.
    pub program: Program,
}

/// What came of it.
#[derive(Debug)]
pub enum Captured {
    /// There is a new version.
    Made {
        /// What it says of itself.
        record: ImageRecord,
        /// It.
        point: Box<Point>,
        /// What was found on its disks.
        checked: Checked,
    },
    /// It is a machine's own, or nobody can say: there is none.
    Refused(Checked),
}

/// Makes a stopped machine, `told` being what is to be known of it, the next version of an image.
///
/// Its disks are looked into and then read at one and the same instant, while nothing can start on them.
///
/// # Errors
/// `Conflict` if somebody else made the same version meanwhile: theirs stands. CRASH: as a backup's; at worst both
/// versions have one number, which is told when it is asked for.
pub async fn capture(
    vault: &Arc<Vault>,
    (machine, told): (&OfflineMachine, &MachineDescription),
    request: &CaptureRequest,
    progress: &(dyn Fn(Progress) + Sync),
) -> Result<Captured> {
    let key = key_of(&request.name)?;
    let backup = BackupRequest {
        kept_as: Some((key, request.name.to_string())),
        full: true,
        audit_blocks: 0,
        ..request.backup.clone()
    };
    let member = Member::new(machine, vault, &backup, None).await?;
    progress(Progress::Step("Look into the disks".into()));
    let frozen = member.freeze(None).await?;
    let taken = Box::pin(take(&member, &frozen, told, request, progress)).await;
    let outcome =
        if matches!(taken, Ok(Captured::Made { .. })) { Outcome::Committed } else { Outcome::Abandoned };
    // Nothing was written into the images, so what is left is ours alone; the next freeze sweeps it.
    if let Err(left) = frozen.release(outcome).await {
        progress(Progress::Step(format!("The images could not be let go of wholly: {left}")));
    }
    let captured = taken?;
    if let Captured::Made { record, point, .. } = &captured {
        settle_number(vault, &request.name, record, point, backup.clock).await?;
    }
    Ok(captured)
}

async fn take(
    member: &Member<'_>,
    frozen: &FrozenMachine,
    told: &MachineDescription,
    request: &CaptureRequest,
    progress: &(dyn Fn(Progress) + Sync),
) -> Result<Captured> {
    let vault = member.vault();
    let checked = look(frozen, &request.program).await?;
    if !request.specialized && !checked.is_generalised() {
        return Ok(Captured::Refused(checked));
    }
    progress(Progress::Step("Transfer data to vault".into()));
    let instant = (request.backup.clock)();
    let Ready { session, mut draft, records } = member.transfer(frozen, instant, progress).await?;
    frozen.check().await.doing(|| "check that nobody wrote the images".into())?;
    let record = ImageRecord {
        name: request.name.to_string(),
        version: next(vault, &request.name).await?,
        excluded: request.excluded,
        from: told.name.clone().or_else(|| told.uuid.clone()).unwrap_or_default(),
        findings: checked.findings.clone(),
        systems: checked.systems.clone(),
    };
    let mut kept = told.clone();
    // Sizes are those that were read.
    for disk in &mut kept.disks {
        let read = frozen.disks().iter().find(|frozen| frozen.id == disk.id);
        disk.size = read.map_or(disk.size, |frozen| frozen.size);
    }
    draft.description = serde_json::to_value(kept).expect("plain data");
    record.put(&mut draft.description);
    let point = session.commit(draft, records).await.doing(|| format!("commit {}", record.shown()))?;
    Ok(Captured::Made { record, point: Box::new(point), checked })
}

/// Looks for what belongs to one machine alone.
async fn look(frozen: &FrozenMachine, program: &Program) -> Result<Checked> {
    let doing = || "look into the machine's disks".to_owned();
    let mut disks: Vec<(String, Arc<dyn BlockSource>)> = Vec::new();
    let mut opened = Vec::new();
    for disk in frozen.disks() {
        let options = nbd::Options { allocation: disk.allocation, ..nbd::Options::new(&disk.export) };
        let source = Arc::new(NbdDisk::connect(&disk.address, &options).await.doing(doing)?);
        opened.push(Arc::clone(&source));
        disks.push((disk.id.clone(), source));
    }
    let looked = crate::files::browse(program.clone(), disks, check).await;
    for source in opened {
        if let Some(source) = Arc::into_inner(source) {
            source.close().await;
        }
    }
    let failed = |error: files::Error| block::Error::caused(block::ErrorKind::Io, "read its files", error);
    looked.map_err(failed).doing(doing)
}

/// Who finds another version of its own number gives up, so at most one of two that came at once stays.
async fn settle_number(
    vault: &Vault,
    name: &ImageName,
    record: &ImageRecord,
    point: &Point,
    clock: fn() -> jiff::Timestamp,
) -> Result<()> {
    let versions = images(vault, Some(name)).await?;
    let is_other =
        |one: &&super::ImageVersion| one.record.version == record.version && one.point.id != point.id;
    let Some(other) = versions.iter().find(is_other) else { return Ok(()) };
    let doing = || format!("make {}", record.shown());
    vault.delete_point(point.id, clock()).await.doing(doing)?;
    let why = format!("somebody else made it meanwhile (point {}); try again", other.point.id);
    Err(Error::Vault(doing(), vault::Error::new(vault::ErrorKind::Conflict, why)))
}
