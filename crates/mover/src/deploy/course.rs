//! Machines made of an image, from the plan to the last start.

use super::copy::{CopyJournal, Dependent, LocalCopy};
use super::request::{DeployRequest, DeployedDisks, DeployedMachine, NewIdentity};
use super::serving::Serving;
use super::{overlay, seed};
use crate::error::{Doing, Error, Result};
use crate::image::ImageFormat;
use crate::instant::Door;
use crate::new_machine::{self, NewMachine, Place, Plan};
use crate::progress::Progress;
use crate::restore::{self, RestoreRequest, is_firmware};
use futures_util::stream::{self, StreamExt};
use hypervisor::recreate::{self, Identity, Macs, OverServer, Recreation};
use std::fs::File;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use vault::Vault;

/// The disk that tells a guest who it is, in its machine's folder.
const SEED: &str = "seed.iso";
/// The monitor of whoever serves a machine, in its folder.
const MONITOR: &str = "pull.sock";
/// Machines that are started at the same time: each takes a processor for a moment.
const STARTS: usize = 4;

/// What was made.
pub struct Deployed {
    /// The machines, in the order in which they were asked for.
    pub machines: Vec<DeployedMachine>,
    /// The folder of the shared copy.
    pub copy: PathBuf,
    /// Bytes that came from the vault.
    pub fetched_bytes: u64,
    /// What the machines read from until the copy is whole.
    pub serving: Option<Serving>,
}

/// A machine that is going to be made.
struct Planned {
    identity: NewIdentity,
    wanted: NewMachine,
    plan: Plan,
}

/// Makes machines of an image's version.
///
/// What cannot be is refused before anything is written. Nothing existing is replaced. A machine that cannot be
/// defined or started is told; the others are made.
///
/// The order: the shared copy; who is going to stand on it; the machines' disks and definitions, synced all at once, in
/// folders that are hidden; those get their names; only then anything runs. CRASH: a machine's folder is whole, or is
/// still called `.NAME.UUID`: nothing ran on it, and it may be deleted. The copy goes on where it was.
pub async fn deploy(
    vault: &Arc<Vault>,
    request: &DeployRequest,
    progress: &(dyn Fn(Progress) + Sync),
) -> Result<Deployed> {
    request.check()?;
    let request = &settled(request);
    let planned = request.machines.iter().map(|identity| plan(request, identity));
    let planned = planned.collect::<Result<Vec<_>>>()?;
    refuse_taken(request, &planned)?;
    let folder = LocalCopy::folder(&request.folder, &request.image);
    make_parent(&request.folder)?;
    let copy = LocalCopy::open(vault, &request.point, &request.image, &folder).await?;
    progress(Progress::Step("Bring image here".into()));
    let at_once = matches!(request.disks, DeployedDisks::AtOnce(_));
    copy.fill(at_once, None, progress).await?;
    let making = copy.making().await;
    let missing = refuse_taken(request, &planned)?;
    if request.disks != DeployedDisks::Full {
        note(&copy, request, &missing)?;
    }
    progress(Progress::Step(format!("Make disks of {} machines", missing.len())));
    for one in &missing {
        make_disks(&copy, request, one, progress).await?;
        write_definition(one)?;
    }
    sync(&request.folder)?;
    for one in &missing {
        publish(one)?;
    }
    sync(&request.folder)?;
    if at_once {
        copy.serve().await?;
    }
    progress(Progress::Step("Make machines".into()));
    let finished = stream::iter(planned).map(finish).buffered(STARTS).collect::<Vec<_>>().await;
    let machines = finished.into_iter().collect::<Result<_>>()?;
    drop(making);
    let (path, fetched_bytes) = (copy.path().to_owned(), copy.fetched_bytes());
    let serving = at_once.then(|| Serving::new(copy));
    Ok(Deployed { machines, copy: path, fetched_bytes, serving })
}

/// A copy that is whole needs nobody who serves it. What an earlier attempt has begun goes on as it was begun: its
/// machines' definitions say so.
fn settled(request: &DeployRequest) -> DeployRequest {
    let folder = LocalCopy::folder(&request.folder, &request.image);
    let journal = CopyJournal::read(&folder).ok();
    let is_begun = |known: &Dependent| {
        let mut names = request.machines.iter().map(|machine| &machine.name);
        names.any(|name| {
            known.name == *name && known.door == Door::Qmp(request.folder.join(name).join(MONITOR))
        })
    };
    let is_begun = |journal: &CopyJournal| request.goes_on && journal.machines.iter().any(is_begun);
    let needs_nobody = journal.is_some_and(|journal| journal.whole && !is_begun(&journal));
    let disks = match request.disks {
        DeployedDisks::AtOnce(_) if needs_nobody => DeployedDisks::Overlays,
        disks => disks,
    };
    DeployRequest { disks, ..request.clone() }
}

fn plan(request: &DeployRequest, identity: &NewIdentity) -> Result<Planned> {
    let folder = request.folder.join(&identity.name);
    let over = match request.disks {
        DeployedDisks::AtOnce(patience) => Some(OverServer {
            socket: LocalCopy::folder(&request.folder, &request.image).join("nbd.sock"),
            patience_s: patience.as_secs(),
            monitor: folder.join(MONITOR),
        }),
        DeployedDisks::Overlays | DeployedDisks::Full => None,
    };
    let recreation = Recreation {
        name: identity.name.clone(),
        uuid: Identity::New(identity.uuid.to_string()),
        macs: Macs::New(identity.macs),
        network: request.network.clone(),
        cpus: request.cpus,
        memory_bytes: request.memory_bytes,
        disks: Vec::new(),
        folder: folder.join("run"),
        over,
    };
    let (point, format) = (request.point.clone(), ImageFormat::Qcow2);
    let restore = RestoreRequest { point, disks: Vec::new(), folder: folder.clone(), format };
    let wanted = NewMachine { restore, recreation, place: request.place.clone(), start: request.start };
    let mut plan = new_machine::plan(&wanted)?;
    let seed = folder.join(SEED);
    let seeded = match &mut plan {
        Plan::Qemu(qemu) => recreate::seed_qemu(qemu, &seed),
        Plan::Libvirt(domain, _) => recreate::seed_libvirt(domain, &seed),
    };
    seeded.doing(|| format!("plan the machine {}", identity.name))?;
    Ok(Planned { identity: identity.clone(), wanted, plan })
}

impl Planned {
    fn folder(&self) -> &Path {
        &self.wanted.restore.folder
    }

    /// Where it is made. Nobody else's folder is called so.
    fn stage(&self) -> PathBuf {
        self.folder().with_file_name(format!(".{}.{}", self.identity.name, self.identity.uuid))
    }

    /// Whether an earlier attempt has made this very machine: its definition names its uuid and addresses.
    fn is_made(&self) -> bool {
        let definition = new_machine::definition(&self.plan);
        let text = std::fs::read_to_string(self.folder().join(definition.name));
        text.is_ok_and(|text| text == definition.text)
    }
}

/// Those that are to be made, unless somebody else's folder has the name of one.
fn refuse_taken<'a>(request: &DeployRequest, planned: &'a [Planned]) -> Result<Vec<&'a Planned>> {
    let mut missing = Vec::new();
    for one in planned {
        match one.folder().exists() {
            false => missing.push(one),
            true if request.goes_on && one.is_made() => {}
            true => {
                let doing = format!("make the machine {}", one.identity.name);
                return Err(Error::Taken(doing, one.folder().to_owned()));
            }
        }
    }
    Ok(missing)
}

fn make_parent(folder: &Path) -> Result<()> {
    match std::fs::create_dir(folder) {
        Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => {
            Err(block::Error::io("create it", error))
                .doing(|| format!("prepare the folder {}", folder.display()))
        }
        _ => Ok(()),
    }
}

/// Writes down who is going to stand on the copy.
fn note(copy: &LocalCopy, request: &DeployRequest, missing: &[&Planned]) -> Result<()> {
    let served = matches!(request.disks, DeployedDisks::AtOnce(_));
    let dependent = |one: &&Planned| {
        let name = &one.identity.name;
        let guest_disks = request.point.disks.iter().filter(|disk| !is_firmware(&request.point, &disk.name));
        let overlays = guest_disks.map(|disk| (disk.name.clone(), overlay_path(one.folder(), &disk.name)));
        let door = match (&one.wanted.place, &one.wanted.recreation.over, &one.plan) {
            (Place::Libvirt(uri), ..) => Door::Libvirt(uri.clone(), name.clone()),
            (Place::Qemu, Some(over), _) => Door::Qmp(over.monitor.clone()),
            (Place::Qemu, None, Plan::Qemu(plan)) => Door::Qmp(plan.qmp.clone()),
            (Place::Qemu, None, Plan::Libvirt(..)) => unreachable!("a plan is of its place"),
        };
        Dependent { name: name.clone(), overlays: overlays.collect(), door, served }
    };
    let noted: Vec<Dependent> = missing.iter().map(dependent).collect();
    copy.change(|journal| {
        journal.machines.retain(|known| noted.iter().all(|new| new.name != known.name));
        journal.machines.extend(noted);
    })
}

fn overlay_path(folder: &Path, disk: &str) -> PathBuf {
    folder.join(format!("{}.qcow2", restore::file_name(disk)))
}

/// Makes a machine's folder with its disks, and the one that tells its guest who it is.
async fn make_disks(
    copy: &LocalCopy,
    request: &DeployRequest,
    one: &Planned,
    progress: &(dyn Fn(Progress) + Sync),
) -> Result<()> {
    let folder = &one.stage();
    let doing = || format!("make the disks of {}", one.identity.name);
    let io = |what: &str, error| block::Error::io(what, error);
    if request.goes_on && folder.exists() {
        // Its name says whose it is: an earlier attempt's, and unfinished.
        std::fs::remove_dir_all(folder).map_err(|e| io("remove what was unfinished", e)).doing(doing)?;
    }
    std::fs::create_dir(folder).map_err(|e| io("make its folder", e)).doing(doing)?;
    let patience = match request.disks {
        DeployedDisks::AtOnce(patience) => Some(patience.as_secs()),
        DeployedDisks::Overlays | DeployedDisks::Full => None,
    };
    for disk in &request.point.disks {
        let name = &disk.name;
        if is_firmware(&request.point, name) {
            let copied = std::fs::copy(copy.disk_path(name), folder.join(restore::file_name(name)));
            copied.map_err(|e| block::Error::io(format!("copy {name}"), e)).doing(doing)?;
            continue;
        }
        let path = overlay_path(folder, name);
        if request.disks == DeployedDisks::Full {
            let source: &dyn block::BlockSource = &**copy.disk(name);
            restore::write_image((name, source), &path, ImageFormat::Qcow2, progress).await?;
        } else {
            overlay::create(&path, disk.map.size, &copy.backing(name, patience)).doing(doing)?;
        }
    }
    let (name, uuid) = (&one.identity.name, one.identity.uuid.to_string());
    seed::write(&folder.join(SEED), name, &uuid, request.user_data.as_deref()).doing(doing)
}

/// Not synced: all of them are at once.
fn write_definition(one: &Planned) -> Result<()> {
    let definition = new_machine::definition(&one.plan);
    let path = one.stage().join(definition.name);
    let file = File::options().write(true).create_new(true).mode(definition.mode).open(&path);
    let written = file.and_then(|mut file| file.write_all(definition.text.as_bytes()));
    written.map_err(|e| block::Error::io("write it", e)).doing(|| format!("write {}", path.display()))
}

/// Gives a machine's folder its name. Nothing that has it is replaced.
fn publish(one: &Planned) -> Result<()> {
    let doing = || format!("make the machine {}", one.identity.name);
    let moved = rustix::fs::renameat_with(
        rustix::fs::CWD,
        one.stage(),
        rustix::fs::CWD,
        one.folder(),
        rustix::fs::RenameFlags::NOREPLACE,
    );
    match moved {
        Err(rustix::io::Errno::EXIST) => Err(Error::Taken(doing(), one.folder().to_owned())),
        moved => moved.map_err(|e| block::Error::io("give its folder its name", e.into())).doing(doing),
    }
}

fn sync(folder: &Path) -> Result<()> {
    let synced = File::open(folder).and_then(|folder| Ok(rustix::fs::syncfs(folder)?));
    synced
        .map_err(|e| block::Error::io("sync its file system", e))
        .doing(|| format!("finish {}", folder.display()))
}

/// Defines the machine, and starts it if that is wished.
async fn finish(one: Planned) -> Result<DeployedMachine> {
    let defined = new_machine::finish(&one.wanted, &one.plan, &|_| ()).await?;
    Ok(DeployedMachine {
        folder: one.folder().to_owned(),
        identity: one.identity,
        definition: defined.definition,
        left_out: defined.left_out,
        made: defined.made,
    })
}
