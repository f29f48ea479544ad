//! `strongroom drill` and `strongroom report`: points that are tried out, and how old the proofs are.

use super::copies;
use super::follow::{self, Wait};
use super::names::{self, InVault};
use crate::args::CheckArgs;
use crate::failure::Told;
use crate::output::{self, Output};
use anyhow::{Context as _, Result};
use api::client::{Client, Method};
use api::{Accepted, Drill, JobState, Page, PointDrill, Proof, Screenshot, Vault};
use clap::{Args as ClapArgs, Subcommand};
use model::drill::DrillRecord;
use model::policy::DrillOptions;
use std::fs::File;
use std::io::Write;
use std::path::Path;

#[derive(Debug, ClapArgs)]
pub(crate) struct DrillNowArgs {
    /// The machine, by its name or id.
    #[arg(value_name = "MACHINE")]
    machine: String,
    #[command(flatten)]
    vault: InVault,
    /// Which point: its id, the end of its id, or `latest`.
    #[arg(long, value_name = "POINT", default_value = "latest")]
    point: String,
    #[command(flatten)]
    checks: CheckArgs,
    /// Wait until this regular expression is found in what the console says, rather than for the guest's agent.
    #[arg(long, value_name = "PATTERN")]
    console: Option<String>,
    /// How many seconds the guest may take to come up [default: 300].
    #[arg(long, value_name = "SECONDS")]
    timeout: Option<u32>,
    /// Virtual processors; as many as the machine had otherwise.
    #[arg(long, value_name = "N")]
    cpus: Option<u32>,
    /// Memory in MiB; as much as the machine had otherwise.
    #[arg(long, value_name = "MIB")]
    memory: Option<u64>,
    /// The mover that does it; the one that backed the machine up if not said.
    #[arg(long, value_name = "MOVER")]
    mover: Option<String>,
    /// Try the point's copy in the vault's second store, whether the vault still has the point or not, or is gone
    /// itself. What comes of it stands with the copy: `strongroom vault copies`.
    #[arg(long)]
    from_copy: bool,
    #[command(flatten)]
    wait: Wait,
}

#[derive(Debug, Subcommand)]
pub(crate) enum ReportCommand {
    /// How old the newest proved point of each machine is: those that have none first, then the oldest.
    Proof {
        #[command(flatten)]
        vault: InVault,
        /// Only machines whose proof is older than their policy allows, or that have none.
        #[arg(long)]
        overdue: bool,
    },
}

pub(crate) async fn run(output: &Output, client: &Client, args: DrillNowArgs) -> Result<()> {
    let checks = args.checks.checks().map_err(|what| Told::usage(what, ""))?;
    let given = DrillOptions {
        checks,
        console: args.console,
        boot_limit_s: args.timeout.unwrap_or(DrillOptions::BOOT_LIMIT_S),
        cpus: args.cpus,
        memory_mib: args.memory,
    };
    // Whoever says nothing means what the policy says.
    let options = (given != DrillOptions::default()).then_some(given);
    let item = names::item(client, &args.vault, &args.machine).await?;
    let from_copy = args.from_copy;
    let (point, taken) = match from_copy {
        true => {
            let copy = copies::chosen(client, &item, &args.point).await?;
            (copy.point, copy.taken)
        }
        false => {
            let point = names::point(client, &item, &args.point).await?;
            (point.id, point.taken)
        }
    };
    let what = if from_copy { "the copy of " } else { "" };
    eprintln!("Trying out {what}{} as it was at {}", item.name, output::instant(taken));
    let path = format!("{}/points/{point}", names::item_path(&item));
    let wish = Drill { options, mover: args.mover, from_copy };
    let accepted: Option<Accepted> = client.send(Method::POST, &format!("{path}/drill"), &wish).await?;
    let accepted = accepted.context("the server named no job")?;
    let Some(job) = follow::unless_unwanted(output, client, accepted, args.wait).await? else {
        return Ok(());
    };
    if !matches!(job.state, JobState::Completed | JobState::CompletedWithWarnings) {
        return follow::finish(output, &job);
    }
    let result = job.result.clone().context("the drill has no result")?;
    let record: DrillRecord = serde_json::from_value(result).context("understand what the drill came to")?;
    output::print(output, &job, || crate::commands::drill_table(&record))?;
    if record.verdict.is_good() {
        return Ok(());
    }
    let option = if from_copy { " --from-copy" } else { "" };
    let hint = format!("an older point may be good: `strongroom drill {} --point POINT{option}`", item.name);
    Err(Told::job(None, format!("{what}the point {point} {}", record.verdict), hint))
}

pub(crate) async fn report(output: &Output, client: &Client, command: ReportCommand) -> Result<()> {
    let ReportCommand::Proof { vault, overdue } = command;
    let vaults: Vec<Vault> = match &vault.vault {
        Some(_) => vec![names::vault(client, vault.vault.as_deref()).await?],
        None => client.all("/v1/vaults").await?,
    };
    let mut all: Vec<Proof> = Vec::new();
    for vault in &vaults {
        let page: Page<Proof> = client.get(&format!("/v1/vaults/{}/proofs", vault.id)).await?;
        all.extend(page.items);
    }
    all.retain(|proof| proof.is_overdue || !overdue);
    // None is less than any: never proved ones stay first.
    all.sort_by(|one, other| (one.proved, &one.name).cmp(&(other.proved, &other.name)));
    output::print(output, &all, || table(&all, overdue))
}

fn table(all: &[Proof], overdue: bool) -> String {
    if all.is_empty() {
        return match overdue {
            true => "Every machine has a proof that is as new as its policy asks for.\n".to_owned(),
            false => "No machines are backed up.\n".to_owned(),
        };
    }
    let rows = all.iter().map(|proof| {
        let at = |at: Option<jiff::Timestamp>| at.map_or("never".to_owned(), output::instant);
        vec![
            proof.name.clone(),
            if proof.is_overdue { "overdue" } else { "good" }.to_owned(),
            at(proof.proved),
            format!("{} days", proof.allowed_days),
            at(proof.tried),
            proof.verdict.clone().unwrap_or_else(|| "-".to_owned()).replace('_', " "),
            proof.copy_proved.map_or("-".to_owned(), output::instant),
            proof.policy.clone().unwrap_or_else(|| "-".to_owned()),
        ]
    });
    let heading = [
        "MACHINE",
        "PROOF",
        "NEWEST PROVED POINT",
        "ALLOWED",
        "NEWEST TRIED POINT",
        "CAME TO",
        "NEWEST PROVED COPY",
        "POLICY",
    ];
    output::table(&heading, &[], rows)
}

/// A point's last drill in a few words, for lists.
pub(super) fn in_short(drill: Option<&PointDrill>) -> String {
    let Some(drill) = drill else { return "-".to_owned() };
    let word = drill.record.verdict.to_string();
    let word = word.split(':').next().unwrap_or_default();
    format!("{word} {}", output::instant(drill.ended))
}

/// Writes a screenshot that the server has kept.
pub(super) fn save_screenshot(output: &Output, screenshot: &Screenshot, to: &Path) -> Result<()> {
    let bytes =
        hypervisor::base64::decode(&screenshot.data).context("the server's screenshot is no base64")?;
    let written = File::create_new(to).and_then(|mut file| file.write_all(&bytes));
    written.with_context(|| format!("write the screenshot {}", to.display()))?;
    let told = serde_json::json!({ "file": to, "format": screenshot.format, "bytes": bytes.len() });
    output::print(output, &told, || format!("{} ({})\n", to.display(), screenshot.format))
}
