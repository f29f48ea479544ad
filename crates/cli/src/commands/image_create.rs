//! `strongroom rescue image create`.

use super::image;
use crate::args::{ImageCreateArgs, MachineArgs, PointArgs, StopArgs};
use crate::failure::Told;
use crate::output::{self, Output};
use crate::watch::Watch;
use crate::{machines, open};
use anyhow::{Context, Result};
use hypervisor::offline::{Image, OfflineMachine};
use hypervisor::recreate::{Stop, libvirt_is_off, stop_libvirt, stop_qemu};
use hypervisor::{DiskSelection, Level, Machine, MachineDescription};
use mover::BackupRequest;
use mover::capture::{
    CaptureRequest, Captured, Checked, GENERALISE_STEPS, GET_SYSPREP, ImageVersion, OfflineGeneralise,
    SYSPREP, capture, generalise,
};
use mover::machines::Known;
use std::path::{Path, PathBuf};
use std::time::Duration;
use uuid::Uuid;
use vault::{PointId, SessionId, Vault};

/// What to do about a machine that is somebody's.
const HINT: &str = "see what is found; --generalize removes it, in a machine that runs or on the disks of one that is off; \
                    --specialized takes it as it is";

pub(crate) async fn run(output: &Output, args: ImageCreateArgs) -> Result<()> {
    let vault = open::vault_to_write(&args.vault).await?;
    let (machine, told) = match args.source.images.is_empty() {
        true => named(&args).await?,
        false => by_images(&args, &vault).await?,
    };
    let request = request(&args)?;
    let watch = Watch::new();
    let show = |progress| watch.show(progress);
    let work = async { Ok(Box::pin(capture(&vault, (&machine, &told), &request, &show)).await?) };
    let captured = super::unless_interrupted("making the image", work).await;
    if captured.is_err() {
        // The dropped loop lets go of the images in the background.
        machine.settled().await;
    }
    open::warn_index(&vault);
    match captured? {
        Captured::Made { record, point, checked } => {
            tell(&checked);
            let made = ImageVersion { record, point: *point };
            output::print(output, &image::value(&made, !made.record.excluded), || {
                format!("{} is made, of {}\n", made.record.shown(), made.record.from)
            })
        }
        Captured::Refused(checked) => {
            tell(&checked);
            let what = match (checked.systems.is_empty(), checked.findings.len()) {
                (true, _) => "no system was found on its disks that could be looked into".to_owned(),
                (false, n) => {
                    format!("it is not generalised: {n} things on its disks belong to one machine alone")
                }
            };
            Err(Told::state(what, HINT))
        }
    }
}

fn tell(checked: &Checked) {
    for system in &checked.systems {
        eprintln!("Looked into {system}.");
    }
    for finding in &checked.findings {
        eprintln!("  {}: {}", finding.place, finding.what);
    }
    for unread in &checked.unread {
        eprintln!("warning: not looked into: {unread}");
    }
}

fn request(args: &ImageCreateArgs) -> Result<CaptureRequest> {
    let path = std::env::current_exe().context("find our own program, which parses the disks")?;
    let backup = BackupRequest {
        point: PointId(Uuid::now_v7()),
        session: SessionId(Uuid::now_v7()),
        kept_as: None,
        service: serde_json::Value::Null,
        gate: None,
        wish: Level::Crash,
        may_fall: true,
        full: true,
        disks: DiskSelection::All,
        audit_blocks: 0,
        throttles: Vec::new(),
        back_off: false,
        scratch: args.scratch.clone(),
        freeze_timeout: Duration::from_secs(10),
        watchdog: None,
        clock: super::now,
    };
    Ok(CaptureRequest {
        name: args.name.clone(),
        backup,
        specialized: args.specialized,
        excluded: args.exclude_from_latest,
        program: files::Program { path, arguments: vec!["files-worker".to_owned()] },
    })
}

/// The images of a machine that is stopped, and what a point says of how it is started.
async fn by_images(args: &ImageCreateArgs, vault: &Vault) -> Result<(OfflineMachine, MachineDescription)> {
    let like = PointArgs { point: args.source.like.clone().unwrap_or_default(), machine: None };
    let point = open::point(vault, &like).await?;
    let mut told: MachineDescription = serde_json::from_value(point.description.clone())
        .with_context(|| format!("understand the machine of the point {}", point.id))?;
    for disk in &mut told.disks {
        let image = args.source.images.iter().find(|image| image.name == disk.id);
        let missing =
            || Told::usage(format!("no image is named for the disk {}", disk.id), "add --image NAME=PATH");
        let Image { path, format, .. } = image.ok_or_else(missing)?;
        disk.file = std::path::absolute(path)?.display().to_string();
        disk.format = format.name().to_owned();
    }
    let known = |image: &&Image| !told.disks.iter().any(|disk| disk.id == image.name);
    if let Some(unknown) = args.source.images.iter().find(known) {
        let what = format!("the machine of the point {} has no disk {}", point.id, unknown.name);
        return Err(Told::usage(what, "name its disks as the point does"));
    }
    let (machine, told) = OfflineMachine::described(&told, args.source.allow_outside)?;
    if args.generalize {
        let name = told.name.as_deref().unwrap_or("the machine");
        prepare_disks(name, args.yes, (&machine, &told)).await?;
    }
    Ok((machine, told))
}

/// The machine that is named, off: shut down for it if that is wished.
async fn named(args: &ImageCreateArgs) -> Result<(OfflineMachine, MachineDescription)> {
    let (name, door) = find(args).await?;
    let is_off = match &door {
        Door::Libvirt(uri, domain) => libvirt_is_off(uri, domain).await?,
        Door::Qmp(_) => false,
    };
    let how = wish(args.stop);
    if !is_off && how.is_none() {
        let hint = "--stop asks its guest to shut down, --power-off cuts its power; --generalize before that";
        return Err(Told::state(format!("{name} runs, and an image is made of a machine that is off"), hint));
    }
    let machine = connect(args).await?;
    let told = machine.describe().await?;
    // Everything that could stand in the way of reading it is known before the guest is touched.
    let (off, described) = OfflineMachine::described(&told, args.source.allow_outside)?;
    match (args.generalize, is_off) {
        (true, true) => prepare_disks(&name, args.yes, (&off, &described)).await?,
        (true, false) => {
            agree(&name, args.yes, "Then it is shut down.")?;
            generalise(&*machine).await?;
        }
        (false, _) => {}
    }
    // Its monitor serves one at a time.
    drop(machine);
    if let (false, Some(how)) = (is_off, how) {
        eprintln!("Stopping {name}");
        match &door {
            Door::Libvirt(uri, domain) => stop_libvirt(uri, domain, how).await?,
            Door::Qmp(socket) => stop_qemu(socket, how).await?,
        }
    }
    Ok(OfflineMachine::described(&told, args.source.allow_outside)?)
}

/// Has a machine that is off forget who it is, on its disks.
async fn prepare_disks(name: &str, yes: bool, machine: (&OfflineMachine, &MachineDescription)) -> Result<()> {
    let sysprep = OfflineGeneralise::plan(Path::new(SYSPREP), machine).await?;
    if !sysprep.is_installed() {
        let what = format!("{name} is off, and {SYSPREP} is not installed here");
        return Err(Told::state(what, GET_SYSPREP));
    }
    agree(
        name,
        yes,
        &format!("It is off, so this is done on its disks:\n  {}", sysprep.commands().join("\n  ")),
    )?;
    eprintln!("Running {SYSPREP}, which may take minutes");
    super::unless_interrupted("generalising the machine's disks", async { Ok(sysprep.run().await?) }).await
}

/// Says what is going to be done, and whether it is wished.
fn agree(name: &str, yes: bool, how: &str) -> Result<()> {
    eprintln!("In {name}, for ever:");
    GENERALISE_STEPS.iter().for_each(|step| eprintln!("  {step}"));
    eprintln!("{how}");
    match yes {
        true => Ok(()),
        false => Err(Told::declined("nothing was done: add --yes to do it")),
    }
}

/// How the machine is stopped.
enum Door {
    Qmp(PathBuf),
    Libvirt(String, String),
}

fn arguments(args: &ImageCreateArgs) -> MachineArgs {
    let source = &args.source;
    MachineArgs {
        machine: source.from.clone(),
        qmp: source.qmp.clone(),
        agent: source.agent.clone(),
        libvirt: source.libvirt.clone(),
    }
}

async fn connect(args: &ImageCreateArgs) -> Result<Box<dyn Machine>> {
    machines::open(&arguments(args)).await
}

async fn find(args: &ImageCreateArgs) -> Result<(String, Door)> {
    if let Some(qmp) = &args.source.qmp {
        return Ok((
            args.source.from.clone().unwrap_or_else(|| "the machine".into()),
            Door::Qmp(qmp.clone()),
        ));
    }
    let name = args.source.from.clone().unwrap_or_default();
    let found = machines::find(args.source.libvirt.as_deref()).await?.machines;
    let mut meant = found.into_iter().filter(|known| known.is_called(&name));
    match (meant.next(), meant.next()) {
        (Some(Known::Libvirt(domain, _)), None) => Ok((name, Door::Libvirt(domain.uri, domain.uuid))),
        (Some(Known::Qemu(found)), None) if !found.qmp.is_empty() => {
            Ok((name, Door::Qmp(found.qmp[0].clone())))
        }
        // What is wrong is told by who opens it.
        _ => connect(args).await.and_then(|_| {
            Err(Told::usage(
                format!("several machines are called {name}"),
                "name it by its id, or with --qmp SOCKET",
            ))
        }),
    }
}

fn wish(args: StopArgs) -> Option<Stop> {
    match args {
        StopArgs { power_off: true, .. } => Some(Stop::PowerOff),
        StopArgs { stop: true, .. } => Some(Stop::ShutDown),
        StopArgs { .. } => None,
    }
}
