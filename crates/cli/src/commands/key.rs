//! `strongroom rescue key`.

use crate::args::{KeyCommand, NewKeyArgs, VaultArgs};
use crate::failure::Told;
use crate::keys::FoundKey;
use crate::output::Output;
use crate::{keys, open, output};
use anyhow::{Context, Result};
use std::path::{Path, PathBuf};
use vault::{
    ErrorKind, Holder, HolderId, Holders, KeyFile, KeyProvider, NewHolder, Passphrase, RecoveryKey, Rotation,
    Store, StoreAddress,
};

pub(crate) async fn run(output: &Output, command: KeyCommand) -> Result<()> {
    match command {
        KeyCommand::List { vault } => list(output, &vault).await,
        KeyCommand::Add { vault, new, label } => add(output, &vault, &new, label).await,
        KeyCommand::Remove { holder, vault, plan } => remove(output, &vault, &holder, plan).await,
        KeyCommand::Rotate { vault } => rotate(output, &vault).await,
        KeyCommand::Recover { vault, recovery_key_file, new_key_file, keyring } => {
            let key = match &recovery_key_file {
                Some(path) => keys::recovery_key_in(path),
                None => keys::ask_recovery_key(),
            };
            let key = key.with_context(|| format!("recover the vault {}", vault))?;
            recover(output, &vault, (&key, keyring), new_key_file.as_deref()).await
        }
    }
}

async fn list(output: &Output, location: &StoreAddress) -> Result<()> {
    let (store, _) = open::store_of(location).await?;
    let listed = Holders::list(&store).await;
    let doing = || format!("list who can open the vault {}", location);
    let (keyring, holders) = listed.map_err(|error| open::keyring_fault(error, doing()))?;
    let value = serde_json::json!({ "keyring": keyring, "holders": holders });
    output::print(output, &value, || {
        let rows = holders.iter().map(|holder| {
            vec![
                holder.id.to_string(),
                holder.provider.clone(),
                output::instant(holder.added),
                holder.label.clone(),
            ]
        });
        let table = output::table(&["HOLDER", "KIND", "ADDED", "LABEL"], &[], rows);
        format!("{table}\nAny one of these opens the vault (keyring {keyring}).\n")
    })
}

/// A key that has just been made, and what is to be shown of it.
struct Made {
    key: Box<dyn KeyProvider>,
    file: Option<PathBuf>,
    recovery: Option<RecoveryKey>,
}

async fn add(output: &Output, args: &VaultArgs, new: &NewKeyArgs, label: String) -> Result<()> {
    let (store, id) = open::store_of(&args.vault).await?;
    let found = keys::find(&args.key.which, &store, id).await?;
    let mut holders = open::holders(&args.vault, store.clone(), &found, args.key.keyring).await?;
    let context = || format!("add a key to the vault {}", args.vault);
    let made = if let Some(path) = &new.new_key_file {
        let key = KeyFile::generate();
        key.write(path, id).with_context(context)?;
        Made { key: Box::new(key), file: Some(path.clone()), recovery: None }
    } else if new.new_recovery_key {
        let key = RecoveryKey::generate();
        let shown = RecoveryKey::parse(&key.to_text()).with_context(context)?;
        Made { key: Box::new(key), file: None, recovery: Some(shown) }
    } else {
        let key = match &new.new_passphrase_file {
            Some(path) => Passphrase::read(path).with_context(context)?,
            None => keys::new_passphrase()?,
        };
        Made { key: Box::new(key), file: None, recovery: None }
    };
    let holder = add_made(&store, &mut holders, &made, label).await.with_context(context)?;
    let recovery = made.recovery.map(|key| key.to_text());
    let value = serde_json::json!({
        "keyring": holders.keyring(),
        "holder": holder,
        "key_file": made.file,
        "recovery_key": recovery.as_deref(),
    });
    output::print(output, &value, || {
        let mut facts = vec![("Holder", holder.to_string()), ("Keyring", holders.keyring().to_string())];
        facts.extend(made.file.iter().map(|path| ("Key file", path.display().to_string())));
        facts.extend(recovery.iter().map(|text| ("Recovery key", text.to_string())));
        output::facts(&facts)
    })?;
    if recovery.is_some() {
        eprintln!("{}", super::KEEP_RECOVERY_KEY);
    }
    Ok(())
}

/// Adds a key. A file that was written for nothing is removed; one that may be a holder's by now is kept.
async fn add_made(store: &Store, holders: &mut Holders<'_>, made: &Made, label: String) -> Result<Holder> {
    let added = holders.add(&NewHolder { key: &*made.key, label, added: super::now() }).await;
    if let (Err(_), Some(path)) = (&added, &made.file) {
        let is_holder = |holders: &[Holder]| holders.iter().any(|holder| Some(holder.id) == made.key.id());
        match Holders::list(store).await {
            Ok((_, holders)) if !is_holder(&holders) => drop(std::fs::remove_file(path)),
            _ => eprintln!("The key file {} is kept: it may open the vault by now.", path.display()),
        }
    }
    Ok(added?)
}

async fn remove(output: &Output, args: &VaultArgs, holder: &str, only_plan: bool) -> Result<()> {
    let (store, id) = open::store_of(&args.vault).await?;
    let found = keys::find(&args.key.which, &store, id).await?;
    let mut holders = open::holders(&args.vault, store, &found, args.key.keyring).await?;
    let id = meant(&holders, holder)?;
    let plan = holders.plan_removal(id, None).await.map_err(|error| match error.kind() {
        ErrorKind::Invalid => Told::key(
            error.to_string(),
            "add another key first with `strongroom rescue key add`, and open the vault with one that stays",
        ),
        _ => error.into(),
    })?;
    eprint!("{plan}");
    if !only_plan {
        holders.remove(&plan).await.with_context(|| format!("remove {} from the vault", plan.holder()))?;
    }
    let value = serde_json::json!({
        "keyring": holders.keyring(),
        "holder": plan.holder(),
        "left": plan.left(),
        "removed": !only_plan,
    });
    output::print(output, &value, || {
        let verb = if only_plan { "Would remove" } else { "Removed" };
        output::facts(&[(verb, plan.holder().to_string()), ("Keyring", holders.keyring().to_string())])
    })?;
    if !only_plan {
        eprintln!(
            "It may know what has been written so far. If its key is in wrong hands, run `strongroom rescue key rotate`: \
             what is written from then on is closed to it."
        );
    }
    Ok(())
}

/// The one holder that is meant.
fn meant(holders: &Holders<'_>, named: &str) -> Result<HolderId> {
    let hint = "`strongroom rescue key list` shows who can open the vault";
    let named = named.to_lowercase();
    let is_meant = |holder: &&Holder| named.len() >= 4 && holder.id.to_string().starts_with(&named);
    let found: Vec<&Holder> = holders.holders().filter(is_meant).collect();
    match found[..] {
        [holder] => Ok(holder.id),
        [] => Err(Told::not_found(format!("the vault has no holder {named}"), hint)),
        _ => Err(Told::usage(format!("{} holders begin with {named}", found.len()), "give more of the id")),
    }
}

async fn rotate(output: &Output, args: &VaultArgs) -> Result<()> {
    let (store, id) = open::store_of(&args.vault).await?;
    let found = keys::find(&args.key.which, &store, id).await?;
    let mut holders = open::holders(&args.vault, store, &found, args.key.keyring).await?;
    let rotation = holders.rotate().await.context("rotate the vault's data key")?;
    let (epoch, is_ours) = match rotation {
        Rotation::Done { epoch } => (epoch, true),
        Rotation::Outrun { epoch } => (epoch, false),
    };
    let value = serde_json::json!({ "keyring": holders.keyring(), "epoch": epoch, "rotated": is_ours });
    output::print(output, &value, || {
        output::facts(&[("Epoch", epoch.to_string()), ("Keyring", holders.keyring().to_string())])
    })?;
    if !is_ours {
        eprintln!("Somebody else rotated at the same time and was first: epoch {epoch} seals now.");
    }
    Ok(())
}

async fn recover(
    output: &Output,
    location: &StoreAddress,
    (key, keyring): (&FoundKey, Option<u32>),
    named: Option<&Path>,
) -> Result<()> {
    let (store, id) = open::store_of(location).await?;
    let mut holders = open::holders(location, store.clone(), key, keyring).await?;
    let path = keys::new_key_file(named, id)?;
    let file = KeyFile::generate();
    file.write(&path, id).with_context(|| format!("recover the vault {}", location))?;
    let made = Made { key: Box::new(file), file: Some(path.clone()), recovery: None };
    let holder = add_made(&store, &mut holders, &made, "recovered".into()).await?;
    let value = serde_json::json!({ "keyring": holders.keyring(), "holder": holder, "key_file": path });
    output::print(output, &value, || {
        output::facts(&[
            ("Holder", holder.to_string()),
            ("Keyring", holders.keyring().to_string()),
            ("Key file", path.display().to_string()),
        ])
    })?;
    eprintln!(
        "The lost key still opens the vault: `strongroom rescue key remove` takes it out. If the recovery key was read \
         by others, make a new one with `strongroom rescue key add --new-recovery-key` and remove the old."
    );
    Ok(())
}
