//! `strongroom rescue vault`.

use crate::args::VaultCommand;
use crate::output::Output;
use crate::{keys, open, output};
use anyhow::{Context, Result};
use jiff::SignedDuration;
use std::collections::BTreeMap;
use std::path::Path;
use uuid::Uuid;
use vault::{
    CollectOptions, ErrorKind, KeyFile, NewHolder, RecoveryKey, Store, StoreAddress, Vault, VaultId,
};

pub(crate) async fn run(output: &Output, command: VaultCommand) -> Result<()> {
    match command {
        VaultCommand::Create { location, key_file, no_recovery_key } => {
            create(output, &location, key_file.as_deref(), no_recovery_key).await
        }
        VaultCommand::Show { location, key } => show(output, &location, &key).await,
        VaultCommand::Copy(args) => super::copy::run(output, args).await,
        VaultCommand::Verify { vault, scrub } => super::verify::run(output, &vault, scrub).await,
        VaultCommand::Repair { vault, from, yes } => super::repair::run(output, &vault, from, yes).await,
        VaultCommand::Reindex { vault } => super::reindex::run(output, &vault).await,
        VaultCommand::Collect { vault, yes, keep_deleted, grace, allow_large, compact_below } => {
            let days = |days: u32| SignedDuration::from_hours(24 * i64::from(days));
            let mut options = CollectOptions::new(super::now());
            (options.soft_delete, options.grace) = (days(keep_deleted), days(grace));
            options.share_max = if allow_large { 1.0 } else { options.share_max };
            options.compact_below = f64::from(compact_below) / 100.0;
            collect(output, &vault, &options, yes).await
        }
    }
}

async fn create(
    output: &Output,
    location: &StoreAddress,
    key_file: Option<&Path>,
    no_recovery_key: bool,
) -> Result<()> {
    let context = || format!("create a vault in {location}");
    if let StoreAddress::Directory(directory) = location
        && !directory.is_dir()
    {
        std::fs::create_dir(directory).with_context(context)?;
    }
    let store = open::store(location).await.with_context(context)?;
    let (id, created) = (VaultId(Uuid::new_v4()), super::now());
    let key_path = keys::new_key_file(keys::named_key_file(key_file).as_deref(), id)?;
    // The key first: a vault whose key was lost in a crash would be of no use.
    let holder = KeyFile::generate();
    holder.write(&key_path, id).with_context(context)?;
    let recovery = (!no_recovery_key).then(RecoveryKey::generate);
    let mut holders = vec![NewHolder { key: &holder, label: String::new(), added: created }];
    holders.extend(recovery.iter().map(|key| NewHolder { key, label: String::new(), added: created }));
    let made = Vault::create_with(store.clone(), id, created, &holders).await;
    if made.is_err() && !may_exist(&store, id).await {
        let _ = std::fs::remove_file(&key_path); // it opens nothing
    }
    let vault = made.with_context(context)?;
    let recovery = recovery.map(|key| key.to_text());
    let value = serde_json::json!({
        "id": vault.id(),
        "location": location.to_string(),
        "key_file": key_path,
        "recovery_key": recovery.as_deref(),
    });
    output::print(output, &value, || {
        let mut facts = vec![
            ("Vault", vault.id().to_string()),
            ("Location", location.to_string()),
            ("Key file", key_path.display().to_string()),
        ];
        facts.extend(recovery.iter().map(|text| ("Recovery key", text.to_string())));
        output::facts(&facts)
    })?;
    if recovery.is_some() {
        eprintln!("Keep a copy of the key file somewhere else.\n{}", super::KEEP_RECOVERY_KEY);
    } else {
        eprintln!("Keep a copy of the key file somewhere else: without it nothing in the vault can be read.");
    }
    Ok(())
}

/// Whether the vault may be there although making it failed: the answer to the last write may be what was lost.
async fn may_exist(store: &Store, id: VaultId) -> bool {
    match Vault::info_of(store).await {
        Ok(info) => info.id == id,
        Err(error) => matches!(error.kind(), ErrorKind::Store | ErrorKind::Denied),
    }
}

/// Plans, and applies the plan if that is wished.
async fn collect(
    output: &Output,
    args: &crate::args::VaultArgs,
    options: &CollectOptions,
    yes: bool,
) -> Result<()> {
    let vault = open::vault(args).await?;
    let plan = vault.plan_collection(options).await.context("plan a collection")?;
    let bytes: u64 = plan.garbage.values().sum();
    let live: u64 = plan.compact.values().sum();
    let due: u64 = plan.delete.iter().filter_map(|pack| plan.garbage.get(pack)).sum();
    let mut facts = vec![
        ("Stored", output::size(plan.stored_bytes)),
        ("Deleted points to purge", plan.purge.len().to_string()),
        ("Dead sessions to abort", plan.abort.len().to_string()),
        ("Garbage", format!("{} in {} packs", output::size(bytes), plan.garbage.len())),
        ("Of that to be freed now", format!("{} in {} packs", output::size(due), plan.delete.len())),
    ];
    if !plan.compact.is_empty() {
        let moves = format!("{} out of {} packs", output::size(live), plan.compact.len());
        facts.push(("To be moved, to empty packs", moves));
    }
    let mut value = serde_json::json!({
        "compact": { "packs": plan.compact.len(), "bytes": live },
        "stored_bytes": plan.stored_bytes, "purge": plan.purge, "abort": plan.abort,
        "garbage": { "packs": plan.garbage.len(), "bytes": bytes },
        "due": { "packs": plan.delete.len(), "bytes": due },
    });
    if yes {
        open::attach(&vault, args).await?;
        let done = vault.collect(options).await.context("collect")?;
        open::warn_index(&vault);
        facts.push(("Done", format!("{} purged, {} packs condemned", done.purged, done.condemned)));
        if done.compacted > 0 {
            facts.push((
                "Moved",
                format!("{} out of {} packs", output::size(done.moved_bytes), done.compacted),
            ));
        }
        facts.push(("Freed", format!("{} in {} packs", output::size(done.freed_bytes), done.deleted)));
        value["done"] = serde_json::json!({
            "purged": done.purged, "aborted": done.aborted, "condemned": done.condemned,
            "deleted": done.deleted, "freed_bytes": done.freed_bytes,
            "compacted": done.compacted, "moved_bytes": done.moved_bytes,
        });
    }
    output::print(output, &value, || output::facts(&facts))?;
    if !yes {
        eprintln!("Nothing was changed. Add --yes to do it.");
    }
    Ok(())
}

async fn show(output: &Output, location: &StoreAddress, key: &crate::args::KeyArgs) -> Result<()> {
    let vault = open::vault_at(location, key).await?;
    let points = vault.points().await.context("list the vault's points")?;
    let (objects, bytes) = vault.usage().await.context("measure the vault")?;
    let mut machines: BTreeMap<&str, (&str, u64)> = BTreeMap::new();
    for point in &points {
        let machine = machines.entry(point.machine.as_str()).or_insert((&point.machine_name, 0));
        machine.0 = &point.machine_name; // the newest name counts
        machine.1 += 1;
    }
    let value = serde_json::json!({
        "id": vault.id(),
        "location": location.to_string(),
        "format": vault.info().format,
        "created": vault.info().created,
        "chunk_bytes": vault.info().chunk_bytes,
        "objects": objects,
        "stored_bytes": bytes,
        "points": points.len(),
        "machines": machines
            .iter()
            .map(|(id, (name, points))| serde_json::json!({ "id": id, "name": name, "points": points }))
            .collect::<Vec<_>>(),
    });
    output::print(output, &value, || {
        let facts = output::facts(&[
            ("Vault", vault.id().to_string()),
            ("Location", location.to_string()),
            ("Format", vault.info().format.to_string()),
            ("Created", output::instant(vault.info().created)),
            ("Stored", format!("{} in {objects} objects", output::size(bytes))),
            ("Points", points.len().to_string()),
        ]);
        if machines.is_empty() {
            return facts;
        }
        let rows =
            machines.iter().map(|(id, (name, n))| vec![(*name).to_owned(), n.to_string(), (*id).to_owned()]);
        format!("{facts}\n{}", output::table(&["MACHINE", "POINTS", "ID"], &["POINTS"], rows))
    })
}
