//! The engine itself, each work in a process of its own.

use super::table::{Figures, Row};
use super::{Place, drop_caches, limits};
use crate::data::Data;
use crate::timed::{sh, timed};
use anyhow::{Context, Result};
use serde_json::Value;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Command;

const PROGRAM: &str = "strongroom";
/// Sizes in GiB over which a day's cost must be flat.
const SPARSE_GIB: [&str; 4] = ["1", "10", "100", "10240"];
/// Points of the vault that is collected.
const POINTS: &str = "100";

/// What one operation printed.
pub(crate) fn op(arguments: &[&OsStr]) -> Result<(f64, Value)> {
    let program = std::env::current_exe().context("find this program")?;
    drop_caches()?;
    let (seconds, printed) = timed(Command::new(&program).arg("op").args(arguments))?;
    Ok((seconds, serde_json::from_slice(&printed)?))
}

fn figures(seconds: f64, done: &Value) -> Figures {
    Figures {
        seconds: done["work_seconds"].as_f64().unwrap_or(seconds),
        stored: done["stats"]["stored_bytes"].as_u64(),
        peak_mib: done["peak_mib"].as_u64(),
        requests: done["requests"].as_u64(),
    }
}

/// An empty vault.
pub(crate) fn create(vault: &Path) -> Result<()> {
    let shown = vault.display();
    let (key, cache) = (vault.with_extension("key"), vault.with_extension("cache"));
    sh(&format!("rm -rf {shown} {} {}", key.display(), cache.display()))?;
    op(&["create".as_ref(), vault.as_ref()]).map(drop)
}

/// What becomes of a vault with time, with disks' sizes, and with several movers.
pub(super) fn more(place: &Place<'_>, rows: &mut Vec<Row>) -> Result<()> {
    collection(place, rows)?;
    growth(place, rows)?;
    movers(place, rows)
}

/// From the first backup to the restore, each work right after its limit.
pub(super) fn life(place: &Place<'_>, rows: &mut Vec<Row>) -> Result<()> {
    let (vault, out) = (place.folder.join("ours"), place.folder.join("restored.raw"));
    let Data { used, day, changes, sibling, noise } = place.data;
    sh(&format!("rm -f {}", out.display()))?;
    create(&vault)?;
    let (vault, out_path): (&OsStr, &OsStr) = (vault.as_ref(), out.as_ref());
    let backup = |image: &Path, machine: &str| -> Vec<PathBuf> {
        ["backup".into(), vault.into(), image.to_owned(), "--machine".into(), machine.into()].into()
    };
    let mut known = backup(day, "machine");
    known.extend(["--changes".into(), changes.clone()]);
    let works: [(&str, Vec<PathBuf>); 7] = [
        ("full", backup(used, "machine")),
        ("day, changes known", known),
        ("day, read all", backup(day, "machine")),
        ("sibling", backup(sibling, "sibling")),
        ("noise", backup(noise, "noise")),
        ("restore", ["restore".into(), vault.into(), "--to".into(), out_path.into()].into()),
        ("verify", ["verify".into(), vault.into()].into()),
    ];
    for (work, arguments) in works {
        limits::measure(place, work, rows)?;
        let arguments: Vec<&OsStr> = arguments.iter().map(|path| path.as_os_str()).collect();
        let (seconds, done) = op(&arguments)?;
        Row::add(rows, PROGRAM, work, figures(seconds, &done));
    }
    sh(&format!("cmp {} {}", out.display(), day.display()))
        .context("the restored disk is the one of the day")?;
    sh(&format!("rm -f {}", out.display()))
}

/// Half of a hundred points deleted.
fn collection(place: &Place<'_>, rows: &mut Vec<Row>) -> Result<()> {
    let vault = place.folder.join("aged");
    create(&vault)?;
    op(&["age".as_ref(), vault.as_ref(), place.data.used.as_ref(), POINTS.as_ref()])?;
    let (seconds, done) = op(&["collect".as_ref(), vault.as_ref()])?;
    Row::add(rows, PROGRAM, "collect", figures(seconds, &done));
    Ok(())
}

/// The same change of one block on ever larger disks.
fn growth(place: &Place<'_>, rows: &mut Vec<Row>) -> Result<()> {
    let vault = place.folder.join("sparse");
    create(&vault)?;
    for gib in SPARSE_GIB {
        let (seconds, done) = op(&["sparse".as_ref(), vault.as_ref(), gib.as_ref()])?;
        Row::add(rows, PROGRAM, &format!("one block of {gib} GiB"), figures(seconds, &done));
    }
    Ok(())
}

/// Four movers into one vault, and into four.
fn movers(place: &Place<'_>, rows: &mut Vec<Row>) -> Result<()> {
    for (work, count) in [("4 movers, 1 vault", 1), ("4 movers, 4 vaults", 4)] {
        let vaults: Vec<PathBuf> = (0..count).map(|n| place.folder.join(format!("movers-{n}"))).collect();
        for vault in &vaults {
            create(vault)?;
        }
        let mut arguments: Vec<&OsStr> = vec!["movers".as_ref()];
        arguments.extend(vaults.iter().map(|vault| vault.as_os_str()));
        arguments.extend::<[&OsStr; 4]>([
            "--image".as_ref(),
            place.data.used.as_ref(),
            "--movers".as_ref(),
            "4".as_ref(),
        ]);
        let (seconds, done) = op(&arguments)?;
        Row::add(rows, PROGRAM, work, figures(seconds, &done));
        for vault in &vaults {
            sh(&format!("rm -rf {}", vault.display()))?;
        }
    }
    Ok(())
}
