//! That what is read is what was there, byte for byte.

use crate::guest::{Guest, apply_changes, as_parent, compare, pull};
use anyhow::Result;
use hypervisor::{FrozenMachine, Outcome, Tracking};
use std::path::PathBuf;

/// Freezes the paused machine, lets it run and write, and returns the frozen machine with what it should show.
async fn freeze_paused(
    guest: &Guest,
    machine: &dyn hypervisor::Machine,
    request: hypervisor::FreezeRequest,
) -> Result<(FrozenMachine, Vec<PathBuf>)> {
    tokio::task::block_in_place(|| guest.machine.pause())?;
    let frozen = machine.freeze(request).await?;
    let expected = guest.copy_paused()?;
    tokio::task::block_in_place(|| guest.machine.resume())?;
    Ok((frozen, expected))
}

#[tokio::test(flavor = "multi_thread")]
async fn full_and_incremental_points_equal_the_paused_disks() -> Result<()> {
    let guest = tokio::task::block_in_place(|| Guest::start("bytes", |_, _| ()))?;
    let machine = guest.connect().await?;
    let copies = [guest.path("copy0.raw"), guest.path("copy1.raw")];
    guest.write(1)?;

    // Everything.
    let (full, expected) = freeze_paused(&guest, &machine, guest.request("point-1", None)).await?;
    guest.write(2)?;
    for ((disk, copy), expected) in full.disks().iter().zip(&copies).zip(&expected) {
        assert!(matches!(disk.tracking, Tracking::Full { .. }) && disk.allocation && disk.bitmap.is_none());
        pull(disk, copy)?;
        compare(copy, expected)?;
    }
    full.check().await?;
    let first = as_parent(&full);
    full.release(Outcome::Committed).await?;
    guest.assert_untouched()?;
    let of = |point: &str, disk: &str| format!("strongroom:{}:{point}:d-{disk}", crate::guest::VAULT);
    let chain = |point: &str| of(point, "disk0");
    assert_eq!(guest.bitmaps("disk0")?.into_iter().collect::<Vec<_>>(), [(chain("point-1"), true)]);

    // An incremental that nobody commits.
    let (abandoned, _) =
        freeze_paused(&guest, &machine, guest.request_after("point-2", Some(first.clone()))).await?;
    assert_eq!(abandoned.disks()[1].bitmap, Some(of("point-1", "disk1")));
    guest.write(3)?;
    abandoned.check().await?;
    abandoned.release(Outcome::Abandoned).await?;
    guest.assert_untouched()?;
    assert_eq!(guest.bitmaps("disk1")?.into_iter().collect::<Vec<_>>(), [(of("point-1", "disk1"), true)]);

    // The next holds what both missed, and little else.
    guest.write(4)?;
    let (next, expected) =
        freeze_paused(&guest, &machine, guest.request_after("point-3", Some(first))).await?;
    guest.write(5)?;
    for ((disk, copy), expected) in next.disks().iter().zip(&copies).zip(&expected) {
        assert!(!disk.allocation);
        let read = apply_changes(disk, copy).await?;
        assert!((1..100 << 20).contains(&read), "{} bytes of {} were read", read, disk.size);
        compare(copy, expected)?;
    }
    next.check().await?;
    next.release(Outcome::Committed).await?;
    guest.assert_untouched()?;
    assert_eq!(guest.bitmaps("disk0")?.into_iter().collect::<Vec<_>>(), [(chain("point-3"), true)]);
    Ok(())
}
