//! `strongroom machine create`: machines of an image.

use super::follow::{self, Wait};
use super::image::{Deleted, WhichImage, called};
use super::names::{self, InVault};
use super::restore::disks::network;
use crate::failure::Told;
use crate::output::{self, Output};
use crate::targets;
use anyhow::{Context as _, Result};
use api::client::{Client, Method};
use api::images::{CreateMachines, MACHINES_MAX, MadeMachine};
use api::{Accepted, Host, Job, JobState, StepState};
use clap::Args as ClapArgs;
use hypervisor::recreate::Network;
use model::image::{ImageRef, machine_names};
use std::path::PathBuf;

#[derive(Debug, ClapArgs)]
pub(crate) struct MachineCreateArgs {
    /// The image and its version, as `web:3`; `web` alone is the newest that is not left out.
    #[arg(long, value_name = "IMAGE")]
    image: ImageRef,
    /// How many.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=i64::from(MACHINES_MAX)))]
    count: u32,
    /// What they, and their guests, are called: {} becomes the number.
    #[arg(long, value_name = "NAME", visible_alias = "name-pattern")]
    name: String,
    /// The first number.
    #[arg(long, value_name = "N", default_value_t = 1)]
    first: u32,
    /// The host that is to have them; may be left out when there is one.
    #[arg(long, value_name = "HOST")]
    on: Option<String>,
    /// The folder there in which each gets one of its name, and the image a copy that they share. Made if it does not
    /// exist.
    #[arg(long, value_name = "DIR")]
    to: PathBuf,
    #[command(flatten)]
    vault: InVault,
    /// Copy all of the image for each: they stand alone.
    #[arg(long, conflicts_with = "at_once")]
    full: bool,
    /// Do not wait for the image's copy: it is filled while the machines run. The job goes on until each was off once
    /// since it is whole. Of QEMU's own machines only.
    #[arg(long, requires = "start")]
    at_once: bool,
    /// Start them.
    #[arg(long)]
    start: bool,
    /// Their network: `keep`, `disconnected`, `isolated`, or `remap=OLD:NEW,...` of bridges, networks or interfaces.
    #[arg(long, value_name = "NETWORK", default_value = "keep", value_parser = targets::network)]
    network: Network,
    /// So many virtual processors each.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=4096))]
    cpus: Option<u32>,
    /// So much memory each, in MiB.
    #[arg(long, value_name = "MIB", value_parser = clap::value_parser!(u64).range(1..=1 << 30))]
    memory: Option<u64>,
    /// A file with what cloud-init is told besides who the guest is: its user data.
    #[arg(long, value_name = "FILE")]
    user_data: Option<PathBuf>,
    #[command(flatten)]
    wait: Wait,
}

pub(super) async fn create(output: &Output, client: &Client, args: MachineCreateArgs) -> Result<()> {
    let hint = "as --name 'web-{}' --count 3 makes web-1, web-2 and web-3";
    machine_names(&args.name, args.first, args.count)
        .map_err(|refused| Told::usage(refused.to_string(), hint))?;
    let which = WhichImage { image: args.image, vault: args.vault };
    let (image, path) = which.find(client, Deleted::Not).await?;
    if !image.generalised {
        let shown = called(&image);
        eprintln!(
            "warning: {shown} is not generalised: the machines share what `image show {shown}` tells of it"
        );
    }
    let host = host(client, args.on.as_deref()).await?;
    let folder = std::path::absolute(&args.to).context("find the folder")?;
    let read =
        |path: &PathBuf| std::fs::read_to_string(path).with_context(|| format!("read {}", path.display()));
    let body = CreateMachines {
        name: args.name,
        count: args.count,
        first: args.first,
        host: host.id,
        folder: folder.to_str().map(str::to_owned).ok_or_else(|| {
            Told::usage(format!("{} is not UTF-8", folder.display()), "choose another name")
        })?,
        full: args.full,
        start: args.start,
        at_once: args.at_once,
        network: network(args.network),
        cpus: args.cpus,
        memory_mib: args.memory,
        user_data: args.user_data.as_ref().map(read).transpose()?,
    };
    let accepted: Option<Accepted> = client.send(Method::POST, &format!("{path}/machines"), &body).await?;
    let accepted = accepted.context("the server named no job")?;
    let is_enough = |job: &Job| job.state.is_over() || (args.at_once && are_made(job));
    let waited = follow::unless_unwanted_until(output, client, accepted, args.wait, is_enough).await?;
    let Some(job) = waited else { return Ok(()) };
    if !job.state.is_over() {
        eprintln!(
            "The image follows while they run: the job {} goes on until each was off once since it is here.",
            job.id
        );
    }
    let is_well = matches!(job.state, JobState::Completed | JobState::CompletedWithWarnings);
    let Some(made) = (is_well || !job.state.is_over()).then(|| told(&job)).flatten() else {
        return follow::finish(output, &job);
    };
    for warning in &job.progress.warnings {
        eprintln!("warning: {warning}");
    }
    output::print(output, &made, || table(&made))
}

/// The host that is meant; without a name, the only one.
async fn host(client: &Client, wanted: Option<&str>) -> Result<Host> {
    let mut all: Vec<Host> = client.all("/v1/hosts").await?;
    match (wanted, all.len()) {
        (Some(wanted), _) => names::choose("host", all, wanted, |one| (one.name.clone(), one.id)),
        (None, 1) => Ok(all.remove(0)),
        (None, count) => {
            Err(Told::usage(format!("there are {count} hosts"), "say which is to have them: --on HOST"))
        }
    }
}

/// Whether the machines are there, whatever goes on of the job.
fn are_made(job: &Job) -> bool {
    job.steps.first().is_some_and(|step| step.state == StepState::Done)
}

fn told(job: &Job) -> Option<Vec<MadeMachine>> {
    serde_json::from_value(job.result.as_ref()?.get("machines")?.clone()).ok()
}

fn table(made: &[MadeMachine]) -> String {
    let rows = made.iter().map(|one| {
        let came_of_it = one.error.clone().unwrap_or_else(|| "made".to_owned());
        vec![one.name.clone(), one.uuid.to_string(), one.folder.clone(), came_of_it]
    });
    output::table(&["MACHINE", "ID", "FOLDER", "STATE"], &[], rows)
}
