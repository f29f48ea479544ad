//! A machine that runs at once on its point, in a mover's order: made, then followed until its data is all there.
//!
//! The folder's journal names the job. A mover that stopped, or died, is followed by the next claim, which serves again
//! and lets a guest run on that had to wait; a job that is cancelled leaves folder and machine as they are, for
//! `strongroom rescue instant`.

use super::failure::Result;
use super::machine::{request, told};
use super::nearest::find_nearest;
use super::order::Run;
use super::restore::Wanted;
use crate::Progress;
use crate::instant::{InstantMachine, InstantOptions, InstantProgress, InstantRequest, InstantRestore};
use model::job::Step;
use serde_json::json;
use std::collections::BTreeMap;
use std::sync::Mutex;

/// Makes the machine, and stays until it needs nobody.
pub(super) async fn restore(run: &Run, wanted: &Wanted<'_>, machine: &api::NewMachine) -> Result<()> {
    let (vault, point) = find_nearest(run, wanted.item, wanted.point).await?;
    let planned = request(run, wanted, machine, &point);
    let machine = InstantMachine { recreation: planned.recreation, place: planned.place, start: true };
    let asked = InstantRequest {
        point,
        folder: wanted.folder.to_owned(),
        vault: run.order.vault.location.clone(),
        door: None,
        run_folder: None,
        job: Some(run.order.job.0),
        patience: InstantRequest::PATIENCE,
    };
    let options = InstantOptions { limit: None, cache: Some(run.settings().cache()) };
    let tell = |progress| run.lease.progress(progress);
    let begun = InstantRestore::start_machine(&vault, &asked, &machine, &options, &tell).await?;
    let (restore, defined) = begun;
    let files: Vec<_> = restore.journal().disks.iter().map(|disk| disk.image.clone()).collect();
    let result = json!({ "files": files, "machine": told(run, defined)? });
    if run.order.steps_done == 0 {
        run.lease.step_done(Step::DefineMachine, Some(result.clone()));
    }
    follow(run, restore).await?;
    run.lease.step_done(Step::FollowData, Some(result));
    Ok(())
}

async fn follow(run: &Run, restore: InstantRestore) -> Result<()> {
    let total = restore.journal().disks.iter().map(|disk| disk.size).sum();
    run.lease.begin(&Step::FollowData.to_string(), total);
    let done = Mutex::new(BTreeMap::new());
    let tell = |progress| match progress {
        InstantProgress::Disk { name, done: now, .. } => {
            let before = done.lock().expect("no holder panics").insert(name, now).unwrap_or(0);
            run.lease.progress(Progress::Advance(now.saturating_sub(before)));
        }
        InstantProgress::Waiting(why) => {
            run.lease.progress(Progress::Step(format!("Wait for the machine: {why}")));
        }
        InstantProgress::Reached => run.lease.progress(Progress::Step(Step::FollowData.to_string())),
        InstantProgress::Unreadable(disk) => {
            run.lease.warn(format!(
                "the vault cannot be read for disk {disk}: the guest waits, it is tried again"
            ));
        }
        InstantProgress::RanOn => run.lease.warn("the guest stood still for a disk, and runs on".into()),
        InstantProgress::Whole(_) => {}
    };
    restore.follow(&tell).await?;
    Ok(())
}
