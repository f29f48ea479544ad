//! Images by order: a machine becomes a version, once, however often the order is begun; a version is copied to another
//! vault. `create.rs` makes machines of them.
//!
//! What a machine is, is written down in `DATA/captures/JOB.json` before it is stopped: a machine of QEMU's own that is
//! off is found by nobody. CRASH: it is off, or not; the next attempt goes on by that file, which goes with the job.

use super::backup::{fence, gate, makes_no_sense, told};
use super::create::{self, Wanted};
use super::doors::libvirt_of;
use super::failure::{Failed, Result};
use super::order::Run;
use super::server::in_words;
use crate::capture::{
    CaptureRequest, Captured, Checked, GET_SYSPREP, ImageRecord, OfflineGeneralise, SYSPREP, capture,
    generalise,
};
use crate::machines::{self, Known};
use crate::{BackupRequest, SnapshotCopy, copy_snapshot};
use api::StopMachine;
use api::images::{ImageFacts, ImageWork, KeptImage, MadeImage, NewImage};
use api::work::{AssignedHost, MadePoint, VaultAccess};
use hypervisor::libvirt::RunState;
use hypervisor::offline::OfflineMachine;
use hypervisor::recreate::{Stop, stop_libvirt, stop_qemu};
use hypervisor::{DiskSelection, ErrorKind, Level, MachineDescription};
use model::job::{Failure, Step};
use model::{Owner, PointId};
use serde_json::{Value, json};
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use vault::{MachineKey, Point, SessionId, Vault};

/// What to do about a machine that runs.
const STOP_IT: &str = "shut it down, or have it stopped: --stop, --power-off";
/// What to do about one that is somebody's.
const GENERALISE_IT: &str = "generalise it: --generalize (one of QEMU's own is started again before); --specialized takes it as it is";

/// A machine that is to become a version.
struct Meant<'a> {
    wish: &'a NewImage,
    host: &'a AssignedHost,
    known_as: &'a str,
    name: &'a str,
    kept: &'a KeptImage,
}

/// Does what an order on images asks for.
pub(super) async fn carry_out(run: &Run, work: &ImageWork) -> Result<()> {
    match work {
        ImageWork::Capture { wish, host, known_as, machine_name, kept } => {
            take(run, &Meant { wish, host, known_as, name: machine_name, kept }).await
        }
        ImageWork::Create { point, image, wish, libvirt, same_as } => {
            let (vault, point) = point_of(run, image, *point).await?;
            let drawn_from = same_as.unwrap_or(run.order.job);
            let wanted = Wanted { image, wish, libvirt: libvirt.as_deref(), drawn_from };
            create::create(run, (&vault, point), &wanted).await
        }
        ImageWork::Copy { point, image, to, kept } => copy(run, (*point, image), to, kept).await,
    }
}

/// Ends what the order has begun, after its work was dropped or failed: no session of it commits any more. Gives whether
/// all was done after all.
pub(super) async fn settle(run: &Run, work: &ImageWork) -> Result<bool> {
    let (vault, name, step) = match work {
        ImageWork::Capture { wish, .. } => {
            (run.vaults().vault(&run.order.vault).await?, wish.name.as_str(), Step::TransferToVault)
        }
        ImageWork::Copy { to, image, .. } => (run.vaults().vault(to).await?, name_of(image), Step::CopyImage),
        ImageWork::Create { .. } => return Ok(false),
    };
    vault.abort_session(SessionId(run.order.session), run.now()).await?;
    let Some(point) = of_job(run, &vault, name).await? else { return Ok(false) };
    // A step that was not told yet is done all the same: its point is there.
    if step == Step::TransferToVault && run.order.steps_done == 0 && !run.lease.has_step(Step::PrepareMachine)
    {
        run.lease.step_done(Step::PrepareMachine, None);
    }
    run.lease.step_done(step, Some(result(&point)?));
    Ok(true)
}

fn name_of(image: &str) -> &str {
    image.split_once(':').map_or(image, |(name, _)| name)
}

/// Under what name an image's versions are kept.
fn key_of(name: &str) -> Result<MachineKey> {
    Ok(MachineKey::new(Owner::Image.key(name))?)
}

/// A version in the order's vault.
async fn point_of(run: &Run, image: &str, point: PointId) -> Result<(Arc<Vault>, Point)> {
    let vault = run.vaults().vault(&run.order.vault).await?;
    let found = vault.find_point(&key_of(name_of(image))?, vault::PointId(point.0)).await?;
    Ok((vault, found))
}

/// The version that this job has made in a vault.
async fn of_job(run: &Run, vault: &Vault, name: &str) -> Result<Option<Point>> {
    let points = vault.survey(Some(&key_of(name)?)).await?.points.into_iter();
    let is_ours = |point: &Point| {
        KeptImage::of(&point.service).and_then(|kept| kept.job).is_some_and(|job| job == run.order.job)
    };
    Ok(points.into_iter().find(is_ours))
}

/// What the server is told of a version.
fn result(point: &Point) -> Result<Value> {
    let no_image = || makes_no_sense(format!("the point {} says of no image", point.id));
    let record = ImageFacts::of(&point.description).ok_or_else(no_image)?;
    let kept = KeptImage::of(&point.service).unwrap_or_else(KeptImage::unknown);
    let made: MadePoint = serde_json::from_value(told(point, point.id, super::backup::Tier::Vault))
        .map_err(|error| makes_no_sense(error.to_string()))?;
    Ok(json!({ "image": MadeImage { made, record, kept } }))
}

async fn take(run: &Run, meant: &Meant<'_>) -> Result<()> {
    let vault = run.vaults().vault(&run.order.vault).await?;
    run.vaults().attach(&vault).await?;
    fence(run, &vault).await?;
    // Nobody has claimed the job before, so nobody can have made its version.
    let earlier = match run.order.fenced.is_empty() {
        true => None,
        false => of_job(run, &vault, &meant.wish.name).await?,
    };
    let inside = run.enter(meant.known_as).await;
    let note = Note::of(run);
    let point = match earlier {
        Some(point) => {
            prepared(run);
            point
        }
        None => {
            let told = prepare(run, meant, &note).await?;
            prepared(run);
            let (machine, told) = OfflineMachine::described(&told, false)?;
            let machine = Arc::new(machine);
            run.keep(Arc::<OfflineMachine>::clone(&machine), inside);
            let made = make(run, meant, &vault, (&machine, &told)).await;
            if made.as_ref().is_err_and(|Failed(error)| error.failure == Failure::Invalid) {
                // Nobody tries this job again.
                note.remove();
            }
            made?
        }
    };
    run.lease.step_done(Step::TransferToVault, Some(result(&point)?));
    note.remove();
    Ok(())
}

fn prepared(run: &Run) {
    if run.order.steps_done == 0 && !run.lease.has_step(Step::PrepareMachine) {
        run.lease.step_done(Step::PrepareMachine, None);
    }
}

async fn make(
    run: &Run,
    meant: &Meant<'_>,
    vault: &Arc<Vault>,
    (machine, told): (&OfflineMachine, &MachineDescription),
) -> Result<Point> {
    let Some(program) = run.settings().files_program.clone() else {
        return Err(makes_no_sense("this mover has no program that looks into disks"));
    };
    let request = CaptureRequest {
        name: meant
            .wish
            .name
            .parse()
            .map_err(|error: model::image::Refused| makes_no_sense(error.to_string()))?,
        backup: backup(run, meant.kept),
        specialized: meant.wish.specialized,
        excluded: meant.wish.exclude_from_latest,
        program,
    };
    run.lease.begin(&Step::TransferToVault.to_string(), told.disks.iter().map(|disk| disk.size).sum());
    run.will_write();
    let tell = |progress| run.lease.progress(progress);
    match Box::pin(capture(vault, (machine, told), &request, &tell)).await? {
        Captured::Made { checked, point, .. } => {
            for unread in &checked.unread {
                run.lease.warn(format!("Not looked into: {unread}"));
            }
            Ok(*point)
        }
        Captured::Refused(checked) => Err(Failed::new(Failure::Invalid, refused(&checked), GENERALISE_IT)),
    }
}

fn refused(checked: &Checked) -> String {
    if checked.systems.is_empty() {
        let unread = checked.unread.join("; ");
        return format!("no system was found on the machine's disks that could be looked into; {unread}");
    }
    let found: Vec<String> =
        checked.findings.iter().map(|found| format!("{} ({})", found.place, found.what)).collect();
    format!(
        "the machine is not generalised: {} things on its disks belong to it alone: {}",
        found.len(),
        found.join("; ")
    )
}

fn backup(run: &Run, kept: &KeptImage) -> BackupRequest {
    BackupRequest {
        point: vault::PointId(run.draw()),
        session: SessionId(run.order.session),
        kept_as: None,
        service: kept.to_value(),
        gate: Some(gate(run)),
        wish: Level::Crash,
        may_fall: true,
        full: true,
        disks: DiskSelection::All,
        audit_blocks: 0,
        throttles: Vec::new(),
        back_off: false,
        // For sockets alone: who reads the images is a user that may not pass through our own folders.
        scratch: std::env::temp_dir(),
        freeze_timeout: Duration::from_secs(10),
        watchdog: None,
        clock: run.settings().clock,
    }
}

/// Has the machine forget who it is, if that is wished, and stops it. Gives what it is.
async fn prepare(run: &Run, meant: &Meant<'_>, note: &Note) -> Result<MachineDescription> {
    let known = find(meant).await?;
    // An earlier attempt has stopped it.
    if let Some(told) = note.read().filter(|_| is_off(known.as_ref())) {
        return Ok(told);
    }
    let Some(known) = known else {
        let text =
            format!("no machine {} ({}) runs on the host {}", meant.name, meant.known_as, meant.host.address);
        return Err(Failed::new(
            Failure::Unreachable,
            text,
            "start it: one of QEMU's own is found while it runs",
        ));
    };
    run.lease.begin(&Step::PrepareMachine.to_string(), 0);
    let is_off = is_off(Some(&known));
    if !is_off && meant.wish.stop.is_none() {
        let text = format!("the machine {} runs, and an image is made of a machine that is off", meant.name);
        return Err(Failed::new(Failure::Invalid, text, STOP_IT));
    }
    let machine = known.connect().await?;
    let told = machine.describe().await?;
    // Everything that could stand in the way of reading it is known before the guest is touched.
    let (off, described) = OfflineMachine::described(&told, false)?;
    let sysprep = match is_off && meant.wish.generalize {
        true => Some(planned(meant.name, (&off, &described)).await?),
        false => None,
    };
    // From here on it is changed: nobody else must be at it.
    run.lease.renewed().await;
    match sysprep {
        // The next attempt would meet the same disks.
        Some(sysprep) => sysprep
            .run()
            .await
            .map_err(|error| Failed::new(Failure::Invalid, in_words(&error), GENERALISE_IT))?,
        None if meant.wish.generalize => generalise(&*machine).await?,
        None => {}
    }
    // Its monitor serves one at a time.
    drop(machine);
    note.write(&told)?;
    match (is_off, meant.wish.stop.map(how), &known) {
        (true, ..) | (_, None, _) => {}
        (false, Some(how), Known::Libvirt(domain, _)) => stop_libvirt(&domain.uri, &domain.uuid, how).await?,
        (false, Some(how), Known::Qemu(address)) => stop_one(&address.qmp, how).await?,
    }
    Ok(told)
}

async fn planned(name: &str, machine: (&OfflineMachine, &MachineDescription)) -> Result<OfflineGeneralise> {
    let sysprep = OfflineGeneralise::plan(Path::new(SYSPREP), machine).await?;
    match sysprep.is_installed() {
        true => Ok(sysprep),
        false => {
            let text = format!("the machine {name} is off, and {SYSPREP} is not installed on its host");
            Err(Failed::new(Failure::Invalid, text, GET_SYSPREP))
        }
    }
}

/// Stops a machine by the first of its QMP sockets that nobody else holds.
async fn stop_one(sockets: &[PathBuf], how: Stop) -> Result<()> {
    let (last, others) = sockets.split_last().expect("it was connected to by one");
    for socket in others {
        match stop_qemu(socket, how).await {
            Err(error) if error.kind() == ErrorKind::Busy => {}
            stopped => return Ok(stopped?),
        }
    }
    Ok(stop_qemu(last, how).await?)
}

fn is_off(known: Option<&Known>) -> bool {
    known.is_none_or(|known| matches!(known, Known::Libvirt(domain, _) if domain.state == RunState::Off))
}

fn how(stop: StopMachine) -> Stop {
    match stop {
        StopMachine::ShutDown => Stop::ShutDown,
        StopMachine::PowerOff => Stop::PowerOff,
    }
}

/// The machine as its hypervisor knows it; none if it does not.
async fn find(meant: &Meant<'_>) -> Result<Option<Known>> {
    let found = machines::find(libvirt_of(meant.host)).await?;
    let is_meant = |known: &Known| known.known_as().is_some_and(|id| id.eq_ignore_ascii_case(meant.known_as));
    let mut all = found.machines.into_iter().filter(is_meant);
    match (all.next(), all.next()) {
        (one, None) => Ok(one),
        _ => {
            let text = format!(
                "several machines on the host {} are known as {}",
                meant.host.address, meant.known_as
            );
            Err(Failed::new(Failure::Invalid, text, "give each a uuid of its own: -uuid"))
        }
    }
}

/// What was written down of a machine before it was stopped.
struct Note(PathBuf);

impl Note {
    fn of(run: &Run) -> Self {
        Self(run.settings().captures().join(format!("{}.json", run.order.job)))
    }

    fn read(&self) -> Option<MachineDescription> {
        serde_json::from_slice(&fs::read(&self.0).ok()?).ok()
    }

    fn write(&self, told: &MachineDescription) -> Result<()> {
        let text = serde_json::to_vec(told).expect("plain data");
        let folder = self.0.parent().expect("it lies in a folder");
        let partial = self.0.with_added_extension("partial");
        let written = || {
            fs::create_dir_all(folder)?;
            let mut file = fs::File::create(&partial)?;
            file.write_all(&text)?;
            file.sync_all()?;
            fs::rename(&partial, &self.0)?;
            fs::File::open(folder)?.sync_all()
        };
        Ok(written().map_err(|error| io("write", &self.0, error))?)
    }

    fn remove(&self) {
        let _ = fs::remove_file(&self.0); // it says nothing once its job is over
    }
}

fn io(verb: &str, path: &Path, error: std::io::Error) -> block::Error {
    block::Error::io(format!("{verb} {}", path.display()), error)
}

async fn copy(run: &Run, (point, image): (PointId, &str), to: &VaultAccess, kept: &KeptImage) -> Result<()> {
    let (here, point) = point_of(run, image, point).await?;
    let there = run.vaults().vault(to).await?;
    run.vaults().attach(&there).await?;
    for session in &run.order.fenced {
        there.abort_session(SessionId(*session), run.now()).await?;
    }
    let name = name_of(image);
    if let Some(copy) = of_job(run, &there, name).await? {
        run.lease.step_done(Step::CopyImage, Some(result(&copy)?));
        return Ok(());
    }
    let version = |point: &Point| ImageRecord::of(point).map(|record| record.version);
    let others = there.survey(Some(&key_of(name)?)).await?.points;
    if others.iter().any(|other| version(other) == version(&point)) {
        let text = format!("the other vault has another {image} already");
        return Err(Failed::new(Failure::Invalid, text, "make a new version, and copy that"));
    }
    run.lease.begin(&Step::CopyImage.to_string(), point.disks.iter().map(|disk| disk.map.size).sum());
    run.will_write();
    let copy = SnapshotCopy {
        point: &point,
        base: None,
        id: vault::PointId(run.draw()),
        session: SessionId(run.order.session),
        service: kept.to_value(),
        now: run.now(),
    };
    let gate = Box::pin(run.lease.renewed());
    let advance = |progress| run.lease.progress(progress);
    let made = Box::pin(copy_snapshot((&here, &there), copy, gate, &advance)).await?;
    run.lease.step_done(Step::CopyImage, Some(result(&made)?));
    Ok(())
}
