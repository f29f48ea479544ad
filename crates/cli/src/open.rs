//! Finding what the arguments name: vaults and points. Keys are in `keys.rs`, machines in `machines.rs`.

use crate::args::{CopyArgs, KeyArgs, PointArgs, VaultArgs};
use crate::commands::now;
use crate::failure::Told;
use crate::keys::{self, FoundKey};
use anyhow::{Context, Result};
use std::ffi::OsString;
use std::path::PathBuf;
use std::sync::Arc;
use vault::{DiskRecord, Holders, Point, Rescue, Store, StoreAddress, StoreSettings, Survey, Vault, VaultId};

/// Opens a vault.
pub(crate) async fn vault(args: &VaultArgs) -> Result<Arc<Vault>> {
    opened(&args.vault, &args.key).await.map(|vault| Arc::new(vault.with_cache(&cache(args))))
}

/// Opens a vault to write to it: its store must be fit for that.
pub(crate) async fn vault_to_write(args: &VaultArgs) -> Result<Arc<Vault>> {
    let opened = vault(args).await?;
    attach(&opened, args).await.map(|()| opened)
}

/// Makes sure that a store is fit to be written to.
pub(crate) async fn attach(vault: &Vault, args: &VaultArgs) -> Result<()> {
    let attached = vault.attach(&cache(args), now()).await;
    attached.with_context(|| format!("attach to {}", vault.store().shown()))
}

/// Where indexes are kept: as is said, or where the user's or the system's caches lie.
pub(crate) fn cache(args: &VaultArgs) -> PathBuf {
    let of_user = || Some(keys::path_of("HOME")?.join(".cache"));
    let caches = || keys::path_of("XDG_CACHE_HOME").or_else(of_user).unwrap_or_else(|| "/var/cache".into());
    args.cache.clone().unwrap_or_else(|| caches().join("strongroom"))
}

/// Where guests that may be frozen are written down.
pub(crate) fn freeze_records() -> PathBuf {
    state().join("frozen")
}

/// Where copies of images on this host are written down.
pub(crate) fn image_copies() -> PathBuf {
    state().join("images")
}

/// As is said, or where the user's states lie.
fn state() -> PathBuf {
    let of_user = || Some(keys::path_of("HOME")?.join(".local/state"));
    let states = || keys::path_of("XDG_STATE_HOME").or_else(of_user).unwrap_or_else(|| "/var/lib".into());
    keys::path_of("STRONGROOM_STATE").unwrap_or_else(|| states().join("strongroom"))
}

/// Tells of an index that could not be tidied.
pub(crate) fn warn_index(vault: &Vault) {
    if let Some(error) = vault.index_trouble() {
        eprintln!("warning: the index is not as it should be, nothing else is affected: {error}");
    }
}

/// Opens the vault at a location, for work that needs no index.
pub(crate) async fn vault_at(location: &StoreAddress, key: &KeyArgs) -> Result<Arc<Vault>> {
    opened(location, key).await.map(Arc::new)
}

async fn opened(location: &StoreAddress, key: &KeyArgs) -> Result<Vault> {
    let (store, id) = store_of(location).await?;
    let holder = keys::find(&key.which, &store, id).await.with_context(|| opening(location))?;
    let opened = match key.keyring {
        None => Vault::open(store, &*holder.key).await,
        Some(number) => Vault::open_with_keyring(store, &*holder.key, number).await,
    };
    opened.map_err(|error| not_opened(error, location, &holder))
}

/// Opens what is left of the vault at a location.
pub(crate) async fn rescue(location: &StoreAddress, key: &KeyArgs) -> Result<Rescue> {
    let store = store(location).await.with_context(|| opening(location))?;
    let id = Rescue::vault_id(&store, key.keyring).await.with_context(|| opening(location))?;
    let holder = keys::find(&key.which, &store, id).await.with_context(|| opening(location))?;
    let opened = Rescue::open(store, &*holder.key, key.keyring).await;
    opened.map_err(|error| not_opened(error, location, &holder))
}

/// Opens the replica that a copy goes to; makes it if that is wished and there is none.
pub(crate) async fn replica(from: &Vault, args: &CopyArgs) -> Result<Arc<Vault>> {
    let (location, key) = (&args.to, &args.vault.key);
    if let (true, StoreAddress::Directory(directory)) = (args.create, location)
        && !directory.is_dir()
    {
        std::fs::create_dir(directory).with_context(|| format!("make a replica in {location}"))?;
    }
    let target = store(location).await;
    let is_there = match &target {
        Ok(store) => Vault::info_of(store).await.map(drop),
        // A directory that is not there is told like a place without a vault.
        Err(error) => Err(vault::Error::new(error.kind(), error.to_string())),
    };
    match is_there {
        Err(error) if error.kind() == vault::ErrorKind::NotFound && args.create => {
            let holder = keys::find(&key.which, from.store(), from.id()).await?;
            let made = Vault::create_replica(target?, from, now(), &*holder.key).await;
            Ok(Arc::new(made.with_context(|| format!("make a replica in {location}"))?))
        }
        Err(error) if error.kind() == vault::ErrorKind::NotFound => {
            let hint = "check its place; --create makes a replica in an empty one";
            Err(Told::not_found(error.to_string(), hint))
        }
        _ => vault_at(location, key).await,
    }
}

/// Opens the holders of a vault's keys, to change them; `holder` lives as long.
pub(crate) async fn holders<'k>(
    location: &StoreAddress,
    store: Store,
    holder: &'k FoundKey,
    keyring: Option<u32>,
) -> Result<Holders<'k>> {
    let opened = match keyring {
        None => Holders::open(store, &*holder.key).await,
        Some(number) => Holders::open_keyring(store, &*holder.key, number).await,
    };
    opened.map_err(|error| not_opened(error, location, holder))
}

/// Opens the store at a location, with the credentials that the environment holds.
pub(crate) async fn store(location: &StoreAddress) -> vault::Result<Store> {
    let text =
        |(name, value): (OsString, OsString)| Some((name.into_string().ok()?, value.into_string().ok()?));
    let settings: StoreSettings = std::env::vars_os().filter_map(text).collect();
    Store::open(location, &settings).await
}

/// The store at a location, and the id of the vault in it.
pub(crate) async fn store_of(location: &StoreAddress) -> Result<(Store, VaultId)> {
    let store = store(location).await.with_context(|| opening(location))?;
    let info = Vault::info_of(&store).await.with_context(|| opening(location))?;
    Ok((store, info.id))
}

fn opening(location: &StoreAddress) -> String {
    format!("open the vault {location}")
}

fn not_opened(error: vault::Error, location: &StoreAddress, holder: &FoundKey) -> anyhow::Error {
    keyring_fault(error, format!("{} with {}", opening(location), holder.shown))
}

/// What to do about a damaged keyring is not what to do about other damage.
pub(crate) fn keyring_fault(error: vault::Error, doing: String) -> anyhow::Error {
    if error.kind() != vault::ErrorKind::Corrupt {
        return anyhow::Error::new(error).context(doing);
    }
    let hint = "keep the vault as it is; --keyring N opens it with an older keyring, \
                and `strongroom rescue key recover --keyring N` puts that one above the damaged";
    Told::corrupt(error.to_string(), hint).context(doing)
}

/// The points of a machine, or all.
pub(crate) fn points_of(points: Vec<Point>, machine: Option<&str>) -> Vec<Point> {
    let is_meant = |point: &Point| {
        machine.is_none_or(|name| point.machine_name == name || point.machine.as_str() == name)
    };
    points.into_iter().filter(is_meant).collect()
}

/// The one point that is meant.
pub(crate) async fn point(vault: &Vault, args: &PointArgs) -> Result<Point> {
    let survey = vault.survey(None).await.context("list the vault's points")?;
    // A damaged point must not stand in the way of another's restore.
    warn(&survey);
    choose(survey.points, args)
}

/// Tells of points that cannot be read.
pub(crate) fn warn(survey: &Survey) {
    for error in &survey.damage {
        eprintln!("warning: a point cannot be read: {error}");
    }
}

/// The one deleted point that is meant.
pub(crate) async fn deleted_point(vault: &Vault, args: &PointArgs) -> Result<Point> {
    choose(vault.deleted_points().await.context("list the vault's deleted points")?, args)
}

fn choose(points: Vec<Point>, args: &PointArgs) -> Result<Point> {
    let mut points = points_of(points, args.machine.as_deref());
    let hint = "`strongroom rescue point list` shows the points there are";
    let of = args.machine.as_ref().map(|name| format!(" of machine {name}")).unwrap_or_default();
    if args.point == "latest" {
        // A snapshot may lack disks: it is meant only where it is named.
        points.retain(|point| !mover::is_snapshot(point));
        points.sort_by_key(|point| (point.instant, point.id));
        let several = points.iter().any(|point| point.machine != points[0].machine);
        if several {
            return Err(Told::usage(
                "the vault holds points of several machines",
                "say which with --machine NAME",
            ));
        }
        let none = || Told::not_found(format!("the vault holds no points{of}"), hint);
        return points.pop().ok_or_else(none);
    }
    let meant = |point: &Point| point.id.to_string().ends_with(&args.point.to_lowercase());
    let mut matching: Vec<Point> =
        points.into_iter().filter(|point| args.point.len() >= 4 && meant(point)).collect();
    match matching.len() {
        1 => Ok(matching.remove(0)),
        0 => Err(Told::not_found(format!("there is no point {}{of}", args.point), hint)),
        n => Err(Told::usage(format!("{n} points end in {}", args.point), "give more of the id")),
    }
}

/// The disks of a point that are meant: all, unless some are named.
pub(crate) fn disks(point: &Point, names: &[String]) -> Result<Vec<DiskRecord>> {
    for name in names {
        let hint = || format!("`strongroom rescue point show {}` shows its disks", point.id);
        point.disk(name).map_err(|error| Told::not_found(error.to_string(), hint()))?;
    }
    let is_meant = |disk: &&DiskRecord| names.is_empty() || names.contains(&disk.name);
    Ok(point.disks.iter().filter(is_meant).cloned().collect())
}
