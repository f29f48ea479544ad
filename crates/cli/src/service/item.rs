//! `strongroom item`: machines under a vault's protection, or that were.

use super::confirm::Yes;
use super::names::{self, InVault};
use super::protect;
use super::words::{or_dash, when, word};
use super::{bulk, confirm};
use crate::output::{self, Output};
use anyhow::Result;
use api::client::{Client, Method};
use api::{BulkChange, BulkOutcome, Item, ItemState, Policy, SkippedRun};
use clap::Subcommand;

#[derive(Debug, Subcommand)]
pub(crate) enum ItemCommand {
    /// List the machines of a vault, and how they stand.
    List {
        #[command(flatten)]
        vault: InVault,
        /// Only those in this state, as protected, in_error or deleted.
        #[arg(long, value_name = "STATE")]
        state: Option<String>,
    },
    /// Show how a machine stands in its vault.
    Show {
        /// The machine, by its name or id.
        #[arg(value_name = "MACHINE")]
        machine: String,
        #[command(flatten)]
        vault: InVault,
    },
    /// List the times at which a machine was to be backed up and was not, newest first.
    Skipped {
        /// The machine, by its name or id.
        #[arg(value_name = "MACHINE")]
        machine: String,
        #[command(flatten)]
        vault: InVault,
    },
    /// Put machines under another policy of their vault. Shows what that does to the points, and asks.
    ChangePolicy {
        /// The machines, by their names or ids.
        #[arg(value_name = "MACHINE", required = true)]
        machines: Vec<String>,
        /// Under which policy.
        #[arg(long, value_name = "POLICY")]
        policy: String,
        #[command(flatten)]
        vault: InVault,
        /// For several machines: make the change although points are lost by it.
        #[arg(long)]
        accept_loss: bool,
        #[command(flatten)]
        yes: Yes,
    },
}

pub(crate) async fn run(output: &Output, client: &Client, command: ItemCommand) -> Result<()> {
    match command {
        ItemCommand::List { vault, state } => {
            let vault = names::vault(client, vault.vault.as_deref()).await?;
            let path = format!("/v1/vaults/{}/items", vault.id);
            let mut all: Vec<Item> = client.all(&names::with(&path, &[("state", state.clone())])).await?;
            if state.is_none() {
                all.retain(|item| item.state != ItemState::Unprotected);
            }
            let policies: Vec<Policy> = client.all(&format!("/v1/vaults/{}/policies", vault.id)).await?;
            output::print(output, &all, || table(&all, &policies))
        }
        ItemCommand::Show { machine, vault } => {
            let item = names::item(client, &vault, &machine).await?;
            output::print(output, &item, || show(&item))
        }
        ItemCommand::Skipped { machine, vault } => {
            let item = names::item(client, &vault, &machine).await?;
            let all: Vec<SkippedRun> = client.all(&format!("{}/skipped", names::item_path(&item))).await?;
            output::print(output, &all, || {
                let rows = all.iter().map(|run| vec![output::instant(run.slot), run.why.replace('_', " ")]);
                output::table(&["WAS TO BE", "WHY NOT"], &[], rows)
            })
        }
        ItemCommand::ChangePolicy { machines, policy, vault, accept_loss, yes } => match &machines[..] {
            [machine] => {
                let item = names::item(client, &vault, machine).await?;
                protect::change_policy(output, client, &item, (&policy, yes)).await
            }
            _ => change_many(output, client, (&machines, &policy, &vault), (accept_loss, yes)).await,
        },
    }
}

/// Many at once: the server refuses each that would lose points, unless that is accepted.
async fn change_many(
    output: &Output,
    client: &Client,
    (machines, policy, in_vault): (&[String], &str, &InVault),
    (accept_loss, yes): (bool, Yes),
) -> Result<()> {
    let vault = names::vault(client, in_vault.vault.as_deref()).await?;
    let policy = names::policy(client, &vault, policy).await?;
    let here = InVault { vault: Some(vault.id.to_string()) };
    let mut items = Vec::new();
    for machine in machines {
        items.push(names::item(client, &here, machine).await?);
    }
    if accept_loss {
        let text =
            format!("{} machines get the policy {}; points may be lost by it.", items.len(), policy.name);
        confirm::confirm(yes, confirm::Undo::Impossible, &text)?;
    }
    let ids = items.iter().map(|item| item.id).collect();
    let body = BulkChange { items: ids, policy: policy.id, accept_loss };
    let path = format!("/v1/vaults/{}/items/change-policy", vault.id);
    let outcomes: Option<Vec<BulkOutcome>> = client.send(Method::POST, &path, &body).await?;
    let named = |id| items.iter().find(|item| item.id == id).map(|item| item.name.clone());
    bulk::print(output, &outcomes.unwrap_or_default(), &named)
}

fn table(all: &[Item], policies: &[Policy]) -> String {
    if all.is_empty() {
        return "No machines. `strongroom protect MACHINE --policy POLICY` puts one under protection.\n"
            .into();
    }
    let policy = |item: &Item| {
        let found = policies.iter().find(|policy| Some(policy.id) == item.policy);
        or_dash(found.map(|policy| policy.name.clone()))
    };
    let rows = all.iter().map(|item| {
        vec![
            item.name.clone(),
            word(&item.state),
            policy(item),
            when(item.last_point),
            when(item.next_backup),
            item.id.to_string(),
        ]
    });
    output::table(&["MACHINE", "STATE", "POLICY", "LAST POINT", "NEXT BACKUP", "ID"], &[], rows)
}

pub(super) fn show(item: &Item) -> String {
    let mut facts = vec![
        ("Machine", item.name.clone()),
        ("Item", item.id.to_string()),
        ("State", word(&item.state)),
        ("Policy", or_dash(item.policy.map(|id| id.to_string()))),
        ("Last point", when(item.last_point)),
        ("Next backup", when(item.next_backup)),
        ("Since", output::instant(item.created)),
    ];
    facts.extend(item.purge_at.map(|at| ("Can be had back until", output::instant(at))));
    output::facts(&facts)
}
