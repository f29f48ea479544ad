//! `strongroom backup`.

use super::point;
use crate::args::{BackupArgs, Consistency, OutputFormat};
use crate::failure::Told;
use crate::watch::Watch;
use crate::{open, output};
use anyhow::{Context, Result};
use hypervisor::{ErrorKind, Level, Machine};
use mover::BackupRequest;
use std::time::Duration;
use uuid::Uuid;
use vault::{Point, PointId, SessionId};

/// How long an interrupted backup may take to give the machine back.
const UNDO_LIMIT: Duration = Duration::from_secs(60);

pub(crate) async fn run(format: OutputFormat, args: BackupArgs) -> Result<()> {
    let vault = open::vault_to_write(&args.vault).await?;
    if !args.scratch.is_dir() {
        let what = format!("there is no folder {} to be used as scratch", args.scratch.display());
        return Err(Told::not_found(what, "make it, or name another with --scratch DIR"));
    }
    let machine = connect(&args).await?;
    let request = BackupRequest {
        point: PointId(Uuid::now_v7()),
        session: SessionId(Uuid::now_v7()),
        wish: match args.consistency {
            Consistency::Application => Level::Application,
            Consistency::FileSystem => Level::FileSystem,
            Consistency::Crash => Level::Crash,
        },
        may_fall: !args.strict,
        full: args.full,
        scratch: args.scratch,
        clock: super::now,
    };
    let watch = Watch::new();
    let show = |progress| watch.show(progress);
    let work = async { Ok(Box::pin(mover::backup(&machine, &vault, &request, &show)).await?) };
    let done = super::unless_interrupted("the backup", work).await;
    if done.is_err() {
        // The dropped loop gives the machine back in the background; the program must outlive that.
        let undone = tokio::time::timeout(UNDO_LIMIT, machine.settled()).await;
        undone.context(
            "give the machine back: it takes too long; `strongroom backup` does the rest next time",
        )?;
    }
    let point = done?;
    open::warn_index(&vault);
    output::print(format, &point::value(&point), || summary(&point))
}

/// Connects to the first QMP socket that nobody else holds.
async fn connect(args: &BackupArgs) -> Result<Machine> {
    let (sockets, agent) = open::machine(&args.machine)?;
    let mut refused = None;
    for socket in &sockets {
        match Machine::connect(socket, agent.as_deref()).await {
            Ok(machine) => return Ok(machine),
            Err(error) if error.kind() == ErrorKind::Busy => {
                refused = Some(anyhow::Error::new(error).context(format!("connect to {}", socket.display())));
            }
            Err(error) => return Err(error).with_context(|| format!("connect to {}", socket.display())),
        }
    }
    Err(refused.expect("a machine that is found has a socket"))
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
