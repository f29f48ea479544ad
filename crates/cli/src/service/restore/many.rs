//! Many machines restored as one: begun from a line or a file, watched, cancelled.

use super::disks;
use crate::args::ImageFormat;
use crate::failure::Told;
use crate::output::{self, Output};
use crate::service::confirm::{Undo, Yes, confirm};
use crate::service::copies;
use crate::service::names::{self, InVault, choose};
use crate::service::words::{count, or_dash, when, word};
use crate::targets::{self, Network};
use anyhow::{Context as _, Result};
use api::client::{Client, Method};
use api::{
    Item, NewRestoreSet, RestoreSet, SetLimits, SetMachine, SetMember, SetMemberState, SetNewMachines,
};
use clap::{Args as ClapArgs, Subcommand};
use jiff::Timestamp;
use model::restores::RestoreSetState;
use serde::Deserialize;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// A thousand machines are less; a longer file is a mistake.
const FILE_BYTES_MAX: u64 = 1 << 20;
/// A set changes as fast as its jobs do, which tell something every few seconds.
const LOOK_EVERY: Duration = Duration::from_secs(2);

#[derive(Debug, ClapArgs)]
pub(crate) struct ManyArgs {
    /// Machines, by their names or ids. Given again, the next begin when those before are over.
    #[arg(long, value_name = "MACHINE,...", required_unless_present = "file")]
    machines: Vec<String>,
    /// A JSON or YAML list of machines; `-` for standard input. Each has `machine`, and if wished `group`, `point`, `to`,
    /// `name`, `mover`.
    #[arg(long, value_name = "FILE", conflicts_with = "machines")]
    file: Option<PathBuf>,
    #[command(flatten)]
    vault: InVault,
    /// Which point of each: `latest`.
    #[arg(long, value_name = "POINT", value_parser = ["latest"], default_value = "latest")]
    point: String,
    /// The newest point of each that is not younger than this, as 2026-11-21T08:00:00Z.
    #[arg(long, value_name = "TIME", conflicts_with = "point")]
    before: Option<Timestamp>,
    /// Take all of them from the vault's second store, be the vault damaged, unreachable or gone.
    #[arg(long)]
    from_copy: bool,
    /// A folder that is there on the movers' hosts: each machine gets one of its name in it.
    #[arg(long, value_name = "FOLDER")]
    to: PathBuf,
    /// What the images are to be.
    #[arg(long, value_enum, default_value_t = ImageFormat::Qcow2)]
    format: ImageFormat,
    /// The mover that writes them; those that backed the machines up if not said.
    #[arg(long, value_name = "MOVER")]
    mover: Option<String>,
    #[command(flatten)]
    machine_options: NewMachinesArgs,
    #[command(flatten)]
    limits: LimitArgs,
    /// Begin nothing more once one has failed.
    #[arg(long)]
    stop_on_failure: bool,
    /// Do not wait until all is done: print it and end. `strongroom restore set watch` waits for it.
    #[arg(long)]
    no_wait: bool,
}

/// What the new machines are to be.
#[derive(Debug, ClapArgs)]
#[command(next_help_heading = "New machines")]
struct NewMachinesArgs {
    /// Make new machines, called so and then as they were.
    #[arg(long, value_name = "TEXT")]
    as_machine_prefix: Option<String>,
    /// Make new machines, called as they were and then so.
    #[arg(long, value_name = "TEXT")]
    as_machine_suffix: Option<String>,
    /// Their network: `disconnected`, `keep`, `isolated`, or `remap=OLD:NEW,...`.
    #[arg(long, value_name = "NETWORK", default_value = "disconnected", value_parser = targets::network)]
    network: Network,
    /// Start each once its disks are there.
    #[arg(long)]
    start: bool,
    /// The libvirt of the movers' hosts to define them in.
    #[arg(long, value_name = "URI")]
    libvirt: Option<String>,
}

/// How many at once.
#[derive(Clone, Copy, Debug, ClapArgs)]
#[command(next_help_heading = "Limits")]
struct LimitArgs {
    /// Machines at once [default: 4].
    #[arg(long, value_name = "N")]
    at_once: Option<u16>,
    /// At once at one mover.
    #[arg(long, value_name = "N")]
    per_mover: Option<u16>,
    /// At once out of one store: the vault's, or its snapshot tier's.
    #[arg(long, value_name = "N")]
    per_store: Option<u16>,
    /// At once into one folder.
    #[arg(long, value_name = "N")]
    per_target: Option<u16>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum SetCommand {
    /// List them, the newest first.
    List {
        #[command(flatten)]
        vault: InVault,
    },
    /// Show one, and how each of its machines stands.
    Show(WhichSet),
    /// Show one until it is over; ends as it does.
    Watch(WhichSet),
    /// Have one end: nothing more of it begins, and what is under way ends early.
    Cancel {
        #[command(flatten)]
        which: WhichSet,
        #[command(flatten)]
        yes: Yes,
    },
}

#[derive(Debug, ClapArgs)]
pub(crate) struct WhichSet {
    /// The restore of many, by its id or the end of it.
    #[arg(value_name = "SET")]
    set: String,
    #[command(flatten)]
    vault: InVault,
}

/// An entry of a file.
#[derive(Debug, Deserialize, PartialEq)]
#[serde(deny_unknown_fields)]
struct Entry {
    machine: String,
    #[serde(default)]
    group: u16,
    point: Option<String>,
    to: Option<String>,
    name: Option<String>,
    mover: Option<String>,
}

impl WhichSet {
    async fn find(&self, client: &Client) -> Result<(RestoreSet, String)> {
        let vault = names::vault(client, self.vault.vault.as_deref()).await?;
        let all: Vec<RestoreSet> =
            client.all(&format!("/v1/vaults/{}/restore-sets?limit=1000", vault.id)).await?;
        let one = choose("restore of many", all, &self.set, |one| (String::new(), one.id))?;
        let path = path_of(&one);
        Ok((client.get(&path).await?, path))
    }
}

fn path_of(set: &RestoreSet) -> String {
    format!("/v1/vaults/{}/restore-sets/{}", set.vault, set.id)
}

/// Begins to restore many machines.
pub(crate) async fn begin(output: &Output, client: &Client, args: ManyArgs) -> Result<()> {
    let vault = names::vault(client, args.vault.vault.as_deref()).await?;
    let entries = match &args.file {
        Some(file) => read(file)?,
        None => of_words(&args.machines),
    };
    let in_vault = InVault { vault: Some(vault.id.to_string()) };
    let mut machines = Vec::with_capacity(entries.len());
    for entry in entries {
        let item = names::item(client, &in_vault, &entry.machine).await?;
        machines.push(wanted(client, &item, entry, args.from_copy).await?);
    }
    let folder = std::path::absolute(&args.to).context("find the folder")?;
    let folder = folder.to_str().context("a folder's path must be UTF-8")?.to_owned();
    let LimitArgs { at_once, per_mover, per_store, per_target } = args.limits;
    let body = NewRestoreSet {
        machines,
        before: args.before,
        from_copy: args.from_copy,
        folder,
        format: disks::format(args.format),
        mover: args.mover,
        as_machines: args.machine_options.wish(),
        limits: SetLimits { at_once, per_mover, per_store, per_target },
        stop_on_failure: args.stop_on_failure,
    };
    let path = format!("/v1/vaults/{}/restore-sets", vault.id);
    let set: Option<RestoreSet> = client.send(Method::POST, &path, &body).await?;
    let set = set.context("the server told nothing of the restore")?;
    eprintln!("Restoring {} as {}", count(set.members.len() as u64, "machine"), set.id);
    match args.no_wait {
        true => output::print(output, &set, || show(&set)),
        false => watch(output, client, &path_of(&set)).await,
    }
}

/// Sees to those that are there.
pub(crate) async fn run(output: &Output, client: &Client, command: SetCommand) -> Result<()> {
    match command {
        SetCommand::List { vault } => {
            let vault = names::vault(client, vault.vault.as_deref()).await?;
            let path = format!("/v1/vaults/{}/restore-sets?limit=1000", vault.id);
            let all: Vec<RestoreSet> = client.all(&path).await?;
            output::print(output, &all, || table(&all))
        }
        SetCommand::Show(which) => {
            let (set, _) = which.find(client).await?;
            output::print(output, &set, || show(&set))
        }
        SetCommand::Watch(which) => {
            let (_, path) = which.find(client).await?;
            watch(output, client, &path).await
        }
        SetCommand::Cancel { which, yes } => {
            let (set, path) = which.find(client).await?;
            let text = format!("The restore of {} ends early.", count(set.members.len() as u64, "machine"));
            confirm(yes, Undo::Possible, &text)?;
            let set: Option<RestoreSet> = client.act(Method::POST, &format!("{path}/cancel")).await?;
            let set = set.context("the server told nothing of the restore")?;
            output::print(output, &set, || show(&set))
        }
    }
}

/// Shows a set until it is over, and ends as it does.
async fn watch(output: &Output, client: &Client, path: &str) -> Result<()> {
    let watching = async {
        let mut said = String::new();
        loop {
            let set: RestoreSet = client.get(path).await?;
            let line = in_a_line(&set);
            if line != said {
                eprintln!("{line}");
                said = line;
            }
            if set.state.is_over() {
                return Ok(set);
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    };
    let doing = "watching (the restores go on: `strongroom restore set list`)";
    let set = crate::commands::unless_interrupted(doing, watching).await?;
    if set.state == RestoreSetState::Completed {
        return output::print(output, &set, || show(&set));
    }
    for member in set.members.iter().filter(|member| member.state == SetMemberState::Failed) {
        let why = member.error.as_ref().map_or("nobody said why", |error| &error.text);
        eprintln!("{}: {why}", member.name);
    }
    let what = match set.state {
        RestoreSetState::Cancelled => "the restore of many has been cancelled".to_owned(),
        _ => {
            let left = set.members.len() - set.total.done as usize;
            format!("{left} of {} were not restored", set.members.len())
        }
    };
    Err(Told::job(None, what, format!("`strongroom restore set show {}` tells more", set.id)))
}

fn in_a_line(set: &RestoreSet) -> String {
    let total = &set.total;
    let percent = (total.done_bytes.saturating_mul(100)).checked_div(total.total_bytes).unwrap_or(100);
    let mut line = format!(
        "{}: {} done, {} under way, {} waiting, {percent} %",
        word(&set.state),
        total.done,
        total.under_way,
        total.waiting
    );
    for (number, what) in [(total.failed, "failed"), (total.cancelled, "cancelled")] {
        if number > 0 {
            line += &format!(", {number} {what}");
        }
    }
    line
}

impl NewMachinesArgs {
    /// None without a name that would tell them from the old ones.
    fn wish(self) -> Option<SetNewMachines> {
        if self.as_machine_prefix.is_none() && self.as_machine_suffix.is_none() {
            return None;
        }
        Some(SetNewMachines {
            prefix: self.as_machine_prefix.unwrap_or_default(),
            suffix: self.as_machine_suffix.unwrap_or_default(),
            network: disks::network(self.network),
            start: self.start,
            libvirt: self.libvirt,
        })
    }
}

async fn wanted(client: &Client, item: &Item, entry: Entry, from_copy: bool) -> Result<SetMachine> {
    let point = match entry.point.as_deref() {
        None | Some("latest") => None,
        Some(copy) if from_copy => Some(copies::chosen(client, item, copy).await?.point),
        Some(point) => Some(names::point(client, item, point).await?.id),
    };
    let Entry { group, to, name, mover, .. } = entry;
    Ok(SetMachine { item: item.id, point, group, folder: to, name, mover })
}

/// Each word is a group.
fn of_words(words: &[String]) -> Vec<Entry> {
    let of_group = |(group, names): (u16, &String)| {
        let entry = |name: &str| Entry {
            machine: name.to_owned(),
            group,
            point: None,
            to: None,
            name: None,
            mover: None,
        };
        names.split(',').filter(|name| !name.is_empty()).map(entry).collect::<Vec<_>>()
    };
    (0..).zip(words).flat_map(of_group).collect()
}

fn read(path: &Path) -> Result<Vec<Entry>> {
    let doing = || format!("read the machines {}", path.display());
    let file: Box<dyn Read> = match path.to_str() {
        Some("-") => Box::new(std::io::stdin()),
        _ => Box::new(std::fs::File::open(path).with_context(doing)?),
    };
    let mut text = String::new();
    file.take(FILE_BYTES_MAX).read_to_string(&mut text).with_context(doing)?;
    parse(&text).map_err(|error| {
        Told::usage(format!("{}: {error}", doing()), "docs/restore.md tells what such a list says")
    })
}

/// YAML, of which JSON is a part.
fn parse(text: &str) -> std::result::Result<Vec<Entry>, String> {
    let value: serde_json::Value = serde_saphyr::from_str(text).map_err(|error| error.to_string())?;
    serde_json::from_value(value).map_err(|error| error.to_string())
}

fn table(all: &[RestoreSet]) -> String {
    if all.is_empty() {
        return "No restores of many. `strongroom restore many` begins one.\n".into();
    }
    let rows = all.iter().map(|set| {
        let total = &set.total;
        let machines = total.waiting + total.under_way + total.done + total.failed + total.cancelled;
        vec![
            set.id.to_string(),
            word(&set.state),
            machines.to_string(),
            total.done.to_string(),
            total.failed.to_string(),
            output::instant(set.created),
            when(set.ended),
        ]
    });
    let right = ["MACHINES", "DONE", "FAILED"];
    output::table(&["SET", "STATE", "MACHINES", "DONE", "FAILED", "SINCE", "ENDED"], &right, rows)
}

fn show(set: &RestoreSet) -> String {
    let facts = output::facts(&[
        ("Restore", set.id.to_string()),
        ("State", in_a_line(set)),
        ("Since", output::instant(set.created)),
        ("Ended", when(set.ended)),
    ]);
    let row = |member: &SetMember| {
        vec![
            member.group.to_string(),
            member.name.clone(),
            word(&member.state),
            or_dash(member.machine.clone()),
            member.folder.clone(),
            output::size(member.done_bytes),
            output::size(member.total_bytes),
            member.job.to_string(),
        ]
    };
    let heading = ["GROUP", "OF", "STATE", "AS", "FOLDER", "DONE", "SIZE", "JOB"];
    format!("{facts}\n{}", output::table(&heading, &["GROUP", "DONE", "SIZE"], set.members.iter().map(row)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_word_is_a_group_and_a_file_says_more() {
        let words = ["dc1,dc2".to_owned(), "db".to_owned()];
        let groups: Vec<_> = of_words(&words).into_iter().map(|entry| (entry.machine, entry.group)).collect();
        assert_eq!(groups, [("dc1".into(), 0), ("dc2".into(), 0), ("db".into(), 1)]);
        let entries = parse("- machine: dc1\n- {machine: db, group: 1, to: /srv/db, name: db-test}\n");
        let entries = entries.expect("a list");
        assert_eq!((entries[0].group, entries[1].to.as_deref()), (0, Some("/srv/db")));
        assert!(parse("- {machine: a, when: now}").is_err() && parse("machine: a").is_err());
    }
}
