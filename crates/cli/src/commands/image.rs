//! `strongroom rescue image`.

use super::{copy, image_create};
use crate::args::{CopyArgs, ImageCommand, ImageCopyArgs, VaultArgs};
use crate::failure::Told;
use crate::output::{self, Output};
use crate::{open, watch::Watch};
use anyhow::{Context, Result};
use model::image::{ImageName, ImageRef, Version, meant};
use mover::capture::{ImageVersion, image, images};
use mover::deploy::{KnownCopy, Serving, ServingProgress, copies_in_use, flatten, known_copies};
use serde_json::{Value, json};
use std::path::Path;
use std::sync::Arc;
use vault::Vault;

pub(crate) async fn run(output: &Output, command: ImageCommand) -> Result<()> {
    match command {
        ImageCommand::Create(args) => Box::pin(image_create::run(output, *args)).await,
        ImageCommand::List { name, vault } => list(output, name.as_ref(), &vault).await,
        ImageCommand::Show { image, vault } => show(output, &image.image, &vault).await,
        ImageCommand::Copy(args) => Box::pin(copy_version(output, *args)).await,
        ImageCommand::Delete { image, vault, flatten } => delete(output, &image.image, &vault, flatten).await,
        ImageCommand::Serve { copy, vault } => {
            let vault = open::vault(&vault).await?;
            follow(Serving::resume(&vault, &copy.folder).await?, &copy.folder).await
        }
        ImageCommand::Flatten { copy, machine, vault } => {
            let vault = open::vault(&vault).await?;
            let alone = stand_alone(&vault, &copy.folder, &machine).await?;
            output::print(output, &json!({ "flattened": alone }), || {
                alone.iter().map(|name| format!("{name} stands alone\n")).collect()
            })
        }
    }
}

async fn list(output: &Output, name: Option<&ImageName>, vault: &VaultArgs) -> Result<()> {
    let vault = open::vault(vault).await?;
    let versions = images(&vault, name).await?;
    let values: Vec<_> = versions.iter().map(|one| value(one, is_latest(one, &versions))).collect();
    output::print(output, &values, || table(&versions))
}

async fn show(output: &Output, wanted: &ImageRef, vault: &VaultArgs) -> Result<()> {
    let vault = open::vault(vault).await?;
    let versions = images(&vault, Some(&wanted.name)).await?;
    let version = image(&vault, wanted).await?;
    let copies = known_copies(&open::image_copies(), version.point.id);
    let mut shown = value(&version, is_latest(&version, &versions));
    shown["copies"] = copies.iter().map(copy_value).collect();
    output::print(output, &shown, || facts(&version, &copies))
}

async fn copy_version(output: &Output, args: ImageCopyArgs) -> Result<()> {
    let ImageCopyArgs { image: wanted, vault, to, create } = args;
    let version = image(&*open::vault(&vault).await?, &wanted.image).await?;
    let (point, machine) = (Some(version.point.id.to_string()), Some(version.point.machine.to_string()));
    copy::run(output, CopyArgs { vault, to, point, machine, create, plan: false }).await
}

/// Refused while a copy that is not whole has machines on it: they would miss what was not fetched yet.
async fn delete(output: &Output, wanted: &ImageRef, vault: &VaultArgs, may_flatten: bool) -> Result<()> {
    let vault = open::vault(vault).await?;
    let version = image(&vault, wanted).await?;
    for known in copies_in_use(&open::image_copies(), version.point.id) {
        if !may_flatten {
            let names: Vec<&str> = known.journal.dependents().map(|machine| machine.name.as_str()).collect();
            let what = format!(
                "{} is in use: {} read what is not in {} yet",
                version.record.shown(),
                names.join(", "),
                known.folder.display()
            );
            let hint =
                "`strongroom rescue image serve DIR` fetches the rest; --flatten has them stand alone first";
            return Err(Told::state(what, hint));
        }
        stand_alone(&vault, &known.folder, &[]).await?;
    }
    vault.delete_point(version.point.id, super::now()).await.context("delete the image")?;
    eprintln!(
        "Deleted. `strongroom rescue point undelete {}` brings it back until it is purged.",
        version.point.id
    );
    output::print(output, &value(&version, false), || format!("{}\n", version.record.shown()))
}

async fn stand_alone(vault: &Arc<Vault>, folder: &Path, names: &[String]) -> Result<Vec<String>> {
    let alone = std::sync::Mutex::new(Vec::new());
    let told = |name: &str| {
        eprintln!("{name} stands alone.");
        alone.lock().expect("no holder panics").push(name.to_owned());
    };
    let work = async { Ok(flatten(vault, folder, names, &told).await?) };
    super::unless_interrupted("having machines stand alone", work).await?;
    Ok(alone.into_inner().expect("no holder panics"))
}

/// Serves until no machine needs it any more, or somebody interrupts: then guests wait.
pub(super) async fn follow(serving: Serving, folder: &Path) -> Result<()> {
    let watch = Watch::new();
    let show = |progress| match progress {
        ServingProgress::Fetch(progress) => watch.show(progress),
        ServingProgress::Unreadable(why) => {
            eprintln!("warning: the image cannot be read ({why}); guests may wait, it is tried again");
        }
        ServingProgress::Whole => eprintln!("All of the image is here."),
        ServingProgress::Settled(name) => eprintln!("{name} needs this program no more."),
        ServingProgress::Unsettled(name, why) => {
            eprintln!("warning: {name} cannot be told to do without this program ({why}); it is tried again");
        }
        ServingProgress::Waiting(names) => {
            eprintln!("Serving {} until each was off once.", names.join(", "));
        }
        ServingProgress::RanOn(name) => eprintln!("{name} stood still for a disk and runs on."),
    };
    let following = async {
        serving.follow(&show).await;
        Ok(())
    };
    let ended = super::unless_interrupted("serving the image", following).await;
    if ended.is_err() {
        let again = format!("strongroom rescue image serve {}", folder.display());
        eprintln!(
            "Nothing that guests wrote is lost, but what they read is served no more: `{again}` goes on."
        );
    }
    ended
}

fn is_latest(one: &ImageVersion, all: &[ImageVersion]) -> bool {
    let of_image = all.iter().filter(|other| other.record.name == one.record.name);
    let versions: Vec<Version> = of_image
        .map(|other| Version { number: other.record.version, excluded: other.record.excluded })
        .collect();
    meant(&versions, None) == Some(one.record.version)
}

pub(super) fn value(version: &ImageVersion, is_latest: bool) -> Value {
    let ImageVersion { record, point } = version;
    let disks = point.disks.iter().map(|disk| json!({ "name": disk.name, "size": disk.map.size }));
    json!({
        "image": record.shown(), "name": record.name, "version": record.version, "latest": is_latest,
        "excluded": record.excluded, "from": record.from, "generalised": record.is_generalised(),
        "findings": record.findings, "systems": record.systems, "point": point.id, "kept_as": point.machine,
        "instant": point.instant, "disks": disks.collect::<Vec<_>>(), "stored_bytes": point.stats.stored_bytes,
    })
}

fn copy_value(known: &KnownCopy) -> Value {
    let machines: Vec<&str> = known.journal.dependents().map(|machine| machine.name.as_str()).collect();
    json!({ "folder": known.folder, "whole": known.journal.whole, "machines": machines })
}

fn generalised(version: &ImageVersion) -> String {
    match (version.record.is_generalised(), version.record.findings.len()) {
        (true, _) => "yes".to_owned(),
        (false, 0) => "unknown".to_owned(),
        (false, n) => format!("no ({n})"),
    }
}

fn size(version: &ImageVersion) -> u64 {
    version.point.disks.iter().map(|disk| disk.map.size).sum()
}

fn table(versions: &[ImageVersion]) -> String {
    if versions.is_empty() {
        return "No images yet. `strongroom rescue image create NAME --from MACHINE` makes one.\n".into();
    }
    let rows = versions.iter().map(|one| {
        let latest = match (is_latest(one, versions), one.record.excluded) {
            (true, _) => "latest",
            (_, true) => "left out",
            _ => "",
        };
        vec![
            one.record.shown(),
            latest.to_owned(),
            output::instant(one.point.instant),
            one.record.from.clone(),
            generalised(one),
            output::size(size(one)),
            one.point.id.to_string(),
        ]
    });
    output::table(&["IMAGE", "", "INSTANT", "FROM", "GENERALISED", "SIZE", "POINT"], &["SIZE"], rows)
}

fn facts(version: &ImageVersion, copies: &[KnownCopy]) -> String {
    let mut text = output::facts(&[
        ("Image", version.record.shown()),
        ("From", version.record.from.clone()),
        ("Instant", output::instant(version.point.instant)),
        ("Generalised", generalised(version)),
        ("Point", version.point.id.to_string()),
    ]);
    for finding in &version.record.findings {
        text += &format!("  {}: {}\n", finding.place, finding.what);
    }
    let disks = version.point.disks.iter();
    text += &output::table(
        &["DISK", "SIZE"],
        &["SIZE"],
        disks.map(|disk| vec![disk.name.clone(), output::size(disk.map.size)]),
    );
    for known in copies {
        let names: Vec<&str> = known.journal.dependents().map(|machine| machine.name.as_str()).collect();
        let how = if known.journal.whole { "whole" } else { "in part" };
        text += &format!("Copy in {} ({how}): {}\n", known.folder.display(), names.join(", "));
    }
    text
}
