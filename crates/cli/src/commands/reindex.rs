//! `strongroom rescue vault reindex`.

use crate::args::VaultArgs;
use crate::failure::Told;
use crate::output::Output;
use crate::watch::Watch;
use crate::{open, output};
use anyhow::{Context, Result};
use mover::Progress;

pub(crate) async fn run(output: &Output, args: &VaultArgs) -> Result<()> {
    let vault = open::vault(args).await?;
    let watch = Watch::new();
    let advance = |bytes| watch.show(Progress::Advance(bytes));
    let done = vault.rebuild_index(&advance).await.context("rebuild the vault's index")?;
    let damage =
        done.damage.iter().map(|one| serde_json::json!({ "object": one.object, "found": one.found }));
    let value = serde_json::json!({
        "packs": done.packs, "chunks": done.chunks, "replaced": done.replaced,
        "damage": damage.collect::<Vec<_>>(),
    });
    output::print(output, &value, || {
        let mut text = output::facts(&[
            ("Read", format!("the tables of {} packs", done.packs)),
            ("Chunks", done.chunks.to_string()),
            ("Replaced", format!("{} runs of the old index", done.replaced)),
            ("Damaged", done.damage.len().to_string()),
        ]);
        for damage in &done.damage {
            text += &format!("\n{}: {}", damage.object, damage.found);
        }
        text
    })?;
    if done.damage.is_empty() {
        return Ok(());
    }
    let what =
        format!("{} packs could not be read; the index says all that the others hold", done.damage.len());
    Err(Told::corrupt(what, "`strongroom rescue vault verify` tells which points they hurt"))
}
