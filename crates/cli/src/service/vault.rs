//! `strongroom vault`.

use super::archive::{self, ArchiveArgs};
use super::confirm::{Undo, Yes, confirm};
use super::copies::{self, CopyArgs};
use super::follow::Wait;
use super::keys;
use super::names;
use super::words::{count, or_dash};
use crate::failure::Told;
use crate::output::{self, Output};
use anyhow::{Context as _, Result};
use api::client::{Client, Method};
use api::{AutoProtect, NewVault, Vault, VaultChange, VaultMade, VaultRemoved, VaultSettings};
use clap::{Args as ClapArgs, Subcommand};
use std::path::PathBuf;

#[derive(Debug, Subcommand)]
pub(crate) enum VaultCommand {
    /// Make a vault in an empty place; its key is kept by the server.
    Create {
        #[command(flatten)]
        place: PlaceArgs,
        #[command(flatten)]
        settings: SettingsArgs,
    },
    /// Take a vault in that exists already, with all its points: what is left when a server and its catalog are lost.
    ///
    /// The points in its archive store are found as well: the vault says where that is. --archive-to tells it where the
    /// vault does not. The server reads both stores with its own credentials. Taking a vault in again adds what was not
    /// found before.
    Adopt {
        #[command(flatten)]
        place: PlaceArgs,
        /// A key file that opens it.
        #[arg(long, value_name = "FILE")]
        key_file: PathBuf,
        #[command(flatten)]
        settings: SettingsArgs,
    },
    /// List the vaults.
    List,
    /// Show a vault.
    Show {
        /// The vault, by its name or id; may be left out when there is one.
        #[arg(value_name = "VAULT")]
        vault: Option<String>,
    },
    /// Change a vault's name or settings.
    Update {
        /// The vault, by its name or id.
        #[arg(value_name = "VAULT")]
        vault: String,
        /// A new name.
        #[arg(long, value_name = "NAME")]
        name: Option<String>,
        #[command(flatten)]
        settings: SettingsArgs,
        /// With --keep-everything false: go on although points are gone at once by it.
        #[arg(long)]
        accept_loss: bool,
        #[command(flatten)]
        yes: Yes,
    },
    /// Copy to the vault's second store what is not there yet, at once.
    Copy {
        /// The vault, by its name or id; may be left out when there is one.
        #[arg(value_name = "VAULT")]
        vault: Option<String>,
        #[command(flatten)]
        wait: Wait,
    },
    /// List the points that the vault's second store has; those that the vault itself has no more among them.
    Copies {
        /// The vault, by its name or id; may be left out when there is one.
        #[arg(value_name = "VAULT")]
        vault: Option<String>,
        /// Of this machine alone, by the name it had.
        #[arg(long, value_name = "MACHINE")]
        machine: Option<String>,
    },
    /// Put a vault right from its second store: what is damaged is repaired, what is missing copied back. One of which
    /// nothing is left is made anew.
    Heal {
        /// The vault, by its name or id; may be left out when there is one.
        #[arg(value_name = "VAULT")]
        vault: Option<String>,
        #[command(flatten)]
        yes: Yes,
        #[command(flatten)]
        wait: Wait,
    },
    /// Move points to the vault's archive store that policies keep for months and years, at once. It is done every day
    /// as it is.
    Archive {
        /// The vault, by its name or id; may be left out when there is one.
        #[arg(value_name = "VAULT")]
        vault: Option<String>,
        /// Only show what would move, and why the rest stays.
        #[arg(long)]
        dry_run: bool,
    },
    /// List the keys that open a vault: the server's own, the recovery key on paper, any others; and how often the vault
    /// was given a new data key.
    ///
    /// Any one of them opens everything in the vault, so it is worth a look whether each is still where it should be.
    /// `strongroom rescue key add` and `remove` change who opens it, on a host that has one of the keys.
    Keys {
        /// The vault, by its name or id; may be left out when there is one.
        #[arg(value_name = "VAULT")]
        vault: Option<String>,
    },
    /// Give a vault a new data key: what is written from now on is sealed under it.
    ///
    /// For when somebody may have had a key of the vault in hand. Take that key out first with `strongroom rescue key
    /// remove`: what is written after the rotation is then closed to it. What lies in the vault stays as it is and
    /// readable, nothing is written anew, and every key that opens the vault goes on opening it. Backups that are under
    /// way are not disturbed.
    RotateKey {
        /// The vault, by its name or id; may be left out when there is one.
        #[arg(value_name = "VAULT")]
        vault: Option<String>,
    },
    /// Have the server forget a vault that protects no machine. What lies in its store stays there.
    Delete {
        /// The vault, by its name or id.
        #[arg(value_name = "VAULT")]
        vault: String,
        #[command(flatten)]
        yes: Yes,
    },
}

/// What it is called, and where it is.
#[derive(Debug, ClapArgs)]
pub(crate) struct PlaceArgs {
    /// What to call it.
    #[arg(value_name = "NAME")]
    name: String,
    /// An absolute path of a directory on the server's host, s3://BUCKET/PREFIX or
    /// azure://ACCOUNT/CONTAINER/PREFIX.
    #[arg(value_name = "URL|DIR")]
    location: String,
}

/// What is not said stays as it is.
#[derive(Debug, Default, ClapArgs)]
pub(crate) struct SettingsArgs {
    /// How long what was deleted can be brought back: 14 to 180 days.
    #[arg(long, value_name = "DAYS")]
    soft_delete_days: Option<u16>,
    /// Whether nothing may be lost sooner than was promised.
    #[arg(long, value_name = "true|false")]
    immutable: Option<bool>,
    /// A folder beside the hosts for a snapshot tier; `none` for none.
    #[arg(long, value_name = "DIR")]
    snapshot_store: Option<String>,
    /// Machines that come under protection by themselves, as `name=web-*,policy=nightly` or
    /// `tag=env=prod,policy=nightly`; may be repeated. The first that fits counts. `none` for none.
    #[arg(long, value_name = "RULE")]
    auto_protect: Vec<String>,
    /// Whether no point expires, whatever its policy says. A vault that was adopted begins so.
    #[arg(long, value_name = "true|false")]
    keep_everything: Option<bool>,
    /// The most that each mover fetches in a second for what nobody waits for, in MiB; 0 for no limit: transfers from the
    /// snapshot tier, and the rest of an image that machines run on already.
    #[arg(long, value_name = "MIB")]
    transfer_limit: Option<u32>,
    #[command(flatten)]
    copy: CopyArgs,
    #[command(flatten)]
    archive: ArchiveArgs,
}

impl SettingsArgs {
    fn is_empty(&self) -> bool {
        let Self {
            soft_delete_days,
            immutable,
            snapshot_store,
            auto_protect,
            keep_everything,
            transfer_limit,
            copy,
            archive,
        } = self;
        copy.is_empty()
            && archive.is_empty()
            && transfer_limit.is_none()
            && soft_delete_days.is_none()
            && immutable.is_none()
            && snapshot_store.is_none()
            && auto_protect.is_empty()
            && keep_everything.is_none()
    }

    /// Changes what is said. Rules name policies of `vault`; a vault that is to be made has none.
    async fn apply(&self, settings: &mut VaultSettings, of: Option<(&Client, &Vault)>) -> Result<()> {
        settings.soft_delete_days = self.soft_delete_days.unwrap_or(settings.soft_delete_days);
        settings.immutable = self.immutable.unwrap_or(settings.immutable);
        settings.keep_everything = self.keep_everything.unwrap_or(settings.keep_everything);
        if let Some(store) = &self.snapshot_store {
            settings.snapshot_store = Some(store.clone()).filter(|store| store != "none");
        }
        if let Some(limit) = self.transfer_limit {
            settings.transfer_mib_per_second = Some(limit).filter(|limit| *limit > 0);
        }
        self.copy.apply(settings)?;
        self.archive.apply(settings)?;
        if self.auto_protect.is_empty() {
            return Ok(());
        }
        settings.auto_protect.clear();
        for rule in self.auto_protect.iter().filter(|rule| *rule != "none") {
            let (name, tag, policy) = read_rule(rule)?;
            let Some((client, vault)) = of else {
                let hint = "make the vault and a policy first, then `strongroom vault update --auto-protect`";
                return Err(Told::usage("a new vault has no policies yet", hint));
            };
            let policy = names::policy(client, vault, &policy).await?.id;
            settings.auto_protect.push(AutoProtect { name, tag, policy });
        }
        Ok(())
    }
}

/// `name=PATTERN,tag=KEY[=VALUE],policy=POLICY`, of which the first two may be left out.
fn read_rule(rule: &str) -> Result<(Option<String>, Option<String>, String)> {
    let hint = "write it as name=web-*,policy=nightly or tag=env=prod,policy=nightly";
    let wrong = || Told::usage(format!("'{rule}' is no rule to protect by"), hint);
    let (mut name, mut tag, mut policy) = (None, None, None);
    for part in rule.split(',') {
        let (key, value) = part.split_once('=').ok_or_else(wrong)?;
        let place = match key {
            "name" => &mut name,
            "tag" => &mut tag,
            "policy" => &mut policy,
            _ => return Err(wrong()),
        };
        if place.replace(value.to_owned()).is_some() {
            return Err(wrong());
        }
    }
    Ok((name, tag, policy.ok_or_else(wrong)?))
}

pub(crate) async fn run(output: &Output, client: &Client, command: VaultCommand) -> Result<()> {
    match command {
        VaultCommand::Create { place, settings } => create(output, client, (place, None), &settings).await,
        VaultCommand::Adopt { place, key_file, settings } => {
            let key = std::fs::read_to_string(&key_file);
            let key = key.with_context(|| format!("read the key file {}", key_file.display()))?;
            create(output, client, (place, Some(key)), &settings).await
        }
        VaultCommand::List => {
            let all: Vec<Vault> = client.all("/v1/vaults").await?;
            output::print(output, &all, || list(&all))
        }
        VaultCommand::Show { vault } => {
            let vault = names::vault(client, vault.as_deref()).await?;
            // A list does not tell how far the second store is.
            let vault: Vault = client.get(&format!("/v1/vaults/{}", vault.id)).await?;
            output::print(output, &vault, || show(&vault))
        }
        VaultCommand::Update { vault, name, settings, accept_loss, yes } => {
            let vault = names::vault(client, Some(&vault)).await?;
            let change = VaultChange { name, accept_loss, ..VaultChange::default() };
            update(output, client, &vault, (change, &settings, yes)).await
        }
        VaultCommand::Copy { vault, wait } => {
            let vault = names::vault(client, vault.as_deref()).await?;
            copies::copy(output, client, &vault, wait).await
        }
        VaultCommand::Copies { vault, machine } => {
            let vault = names::vault(client, vault.as_deref()).await?;
            copies::list(output, client, &vault, machine.as_deref()).await
        }
        VaultCommand::Heal { vault, yes, wait } => {
            let vault = names::vault(client, vault.as_deref()).await?;
            copies::heal(output, client, &vault, (yes, wait)).await
        }
        VaultCommand::Archive { vault, dry_run } => {
            let vault = names::vault(client, vault.as_deref()).await?;
            archive::archive(output, client, &vault, dry_run).await
        }
        VaultCommand::Keys { vault } => {
            let vault = names::vault(client, vault.as_deref()).await?;
            keys::list(output, client, &vault).await
        }
        VaultCommand::RotateKey { vault } => {
            let vault = names::vault(client, vault.as_deref()).await?;
            keys::rotate(output, client, &vault).await
        }
        VaultCommand::Delete { vault, yes } => {
            let vault = names::vault(client, Some(&vault)).await?;
            let text = format!(
                "The server forgets the vault {} with all its policies. What lies in {} stays there, and only a \
                 copy of its key opens it.",
                vault.name, vault.location
            );
            confirm(yes, Undo::Impossible, &text)?;
            let gone = client.act(Method::DELETE, &format!("/v1/vaults/{}", vault.id)).await?;
            let gone: VaultRemoved = gone.context("the server told nothing of what is left")?;
            output::print(output, &gone, || format!("{} is forgotten. {}\n", vault.name, gone.note))
        }
    }
}

async fn create(
    output: &Output,
    client: &Client,
    (place, key): (PlaceArgs, Option<String>),
    args: &SettingsArgs,
) -> Result<()> {
    let mut settings = VaultSettings::default();
    args.apply(&mut settings, None).await?;
    let PlaceArgs { name, location } = place;
    let adopt = key.is_some();
    let new = NewVault { name, location, settings, adopt, key };
    let made = client.send(Method::POST, "/v1/vaults", &new).await?;
    let made: VaultMade = made.context("the server told nothing of the vault")?;
    output::print(output, &made, || {
        let mut text = show(&made.vault);
        text.extend(made.recovery_key.iter().map(|key| output::facts(&[("Recovery key", key.clone())])));
        text.extend(made.key.iter().map(|key| format!("\n{key}")));
        text
    })?;
    if made.key.is_some() {
        eprintln!("Keep the key file, which is printed last, somewhere else than the vault and the server.");
    }
    for lost in &made.lost {
        eprintln!("Not taken in: {lost}.");
    }
    for advice in &made.advice {
        eprintln!("Now: {advice}.");
    }
    if made.recovery_key.is_some() {
        eprintln!("{}", crate::commands::KEEP_RECOVERY_KEY);
    }
    Ok(())
}

async fn update(
    output: &Output,
    client: &Client,
    vault: &Vault,
    (change, args, yes): (VaultChange, &SettingsArgs, Yes),
) -> Result<()> {
    if change.name.is_none() && args.is_empty() {
        return Err(Told::usage(
            "nothing is to be changed",
            "`strongroom vault update --help` tells what can be",
        ));
    }
    let mut settings = vault.settings.clone();
    args.apply(&mut settings, Some((client, vault))).await?;
    if settings.immutable && !vault.settings.immutable {
        let text = format!("From now on nothing in {} may be lost sooner than was promised.", vault.name);
        confirm(yes, Undo::Possible, &text)?;
    }
    if change.accept_loss {
        let text = format!("Points of {} that are over by their policies are lost.", vault.name);
        confirm(yes, Undo::Impossible, &text)?;
    }
    let settings = Some(settings).filter(|settings| *settings != vault.settings);
    let change = VaultChange { settings, revision: Some(vault.revision), ..change };
    let changed = client.send(Method::PATCH, &format!("/v1/vaults/{}", vault.id), &change).await?;
    let vault: Vault = changed.context("the server told nothing of the vault")?;
    output::print(output, &vault, || show(&vault))
}

fn list(all: &[Vault]) -> String {
    if all.is_empty() {
        return "No vaults yet. `strongroom vault create NAME URL|DIR` makes one.\n".into();
    }
    let rows = all.iter().map(|vault| {
        vec![vault.name.clone(), vault.location.clone(), vault.items.to_string(), vault.id.to_string()]
    });
    output::table(&["VAULT", "LOCATION", "MACHINES", "ID"], &["MACHINES"], rows)
}

fn show(vault: &Vault) -> String {
    let settings = &vault.settings;
    let mut facts = vec![
        ("Vault", vault.name.clone()),
        ("Id", vault.id.to_string()),
        ("Location", vault.location.clone()),
        ("Machines", vault.items.to_string()),
        ("Deleted things stay", count(settings.soft_delete_days.into(), "day")),
        ("Immutable", if settings.immutable { "yes" } else { "no" }.to_owned()),
        ("Snapshot tier", or_dash(settings.snapshot_store.clone())),
        ("Known since", output::instant(vault.created)),
    ];
    facts.extend(settings.transfer_mib_per_second.map(|mib| ("Transfers at most", format!("{mib} MiB/s"))));
    facts.extend(copies::facts(vault));
    facts.extend(archive::facts(vault));
    if settings.keep_everything {
        facts
            .push(("Points expire", "no: everything is kept (--keep-everything false lets them)".to_owned()));
    }
    facts.extend(settings.auto_protect.iter().map(|rule| ("Protects by itself", rule_in_words(rule))));
    output::facts(&facts)
}

fn rule_in_words(rule: &AutoProtect) -> String {
    let name = rule.name.as_ref().map(|name| format!("named {name} "));
    let tag = rule.tag.as_ref().map(|tag| format!("tagged {tag} "));
    format!("{}{}by policy {}", name.unwrap_or_default(), tag.unwrap_or_default(), rule.policy)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_to_protect_by() {
        let some = |text: &str| Some(text.to_owned());
        assert_eq!(read_rule("name=web-*,policy=p").expect("a rule"), (some("web-*"), None, "p".to_owned()));
        assert_eq!(
            read_rule("policy=p,tag=env=prod").expect("a rule"),
            (None, some("env=prod"), "p".to_owned())
        );
        for wrong in ["", "web-*", "name=web-*", "policy=p,policy=q", "nome=x,policy=p"] {
            assert!(read_rule(wrong).is_err(), "{wrong}");
        }
    }
}
