//! `strongroom rescue vault verify`.

use crate::args::VaultArgs;
use crate::failure::Told;
use crate::output::Output;
use crate::watch::Watch;
use crate::{open, output};
use anyhow::{Context, Result};
use mover::Progress;
use vault::Verified;

pub(crate) async fn run(output: &Output, args: &VaultArgs, scrub: bool) -> Result<()> {
    let watch = Watch::new();
    let advance = |bytes| watch.show(Progress::Advance(bytes));
    let done = if scrub {
        let store = open::store(&args.vault).await.context("open the store")?;
        vault::Vault::info_of(&store).await.context("open the vault")?;
        vault::scrub(&store, &advance).await.context("scrub the vault")?
    } else {
        let vault = open::vault(args).await?;
        vault.verify(&advance).await.context("verify the vault")?
    };
    output::print(output, &value(&done), || table(&done))?;
    if done.damage.is_empty() {
        return Ok(());
    }
    let what = format!("{} objects are damaged or missing", done.damage.len());
    Err(Told::corrupt(
        what,
        "points that are not listed are whole; `strongroom rescue vault repair` shows what can be put right",
    ))
}

pub(super) fn value(done: &Verified) -> serde_json::Value {
    let damage =
        done.damage.iter().map(|one| serde_json::json!({ "object": one.object, "found": one.found }));
    let points = done.points.iter().map(|hurt| {
        let ranges = hurt.ranges.iter().map(|range| serde_json::json!({ "offset": range.start, "length": range.end - range.start }));
        serde_json::json!({
            "point": hurt.point, "machine": hurt.machine_name, "disk": hurt.disk, "ranges": ranges.collect::<Vec<_>>(),
        })
    });
    serde_json::json!({
        "objects": done.objects, "bytes": done.bytes, "chunks": done.chunks,
        "damage": damage.collect::<Vec<_>>(), "points": points.collect::<Vec<_>>(),
    })
}

pub(super) fn table(done: &Verified) -> String {
    let mut text = output::facts(&[
        ("Read", format!("{} in {} objects", output::size(done.bytes), done.objects)),
        ("Opened", format!("{} chunks", done.chunks)),
        ("Damaged", done.damage.len().to_string()),
    ]);
    for damage in &done.damage {
        text += &format!("\n{}: {}", damage.object, damage.found);
    }
    if !done.points.is_empty() {
        let rows = done.points.iter().map(|hurt| {
            let bytes: u64 = hurt.ranges.iter().map(|range| range.end - range.start).sum();
            let first = hurt.ranges.first().map_or(0, |range| range.start);
            vec![
                hurt.point.to_string(),
                hurt.machine_name.clone(),
                hurt.disk.clone(),
                output::size(bytes),
                format!("{} ranges from byte {first}", hurt.ranges.len()),
            ]
        });
        text += "\n\n";
        text += &output::table(&["POINT", "MACHINE", "DISK", "LOST", "WHERE"], &["LOST"], rows);
    }
    text
}
