//! `strongroom policy`.

use super::confirm::{Undo, Yes, confirm};
use super::names::{self, InVault};
use super::policy_document::DocumentArgs;
use super::words::{when, word};
use super::{dry_run, schedule_words};
use crate::output::{self, Output};
use anyhow::{Context as _, Result};
use api::client::{Client, Method};
use api::{DryRun, NewPolicy, Policy, PolicyPreview, Vault};
use clap::{Args as ClapArgs, Subcommand};

/// Points that a preview shows to people; programs get all.
const PREVIEW_ROWS: usize = 40;

#[derive(Debug, Subcommand)]
pub(crate) enum PolicyCommand {
    /// Make a policy: when machines are backed up, and how long their points stay.
    Create {
        /// What to call it.
        #[arg(value_name = "NAME")]
        name: String,
        #[command(flatten)]
        vault: InVault,
        #[command(flatten)]
        document: DocumentArgs,
    },
    /// List the policies of a vault.
    List {
        #[command(flatten)]
        vault: InVault,
    },
    /// Show a policy: with --output yaml as a file that `policy update` takes.
    Show {
        #[command(flatten)]
        which: WhichPolicy,
    },
    /// Show the points that a policy would make in a year, and when each would expire.
    Preview {
        #[command(flatten)]
        vault: InVault,
        #[command(flatten)]
        document: DocumentArgs,
    },
    /// Show what a new text of a policy would do to the points that are there, and change nothing.
    DryRun {
        #[command(flatten)]
        which: WhichPolicy,
        #[command(flatten)]
        document: DocumentArgs,
    },
    /// Give a policy a new text. Shows what that does to the points that are there, and asks.
    Update {
        #[command(flatten)]
        which: WhichPolicy,
        /// A new name.
        #[arg(long, value_name = "NAME")]
        name: Option<String>,
        #[command(flatten)]
        document: DocumentArgs,
        #[command(flatten)]
        yes: Yes,
    },
    /// Delete a policy that protects no machine.
    Delete {
        #[command(flatten)]
        which: WhichPolicy,
        #[command(flatten)]
        yes: Yes,
    },
}

#[derive(Debug, ClapArgs)]
pub(crate) struct WhichPolicy {
    /// The policy, by its name or id.
    #[arg(value_name = "POLICY")]
    policy: String,
    #[command(flatten)]
    vault: InVault,
}

impl WhichPolicy {
    async fn find(&self, client: &Client) -> Result<Policy> {
        let vault = names::vault(client, self.vault.vault.as_deref()).await?;
        names::policy(client, &vault, &self.policy).await
    }
}

pub(crate) async fn run(output: &Output, client: &Client, command: PolicyCommand) -> Result<()> {
    match command {
        PolicyCommand::Create { name, vault, document } => {
            let vault = names::vault(client, vault.vault.as_deref()).await?;
            let new = NewPolicy { name, document: document.document()?, revision: None, accept_loss: false };
            let path = format!("/v1/vaults/{}/policies", vault.id);
            let made: Option<Policy> = client.send(Method::POST, &path, &new).await?;
            let policy = made.context("the server told nothing of the policy")?;
            output::print(output, &policy, || show(&policy))
        }
        PolicyCommand::List { vault } => {
            let vault = names::vault(client, vault.vault.as_deref()).await?;
            let all: Vec<Policy> = client.all(&format!("/v1/vaults/{}/policies", vault.id)).await?;
            output::print(output, &all, || list(&vault, &all))
        }
        PolicyCommand::Show { which } => {
            let policy = which.find(client).await?;
            output::print(output, &policy, || show(&policy))
        }
        PolicyCommand::Preview { vault, document } => {
            let vault = names::vault(client, vault.vault.as_deref()).await?;
            preview(output, client, &vault, &document).await
        }
        PolicyCommand::DryRun { which, document } => {
            let policy = which.find(client).await?;
            let run = dry(client, &policy, &changed(&policy, None, &document)?).await?;
            output::print(output, &run, || dry_run::in_words(&run))
        }
        PolicyCommand::Update { which, name, document, yes } => {
            let policy = which.find(client).await?;
            update(output, client, &policy, (changed(&policy, name, &document)?, yes)).await
        }
        PolicyCommand::Delete { which, yes } => {
            let policy = which.find(client).await?;
            confirm(yes, Undo::Impossible, &format!("The policy {} is deleted.", policy.name))?;
            client.act::<serde_json::Value>(Method::DELETE, &path_of(&policy)).await?;
            output::print(output, &policy, || format!("{} is deleted\n", policy.name))
        }
    }
}

fn path_of(policy: &Policy) -> String {
    format!("/v1/vaults/{}/policies/{}", policy.vault, policy.id)
}

fn changed(policy: &Policy, name: Option<String>, document: &DocumentArgs) -> Result<NewPolicy> {
    let name = name.unwrap_or_else(|| policy.name.clone());
    let revision = Some(policy.revision);
    Ok(NewPolicy { name, document: document.document()?, revision, accept_loss: false })
}

async fn dry(client: &Client, policy: &Policy, new: &NewPolicy) -> Result<DryRun> {
    let run = client.send(Method::POST, &format!("{}/dry-run", path_of(policy)), new).await?;
    run.context("the server told nothing of the dry run")
}

/// The dry run first; only what it showed is accepted.
async fn update(
    output: &Output,
    client: &Client,
    policy: &Policy,
    (mut new, yes): (NewPolicy, Yes),
) -> Result<()> {
    let run = dry(client, policy, &new).await?;
    dry_run::accept(&run, yes)?;
    new.accept_loss = run.lost > 0;
    let changed: Option<Policy> = client.send(Method::PUT, &path_of(policy), &new).await?;
    let policy = changed.context("the server told nothing of the policy")?;
    output::print(output, &policy, || show(&policy))
}

async fn preview(output: &Output, client: &Client, vault: &Vault, document: &DocumentArgs) -> Result<()> {
    let document = document.document()?;
    let path = format!("/v1/vaults/{}/policies/preview", vault.id);
    let shown: Option<PolicyPreview> = client.send(Method::POST, &path, &document).await?;
    let shown = shown.context("the server told nothing of the preview")?;
    output::print(output, &shown, || {
        let rows = shown.points.iter().take(PREVIEW_ROWS).map(|point| {
            vec![
                output::instant(point.at),
                point.day.to_string(),
                point.classes.join(", "),
                when(point.expires),
            ]
        });
        let mut text = output::table(&["POINT", "FOR THE DAY", "CLASSES", "EXPIRES"], &[], rows);
        if shown.points.len() > PREVIEW_ROWS {
            text += &format!("... and {} more; --output json has all\n", shown.points.len() - PREVIEW_ROWS);
        }
        text + &format!("At most {} points of a machine at once\n", shown.points_at_most)
    })
}

fn list(vault: &Vault, all: &[Policy]) -> String {
    if all.is_empty() {
        let make = "`strongroom policy create NAME --daily 23:00` makes one";
        return format!("{} has no policies yet. {make}.\n", vault.name);
    }
    let rows = all.iter().map(|policy| {
        let document = &policy.document;
        vec![
            policy.name.clone(),
            schedule_words::schedule(document),
            schedule_words::retention(document),
            policy.id.to_string(),
        ]
    });
    output::table(&["POLICY", "RUNS", "KEEPS", "ID"], &[], rows)
}

fn show(policy: &Policy) -> String {
    let document = &policy.document;
    let disks = serde_json::to_value(&document.disks).expect("plain data");
    let disks = format!("{} {}", word(&disks["select"]), document.disks.named().join(", "));
    output::facts(&[
        ("Policy", policy.name.clone()),
        ("Id", policy.id.to_string()),
        ("Runs", schedule_words::schedule(document)),
        ("Keeps", schedule_words::retention(document)),
        ("Snapshot tier", super::words::count(document.snapshot_days.into(), "day")),
        ("Consistency", word(&document.consistency)),
        ("Disks", disks.trim().to_owned()),
        ("Since", output::instant(policy.created)),
    ])
}
