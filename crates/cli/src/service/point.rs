//! `strongroom point`: recovery points, and how long they stay.

use super::confirm::{Undo, Yes, confirm};
use super::follow::{self, Wait};
use super::names::{self, InVault};
use super::words::{or_dash, when};
use crate::output::{self, Output};
use anyhow::{Context as _, Result};
use api::client::{Client, Method};
use api::{Accepted, Item, KeptFor, Pin, Point};
use clap::{Args as ClapArgs, Subcommand};

#[derive(Debug, Subcommand)]
pub(crate) enum PointNowCommand {
    /// List the points of a machine, oldest first: what each is kept for, and until when.
    List {
        /// The machine, by its name or id.
        #[arg(value_name = "MACHINE")]
        machine: String,
        #[command(flatten)]
        vault: InVault,
        /// Those that were deleted and can still be had back, instead.
        #[arg(long)]
        deleted: bool,
    },
    /// Show all about a point.
    Show {
        #[command(flatten)]
        which: WhichPoint,
    },
    /// Keep a point until somebody unpins it.
    Pin {
        #[command(flatten)]
        which: WhichPoint,
    },
    /// Let a point expire as its policy says.
    Unpin {
        #[command(flatten)]
        which: WhichPoint,
        #[command(flatten)]
        yes: Yes,
    },
    /// Delete a point. It can be brought back for as long as the vault says.
    Delete {
        #[command(flatten)]
        which: WhichPoint,
        #[command(flatten)]
        yes: Yes,
        #[command(flatten)]
        wait: Wait,
    },
    /// Bring a deleted point back.
    Undelete {
        #[command(flatten)]
        which: WhichPoint,
        #[command(flatten)]
        wait: Wait,
    },
    /// Write what the machine's screen showed at the end of the point's last drill to a file.
    Screenshot {
        #[command(flatten)]
        which: WhichPoint,
        /// Of the last drill of the point's copy in the vault's second store.
        #[arg(long)]
        from_copy: bool,
        /// The file; nothing is replaced.
        #[arg(long, value_name = "FILE")]
        to: std::path::PathBuf,
    },
    /// Bring a point back from the archive to the vault tier, to be restored; it stays in the archive. One that is back
    /// already is held longer.
    Rehydrate {
        #[command(flatten)]
        which: WhichPoint,
        /// How many days it is held in the vault tier: 1 to 30.
        #[arg(long, value_name = "DAYS", default_value_t = model::archive::HELD_DAYS)]
        days: u16,
        #[command(flatten)]
        wait: Wait,
    },
    /// Read a point back, all of it, to see that it is whole.
    Verify {
        #[command(flatten)]
        which: WhichPoint,
        #[command(flatten)]
        wait: Wait,
    },
}

#[derive(Debug, ClapArgs)]
pub(crate) struct WhichPoint {
    /// The machine, by its name or id.
    #[arg(value_name = "MACHINE")]
    machine: String,
    /// The point: its id, the end of its id, or `latest`.
    #[arg(value_name = "POINT")]
    point: String,
    #[command(flatten)]
    vault: InVault,
}

/// A point that was found, and where it is.
struct Found {
    item: Item,
    point: Point,
    path: String,
}

impl WhichPoint {
    async fn find(&self, client: &Client) -> Result<Found> {
        let item = names::item(client, &self.vault, &self.machine).await?;
        let point = names::point(client, &item, &self.point).await?;
        let path = format!("{}/points/{}", names::item_path(&item), point.id);
        Ok(Found { item, point, path })
    }
}

pub(crate) async fn run(output: &Output, client: &Client, command: PointNowCommand) -> Result<()> {
    match command {
        PointNowCommand::List { machine, vault, deleted } => {
            let item = names::item(client, &vault, &machine).await?;
            let path = format!("{}/points?limit=1000", names::item_path(&item));
            let mut all: Vec<Point> = client.all(&path).await?;
            all.retain(|point| point.purge_at.is_some() == deleted);
            all.sort_by_key(|point| point.taken);
            output::print(output, &all, || table(&all, &item.name))
        }
        PointNowCommand::Show { which } => {
            let found = which.find(client).await?;
            output::print(output, &found.point, || show(&found.point))
        }
        PointNowCommand::Pin { which } => pin(output, client, &which.find(client).await?, true).await,
        PointNowCommand::Unpin { which, yes } => {
            let found = which.find(client).await?;
            confirm(yes, Undo::Possible, &format!("{} expires as its policy says.", in_words(&found)))?;
            pin(output, client, &found, false).await
        }
        PointNowCommand::Delete { which, yes, wait } => {
            let found = which.find(client).await?;
            let text = format!(
                "{} is deleted. It can be brought back for as long as the vault says (`strongroom point undelete`).",
                in_words(&found)
            );
            confirm(yes, Undo::Possible, &text)?;
            act(output, client, (Method::DELETE, found.path), wait).await
        }
        PointNowCommand::Undelete { which, wait } => {
            let found = which.find(client).await?;
            act(output, client, (Method::POST, format!("{}/undelete", found.path)), wait).await
        }
        PointNowCommand::Screenshot { which, from_copy, to } => {
            let path = match from_copy {
                true => {
                    let item = names::item(client, &which.vault, &which.machine).await?;
                    let copy = super::copies::chosen(client, &item, &which.point).await?;
                    format!("{}/points/{}/screenshot?from_copy=true", names::item_path(&item), copy.point)
                }
                false => format!("{}/screenshot", which.find(client).await?.path),
            };
            super::drill::save_screenshot(output, &client.get(&path).await?, &to)
        }
        PointNowCommand::Rehydrate { which, days, wait } => {
            let found = which.find(client).await?;
            super::archive::rehydrate(output, client, (&found.path, days), wait).await
        }
        PointNowCommand::Verify { which, wait } => {
            let found = which.find(client).await?;
            act(output, client, (Method::POST, format!("{}/verify", found.path)), wait).await
        }
    }
}

async fn act(output: &Output, client: &Client, what: (Method, String), wait: Wait) -> Result<()> {
    let accepted: Option<Accepted> = client.act(what.0, &what.1).await?;
    follow::accepted(output, client, accepted, wait).await
}

async fn pin(output: &Output, client: &Client, found: &Found, pinned: bool) -> Result<()> {
    let point: Option<Point> =
        client.send(Method::PUT, &format!("{}/pin", found.path), &Pin { pinned }).await?;
    let point = point.context("the server told nothing of the point")?;
    output::print(output, &point, || show(&point))
}

fn in_words(found: &Found) -> String {
    let why: Vec<_> = found.point.kept_for.iter().map(|kept| kept.why.as_str()).collect();
    let why = if why.is_empty() { String::new() } else { format!(" (kept as {})", why.join(", ")) };
    format!("The point of {} of {}{why}", found.item.name, output::instant(found.point.taken))
}

fn table(all: &[Point], machine: &str) -> String {
    if all.is_empty() {
        return format!("No points of {machine}. `strongroom backup {machine}` makes one.\n");
    }
    let rows = all.iter().map(|point| {
        vec![
            point.id.to_string(),
            output::instant(point.taken),
            point.consistency.replace('_', "-"),
            kind(point),
            reasons(&point.kept_for),
            match point.purge_at {
                Some(at) => format!("purged {}", output::instant(at)),
                None => when(point.expires),
            },
            super::drill::in_short(point.drill.as_ref()),
            output::size(point.stored_bytes),
        ]
    });
    let heading = ["POINT", "INSTANT", "CONSISTENCY", "TYPE", "KEPT AS", "EXPIRES", "TRIED OUT", "STORED"];
    output::table(&heading, &["STORED"], rows)
}

/// Which tiers have it, as Azure calls its types of points.
fn kind(point: &Point) -> String {
    let kind = match (point.in_snapshot_tier, point.in_vault_tier) {
        (_, true) if point.in_archive_tier => "Archive and vault",
        (_, false) if point.in_archive_tier => "Archive",
        (true, false) => "Snapshot",
        (true, true) => "Snapshot and vault",
        (false, true) => "Vault",
        (false, false) => "-",
    };
    kind.to_owned()
}

fn reasons(kept: &[KeptFor]) -> String {
    or_dash(Some(kept.iter().map(|kept| kept.why.clone()).collect::<Vec<_>>().join(", ")))
}

fn show(point: &Point) -> String {
    let mut facts = vec![
        ("Point", point.id.to_string()),
        ("Instant", output::instant(point.taken)),
        ("Consistency", point.consistency.replace('_', "-")),
        ("Origin", point.origin.replace('_', " ")),
        ("Type", kind(point)),
        ("Pinned", if point.pinned { "yes" } else { "no" }.to_owned()),
        ("Expires", when(point.expires)),
        ("Stored", output::size(point.stored_bytes)),
        ("Tried out", super::drill::in_short(point.drill.as_ref())),
    ];
    if point.copy_drill.is_some() {
        facts.push(("Its copy tried out", super::drill::in_short(point.copy_drill.as_ref())));
    }
    let kept = point.kept_for.iter().map(|kept| {
        let until = kept.until.map(|at| format!(" until {}", output::instant(at))).unwrap_or_default();
        ("Kept as", format!("{}{until}", kept.why))
    });
    facts.extend(kept);
    facts.extend(point.held_until.map(|until| ("In the vault until", output::instant(until))));
    facts.extend(point.purge_at.map(|at| ("Deleted: to be had back until", output::instant(at))));
    let rows = point
        .disks
        .iter()
        .map(|disk| vec![disk.name.clone(), output::size(disk.bytes), output::size(disk.read_bytes)]);
    let disks = output::table(&["DISK", "SIZE", "READ"], &["SIZE", "READ"], rows);
    let drill = point
        .drill
        .as_ref()
        .map(|drill| format!("\nWhen it was tried out:\n{}", crate::commands::drill_table(&drill.record)));
    format!("{}\n{disks}{}", output::facts(&facts), drill.unwrap_or_default())
}
