//! `strongroom machine`: what hosts have told of.

use super::image_machines::MachineCreateArgs;
use super::names::{self, with};
use super::words::{or_dash, when, word};
use crate::failure::Told;
use crate::output::{self, Output};
use anyhow::{Context as _, Result};
use api::client::{Client, Method};
use api::{Host, Machine, MachineStanding, Tags};
use clap::{Subcommand, ValueEnum};
use std::collections::BTreeMap;

#[derive(Debug, Subcommand)]
pub(crate) enum MachineCommand {
    /// List the machines of all hosts, and how they stand to protection.
    List {
        /// Only those that stand so.
        #[arg(long, value_enum)]
        standing: Option<Standing>,
        /// Only those with this tag, as `key` or `key=value`.
        #[arg(long, value_name = "TAG")]
        tag: Option<String>,
        /// Only those whose name fits this: `*` is anything, `?` one character.
        #[arg(long, value_name = "PATTERN")]
        name: Option<String>,
    },
    /// Show a machine.
    Show {
        /// The machine, by its name or id.
        #[arg(value_name = "MACHINE")]
        machine: String,
    },
    /// Make machines of an image, each with a name, a uuid, addresses and a guest of its own.
    Create(Box<MachineCreateArgs>),
    /// Change the tags of a machine.
    Tag {
        /// The machine, by its name or id.
        #[arg(value_name = "MACHINE")]
        machine: String,
        /// `key=value` sets a tag, `key=` one without a value, `key-` takes one away.
        #[arg(value_name = "TAG", required = true)]
        tags: Vec<String>,
    },
    /// Take back what killed backups left on this host: thaw guests, let machines run on, remove filters and exports.
    ///
    /// Works here and needs no server. Looks at every machine that was written down as possibly frozen, and at every
    /// one found on this host.
    Reconcile {
        /// Only at those that were written down.
        #[arg(long)]
        outstanding: bool,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Standing {
    /// A policy holds.
    Protected,
    /// None does, and one could.
    Protectable,
    /// None does, but a vault has points of it.
    Stopped,
    /// None does, and none could now.
    Unprotectable,
}

impl Standing {
    fn standing(self) -> MachineStanding {
        match self {
            Self::Protected => MachineStanding::Protected,
            Self::Protectable => MachineStanding::Protectable,
            Self::Stopped => MachineStanding::Stopped,
            Self::Unprotectable => MachineStanding::Unprotectable,
        }
    }
}

/// `client` reaches the server, which not every command needs.
pub(crate) async fn run(
    output: &Output,
    client: &dyn Fn() -> Result<Client>,
    command: MachineCommand,
) -> Result<()> {
    match command {
        MachineCommand::Reconcile { outstanding } => {
            crate::commands::reconcile::run(output, outstanding).await
        }
        MachineCommand::List { standing, tag, name } => {
            let standing = standing.map(|standing| word(&standing.standing()));
            let wishes = [("standing", standing), ("tag", tag), ("name", name)];
            let all: Vec<Machine> = client()?.all(&with("/v1/machines", &wishes)).await?;
            output::print(output, &all, || table(&all))
        }
        MachineCommand::Show { machine } => {
            let client = client()?;
            let machine = names::machines(&client, &[machine]).await?.remove(0);
            let hosts: Vec<Host> = client.all("/v1/hosts").await?;
            output::print(output, &machine, || show(&machine, &hosts))
        }
        MachineCommand::Create(args) => {
            Box::pin(super::image_machines::create(output, &client()?, *args)).await
        }
        MachineCommand::Tag { machine, tags } => {
            let client = client()?;
            let machine = names::machines(&client, &[machine]).await?.remove(0);
            let tags = Tags { tags: changed(machine.tags, &tags)? };
            let path = format!("/v1/machines/{}/tags", machine.id);
            let machine: Option<Machine> = client.send(Method::PUT, &path, &tags).await?;
            let machine = machine.context("the server told nothing of the machine")?;
            output::print(output, &machine, || table(std::slice::from_ref(&machine)))
        }
    }
}

fn changed(mut tags: BTreeMap<String, String>, changes: &[String]) -> Result<BTreeMap<String, String>> {
    for change in changes {
        if let Some((key, value)) = change.split_once('=') {
            tags.insert(key.to_owned(), value.to_owned());
        } else if let Some(key) = change.strip_suffix('-') {
            tags.remove(key);
        } else {
            let hint = "`key=value` sets one, `key-` takes one away";
            return Err(Told::usage(format!("'{change}' is no change of a tag"), hint));
        }
    }
    Ok(tags)
}

fn tags_in_words(tags: &BTreeMap<String, String>) -> String {
    let one = |(key, value): (&String, &String)| {
        if value.is_empty() { key.clone() } else { format!("{key}={value}") }
    };
    or_dash(Some(tags.iter().map(one).collect::<Vec<_>>().join(" ")))
}

fn table(all: &[Machine]) -> String {
    if all.is_empty() {
        return "No machines. `strongroom host list` shows which hosts have told of theirs.\n".into();
    }
    let rows = all.iter().map(|machine| {
        vec![
            machine.name.clone(),
            word(&machine.standing),
            word(&machine.state),
            machine.disks.len().to_string(),
            output::size(machine.disks.iter().map(|disk| disk.bytes).sum()),
            tags_in_words(&machine.tags),
            machine.id.to_string(),
        ]
    });
    let heading = ["MACHINE", "STANDING", "STATE", "DISKS", "SIZE", "TAGS", "ID"];
    output::table(&heading, &["DISKS", "SIZE"], rows)
}

fn show(machine: &Machine, hosts: &[Host]) -> String {
    let host = hosts.iter().find(|host| host.id == machine.host).map(|host| host.name.clone());
    let facts = output::facts(&[
        ("Machine", machine.name.clone()),
        ("Id", machine.id.to_string()),
        ("Host", or_dash(host)),
        ("Known there as", machine.known_as.clone()),
        ("State", word(&machine.state)),
        ("Standing", word(&machine.standing)),
        ("Tags", tags_in_words(&machine.tags)),
        ("Seen", when(Some(machine.seen))),
    ]);
    let obstacle = machine.obstacle.iter().map(|why| output::facts(&[("Cannot be backed up", why.clone())]));
    let facts = facts + &obstacle.collect::<String>();
    let rows = machine.disks.iter().map(|disk| {
        let os = if disk.is_os { "starts from it" } else { "" };
        vec![disk.name.clone(), output::size(disk.bytes), os.to_owned()]
    });
    format!("{facts}\n{}", output::table(&["DISK", "SIZE", ""], &["SIZE"], rows))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_are_set_and_taken_away() {
        let tags = |pairs: &[(&str, &str)]| {
            pairs
                .iter()
                .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
                .collect::<BTreeMap<_, _>>()
        };
        let change = |changes: &[&str]| {
            let changes: Vec<_> = changes.iter().map(|change| (*change).to_owned()).collect();
            changed(tags(&[("env", "test"), ("old", "")]), &changes)
        };
        let after = change(&["env=prod", "old-", "team=", "url=a=b"]).expect("changes");
        assert_eq!(after, tags(&[("env", "prod"), ("team", ""), ("url", "a=b")]));
        assert_eq!(tags_in_words(&after), "env=prod team url=a=b");
        assert!(change(&["env"]).is_err());
    }
}
