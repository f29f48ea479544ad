//! `strongroom rescue restore replace`, `finish`, `undo` and `remove`.

use crate::args::{FinishArgs, ReplaceArgs, StopArgs, UndoArgs, VaultArgs};
use crate::failure::Told;
use crate::output::Output;
use crate::watch::Watch;
use crate::{machines, open, output};
use anyhow::Result;
use hypervisor::libvirt::THIS_LIBVIRT;
use hypervisor::recreate::Stop;
use mover::machines::Known;
use mover::{Existing, Replacement, SafetyPoint, Stage};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use uuid::Uuid;
use vault::{Point, PointId, SessionId, Vault};

pub(crate) async fn run(output: &Output, args: ReplaceArgs) -> Result<()> {
    let vault = to_save_into(&args.vault, args.no_safety_point).await?;
    let point = open::point(&vault, &args.point).await?;
    let existing = existing(&point, args.uri).await?;
    let safety = (!args.no_safety_point).then(|| PointId(Uuid::now_v7()));
    let wishes = (Uuid::now_v7(), safety, wish(args.stop));
    let replacement = mover::plan_replacement(&point, vault.id().0, &existing, wishes).await?.begin()?;
    eprintln!("Restoring point {} of {} in its place", point.id, point.machine_name);
    eprintln!("The journal is {}", replacement.path().display());
    drive(output, &vault, replacement, args.scratch).await
}

pub(crate) async fn finish(output: &Output, args: FinishArgs) -> Result<()> {
    let replacement = Replacement::load(&args.journal)?;
    let vault = to_save_into(&args.vault, replacement.journal().safety.is_none()).await?;
    if vault.id().0 != replacement.journal().vault {
        return Err(Told::usage(
            "the point that is restored lies in another vault",
            format!("name the vault {}", replacement.journal().vault),
        ));
    }
    drive(output, &vault, replacement, args.scratch).await
}

pub(crate) async fn undo(output: &Output, args: UndoArgs) -> Result<()> {
    let mut replacement = Replacement::load(&args.journal)?;
    let watch = Watch::new();
    let show = |progress| watch.show(progress);
    let work = async { Ok(replacement.undo(wish(args.stop), &show).await?) };
    super::unless_interrupted("undoing the restore", work).await?;
    tell(output, &replacement)
}

pub(crate) fn remove(output: &Output, journal: &Path, yes: bool) -> Result<()> {
    let replacement = Replacement::load(journal)?;
    let kept = replacement.kept();
    if yes {
        replacement.remove_kept()?;
    }
    let value = serde_json::json!({ "files": kept, "removed": yes });
    output::print(output, &value, || {
        let files: String = kept.iter().map(|path| format!("{}\n", path.display())).collect();
        match yes {
            true => format!("Removed:\n{files}"),
            false => format!("These would be removed, with --yes:\n{files}"),
        }
    })
}

/// The vault, to write the safety point to.
async fn to_save_into(args: &VaultArgs, read_only: bool) -> Result<Arc<Vault>> {
    match read_only {
        true => open::vault(args).await,
        false => open::vault_to_write(args).await,
    }
}

fn wish(args: StopArgs) -> Option<Stop> {
    match args {
        StopArgs { power_off: true, .. } => Some(Stop::PowerOff),
        StopArgs { stop: true, .. } => Some(Stop::ShutDown),
        StopArgs { .. } => None,
    }
}

/// The machine that the point is of, as it is now.
async fn existing(point: &Point, uri: Option<String>) -> Result<Existing> {
    let uuid = point.description["uuid"].as_str();
    let name = uuid.unwrap_or(&point.machine_name).to_owned();
    if uri.is_some() || point.description["definition"].is_string() {
        return Ok(Existing::Libvirt { uri: uri.unwrap_or_else(|| THIS_LIBVIRT.to_owned()), name });
    }
    let mut meant = machines::find(None).await?.machines.into_iter().filter(|known| known.is_called(&name));
    match (meant.next(), meant.next()) {
        (None, _) => Ok(Existing::Off),
        (Some(Known::Qemu(address)), None) => Ok(Existing::Running(address)),
        _ => Err(Told::usage(
            format!("several machines are called {name}"),
            "shut down the one that is not meant",
        )),
    }
}

async fn drive(
    output: &Output,
    vault: &Arc<Vault>,
    mut replacement: Replacement,
    scratch: PathBuf,
) -> Result<()> {
    let safety = SafetyPoint {
        into: None,
        point: PointId(Uuid::now_v7()),
        session: SessionId(Uuid::now_v7()),
        service: serde_json::Value::Null,
        gate: None,
        scratch,
        clock: super::now,
    };
    let watch = Watch::new();
    let show = |progress| watch.show(progress);
    let work = async {
        while Box::pin(replacement.advance(vault, &safety, &show)).await? {}
        Ok(())
    };
    let done = super::unless_interrupted("the restore", work).await;
    open::warn_index(vault);
    if done.is_err() {
        let path = replacement.path().display();
        eprintln!(
            "`strongroom rescue restore finish {path}` goes on, `... restore undo {path}` takes it back"
        );
    }
    done?;
    tell(output, &replacement)
}

fn tell(output: &Output, replacement: &Replacement) -> Result<()> {
    let (journal, kept) = (replacement.journal(), replacement.kept());
    let value = serde_json::json!({
        "journal": replacement.path(),
        "stage": journal.stage,
        "point": journal.point,
        "safety_point": journal.safety,
        "kept": kept,
    });
    output::print(output, &value, || {
        let state = match journal.stage {
            Stage::Undone => "as it was before the restore",
            _ => "restored",
        };
        let safety = journal.safety.map_or_else(|| "none".to_owned(), |id| id.to_string());
        let files: String = kept.iter().map(|path| format!("  {}\n", path.display())).collect();
        let facts = output::facts(&[
            ("Machine", format!("{}: {state}", journal.machine_name)),
            ("State before", format!("point {safety}")),
            ("Journal", replacement.path().display().to_string()),
        ]);
        format!("{facts}Kept until `strongroom rescue restore remove`:\n{files}")
    })
}
