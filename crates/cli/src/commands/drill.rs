//! `strongroom rescue drill`.

use crate::args::DrillArgs;
use crate::failure::Told;
use crate::output::Output;
use crate::{open, output};
use anyhow::{Context, Result};
use model::drill::{DrillRecord, Verdict};
use mover::drill::{DrillRequest, DrillStep, Screenshot, Sign, drill};
use serde_json::Value;
use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::time::Duration;
use uuid::Uuid;

pub(crate) async fn run(output: &Output, args: DrillArgs) -> Result<()> {
    let checks = args.checks.checks().map_err(|what| Told::usage(what, ""))?;
    if let Some(path) = args.screenshot.as_deref().filter(|path| path.exists()) {
        anyhow::bail!("write the screenshot: {} is there already, and nothing is replaced", path.display());
    }
    let vault = open::vault(&args.vault).await?;
    let point = open::point(&vault, &args.point).await?;
    eprintln!("Trying out point {} of {}", point.id, point.machine_name);
    let id = point.id;
    let request = DrillRequest {
        id: Uuid::new_v4(),
        point,
        libvirt: args.libvirt,
        scratch: args.scratch,
        cpus: args.cpus,
        memory_bytes: args.memory.map(|mib| mib << 20),
        sign: args.console.map_or(Sign::Agent, Sign::Console),
        boot_limit: Duration::from_secs(args.timeout),
        checks,
    };
    let work = async { Ok(Box::pin(drill(&vault, &request, &show)).await?) };
    let drilled = super::unless_interrupted("the drill", work).await?;
    open::warn_index(&vault);
    let mut shown = serde_json::to_value(&drilled.record).expect("plain data");
    shown["point"] = id.to_string().into();
    if let Some(path) = &args.screenshot {
        shown["screenshot"] = save(path, drilled.screenshot.as_ref())?;
    }
    output::print(output, &shown, || table(&drilled.record))?;
    match &drilled.record.verdict {
        Verdict::Failed { .. } => {
            let hint = "an older point may be good: `strongroom rescue point list` shows them";
            Err(Told::job(None, format!("the point {id} {}", drilled.record.verdict), hint))
        }
        _ => Ok(()),
    }
}

fn show(step: DrillStep) {
    eprintln!(
        "{}",
        match step {
            DrillStep::Restore => "Making its disks",
            DrillStep::Boot => "Booting",
            DrillStep::Checks => "Running the checks",
            DrillStep::TearDown => "Tearing down",
        }
    );
}

/// Gives the file, or nothing if there was no screen.
fn save(path: &Path, screenshot: Option<&Screenshot>) -> Result<Value> {
    let Some(screenshot) = screenshot else {
        eprintln!("note: the machine has no screen, so there is no screenshot");
        return Ok(Value::Null);
    };
    let written = File::create_new(path).and_then(|mut file| file.write_all(&screenshot.bytes));
    written.with_context(|| format!("write the screenshot {}", path.display()))?;
    if path.extension().is_none_or(|ending| ending != screenshot.format) {
        eprintln!("note: the screenshot is a {}", screenshot.format);
    }
    Ok(path.display().to_string().into())
}

/// A drill's record in words.
pub(crate) fn table(record: &DrillRecord) -> String {
    let took = |ms: Option<u64>| ms.map_or("-".to_owned(), seconds);
    let mut text = output::facts(&[
        ("Verdict", record.verdict.to_string()),
        ("Guest", record.guest.clone().unwrap_or_else(|| "-".into())),
        ("Restored in", took(record.restore_ms)),
        ("Booted in", took(record.boot_ms)),
        ("Read from the vault", output::size(record.read_bytes)),
    ]);
    if !record.checks.is_empty() {
        let rows = record.checks.iter().map(|check| {
            let came = check.failure.clone().unwrap_or_else(|| "passed".into());
            let said = check.output.lines().next_back().unwrap_or_default().to_owned();
            vec![check.name.clone(), came, seconds(check.took_ms), said]
        });
        text += "\n";
        text += &output::table(&["CHECK", "CAME TO", "TOOK", "PRINTED"], &["TOOK"], rows);
    }
    for one in &record.left_out {
        text += &format!("Not as in the original: {one}\n");
    }
    if !record.verdict.is_good() && !record.console.is_empty() {
        text += &format!("\nThe end of its console:\n{}\n", record.console);
    }
    text
}

fn seconds(ms: u64) -> String {
    format!("{}.{} s", ms / 1000, ms % 1000 / 100)
}
