//! `strongroom rescue backup`.

use super::{point, reconcile};
use crate::args::{BackupArgs, Consistency, MachineArgs};
use crate::failure::Told;
use crate::output::Output;
use crate::watch::Watch;
use crate::{images, machines, open, output};
use anyhow::{Context, Result};
use futures_util::future::join_all;
use hypervisor::{Level, Machine};
use mover::{BackupRequest, Limits, Throttle};
use std::sync::Arc;
use std::time::Duration;
use uuid::Uuid;
use vault::{Point, PointId, SessionId};

/// How long an interrupted backup may take to give the machine back.
const UNDO_LIMIT: Duration = Duration::from_secs(60);

pub(crate) async fn run(output: &Output, args: BackupArgs) -> Result<()> {
    let vault = open::vault_to_write(&args.vault).await?;
    if !args.scratch.is_dir() {
        let what = format!("there is no folder {} to be used as scratch", args.scratch.display());
        return Err(Told::not_found(what, "make it, or name another with --scratch DIR"));
    }
    reconcile::thaw_outstanding().await;
    let machines = open_all(&args).await?;
    // One for all: they read from one host into one vault.
    let limits = Limits { bytes: args.limit, reads: args.limit_iops };
    let throttles = vec![Arc::new(Throttle::new(limits))];
    let requests: Vec<_> = machines.iter().map(|_| request(&args, throttles.clone())).collect();
    let watch = Watch::new();
    let show = |progress| watch.show(progress);
    let work = async {
        let members: Vec<_> = machines.iter().map(|machine| &**machine).zip(&requests).collect();
        match &members[..] {
            [(machine, request)] => {
                Ok(vec![Box::pin(mover::backup(*machine, &vault, request, &show)).await?])
            }
            group => Ok(Box::pin(mover::backup_group(Uuid::now_v7(), group, &vault, &show)).await?),
        }
    };
    let done = super::unless_interrupted("the backup", work).await;
    if done.is_err() {
        // The dropped loop gives the machines back in the background; the program must outlive that.
        let all = join_all(machines.iter().map(|machine| machine.settled()));
        tokio::time::timeout(UNDO_LIMIT, all).await.context(
            "give the machine back: it takes too long; `strongroom rescue backup` does the rest next time",
        )?;
    }
    let points = done?;
    open::warn_index(&vault);
    match &points[..] {
        [point] => output::print(output, &point::value(point), || summary(point)),
        group => {
            let values: Vec<_> = group.iter().map(point::value).collect();
            output::print(output, &values, || group.iter().map(summary).collect::<Vec<_>>().join("\n"))
        }
    }
}

/// The machine that is meant, and those that are backed up with it.
async fn open_all(args: &BackupArgs) -> Result<Vec<Box<dyn Machine>>> {
    if !args.stopped.images.is_empty() {
        return Ok(vec![Box::new(images::machine(&args.stopped)?)]);
    }
    let mut machines = vec![machines::open(&args.machine).await?];
    for name in &args.with {
        let libvirt = args.machine.libvirt.clone();
        let also = MachineArgs { machine: Some(name.clone()), qmp: None, agent: None, libvirt };
        machines.push(machines::open(&also).await?);
    }
    Ok(machines)
}

fn request(args: &BackupArgs, throttles: Vec<Arc<Throttle>>) -> BackupRequest {
    BackupRequest {
        point: PointId(Uuid::now_v7()),
        session: SessionId(Uuid::now_v7()),
        kept_as: None,
        service: serde_json::Value::Null,
        gate: None,
        wish: match args.consistency {
            Consistency::Application => Level::Application,
            Consistency::FileSystem => Level::FileSystem,
            Consistency::Crash => Level::Crash,
        },
        may_fall: !args.strict,
        full: args.full,
        freeze_timeout: Duration::from_secs(args.freeze_timeout),
        watchdog: Some(reconcile::watchdog()),
        disks: args.disks.clone(),
        audit_blocks: args.audit.into(),
        throttles,
        back_off: !args.no_back_off,
        scratch: args.scratch.clone(),
        clock: super::now,
    }
}

fn summary(point: &Point) -> String {
    let stats = &point.stats;
    output::facts(&[
        ("Point", point.id.to_string()),
        ("Machine", point.machine_name.clone()),
        ("Consistency", point.consistency["level"].as_str().unwrap_or("unknown").to_owned()),
        ("Read", output::size(stats.read_bytes)),
        ("New", format!("{} before compression", output::size(stats.new_bytes))),
        ("Stored", output::size(stats.stored_bytes)),
    ])
}
