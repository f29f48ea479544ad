//! A vault's second store: `strongroom vault copy`, `copies`, `heal`, and the options that give a vault one.

use super::confirm::{Undo, Yes, confirm};
use super::follow::{self, Wait};
use super::names;
use super::words::{count, or_dash};
use crate::failure::Told;
use crate::output::{self, Output};
use anyhow::Result;
use api::client::{Client, Method};
use api::{Accepted, CopiedPoint, CopyStore, Item, Vault, VaultSettings};
use clap::Args as ClapArgs;

/// What is not said stays as it is.
#[derive(Debug, Default, ClapArgs)]
pub(crate) struct CopyArgs {
    /// A second store in another region, to which every point is copied: a directory or URL as the vault's; `none` for
    /// none. Its credentials are the mover's COPY_AWS_... and COPY_AZURE_... variables, or else the vault's.
    #[arg(long, value_name = "URL|DIR")]
    copy_to: Option<String>,
    /// How long a copy stays once the vault has its point no more: 7 to 9999 days. Nothing that is deleted in the vault
    /// is deleted there with it.
    #[arg(long, value_name = "DAYS")]
    copy_keep_days: Option<u16>,
    /// Hours between two copying jobs; 0: after each backup.
    #[arg(long, value_name = "HOURS")]
    copy_every: Option<u16>,
    /// Raise an alert when a point is older than this and has no copy.
    #[arg(long, value_name = "HOURS")]
    copy_lag_max: Option<u16>,
    /// The mover that copies; `any` for whichever can.
    #[arg(long, value_name = "MOVER")]
    copy_mover: Option<String>,
    /// The most that copying fetches in a second, in MiB; 0 for no limit.
    #[arg(long, value_name = "MIB")]
    copy_limit: Option<u32>,
}

impl CopyArgs {
    pub(super) fn is_empty(&self) -> bool {
        self.copy_to.is_none() && !self.says_how()
    }

    fn says_how(&self) -> bool {
        let Self { copy_to: _, copy_keep_days, copy_every, copy_lag_max, copy_mover, copy_limit } = self;
        copy_keep_days.is_some()
            || copy_every.is_some()
            || copy_lag_max.is_some()
            || copy_mover.is_some()
            || copy_limit.is_some()
    }

    /// Changes what is said.
    pub(super) fn apply(&self, settings: &mut VaultSettings) -> Result<()> {
        match self.copy_to.as_deref() {
            None => {}
            Some("none") => settings.copy = None,
            Some(location) => {
                let copy = settings.copy.get_or_insert_with(|| CopyStore::at(location));
                location.clone_into(&mut copy.location);
            }
        }
        if !self.says_how() {
            return Ok(());
        }
        let Some(copy) = &mut settings.copy else {
            let hint = "say where it is to be with --copy-to";
            return Err(Told::usage("the vault has no second store", hint));
        };
        copy.keep_days = self.copy_keep_days.unwrap_or(copy.keep_days);
        copy.every_hours = self.copy_every.unwrap_or(copy.every_hours);
        copy.lag_hours_max = self.copy_lag_max.unwrap_or(copy.lag_hours_max);
        if let Some(mover) = &self.copy_mover {
            copy.mover = Some(mover.clone()).filter(|mover| mover != "any");
        }
        if let Some(limit) = self.copy_limit {
            copy.mib_per_second = Some(limit).filter(|limit| *limit > 0);
        }
        Ok(())
    }
}

/// What `vault show` tells of the second store.
pub(super) fn facts(vault: &Vault) -> Vec<(&'static str, String)> {
    let Some(copy) = &vault.settings.copy else { return vec![("Copied to", or_dash(None))] };
    let every = match copy.every_hours {
        0 => "after each backup".to_owned(),
        hours => format!("every {}", count(hours.into(), "hour")),
    };
    let mut facts = vec![("Copied to", copy.location.clone()), ("Copied", every)];
    let keep = format!("{} after the vault has it no more", count(copy.keep_days.into(), "day"));
    facts.push(("A copy stays", keep));
    facts.extend(copy.mib_per_second.map(|mib| ("Copied at most", format!("{mib} MiB/s"))));
    facts.extend(copy.mover.iter().map(|mover| ("Copied by", mover.clone())));
    let Some(state) = &vault.copies else { return facts };
    let newest = state.newest.map(|at| format!(", the newest of {}", output::instant(at)));
    facts.push(("Copies", format!("{}{}", state.copied, newest.unwrap_or_default())));
    let behind = match state.waiting {
        0 => "no".to_owned(),
        waiting => format!("by {}, {} to copy", lag(state.lag_seconds), count(waiting, "point")),
    };
    facts.push(("Behind", behind));
    facts
}

/// The largest unit that says it well enough.
fn lag(seconds: u64) -> String {
    match (seconds / 60, seconds / 3600) {
        (minutes, hours) if hours < 2 => count(minutes, "minute"),
        (_, hours) if hours < 48 => count(hours, "hour"),
        (_, hours) => count(hours / 24, "day"),
    }
}

/// `strongroom vault copy`.
pub(super) async fn copy(output: &Output, client: &Client, vault: &Vault, wait: Wait) -> Result<()> {
    let accepted: Option<Accepted> =
        client.act(Method::POST, &format!("/v1/vaults/{}/copy", vault.id)).await?;
    follow::accepted(output, client, accepted, wait).await
}

/// `strongroom vault heal`.
pub(super) async fn heal(
    output: &Output,
    client: &Client,
    vault: &Vault,
    (yes, wait): (Yes, Wait),
) -> Result<()> {
    if let Some(copy) = &vault.settings.copy {
        let text = format!(
            "All of {} is read; what is damaged or missing there is taken from {}. Nothing is deleted.",
            vault.location, copy.location
        );
        confirm(yes, Undo::Possible, &text)?;
    }
    let accepted: Option<Accepted> =
        client.act(Method::POST, &format!("/v1/vaults/{}/heal", vault.id)).await?;
    follow::accepted(output, client, accepted, wait).await
}

/// `strongroom vault copies`.
pub(super) async fn list(
    output: &Output,
    client: &Client,
    vault: &Vault,
    machine: Option<&str>,
) -> Result<()> {
    let mut all: Vec<CopiedPoint> = client.all(&format!("/v1/vaults/{}/copies?limit=1000", vault.id)).await?;
    // By what they were called then: the machine itself may be gone.
    all.retain(|copy| machine.is_none_or(|machine| copy.name == machine || copy.item.to_string() == machine));
    output::print(output, &all, || table(&all))
}

fn table(all: &[CopiedPoint]) -> String {
    if all.is_empty() {
        return "No copies yet. `strongroom vault copy` makes them.\n".into();
    }
    let rows = all.iter().map(|copy| {
        vec![
            copy.point.to_string(),
            copy.name.clone(),
            output::instant(copy.taken),
            copy.consistency.replace('_', "-"),
            if copy.left.is_some() { "no" } else { "yes" }.to_owned(),
            or_dash(copy.goes.map(output::instant)),
            super::drill::in_short(copy.drill.as_ref()),
            output::size(copy.stored_bytes),
        ]
    });
    let heading =
        ["POINT", "MACHINE", "INSTANT", "CONSISTENCY", "IN THE VAULT", "GOES", "TRIED OUT", "STORED"];
    output::table(&heading, &["STORED"], rows)
}

/// A copy of one of a machine's points: by its id, the end of its id, or `latest`.
pub(super) async fn chosen(client: &Client, item: &Item, wanted: &str) -> Result<CopiedPoint> {
    let path = format!("/v1/vaults/{}/copies?limit=1000&item={}", item.vault, item.id);
    let all: Vec<CopiedPoint> = client.all(&path).await?;
    let found = match wanted {
        "latest" => all.into_iter().max_by_key(|copy| copy.taken),
        _ => {
            let found = names::choose("copy", all, wanted, |one| (String::new(), one.point));
            match found {
                Err(error) if !Told::is_not_found(&error) => return Err(error),
                found => found.ok(),
            }
        }
    };
    match found {
        Some(copy) => Ok(copy),
        None => {
            let vault: Vault = client.get(&format!("/v1/vaults/{}", item.vault)).await?;
            Err(none(&vault, &item.name, wanted))
        }
    }
}

/// There is no such copy: it may only be late.
fn none(vault: &Vault, machine: &str, wanted: &str) -> anyhow::Error {
    if vault.settings.copy.is_none() {
        let hint = format!("`strongroom vault update {} --copy-to URL` gives it one", vault.name);
        return Told::not_found(format!("the vault {} has no second store", vault.name), hint);
    }
    let what = match wanted {
        "latest" => format!("the vault's second store has no copy of a point of {machine}"),
        _ => format!("the vault's second store has no copy of a point {wanted} of {machine}"),
    };
    let name = &vault.name;
    let hint = match vault.copies.as_ref().filter(|state| state.waiting > 0) {
        Some(state) => format!(
            "it is {} behind, {} to copy: `strongroom vault copy {name}` copies them now, `strongroom vault copies \
             {name}` lists the copies there are",
            lag(state.lag_seconds),
            count(state.waiting, "point")
        ),
        None => format!("`strongroom vault copies {name}` lists the copies there are"),
    };
    Told::not_found(what, hint)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_said_of_a_second_store_stays() {
        let mut settings = VaultSettings::default();
        let days = CopyArgs { copy_keep_days: Some(90), ..CopyArgs::default() };
        assert!(days.apply(&mut settings).is_err(), "there is none");
        let to = |place: &str| CopyArgs { copy_to: Some(place.to_owned()), ..CopyArgs::default() };
        to("/a").apply(&mut settings).expect("it has one now");
        days.apply(&mut settings).expect("it has one");
        to("/b").apply(&mut settings).expect("it is elsewhere");
        assert_eq!(settings.copy, Some(CopyStore { keep_days: 90, ..CopyStore::at("/b") }));
        to("none").apply(&mut settings).expect("it has none");
        assert_eq!(settings.copy, None);
        assert!(CopyArgs::default().is_empty() && !days.is_empty());
    }

    #[test]
    fn how_late_it_is_in_one_unit() {
        let told = [0, 3599, 2 * 3600, 47 * 3600, 48 * 3600].map(lag);
        assert_eq!(told, ["0 minutes", "59 minutes", "2 hours", "47 hours", "2 days"]);
    }
}
