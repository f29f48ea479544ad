//! What came of one of many, each by itself.

use super::words::word;
use crate::failure::Told;
use crate::output::{self, Output};
use anyhow::Result;
use api::BulkOutcome;
use uuid::Uuid;

/// Prints what went well, and fails if something did not.
pub(super) fn print(
    output: &Output,
    outcomes: &[BulkOutcome],
    named: &dyn Fn(Uuid) -> Option<String>,
) -> Result<()> {
    let failed: Vec<_> = outcomes.iter().filter_map(|one| Some((one, one.problem.as_ref()?))).collect();
    for (one, problem) in &failed {
        eprintln!("{}: {}", name(one, named), problem.detail);
        if let Some(hint) = &problem.hint {
            eprintln!("  try: {hint}");
        }
    }
    if let [(_, problem), rest @ ..] = &failed[..]
        && failed.len() == outcomes.len()
    {
        let what = format!("none of {} was changed: {}", rest.len() + 1, problem.detail);
        return Err(Told::state(what, problem.hint.clone().unwrap_or_default()));
    }
    output::print(output, &outcomes, || table(outcomes, named))?;
    if failed.is_empty() {
        return Ok(());
    }
    let what = format!("{} of {} were not changed; why is told above", failed.len(), outcomes.len());
    Err(Told::state(what, ""))
}

fn name(one: &BulkOutcome, named: &dyn Fn(Uuid) -> Option<String>) -> String {
    let item = one.item.as_ref().map(|item| item.name.clone());
    item.or_else(|| named(one.id)).unwrap_or_else(|| one.id.to_string())
}

fn table(outcomes: &[BulkOutcome], named: &dyn Fn(Uuid) -> Option<String>) -> String {
    let rows = outcomes.iter().map(|one| {
        let (state, next) = match &one.item {
            Some(item) => (word(&item.state), super::words::when(item.next_backup)),
            None => ("not changed".to_owned(), "-".to_owned()),
        };
        vec![name(one, named), state, next]
    });
    output::table(&["MACHINE", "STATE", "NEXT BACKUP"], &[], rows)
}
