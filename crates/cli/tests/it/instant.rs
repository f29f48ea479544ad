//! All disks of a point show one instant while the guest writes to them without a pause.

use crate::guest::Guest;
use crate::scene::{Scene, tracking};
use anyhow::{Result, ensure};
use testkit::oracle::{self, COUNTER_FILE};

#[test]
fn both_disks_are_of_one_instant() -> Result<()> {
    let scene = Scene::new()?;
    let guest = Guest::boot(Guest::options(&scene, "instant")?)?;
    // Once to its end, so that the files are there before the first point.
    let count = format!("guest-probe seq /data0/{COUNTER_FILE} /data1/{COUNTER_FILE}");
    guest.sh(&format!("{count} 1"))?;
    guest.machine.agent().start(&format!("{count} >/dev/null 2>&1"))?;
    let mut counted = 0;
    // A power cut is the harder case: nothing but the window holds the two disks together.
    for (index, consistency) in ["application", "crash", "file-system"].into_iter().enumerate() {
        let point = scene.try_backup(guest.name(), &["--consistency", consistency])?.json()?;
        let incremental = tracking(&point).iter().all(|how| *how == "only changes");
        ensure!(incremental == (index > 0), "{point}");
        // No script stands behind the hook, so nothing is proved of applications.
        let level = if consistency == "crash" { "crash" } else { "file-system" };
        ensure!(point["consistency"]["level"] == level, "{point}");
        let images = scene.restore(&point, &format!("point{index}"), "raw")?;
        let counters = oracle::check(&images[0], &images[1])?;
        ensure!(counters.b > counted, "{counters:?} after {counted}");
        counted = counters.a;
        guest.assert_at_work(&scene, Some(&point))?;
    }
    guest.quit_and_check()
}
