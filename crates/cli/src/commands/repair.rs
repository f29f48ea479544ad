//! `strongroom rescue vault repair`.

use super::verify;
use crate::args::VaultArgs;
use crate::failure::Told;
use crate::output::Output;
use crate::watch::Watch;
use crate::{open, output};
use anyhow::{Context, Result};
use mover::Progress;
use vault::{Repaired, StoreAddress, Verified};

pub(crate) async fn run(
    output: &Output,
    args: &VaultArgs,
    from: Option<StoreAddress>,
    yes: bool,
) -> Result<()> {
    let vault = open::vault_to_write(args).await?;
    let other = match &from {
        Some(location) => Some(open::vault_at(location, &args.key).await?),
        None => None,
    };
    let watch = Watch::new();
    let found =
        vault.verify(&|bytes| watch.show(Progress::Advance(bytes))).await.context("verify the vault")?;
    let mut value = verify::value(&found);
    if !yes || found.damage.is_empty() {
        output::print(output, &value, || verify::table(&found))?;
        if !found.damage.is_empty() {
            eprintln!("Nothing was changed. Add --yes to repair it.");
        }
        return Ok(());
    }
    let done = vault.repair(&found, other.as_deref(), super::now()).await.context("repair the vault")?;
    value["repaired"] = serde_json::json!({
        "quarantined": done.quarantined, "saved": done.saved, "from_other": done.from_other, "lost": done.lost,
    });
    output::print(output, &value, || table(&found, &done))?;
    if done.lost == 0 {
        return Ok(());
    }
    let what = format!("of {} chunks no whole copy was found", done.lost);
    Err(Told::corrupt(
        what,
        "`strongroom rescue backup --full` of the machine stores what it still has of them again",
    ))
}

fn table(found: &Verified, done: &Repaired) -> String {
    let facts = output::facts(&[
        ("Not built on any more", format!("{} packs", done.quarantined)),
        ("Saved", format!("{} chunks, {} of them from the other store", done.saved, done.from_other)),
        ("Not found whole anywhere", format!("{} chunks", done.lost)),
    ]);
    format!("{}\n{facts}", verify::table(found))
}
