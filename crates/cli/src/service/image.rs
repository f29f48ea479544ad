//! `strongroom image`: versions of images, from which machines are made (`image_machines.rs`).

use super::confirm::{Undo, Yes, confirm};
use super::follow::{self, Wait};
use super::names::{self, InVault, with};
use super::words::{or_dash, when};
use crate::args::StopArgs;
use crate::failure::Told;
use crate::output::{self, Output};
use anyhow::{Context as _, Result};
use api::client::{Client, Method};
use api::images::{CopyImage, Image, ImageMachine, MadeImage, NewImage};
use api::{Accepted, Job, JobState, StopMachine, Vault};
use clap::{Args as ClapArgs, Subcommand};
use model::image::{ImageName, ImageRef};

#[derive(Debug, Subcommand)]
pub(crate) enum ImageCommand {
    /// Make a machine's disks the next version of an image.
    ///
    /// They are looked into first: what belongs to one machine alone (host keys, the machine's id, what cloud-init
    /// remembers) is told, and the image refused. A running machine can be generalised through its guest agent, and is
    /// shut down for it; one that is off on its disks, by virt-sysprep.
    Create(Box<CreateArgs>),
    /// List images and their versions.
    List {
        /// Only those whose name fits this: `*` is anything, `?` one character.
        #[arg(value_name = "PATTERN")]
        name: Option<String>,
        #[command(flatten)]
        vault: InVault,
        /// Those that were deleted and can still be had back, instead.
        #[arg(long)]
        deleted: bool,
    },
    /// Show all about a version, and the machines that were made of it.
    Show {
        #[command(flatten)]
        which: WhichImage,
    },
    /// Copy a version to another vault, of another region for instance: only what that has not. It keeps its number.
    Copy {
        #[command(flatten)]
        which: WhichImage,
        /// The other vault, by its name or id.
        #[arg(long, value_name = "VAULT")]
        to: String,
        #[command(flatten)]
        wait: Wait,
    },
    /// Delete a version. It can be brought back for as long as the vault says; machines made of it do not need it.
    Delete {
        #[command(flatten)]
        which: WhichImage,
        #[command(flatten)]
        yes: Yes,
        #[command(flatten)]
        wait: Wait,
    },
    /// Bring a deleted version back.
    Undelete {
        #[command(flatten)]
        which: WhichImage,
        #[command(flatten)]
        wait: Wait,
    },
}

#[derive(Debug, ClapArgs)]
pub(crate) struct CreateArgs {
    /// What the image is called. It gets one more version.
    #[arg(value_name = "NAME")]
    name: ImageName,
    /// The machine, by its name or id.
    #[arg(long, value_name = "MACHINE")]
    from: String,
    #[command(flatten)]
    vault: InVault,
    #[command(flatten)]
    stop: StopArgs,
    /// Generalise the guest through its agent before it is shut down, or, if it is off, on its disks by virt-sysprep
    /// (Debian: guestfs-tools, on its host). Asks first.
    #[arg(long, conflicts_with = "specialized")]
    generalize: bool,
    /// Take the machine although it is not generalised, or nobody can say: its machines share what is found.
    #[arg(long)]
    specialized: bool,
    /// Leave this version out when none is said.
    #[arg(long)]
    exclude_from_latest: bool,
    #[command(flatten)]
    yes: Yes,
    #[command(flatten)]
    wait: Wait,
}

/// Which version of an image.
#[derive(Debug, ClapArgs)]
pub(crate) struct WhichImage {
    /// The image and its version, as `web:3`; `web` alone is the newest that is not left out.
    #[arg(value_name = "IMAGE")]
    pub(super) image: ImageRef,
    #[command(flatten)]
    pub(super) vault: InVault,
}

pub(crate) async fn run(output: &Output, client: &Client, command: ImageCommand) -> Result<()> {
    match command {
        ImageCommand::Create(args) => create(output, client, *args).await,
        ImageCommand::List { name, vault, deleted } => {
            let vault = names::vault(client, vault.vault.as_deref()).await?;
            let mut all = all(client, &vault, name).await?;
            all.retain(|one| one.purge_at.is_some() == deleted);
            output::print(output, &all, || table(&all))
        }
        ImageCommand::Show { which } => {
            let (one, path) = which.find(client, Deleted::Too).await?;
            let machines: Vec<ImageMachine> = client.all(&format!("{path}/machines?limit=1000")).await?;
            let value = serde_json::json!({ "image": one, "machines": machines });
            output::print(output, &value, || show(&one, &machines))
        }
        ImageCommand::Copy { which, to, wait } => {
            let (_, path) = which.find(client, Deleted::Not).await?;
            let to = names::vault(client, Some(to.as_str())).await?;
            let body = CopyImage { to: to.id };
            let accepted: Option<Accepted> =
                client.send(Method::POST, &format!("{path}/copy"), &body).await?;
            made(output, client, (&to, accepted), wait).await
        }
        ImageCommand::Delete { which, yes, wait } => {
            let (one, path) = which.find(client, Deleted::Not).await?;
            confirm(yes, Undo::Possible, &consequences(&one))?;
            let accepted: Option<Accepted> = client.act(Method::DELETE, &path).await?;
            follow::accepted(output, client, accepted, wait).await
        }
        ImageCommand::Undelete { which, wait } => {
            let (_, path) = which.find(client, Deleted::Alone).await?;
            let accepted: Option<Accepted> = client.act(Method::POST, &format!("{path}/undelete")).await?;
            follow::accepted(output, client, accepted, wait).await
        }
    }
}

/// Whether versions count that were deleted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Deleted {
    Not,
    Too,
    Alone,
}

impl WhichImage {
    /// The version, and its address.
    pub(super) async fn find(&self, client: &Client, deleted: Deleted) -> Result<(Image, String)> {
        let vault = names::vault(client, self.vault.vault.as_deref()).await?;
        let mut all = all(client, &vault, None).await?;
        all.retain(|one| one.name == self.image.name.as_str());
        all.retain(|one| match (deleted, self.image.version) {
            (Deleted::Not, _) => one.purge_at.is_none(),
            // One that is there is meant rather than one that was.
            (Deleted::Too, None) => one.latest,
            (Deleted::Too, Some(_)) => true,
            (Deleted::Alone, _) => one.purge_at.is_some(),
        });
        let is_meant = |one: &Image| match (self.image.version, deleted) {
            (Some(version), _) => one.version == version,
            (None, Deleted::Alone) => true,
            (None, _) => one.latest,
        };
        let numbers: Vec<String> = all.iter().map(|one| one.version.to_string()).collect();
        let mut meant: Vec<Image> = all.into_iter().filter(is_meant).collect();
        // Two of one number: the one that is not deleted.
        meant.sort_by_key(|one| one.purge_at.is_some());
        match meant.into_iter().next() {
            Some(one) => {
                let path = format!("/v1/vaults/{}/images/{}", vault.id, one.id);
                Ok((one, path))
            }
            None => {
                let what = match numbers.is_empty() {
                    true => format!("there is no image {}", self.image),
                    false => format!("the image {} has the versions {}", self.image.name, numbers.join(", ")),
                };
                Err(Told::not_found(what, "`strongroom image list` shows what there is".to_owned()))
            }
        }
    }
}

async fn all(client: &Client, vault: &Vault, name: Option<String>) -> Result<Vec<Image>> {
    let path = format!("/v1/vaults/{}/images", vault.id);
    Ok(client.all(&with(&path, &[("name", name)])).await?)
}

async fn create(output: &Output, client: &Client, args: CreateArgs) -> Result<()> {
    let vault = names::vault(client, args.vault.vault.as_deref()).await?;
    let machine = names::machines(client, &[args.from]).await?.remove(0);
    let stop = match args.stop {
        StopArgs { power_off: true, .. } => Some(StopMachine::PowerOff),
        StopArgs { stop: true, .. } => Some(StopMachine::ShutDown),
        StopArgs { .. } => None,
    };
    if args.generalize {
        confirm(args.yes, Undo::Impossible, &forgets(&machine.name))?;
    }
    let body = NewImage {
        name: args.name.to_string(),
        machine: machine.id,
        stop,
        generalize: args.generalize,
        specialized: args.specialized,
        exclude_from_latest: args.exclude_from_latest,
    };
    let path = format!("/v1/vaults/{}/images", vault.id);
    let accepted: Option<Accepted> = client.send(Method::POST, &path, &body).await?;
    made(output, client, (&vault, accepted), args.wait).await
}

fn forgets(machine: &str) -> String {
    let steps: String = mover::capture::GENERALISE_STEPS.iter().map(|step| format!("  {step}\n")).collect();
    format!(
        "In {machine}, for ever:\n{steps}Then it is stopped. If it is off, virt-sysprep does this on its disks."
    )
}

/// Waits for a job that makes a version in a vault, and prints that.
async fn made(
    output: &Output,
    client: &Client,
    (vault, accepted): (&Vault, Option<Accepted>),
    wait: Wait,
) -> Result<()> {
    let accepted = accepted.context("the server named no job")?;
    let Some(job) = follow::unless_unwanted(output, client, accepted, wait).await? else { return Ok(()) };
    let Some(made) = well(&job).then(|| told(&job)).flatten() else { return follow::finish(output, &job) };
    let one: Image = client.get(&format!("/v1/vaults/{}/images/{}", vault.id, made.made.point)).await?;
    output::print(output, &one, || table(std::slice::from_ref(&one)))
}

fn well(job: &Job) -> bool {
    matches!(job.state, JobState::Completed | JobState::CompletedWithWarnings)
}

fn told(job: &Job) -> Option<MadeImage> {
    serde_json::from_value(job.result.as_ref()?.get("image")?.clone()).ok()
}

/// A version in words: `web:3`.
pub(super) fn called(one: &Image) -> String {
    format!("{}:{}", one.name, one.version)
}

fn consequences(one: &Image) -> String {
    format!(
        "{} is deleted. It can be brought back for as long as the vault says (`strongroom image undelete`). The {} \
         machines that were made of it do not need it; while a job still serves some of them, deleting is refused.",
        called(one),
        one.machines
    )
}

fn generalised(one: &Image) -> String {
    match (one.generalised, one.findings.len()) {
        (true, _) => "yes".to_owned(),
        (false, 0) => "unknown".to_owned(),
        (false, n) => format!("no ({n})"),
    }
}

fn table(all: &[Image]) -> String {
    if all.is_empty() {
        return "No images. `strongroom image create NAME --from MACHINE` makes one.\n".to_owned();
    }
    let rows = all.iter().map(|one| {
        let latest = match (one.latest, one.excluded) {
            (true, _) => "latest",
            (_, true) => "left out",
            _ => "",
        };
        vec![
            called(one),
            latest.to_owned(),
            output::instant(one.taken),
            one.from.clone(),
            generalised(one),
            output::size(one.provisioned_bytes),
            one.machines.to_string(),
            one.id.to_string(),
        ]
    });
    let heading = ["IMAGE", "", "INSTANT", "FROM", "GENERALISED", "SIZE", "MACHINES", "ID"];
    output::table(&heading, &["SIZE", "MACHINES"], rows)
}

fn show(one: &Image, machines: &[ImageMachine]) -> String {
    let mut facts = vec![
        ("Image", called(one)),
        ("Id", one.id.to_string()),
        ("From", one.from.clone()),
        ("Instant", output::instant(one.taken)),
        ("Generalised", generalised(one)),
        ("Systems", or_dash(Some(one.systems.join(", ")))),
        ("Copy of", or_dash(one.copy_of.map(|of| of.to_string()))),
        ("Stored", format!("{} added when it was made", output::size(one.stored_bytes))),
    ];
    facts.extend(one.purge_at.map(|at| ("Deleted: to be had back until", when(Some(at)))));
    let findings: String =
        one.findings.iter().map(|found| format!("  {}: {}\n", found.place, found.what)).collect();
    let rows = one.disks.iter().map(|disk| vec![disk.name.clone(), output::size(disk.bytes)]);
    let disks = output::table(&["DISK", "SIZE"], &["SIZE"], rows);
    let text = format!("{}{findings}\n{disks}", output::facts(&facts));
    if machines.is_empty() {
        return text;
    }
    let rows = machines.iter().map(|one| {
        let stands = if one.shares { "on the shared copy" } else { "alone" };
        vec![one.name.clone(), one.mover.clone(), one.folder.clone(), stands.to_owned(), one.uuid.to_string()]
    });
    format!("{text}\n{}", output::table(&["MACHINE", "MOVER", "FOLDER", "STANDS", "ID"], &[], rows))
}
