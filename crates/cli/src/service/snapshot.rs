//! `strongroom snapshot`: disks as they were at one instant, kept until somebody deletes them.

use super::confirm::{Undo, Yes, confirm};
use super::follow::{self, Wait};
use super::names::{self, InVault};
use super::words::{count, or_dash, when};
use crate::args::{Consistency, FileFormat, ImageFormat};
use crate::failure::Told;
use crate::output::{self, Output};
use anyhow::{Context as _, Result};
use api::client::{Client, Method};
use api::snapshots::{
    CompareSnapshots, CopySnapshot, Differences, ExportSnapshot, MadeSnapshot, NewSnapshots, Snapshot,
    SnapshotFormat, SnapshotOf,
};
use api::{Accepted, Job, JobState, Vault};
use clap::{Args as ClapArgs, Subcommand};
use model::policy::ConsistencyWish;
use std::path::{Path, PathBuf};

#[derive(Debug, Subcommand)]
pub(crate) enum SnapshotCommand {
    /// Make snapshots of disks, all at one instant. The machine needs neither policy nor protection.
    ///
    /// Each machine becomes one snapshot, of the disks that are named or of all. Only what changed since the one before
    /// is read, and only what the vault has not is stored.
    Create(CreateArgs),
    /// List snapshots, oldest first: their size, and what they take up.
    List {
        /// Only those of this machine, by its name or id.
        #[arg(long, value_name = "MACHINE")]
        machine: Option<String>,
        #[command(flatten)]
        vault: InVault,
        /// Those that were deleted and can still be had back, instead.
        #[arg(long)]
        deleted: bool,
    },
    /// Show all about a snapshot.
    Show {
        #[command(flatten)]
        which: WhichSnapshot,
    },
    /// Delete a snapshot. It can be brought back for as long as the vault says; others are not touched by it.
    Delete {
        #[command(flatten)]
        which: WhichSnapshot,
        #[command(flatten)]
        yes: Yes,
        #[command(flatten)]
        wait: Wait,
    },
    /// Bring a deleted snapshot back.
    Undelete {
        #[command(flatten)]
        which: WhichSnapshot,
        #[command(flatten)]
        wait: Wait,
    },
    /// Make a new disk of a snapshot: an image that a machine can use.
    Disk {
        #[command(flatten)]
        which: WhichSnapshot,
        #[command(flatten)]
        to: ToFile,
        /// What the image is to be.
        #[arg(long, value_enum, default_value_t = ImageFormat::Qcow2)]
        format: ImageFormat,
    },
    /// Write a disk of a snapshot as a file for others.
    Export {
        #[command(flatten)]
        which: WhichSnapshot,
        #[command(flatten)]
        to: ToFile,
        /// What the file is to be.
        #[arg(long, value_enum)]
        format: FileFormat,
    },
    /// Copy a snapshot to another vault, of another region for instance: only what that has not.
    Copy {
        #[command(flatten)]
        which: WhichSnapshot,
        /// The other vault, by its name or id.
        #[arg(long, value_name = "VAULT")]
        to: String,
        #[command(flatten)]
        wait: Wait,
    },
    /// List the ranges of a disk that changed from one snapshot to another, by whole blocks of 64 KiB.
    Diff {
        /// The snapshot before: its name, its id or the end of it.
        #[arg(value_name = "SNAPSHOT")]
        before: String,
        /// The snapshot after.
        #[arg(value_name = "SNAPSHOT")]
        after: String,
        #[command(flatten)]
        vault: InVault,
        /// Which disk; may be left out where there is one.
        #[arg(long, value_name = "DISK")]
        disk: Option<String>,
    },
    /// Measure what the vault's snapshots take up. Every day the server does so by itself.
    Measure {
        #[command(flatten)]
        vault: InVault,
        #[command(flatten)]
        wait: Wait,
    },
}

#[derive(Debug, ClapArgs)]
pub(crate) struct CreateArgs {
    /// Disks: a machine by its name or id, and a disk of it if not all are meant.
    #[arg(value_name = "MACHINE[/DISK]", required = true)]
    disks: Vec<String>,
    /// What to call it.
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    #[command(flatten)]
    vault: InVault,
    /// How consistent it should be.
    #[arg(long, value_enum, default_value_t = Consistency::Application)]
    consistency: Consistency,
    #[command(flatten)]
    wait: Wait,
}

#[derive(Debug, ClapArgs)]
pub(crate) struct WhichSnapshot {
    /// The snapshot: its name, its id or the end of it.
    #[arg(value_name = "SNAPSHOT")]
    snapshot: String,
    #[command(flatten)]
    vault: InVault,
}

#[derive(Debug, ClapArgs)]
pub(crate) struct ToFile {
    /// The file, on the mover's host. Nothing is replaced.
    #[arg(long, value_name = "FILE")]
    to: PathBuf,
    /// Which disk; may be left out where there is one.
    #[arg(long, value_name = "DISK")]
    disk: Option<String>,
    /// The mover that writes it; the server's own if not said.
    #[arg(long, value_name = "MOVER")]
    mover: Option<String>,
    #[command(flatten)]
    wait: Wait,
}

pub(crate) async fn run(output: &Output, client: &Client, command: SnapshotCommand) -> Result<()> {
    match command {
        SnapshotCommand::Create(args) => create(output, client, args).await,
        SnapshotCommand::List { machine, vault, deleted } => {
            let vault = names::vault(client, vault.vault.as_deref()).await?;
            let mut all = all(client, &vault).await?;
            if let Some(machine) = &machine {
                all.retain(|one| one.machine_name == *machine || one.machine.to_string() == *machine);
            }
            all.retain(|one| one.purge_at.is_some() == deleted);
            all.sort_by_key(|one| (one.taken, one.id));
            output::print(output, &all, || table(&all))
        }
        SnapshotCommand::Show { which } => {
            let (one, _) = which.find(client).await?;
            output::print(output, &one, || show(&one))
        }
        SnapshotCommand::Delete { which, yes, wait } => {
            let (one, path) = which.find(client).await?;
            confirm(yes, Undo::Possible, &consequences(&one))?;
            let accepted: Option<Accepted> = client.act(Method::DELETE, &path).await?;
            follow::accepted(output, client, accepted, wait).await
        }
        SnapshotCommand::Undelete { which, wait } => {
            let path = format!("{}/undelete", which.find(client).await?.1);
            let accepted: Option<Accepted> = client.act(Method::POST, &path).await?;
            follow::accepted(output, client, accepted, wait).await
        }
        SnapshotCommand::Disk { which, to, format } => {
            let format = match format {
                ImageFormat::Raw => SnapshotFormat::Raw,
                ImageFormat::Qcow2 => SnapshotFormat::Qcow2,
            };
            export(output, client, (which, to), format).await
        }
        SnapshotCommand::Export { which, to, format } => {
            let format = match format {
                FileFormat::Raw => SnapshotFormat::Raw,
                FileFormat::Qcow2 => SnapshotFormat::Qcow2,
                FileFormat::Vhd => SnapshotFormat::Vhd,
                FileFormat::VhdDynamic => SnapshotFormat::VhdDynamic,
            };
            export(output, client, (which, to), format).await
        }
        SnapshotCommand::Copy { which, to, wait } => {
            let (_, path) = which.find(client).await?;
            let to = names::vault(client, Some(to.as_str())).await?;
            let body = CopySnapshot { to: to.id };
            let accepted: Option<Accepted> =
                client.send(Method::POST, &format!("{path}/copy"), &body).await?;
            made(output, client, (&to, accepted), wait).await
        }
        SnapshotCommand::Diff { before, after, vault, disk } => {
            let [before, after] = [before, after]
                .map(|snapshot| WhichSnapshot { snapshot, vault: InVault { vault: vault.vault.clone() } });
            let (before, (_, path)) = (before.find(client).await?.0, after.find(client).await?);
            let told =
                differences(client, &path, CompareSnapshots { since: before.id, disk, from: 0 }).await?;
            output::print(output, &told, || ranges(&told))
        }
        SnapshotCommand::Measure { vault, wait } => {
            let vault = names::vault(client, vault.vault.as_deref()).await?;
            let path = format!("/v1/vaults/{}/snapshots/measure", vault.id);
            let accepted: Option<Accepted> = client.act(Method::POST, &path).await?;
            follow::accepted(output, client, accepted, wait).await
        }
    }
}

impl WhichSnapshot {
    /// The snapshot, and its address.
    async fn find(&self, client: &Client) -> Result<(Snapshot, String)> {
        let vault = names::vault(client, self.vault.vault.as_deref()).await?;
        let of = |one: &Snapshot| (one.name.clone(), one.id);
        let one = names::choose("snapshot", all(client, &vault).await?, &self.snapshot, of)?;
        let path = format!("/v1/vaults/{}/snapshots/{}", vault.id, one.id);
        Ok((one, path))
    }
}

async fn all(client: &Client, vault: &Vault) -> Result<Vec<Snapshot>> {
    Ok(client.all(&format!("/v1/vaults/{}/snapshots?limit=1000", vault.id)).await?)
}

async fn create(output: &Output, client: &Client, args: CreateArgs) -> Result<()> {
    let vault = names::vault(client, args.vault.vault.as_deref()).await?;
    // No machine has a slash in its name.
    let named: Vec<(String, Option<String>)> = args
        .disks
        .iter()
        .map(|text| match text.split_once('/') {
            Some((machine, disk)) => (machine.to_owned(), Some(disk.to_owned())),
            None => (text.clone(), None),
        })
        .collect();
    let wanted: Vec<String> = named.iter().map(|(machine, _)| machine.clone()).collect();
    let machines = names::machines(client, &wanted).await?;
    let disks =
        machines.iter().zip(named).map(|(machine, (_, disk))| SnapshotOf { machine: machine.id, disk });
    let consistency = match args.consistency {
        Consistency::Application => ConsistencyWish::Application,
        Consistency::FileSystem => ConsistencyWish::FileSystem,
        Consistency::Crash => ConsistencyWish::Crash,
    };
    let body = NewSnapshots { disks: disks.collect(), name: args.name, consistency };
    let path = format!("/v1/vaults/{}/snapshots", vault.id);
    let accepted: Option<Accepted> = client.send(Method::POST, &path, &body).await?;
    made(output, client, (&vault, accepted), args.wait).await
}

/// Waits for a job that makes snapshots in a vault, and prints these.
async fn made(
    output: &Output,
    client: &Client,
    (vault, accepted): (&Vault, Option<Accepted>),
    wait: Wait,
) -> Result<()> {
    let accepted = accepted.context("the server named no job")?;
    let Some(job) = follow::unless_unwanted(output, client, accepted, wait).await? else { return Ok(()) };
    let Some(made) = well(&job).then(|| list(&job)).flatten() else { return follow::finish(output, &job) };
    let mut all = Vec::with_capacity(made.len());
    for one in made {
        let path = format!("/v1/vaults/{}/snapshots/{}", vault.id, one.made.point);
        all.push(client.get::<Snapshot>(&path).await?);
    }
    output::print(output, &all, || table(&all))
}

fn well(job: &Job) -> bool {
    matches!(job.state, JobState::Completed | JobState::CompletedWithWarnings)
}

fn list(job: &Job) -> Option<Vec<MadeSnapshot>> {
    serde_json::from_value(job.result.as_ref()?.get("snapshots")?.clone()).ok()
}

async fn export(
    output: &Output,
    client: &Client,
    (which, to): (WhichSnapshot, ToFile),
    format: SnapshotFormat,
) -> Result<()> {
    let (_, path) = which.find(client).await?;
    // What this program runs in says nothing of the mover's host; but a relative path was meant from here.
    let file = absolute(&to.to)?;
    let body = ExportSnapshot { path: file, format, disk: to.disk, mover: to.mover };
    let accepted: Option<Accepted> = client.send(Method::POST, &format!("{path}/export"), &body).await?;
    follow::accepted(output, client, accepted, to.wait).await
}

fn absolute(path: &Path) -> Result<String> {
    let whole = std::path::absolute(path).context("find the folder")?;
    let text = whole.to_str().map(str::to_owned);
    text.ok_or_else(|| Told::usage(format!("{} is not UTF-8", path.display()), "choose another name"))
}

/// All that differs, a job after the other.
async fn differences(client: &Client, path: &str, mut wish: CompareSnapshots) -> Result<Differences> {
    let mut all: Option<Differences> = None;
    loop {
        let accepted: Option<Accepted> = client.send(Method::POST, &format!("{path}/compare"), &wish).await?;
        let job = follow::follow(client, accepted.context("the server named no job")?.job).await?;
        if !well(&job) {
            let text = job.error.map_or_else(|| "it was cancelled".to_owned(), |error| error.text);
            return Err(anyhow::anyhow!(text).context("compare the snapshots"));
        }
        let part: Differences = serde_json::from_value(job.result.unwrap_or_default())
            .context("read what the server tells of the differences")?;
        let next = part.next;
        match &mut all {
            None => all = Some(Differences { next: None, ..part }),
            Some(all) => all.ranges.extend(part.ranges),
        }
        match next {
            Some(from) => wish.from = from,
            None => return Ok(all.expect("it was just set")),
        }
    }
}

fn consequences(one: &Snapshot) -> String {
    let back = match one.used {
        Some(used) => format!(" Once purged, it gives {} back.", output::size(used.unique_bytes)),
        None => String::new(),
    };
    format!(
        "The snapshot of {} of {} is deleted. It can be brought back for as long as the vault says (`strongroom \
         snapshot undelete`). What others share with it stays.{back}",
        one.machine_name,
        output::instant(one.taken)
    )
}

fn used(one: &Snapshot) -> String {
    or_dash(one.used.map(|used| output::size(used.unique_bytes + used.shared_bytes)))
}

fn unique(one: &Snapshot) -> String {
    or_dash(one.used.map(|used| output::size(used.unique_bytes)))
}

fn table(all: &[Snapshot]) -> String {
    if all.is_empty() {
        return "No snapshots. `strongroom snapshot create MACHINE` makes one.\n".to_owned();
    }
    let rows = all.iter().map(|one| {
        vec![
            one.id.to_string(),
            or_dash(Some(one.name.clone())),
            one.machine_name.clone(),
            one.disks.iter().map(|disk| disk.name.as_str()).collect::<Vec<_>>().join(", "),
            output::instant(one.taken),
            output::size(one.provisioned_bytes),
            used(one),
            unique(one),
        ]
    });
    let heading = ["SNAPSHOT", "NAME", "MACHINE", "DISKS", "INSTANT", "SIZE", "USED", "UNIQUE"];
    output::table(&heading, &["SIZE", "USED", "UNIQUE"], rows)
}

fn show(one: &Snapshot) -> String {
    let mut facts = vec![
        ("Snapshot", one.id.to_string()),
        ("Name", or_dash(Some(one.name.clone()))),
        ("Machine", one.machine_name.clone()),
        ("Instant", output::instant(one.taken)),
        ("Consistency", one.consistency.replace('_', "-")),
        ("Set", or_dash(one.set.map(|set| set.to_string()))),
        ("Copy of", or_dash(one.copy_of.map(|of| of.to_string()))),
        ("Size", output::size(one.provisioned_bytes)),
        ("Stored", format!("{} added when it was made", output::size(one.stored_bytes))),
    ];
    match one.used {
        Some(used) => facts.extend([
            ("Unique", format!("{} given back by deleting it", output::size(used.unique_bytes))),
            ("Shared", format!("{} that others need too", output::size(used.shared_bytes))),
            ("Measured", output::instant(used.measured)),
        ]),
        None => facts.push(("Used", "not measured yet: `strongroom snapshot measure`".to_owned())),
    }
    facts.extend(one.purge_at.map(|at| ("Deleted: to be had back until", when(Some(at)))));
    let rows = one.disks.iter().map(|disk| vec![disk.name.clone(), output::size(disk.bytes)]);
    format!("{}\n{}", output::facts(&facts), output::table(&["DISK", "SIZE"], &["SIZE"], rows))
}

fn ranges(told: &Differences) -> String {
    if told.ranges.is_empty() {
        return format!("Nothing of {} changed.\n", told.disk);
    }
    let rows = told.ranges.iter().map(|one| vec![one.offset.to_string(), one.length.to_string()]);
    let changed = told.ranges.iter().map(|one| one.length).sum();
    let sum = format!("{} of {}", output::size(changed), output::size(told.bytes));
    let table = output::table(&["OFFSET", "LENGTH"], &["OFFSET", "LENGTH"], rows);
    format!("{table}{sum} in {} of {}\n", count(told.ranges.len() as u64, "range"), told.disk)
}
