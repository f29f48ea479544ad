//! `strongroom protect`, `stop`, `resume`, `undelete`: a machine's way into protection, out of it, and back.

use super::confirm::{Undo, Yes, confirm};
use super::names::{self, InVault};
use super::words::count;
use super::{bulk, dry_run, item};
use crate::output::{self, Output};
use anyhow::{Context as _, Result, bail};
use api::client::{Client, Method};
use api::{BulkOutcome, ChangeItem, Item, ItemChanged, Protect, Resume, Stop, StopHow};
use clap::Args as ClapArgs;
use model::protection::KeepWish;

#[derive(Debug, ClapArgs)]
pub(crate) struct ProtectArgs {
    /// The machines, by their names or ids.
    #[arg(value_name = "MACHINE", required = true)]
    machines: Vec<String>,
    /// By which policy of the vault.
    #[arg(long, value_name = "POLICY")]
    policy: String,
    #[command(flatten)]
    vault: InVault,
    /// Back them up now as well, rather than at the policy's next time.
    #[arg(long)]
    now: bool,
}

#[derive(Debug, ClapArgs)]
pub(crate) struct StopArgs {
    /// The machine, by its name or id.
    #[arg(value_name = "MACHINE")]
    machine: String,
    #[command(flatten)]
    vault: InVault,
    /// Delete its points. They can be brought back for as long as the vault says.
    #[arg(long)]
    delete_data: bool,
    /// Let its points expire as the policy says, rather than keep them for ever.
    #[arg(long, conflicts_with = "delete_data")]
    expire: bool,
    /// Why; goes into the audit log.
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
    #[command(flatten)]
    yes: Yes,
}

#[derive(Debug, ClapArgs)]
pub(crate) struct ResumeArgs {
    /// The machine, by its name or id.
    #[arg(value_name = "MACHINE")]
    machine: String,
    /// By which policy of the vault.
    #[arg(long, value_name = "POLICY")]
    policy: String,
    #[command(flatten)]
    vault: InVault,
    /// Do so although points are lost by it.
    #[arg(long)]
    accept_loss: bool,
    #[command(flatten)]
    yes: Yes,
}

#[derive(Debug, ClapArgs)]
pub(crate) struct UndeleteArgs {
    /// The machine, by its name or id.
    #[arg(value_name = "MACHINE")]
    machine: String,
    #[command(flatten)]
    vault: InVault,
}

/// Puts machines under a policy.
pub(crate) async fn protect(output: &Output, client: &Client, args: &ProtectArgs) -> Result<()> {
    let vault = names::vault(client, args.vault.vault.as_deref()).await?;
    let policy = names::policy(client, &vault, &args.policy).await?.id;
    let machines = names::machines(client, &args.machines).await?;
    let body = Protect {
        machines: machines.iter().map(|machine| machine.id).collect(),
        policy,
        back_up_now: args.now,
    };
    let path = format!("/v1/vaults/{}/items", vault.id);
    let outcomes: Option<Vec<BulkOutcome>> = client.send(Method::POST, &path, &body).await?;
    let named = |id: uuid::Uuid| machines.iter().find(|one| one.id.0 == id).map(|one| one.name.clone());
    bulk::print(output, &outcomes.unwrap_or_default(), &named)
}

/// Ends a machine's protection.
pub(crate) async fn stop(output: &Output, client: &Client, args: StopArgs) -> Result<()> {
    let found = names::item(client, &args.vault, &args.machine).await?;
    let path = names::item_path(&found);
    let points: Vec<api::Point> = client.all(&format!("{path}/points?limit=1000")).await?;
    let points = count(points.len() as u64, "point");
    let (data, keep, text) = if args.delete_data {
        let text = format!(
            "{} is not backed up any more, and its {points} are deleted. They can be brought back for as long as \
             the vault says (`strongroom undelete`).",
            found.name
        );
        (StopHow::Delete, None, text)
    } else if args.expire {
        let text =
            format!("{} is not backed up any more. Its {points} expire as the policy says.", found.name);
        (StopHow::Keep, Some(KeepWish::ByPolicy), text)
    } else {
        let text = format!("{} is not backed up any more. Its {points} stay for ever.", found.name);
        (StopHow::Keep, Some(KeepWish::Forever), text)
    };
    confirm(args.yes, Undo::Possible, &text)?;
    let body = Stop { data, keep, reason: args.reason };
    let stopped: Option<Item> = client.send(Method::POST, &format!("{path}/stop"), &body).await?;
    let stopped = stopped.context("the server told nothing of the machine")?;
    output::print(output, &stopped, || item::show(&stopped))
}

/// Puts a machine whose protection was stopped under a policy again.
pub(crate) async fn resume(output: &Output, client: &Client, args: &ResumeArgs) -> Result<()> {
    let found = names::item(client, &args.vault, &args.machine).await?;
    let vault = names::vault(client, Some(&found.vault.to_string())).await?;
    let policy = names::policy(client, &vault, &args.policy).await?;
    if args.accept_loss {
        let text =
            format!("Points of {} that the policy {} does not keep are lost.", found.name, policy.name);
        confirm(args.yes, Undo::Impossible, &text)?;
    }
    let body = Resume { policy: policy.id, accept_loss: args.accept_loss };
    let path = format!("{}/resume", names::item_path(&found));
    let resumed: Option<Item> = client.send(Method::POST, &path, &body).await?;
    let resumed = resumed.context("the server told nothing of the machine")?;
    output::print(output, &resumed, || item::show(&resumed))
}

/// Brings a machine's deleted points back.
pub(crate) async fn undelete(output: &Output, client: &Client, args: &UndeleteArgs) -> Result<()> {
    let found = names::item(client, &args.vault, &args.machine).await?;
    let path = format!("{}/undelete", names::item_path(&found));
    let back: Option<Item> = client.act(Method::POST, &path).await?;
    let back = back.context("the server told nothing of the machine")?;
    eprintln!("Its points are back as soon as the job has run: `strongroom point list {}`.", back.name);
    output::print(output, &back, || item::show(&back))
}

/// Puts a machine under another policy of its vault, having shown what that does to its points.
pub(super) async fn change_policy(
    output: &Output,
    client: &Client,
    found: &Item,
    (policy, yes): (&str, Yes),
) -> Result<()> {
    let vault = names::vault(client, Some(&found.vault.to_string())).await?;
    let policy = Some(names::policy(client, &vault, policy).await?.id);
    let path = names::item_path(found);
    let dry = ChangeItem { policy, accept_loss: false, dry_run: true };
    let run: Option<ItemChanged> = client.send(Method::PATCH, &path, &dry).await?;
    let Some(ItemChanged::DryRun(run)) = run else { bail!("the server told nothing of the dry run") };
    dry_run::accept(&run, yes)?;
    let change = ChangeItem { policy, accept_loss: run.lost > 0, dry_run: false };
    let changed: Option<ItemChanged> = client.send(Method::PATCH, &path, &change).await?;
    let Some(ItemChanged::Item(changed)) = changed else { bail!("the server told nothing of the machine") };
    output::print(output, &changed, || item::show(&changed))
}
