//! A machine put back to a point in its own place: what would be done is shown, then it is done; and what comes after.

use super::{Meant, RestoreNowArgs};
use crate::failure::Told;
use crate::output::{self, Output};
use crate::service::confirm::{Undo, Yes, confirm};
use crate::service::follow::{self, Wait};
use crate::service::names::{self, InVault};
use crate::service::words::{or_dash, word};
use anyhow::{Context as _, Result};
use api::client::{Client, Method};
use api::work::ToldReplacement;
use api::{Accepted, Item, RemoveKept, Replace, Replacement, ReplacementState, StopMachine, UndoReplacement};
use clap::Args as ClapArgs;

#[derive(Debug, ClapArgs)]
#[command(next_help_heading = "With --replace")]
pub(crate) struct ReplaceArgs {
    #[command(flatten)]
    stop: StopArgs,
    /// Make no point of the present state. What is lost then are the kept disks, once they are removed.
    #[arg(long, requires = "replace")]
    no_safety_point: bool,
    /// Keep the point of the present state for so many days [default: 30].
    #[arg(long, value_name = "DAYS", requires = "replace")]
    keep_days: Option<u16>,
    /// Only show what would be done; of --into and NBD servers too.
    #[arg(long)]
    plan: bool,
}

impl ReplaceArgs {
    pub(crate) fn is_plan(&self) -> bool {
        self.plan
    }
}

/// How a machine that runs is stopped; without either it is refused.
#[derive(Clone, Copy, Debug, ClapArgs)]
pub(crate) struct StopArgs {
    /// Ask the guest to shut down, if the machine runs.
    #[arg(long, conflicts_with = "power_off")]
    stop: bool,
    /// Cut the machine's power, if it runs.
    #[arg(long)]
    power_off: bool,
}

impl StopArgs {
    fn wish(self) -> Option<StopMachine> {
        match self {
            Self { power_off: true, .. } => Some(StopMachine::PowerOff),
            Self { stop: true, .. } => Some(StopMachine::ShutDown),
            Self { .. } => None,
        }
    }
}

/// Which machine.
#[derive(Debug, ClapArgs)]
pub(crate) struct WhichMachine {
    /// The machine, by its name or id.
    #[arg(value_name = "MACHINE")]
    machine: String,
    #[command(flatten)]
    vault: InVault,
}

/// Which of a machine's restores in its own place.
#[derive(Debug, ClapArgs)]
pub(crate) struct WhichReplacement {
    #[command(flatten)]
    of: WhichMachine,
    /// Which restore, by its id or the end of it; may be left out when there is one.
    #[arg(long, value_name = "ID")]
    id: Option<String>,
}

impl WhichMachine {
    async fn find(&self, client: &Client) -> Result<(Item, Vec<Replacement>)> {
        let item = names::item(client, &self.vault, &self.machine).await?;
        let all = client.all(&format!("{}/replacements", names::item_path(&item))).await?;
        Ok((item, all))
    }
}

impl WhichReplacement {
    async fn find(&self, client: &Client) -> Result<(Item, Replacement, String)> {
        let (item, mut all) = self.of.find(client).await?;
        let one = match &self.id {
            Some(id) => names::choose("restore", all, id, |one| (String::new(), one.id))?,
            None if all.len() == 1 => all.remove(0),
            None if all.is_empty() => {
                let text = format!("no restore of {} in its own place keeps anything", item.name);
                return Err(Told::not_found(text, "`strongroom restore MACHINE --replace` begins one"));
            }
            None => {
                let text = format!("there are {} of {}", all.len(), item.name);
                return Err(Told::usage(text, "`strongroom restore list` shows them; name one: --id ID"));
            }
        };
        let path = format!("{}/replacements/{}", names::item_path(&item), one.id);
        Ok((item, one, path))
    }
}

/// Shows what would be done, and does it.
pub(crate) async fn replace(
    output: &Output,
    client: &Client,
    (item, point): (&Item, &Meant),
    args: RestoreNowArgs,
) -> Result<()> {
    let options = args.replace_options;
    let wish = |plan| Replace {
        stop: options.stop.wish(),
        no_safety_point: options.no_safety_point,
        keep_days: options.keep_days,
        from_copy: args.from_copy,
        plan,
    };
    let path = format!("{}/points/{}/replace", names::item_path(item), point.id);
    let accepted: Option<Accepted> = client.send(Method::POST, &path, &wish(true)).await?;
    let job = follow::follow(client, accepted.context("the server named no job")?.job).await?;
    let Some(Ok(plan)) = job.result.clone().map(serde_json::from_value::<ToldReplacement>) else {
        return follow::finish(output, &job);
    };
    if options.plan {
        return output::print(output, &plan, || in_words(item, point, &plan, &wish(true)));
    }
    if plan.was_running && options.stop.wish().is_none() {
        let hint = "shut it down, or have it stopped: --stop, --power-off";
        return Err(Told::state(format!("{} runs", item.name), hint));
    }
    confirm(args.yes, Undo::Possible, &in_words(item, point, &plan, &wish(false)))?;
    let accepted: Option<Accepted> = client.send(Method::POST, &path, &wish(false)).await?;
    follow::accepted(output, client, accepted, args.wait).await
}

fn in_words(item: &Item, point: &Meant, plan: &ToldReplacement, wish: &Replace) -> String {
    let stop = match (plan.was_running, wish.stop) {
        (false, _) => "It is off, and stays off.",
        (true, Some(StopMachine::ShutDown)) => "Its guest is asked to shut down, and it is started again.",
        (true, Some(StopMachine::PowerOff)) => "Its power is cut, and it is started again.",
        (true, None) => "It runs: --stop or --power-off would have to stop it.",
    };
    let safety = match wish.no_safety_point {
        true => "No point is made of its present state.",
        false if wish.from_copy => "Its present state becomes a point of the vault first.",
        false => "Its present state becomes a point first.",
    };
    let out_of = if wish.from_copy { ", out of the vault's second store" } else { "" };
    let rows = plan.disks.iter().map(|disk| {
        let size = if disk.bytes > 0 { output::size(disk.bytes) } else { "-".to_owned() };
        vec![disk.name.clone(), disk.file.clone(), size]
    });
    let disks = output::table(&["DISK", "FILE", "SIZE"], &["SIZE"], rows);
    format!(
        "{} goes back to {}{out_of}. {stop} {safety}\nThese files are replaced, and kept under other names beside them:\n{disks}",
        item.name,
        output::instant(point.taken)
    )
}

pub(crate) async fn list(output: &Output, client: &Client, which: &WhichMachine) -> Result<()> {
    let (item, all) = which.find(client).await?;
    output::print(output, &all, || table(&item, &all))
}

pub(crate) async fn finish(
    output: &Output,
    client: &Client,
    which: &WhichReplacement,
    wait: Wait,
) -> Result<()> {
    let (_, _, path) = which.find(client).await?;
    let accepted: Option<Accepted> = client.act(Method::POST, &format!("{path}/finish")).await?;
    follow::accepted(output, client, accepted, wait).await
}

pub(crate) async fn undo(
    output: &Output,
    client: &Client,
    (which, stop, yes): (&WhichReplacement, StopArgs, Yes),
    wait: Wait,
) -> Result<()> {
    let (item, _, path) = which.find(client).await?;
    let text = format!(
        "{} becomes what it was before the restore. What it wrote since is kept beside its disks.",
        item.name
    );
    confirm(yes, Undo::Possible, &text)?;
    let wish = UndoReplacement { stop: stop.wish() };
    let accepted: Option<Accepted> = client.send(Method::POST, &format!("{path}/undo"), &wish).await?;
    follow::accepted(output, client, accepted, wait).await
}

pub(crate) async fn remove(
    output: &Output,
    client: &Client,
    (which, yes): (&WhichReplacement, Yes),
    wait: Wait,
) -> Result<()> {
    let (item, one, path) = which.find(client).await?;
    let files: String = one.kept.iter().map(|file| format!("\n  {file}")).collect();
    let text = format!(
        "These files of {} are removed, and its restore cannot be undone any more:{files}",
        item.name
    );
    confirm(yes, Undo::Impossible, &text)?;
    let wish = RemoveKept { files: one.kept };
    let accepted: Option<Accepted> = client.send(Method::POST, &format!("{path}/remove"), &wish).await?;
    follow::accepted(output, client, accepted, wait).await
}

fn table(item: &Item, all: &[Replacement]) -> String {
    if all.is_empty() {
        return format!("No restore of {} in its own place keeps anything.\n", item.name);
    }
    let next = |state| match state {
        ReplacementState::UnderWay => "wait",
        ReplacementState::Unfinished => "finish, undo",
        ReplacementState::Done => "undo, remove",
        ReplacementState::Undone => "remove",
    };
    let one = |one: &Replacement| {
        let kept: String = one.kept.iter().map(|file| format!("  {file}\n")).collect();
        let facts = output::facts(&[
            ("Restore", one.id.to_string()),
            ("State", word(&one.state)),
            ("Next", next(one.state).to_owned()),
            ("Began", output::instant(one.created)),
            ("Point", one.point.to_string()),
            ("State before", or_dash(one.safety_point.map(|point| format!("point {point}")))),
            ("Journal", format!("{} at the mover {}", one.journal, one.mover)),
        ]);
        if kept.is_empty() { facts } else { format!("{facts}Kept:\n{kept}") }
    };
    all.iter().map(one).collect::<Vec<_>>().join("\n")
}
