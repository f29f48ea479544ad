//! What a change would do to the points that are there, shown before it is made.

use super::confirm::{Undo, Yes, confirm};
use super::words::{count, when};
use crate::failure::Told;
use crate::output;
use anyhow::Result;
use api::DryRun;

/// The whole of it, for people.
pub(super) fn in_words(run: &DryRun) -> String {
    let mut text = output::facts(&[
        ("Lost at once", run.lost.to_string()),
        ("Expire sooner", run.shorter.to_string()),
        ("Kept longer", run.longer.to_string()),
        ("As before", run.same.to_string()),
    ]);
    let points = run.items.iter().flat_map(|item| item.points.iter().map(move |point| (item, point)));
    let rows: Vec<_> = points
        .map(|(item, point)| {
            vec![
                item.name.clone(),
                output::instant(point.taken),
                point.tier.clone(),
                point.change.clone(),
                when(point.before),
                when(point.after),
                point.point.to_string(),
            ]
        })
        .collect();
    if !rows.is_empty() {
        text += "\n";
        let heading = ["MACHINE", "POINT OF", "TIER", "CHANGE", "EXPIRES NOW", "WOULD EXPIRE", "ID"];
        text += &output::table(&heading, &[], rows);
    }
    if run.cut {
        text += "... and more, which are counted above\n";
    }
    if !run.allowed {
        text += "\nThe vault is immutable: it does not let this happen.\n";
    }
    text
}

/// Shows it, and asks if anything is lost or shortened by it.
pub(super) fn accept(run: &DryRun, yes: Yes) -> Result<()> {
    if !run.allowed {
        eprint!("{}", in_words(run));
        let hint = "a rule that keeps everything at least as long is allowed";
        return Err(Told::state("the vault is immutable: nothing may be lost or shortened", hint));
    }
    if run.lost == 0 && run.shorter == 0 {
        let longer = count(run.longer, "point");
        eprintln!("No point is lost by it, none expires sooner; {longer} will be kept longer.");
        return Ok(());
    }
    // What expires sooner can be kept after all by changing back in time.
    let undo = if run.lost > 0 { Undo::Impossible } else { Undo::Possible };
    confirm(yes, undo, &in_words(run))
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOBODY_SAID_YES: Yes = Yes { yes: false };

    #[test]
    fn what_loses_nothing_is_not_asked_about_and_what_is_forbidden_not_done() {
        let run = DryRun { allowed: true, longer: 3, ..DryRun::default() };
        assert!(accept(&run, NOBODY_SAID_YES).is_ok());
        assert!(accept(&DryRun { allowed: false, shorter: 1, ..run }, Yes { yes: true }).is_err());
    }

    #[test]
    fn every_number_is_told() {
        let run = DryRun { lost: 11, shorter: 22, longer: 33, same: 44, allowed: false, ..DryRun::default() };
        let text = in_words(&run);
        assert!(["11", "22", "33", "44", "immutable"].iter().all(|part| text.contains(part)), "{text}");
    }
}
