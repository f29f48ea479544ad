//! `strongroom rescue snapshot`.

use super::reconcile;
use crate::args::{
    Consistency, FileFormat, MachineArgs, SnapshotCommand as Command, SnapshotCreateArgs as CreateArgs,
};
use crate::failure::Told;
use crate::output::Output;
use crate::watch::Watch;
use crate::{machines, open, output};
use anyhow::{Context, Result};
use api::snapshots::KeptSnapshot;
use futures_util::future::join_all;
use hypervisor::{DiskSelection, FreezeRequest, Level, Machine};
use model::SNAPSHOTS_OF_A_DISK_MAX;
use mover::{AUDIT_BLOCKS, BackupRequest, ExportFormat, is_firmware, is_snapshot, snapshot_key};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use uuid::Uuid;
use vault::{DiskRecord, MachineKey, Point, PointId, SessionId, Used, Vault};

/// How long an interrupted snapshot may take to give the machines back.
const UNDO_LIMIT: Duration = Duration::from_secs(60);

pub(crate) async fn run(output: &Output, command: Command) -> Result<()> {
    match command {
        Command::Create(args) => create(output, args).await,
        Command::List { vault, machine, deleted, used } => {
            let vault = open::vault(&vault).await?;
            let mut found = snapshots(&vault, deleted).await?;
            if let Some(name) = &machine {
                let key = snapshot_key(name).map(|key| key.to_string()).unwrap_or_default();
                found.retain(|point| point.machine_name == *name || point.machine.as_str() == key);
            }
            let of: BTreeSet<PointId> = found.iter().map(|point| point.id).collect();
            let used =
                if used { vault.used(&of).await.context("measure the snapshots")? } else { Vec::new() };
            let used: BTreeMap<PointId, Used> = used.into_iter().collect();
            let values: Vec<_> = found.iter().map(|point| value(point, used.get(&point.id))).collect();
            output::print(output, &values, || table(&found, &used))
        }
        Command::Diff { before, after, vault, disk } => {
            let vault = open::vault(&vault).await?;
            let all = snapshots(&vault, false).await?;
            let (before, after) = (chosen(&all, &before)?, chosen(&all, &after)?);
            diff(output, &vault, (before, after), disk.as_deref()).await
        }
        Command::Export { snapshot, vault, format, to, disk } => {
            let vault = open::vault(&vault).await?;
            let all = snapshots(&vault, false).await?;
            let point = chosen(&all, &snapshot)?;
            export(output, &vault, disk_of(point, disk.as_deref())?, (&to, format)).await
        }
        Command::Delete { snapshot, vault } => {
            let vault = open::vault(&vault).await?;
            let all = snapshots(&vault, false).await?;
            let point = chosen(&all, &snapshot)?;
            vault.delete_point(point.id, super::now()).await.context("delete the snapshot")?;
            eprintln!(
                "Deleted. `strongroom rescue snapshot undelete {}` brings it back until it is purged.",
                point.id
            );
            output::print(output, &value(point, None), || format!("{}\n", point.id))
        }
        Command::Undelete { snapshot, vault } => {
            let vault = open::vault(&vault).await?;
            let all = snapshots(&vault, true).await?;
            let point = chosen(&all, &snapshot)?;
            vault.undelete_point(point.id, super::now()).await.context("bring the snapshot back")?;
            output::print(output, &value(point, None), || format!("{}\n", point.id))
        }
    }
}

/// The snapshots of a vault, oldest first.
async fn snapshots(vault: &Vault, deleted: bool) -> Result<Vec<Point>> {
    let mut points = if deleted {
        vault.deleted_points().await.context("list the vault's deleted snapshots")?
    } else {
        let survey = vault.survey(None).await.context("list the vault's snapshots")?;
        open::warn(&survey);
        survey.points
    };
    points.retain(is_snapshot);
    points.sort_by_key(|point| (point.instant, point.id));
    Ok(points)
}

fn name(point: &Point) -> String {
    KeptSnapshot::of(&point.service).map(|kept| kept.name).unwrap_or_default()
}

/// The one that is meant: by its id, its name, or the end of its id.
fn chosen<'a>(all: &'a [Point], wanted: &str) -> Result<&'a Point> {
    let fits = |point: &&Point| {
        let id = point.id.to_string();
        name(point) == wanted || wanted.len() >= 4 && id.ends_with(&wanted.to_lowercase())
    };
    let found: Vec<&Point> = all.iter().filter(fits).collect();
    match found[..] {
        [one] => Ok(one),
        [] => {
            let hint = "`strongroom rescue snapshot list` shows the snapshots there are";
            Err(Told::not_found(format!("there is no snapshot {wanted}"), hint))
        }
        _ => Err(Told::usage(format!("{} snapshots are called {wanted}", found.len()), "name it by its id")),
    }
}

/// The disk that is meant; none: the only one. What firmware remembers comes along with any disk.
fn disk_of<'a>(point: &'a Point, wanted: Option<&str>) -> Result<&'a DiskRecord> {
    let disks: Vec<_> = point.disks.iter().filter(|disk| !is_firmware(point, &disk.name)).collect();
    let names: Vec<_> = disks.iter().map(|disk| disk.name.as_str()).collect();
    let hint = format!("name one with --disk: {}", names.join(", "));
    match wanted {
        Some(name) => {
            point.disk(name).map_err(|_| Told::not_found(format!("the snapshot has no disk {name}"), hint))
        }
        None if disks.len() == 1 => Ok(disks[0]),
        None => Err(Told::usage(format!("the snapshot has {} disks", disks.len()), hint)),
    }
}

/// A machine, and names of its disks; none for all.
type Target = (Box<dyn Machine>, Vec<String>);

async fn create(output: &Output, args: CreateArgs) -> Result<()> {
    let vault = open::vault_to_write(&args.vault).await?;
    if !args.scratch.is_dir() {
        let what = format!("there is no folder {} to be used as scratch", args.scratch.display());
        return Err(Told::not_found(what, "make it, or name another with --scratch DIR"));
    }
    reconcile::thaw_outstanding().await;
    let targets = targets(&args).await?;
    let set = (targets.len() > 1).then(Uuid::now_v7);
    let mut requests = Vec::with_capacity(targets.len());
    for target in &targets {
        requests.push(request(&vault, target, &args, set).await?);
    }
    let watch = Watch::new();
    let show = |progress| watch.show(progress);
    let work = async {
        let members: Vec<(&dyn Machine, &BackupRequest)> =
            targets.iter().map(|(machine, _)| &**machine).zip(&requests).collect();
        match &members[..] {
            [(machine, request)] => {
                Ok(vec![Box::pin(mover::backup(*machine, &vault, request, &show)).await?])
            }
            group => {
                let set = set.expect("a group is a set");
                Ok(Box::pin(mover::backup_group(set, group, &vault, &show)).await?)
            }
        }
    };
    let done = super::unless_interrupted("the snapshot", work).await;
    if done.is_err() {
        // The dropped loop gives the machines back in the background; the program must outlive that.
        let all = join_all(targets.iter().map(|(machine, _)| machine.settled()));
        let doing = "give the machine back: it takes too long; the next snapshot or backup does the rest";
        tokio::time::timeout(UNDO_LIMIT, all).await.context(doing)?;
    }
    let points = done?;
    open::warn_index(&vault);
    let values: Vec<_> = points.iter().map(|point| value(point, None)).collect();
    output::print(output, &values, || table(&points, &BTreeMap::new()))
}

/// The machines that are meant, each once.
async fn targets(args: &CreateArgs) -> Result<Vec<Target>> {
    if args.qmp.is_some() {
        let (qmp, agent) = (args.qmp.clone(), args.agent.clone());
        let machine = MachineArgs { machine: None, qmp, agent, libvirt: None };
        return Ok(vec![(machines::open(&machine).await?, args.disks.clone())]);
    }
    let mut named: Vec<(String, Option<Vec<String>>)> = Vec::new();
    for text in &args.targets {
        let (machine, disk) = text.split_once('/').map_or((text.as_str(), None), |(m, d)| (m, Some(d)));
        let place = named.iter().position(|(name, _)| name == machine).unwrap_or_else(|| {
            named.push((machine.to_owned(), Some(Vec::new())));
            named.len() - 1
        });
        match (&mut named[place].1, disk) {
            (Some(disks), Some(disk)) => disks.push(disk.to_owned()),
            (whole, _) => *whole = None,
        }
    }
    let mut targets = Vec::with_capacity(named.len());
    for (name, disks) in named {
        let (machine, libvirt) = (Some(name), args.libvirt.clone());
        let machine = MachineArgs { machine, qmp: None, agent: None, libvirt };
        targets.push((machines::open(&machine).await?, disks.unwrap_or_default()));
    }
    Ok(targets)
}

async fn request(
    vault: &Vault,
    (machine, disks): &Target,
    args: &CreateArgs,
    set: Option<Uuid>,
) -> Result<BackupRequest> {
    let described = machine.describe().await.context("ask the machine what it is")?;
    let known_as = described.uuid.clone().or_else(|| described.name.clone()).unwrap_or_default();
    let key = snapshot_key(&known_as).context("name the machine")?;
    check_room(vault, &key, disks).await?;
    let kept = KeptSnapshot { name: args.name.clone().unwrap_or_default(), set, ..KeptSnapshot::unknown() };
    Ok(BackupRequest {
        point: PointId(Uuid::now_v7()),
        session: SessionId(Uuid::now_v7()),
        kept_as: Some((key, described.name.unwrap_or(known_as))),
        service: kept.to_value(),
        gate: None,
        wish: match args.consistency {
            Consistency::Application => Level::Application,
            Consistency::FileSystem => Level::FileSystem,
            Consistency::Crash => Level::Crash,
        },
        may_fall: true,
        full: false,
        disks: match disks.is_empty() {
            true => DiskSelection::All,
            false => DiskSelection::Include(disks.clone()),
        },
        audit_blocks: AUDIT_BLOCKS,
        throttles: Vec::new(),
        back_off: true,
        scratch: args.scratch.clone(),
        freeze_timeout: FreezeRequest::FREEZE_TIMEOUT,
        watchdog: Some(reconcile::watchdog()),
        clock: super::now,
    })
}

/// Refuses one more where a disk has as many as it may have.
async fn check_room(vault: &Vault, key: &MachineKey, disks: &[String]) -> Result<()> {
    let points = vault.survey(Some(key)).await.context("count the machine's snapshots")?.points;
    let mut counts: BTreeMap<&str, u64> = BTreeMap::new();
    for disk in points.iter().flat_map(|point| &point.disks) {
        *counts.entry(&disk.name).or_default() += 1;
    }
    let is_meant = |disk: &str| disks.is_empty() || disks.iter().any(|one| one == disk);
    match counts.iter().find(|(disk, count)| is_meant(disk) && **count >= SNAPSHOTS_OF_A_DISK_MAX) {
        None => Ok(()),
        Some((disk, count)) => {
            let text = format!("the disk {disk} has {count} snapshots; {SNAPSHOTS_OF_A_DISK_MAX} may be");
            let hint = "delete some that nobody needs: `strongroom rescue snapshot delete`";
            Err(Told::usage(text, hint))
        }
    }
}

async fn diff(
    output: &Output,
    vault: &Vault,
    (before, after): (&Point, &Point),
    disk: Option<&str>,
) -> Result<()> {
    let new = disk_of(after, disk)?;
    let old = before.disk(&new.name).context("find the disk in the snapshot before")?;
    let changed = vault.changed_ranges(&old.map, &new.map).await.context("compare the snapshots")?;
    let range =
        |range: &std::ops::Range<u64>| json!({ "offset": range.start, "length": range.end - range.start });
    let ranges: Vec<Value> = changed.iter().map(range).collect();
    let told = json!({ "disk": new.name, "bytes": new.map.size, "ranges": ranges });
    output::print(output, &told, || {
        let rows = changed.iter().map(|one| vec![one.start.to_string(), (one.end - one.start).to_string()]);
        let table = output::table(&["OFFSET", "LENGTH"], &["OFFSET", "LENGTH"], rows);
        let sum = changed.iter().map(|one| one.end - one.start).sum();
        format!("{table}{} of {} of {}\n", output::size(sum), output::size(new.map.size), new.name)
    })
}

async fn export(
    output: &Output,
    vault: &Arc<Vault>,
    disk: &DiskRecord,
    (to, format): (&Path, FileFormat),
) -> Result<()> {
    let format = match format {
        FileFormat::Raw => ExportFormat::Raw,
        FileFormat::Qcow2 => ExportFormat::Qcow2,
        FileFormat::Vhd => ExportFormat::VhdFixed,
        FileFormat::VhdDynamic => ExportFormat::VhdDynamic,
    };
    let watch = Watch::new();
    let show = |progress| watch.show(progress);
    let work = async { Ok(Box::pin(mover::export(vault, disk, to, format, &show)).await?) };
    let done = super::unless_interrupted("the export", work).await?;
    let told = json!({
        "file": done.path, "disk": disk.name, "disk_bytes": done.disk_bytes, "data_bytes": done.data_bytes,
    });
    output::print(output, &told, || format!("{}\n", done.path.display()))
}

/// A snapshot as programs see it.
fn value(point: &Point, used: Option<&Used>) -> Value {
    let disks: Vec<_> =
        point.disks.iter().map(|disk| json!({ "name": disk.name, "bytes": disk.map.size })).collect();
    let used =
        used.map(|used| json!({ "unique_bytes": used.unique_bytes, "shared_bytes": used.shared_bytes }));
    json!({
        "id": point.id,
        "name": name(point),
        "set": KeptSnapshot::of(&point.service).and_then(|kept| kept.set),
        "machine": { "id": point.machine, "name": point.machine_name },
        "taken": point.instant,
        "consistency": point.consistency,
        "disks": disks,
        "provisioned_bytes": provisioned(point),
        "stored_bytes": point.stats.stored_bytes,
        "read_bytes": point.stats.read_bytes,
        "used": used,
    })
}

fn provisioned(point: &Point) -> u64 {
    point.disks.iter().map(|disk| disk.map.size).sum()
}

fn table(all: &[Point], used: &BTreeMap<PointId, Used>) -> String {
    if all.is_empty() {
        return "No snapshots. `strongroom rescue snapshot create MACHINE` makes one.\n".into();
    }
    let shown = |bytes: Option<u64>| bytes.map_or_else(|| "-".to_owned(), output::size);
    let rows = all.iter().map(|point| {
        let used = used.get(&point.id);
        let disks: Vec<_> = point.disks.iter().map(|disk| disk.name.as_str()).collect();
        vec![
            point.id.to_string(),
            name(point),
            point.machine_name.clone(),
            disks.join(", "),
            output::instant(point.instant),
            output::size(provisioned(point)),
            output::size(point.stats.stored_bytes),
            shown(used.map(|used| used.unique_bytes + used.shared_bytes)),
            shown(used.map(|used| used.unique_bytes)),
        ]
    });
    let heading = ["SNAPSHOT", "NAME", "MACHINE", "DISKS", "INSTANT", "SIZE", "STORED", "USED", "UNIQUE"];
    output::table(&heading, &["SIZE", "STORED", "USED", "UNIQUE"], rows)
}
