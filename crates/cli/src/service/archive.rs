//! A vault's archive: `strongroom vault archive`, `point rehydrate`, and the options that give a vault one.

use super::follow::{self, Wait};
use super::names;
use super::words::{count, or_dash};
use crate::failure::Told;
use crate::output::{self, Output};
use anyhow::{Context as _, Result};
use api::client::{Client, Method};
use api::{
    Accepted, ArchivePlan, ArchiveStore, ArchivingBegun, Item, Point, Rehydrate, Vault, VaultSettings,
};
use clap::Args as ClapArgs;

/// What is not said stays as it is.
#[derive(Debug, Default, ClapArgs)]
pub(crate) struct ArchiveArgs {
    /// An archive store, to which points move that policies keep for months and years: a directory or URL as the vault's;
    /// `none` for none. Its credentials are the mover's ARCHIVE_AWS_... and ARCHIVE_AZURE_... variables, or else the
    /// vault's.
    #[arg(long, value_name = "URL|DIR")]
    archive_to: Option<String>,
    /// The mover that archives and brings back; `any` for whichever can.
    #[arg(long, value_name = "MOVER")]
    archive_mover: Option<String>,
    /// The most that archiving fetches in a second, in MiB; 0 for no limit.
    #[arg(long, value_name = "MIB")]
    archive_limit: Option<u32>,
}

impl ArchiveArgs {
    pub(super) fn is_empty(&self) -> bool {
        let Self { archive_to, archive_mover, archive_limit } = self;
        archive_to.is_none() && archive_mover.is_none() && archive_limit.is_none()
    }

    /// Changes what is said.
    pub(super) fn apply(&self, settings: &mut VaultSettings) -> Result<()> {
        match self.archive_to.as_deref() {
            None => {}
            Some("none") => settings.archive = None,
            Some(location) => {
                let archive = settings.archive.get_or_insert_with(|| ArchiveStore::at(location));
                location.clone_into(&mut archive.location);
            }
        }
        if self.archive_mover.is_none() && self.archive_limit.is_none() {
            return Ok(());
        }
        let Some(archive) = &mut settings.archive else {
            let hint = "say where it is to be with --archive-to";
            return Err(Told::usage("the vault has no archive store", hint));
        };
        if let Some(mover) = &self.archive_mover {
            archive.mover = Some(mover.clone()).filter(|mover| mover != "any");
        }
        if let Some(limit) = self.archive_limit {
            archive.mib_per_second = Some(limit).filter(|limit| *limit > 0);
        }
        Ok(())
    }
}

/// What `vault show` tells of the archive.
pub(super) fn facts(vault: &Vault) -> Vec<(&'static str, String)> {
    let Some(archive) = &vault.settings.archive else { return vec![("Archived to", or_dash(None))] };
    let mut facts = vec![("Archived to", archive.location.clone())];
    facts.extend(archive.mib_per_second.map(|mib| ("Archived at most", format!("{mib} MiB/s"))));
    facts.extend(archive.mover.iter().map(|mover| ("Archived by", mover.clone())));
    let Some(state) = &vault.archived else { return facts };
    let text = format!("{}, {} stored", count(state.points, "point"), output::size(state.stored_bytes));
    facts.push(("In the archive", text));
    facts
}

/// `strongroom vault archive`.
pub(super) async fn archive(output: &Output, client: &Client, vault: &Vault, dry_run: bool) -> Result<()> {
    let path = format!("/v1/vaults/{}/archive", vault.id);
    if dry_run {
        let plan: ArchivePlan = client.get(&path).await?;
        if vault.settings.archive.is_none() {
            eprintln!("{} has no archive store: `strongroom vault update {0} --archive-to URL`.", vault.name);
        }
        return output::print(output, &plan, || planned(&plan));
    }
    let begun: Option<ArchivingBegun> = client.act(Method::POST, &path).await?;
    let begun = begun.context("the server told nothing of the jobs")?;
    output::print(output, &begun, || match begun.jobs.len() {
        0 if begun.busy == 0 => "Nothing is to be archived.\n".to_owned(),
        jobs => {
            let jobs = count(jobs as u64, "job");
            let busy = match begun.busy {
                0 => String::new(),
                busy => format!("; {} busy with something else", count(busy, "machine")),
            };
            format!("{jobs} begun{busy}. `strongroom job list --kind archive` shows them.\n")
        }
    })
}

fn planned(plan: &ArchivePlan) -> String {
    let rows = plan.items.iter().flat_map(|item| {
        item.moves.iter().map(|point| {
            vec![
                item.name.clone(),
                point.point.to_string(),
                output::instant(point.taken),
                output::instant(point.expires),
                output::size(point.stored_bytes),
            ]
        })
    });
    let mut text = match plan.moves {
        0 => "Nothing would move to the archive now.\n".to_owned(),
        _ => output::table(&["MACHINE", "POINT", "INSTANT", "EXPIRES", "STORED"], &["STORED"], rows),
    };
    if plan.cut {
        text += &format!("Of {} not all are shown.\n", count(plan.moves, "point"));
    }
    if plan.drops > 0 {
        text += &format!(
            "Dropped in the vault tier, for the archive has them: {}.\n",
            count(plan.drops, "point")
        );
    }
    for stays in &plan.stays {
        text += &format!("{} in the vault tier: {}.\n", stay(stays.points), stays.why);
    }
    text
}

fn stay(points: u64) -> String {
    let verb = if points == 1 { "stays" } else { "stay" };
    format!("{} {verb}", count(points, "point"))
}

/// `strongroom point rehydrate`.
pub(super) async fn rehydrate(
    output: &Output,
    client: &Client,
    (path, days): (&str, u16),
    wait: Wait,
) -> Result<()> {
    let wish = Rehydrate { days };
    let accepted: Option<Accepted> = client.send(Method::POST, &format!("{path}/rehydrate"), &wish).await?;
    follow::accepted(output, client, accepted, wait).await
}

/// Before a restore: a point that is in the archive alone is brought back, and waited for.
pub(super) async fn bring_near(client: &Client, item: &Item, point: &Point, days: u16) -> Result<()> {
    if !point.in_archive_tier || point.in_vault_tier || point.in_snapshot_tier {
        return Ok(());
    }
    eprintln!("Bringing the point back from the archive, for {}", count(days.into(), "day"));
    let path = format!("{}/points/{}/rehydrate", names::item_path(item), point.id);
    let accepted: Option<Accepted> = client.send(Method::POST, &path, &Rehydrate { days }).await?;
    let job = accepted.context("the server told nothing of the job")?.job;
    follow::well(&follow::follow(client, job).await?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_said_of_an_archive_stays() {
        let mut settings = VaultSettings::default();
        let limit = ArchiveArgs { archive_limit: Some(5), ..ArchiveArgs::default() };
        assert!(limit.apply(&mut settings).is_err(), "there is none");
        let to = |place: &str| ArchiveArgs { archive_to: Some(place.to_owned()), ..ArchiveArgs::default() };
        to("/a").apply(&mut settings).expect("it has one now");
        limit.apply(&mut settings).expect("it has one");
        to("/b").apply(&mut settings).expect("it is elsewhere");
        assert_eq!(
            settings.archive,
            Some(ArchiveStore { mib_per_second: Some(5), ..ArchiveStore::at("/b") })
        );
        to("none").apply(&mut settings).expect("it has none");
        assert_eq!(settings.archive, None);
        assert!(ArchiveArgs::default().is_empty() && !limit.is_empty());
    }
}
