//! A scratch folder that fills up hurts the backup, never the guest.

use crate::guest::{Guest, pull, run};
use anyhow::Result;
use hypervisor::{ErrorKind, FreezeRequest, Machine, Outcome};
use std::path::{Path, PathBuf};
use std::process::Command;

struct TinyFolder(PathBuf);

impl TinyFolder {
    fn mount(path: &Path) -> Result<Self> {
        std::fs::create_dir(path)?;
        run(Command::new("mount").args(["-t", "tmpfs", "-o", "size=1m", "tmpfs"]).arg(path))?;
        Ok(Self(path.to_owned()))
    }
}

impl Drop for TinyFolder {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("--lazy").arg(&self.0).status();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_scratch_folder_breaks_the_snapshot_only() -> Result<()> {
    let guest = tokio::task::block_in_place(|| Guest::start("tiny", |_, _| ()))?;
    let machine = guest.connect().await?;
    guest.write(1)?;
    let tiny = TinyFolder::mount(&guest.path("tiny"))?;
    let request = FreezeRequest { scratch: tiny.0.clone(), ..guest.request("p1", None) };
    let frozen = machine.freeze(request).await?;
    frozen.check().await?;
    guest.write(2)?;
    let error = frozen.check().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Broken, "{error}");
    let pulled: Vec<bool> =
        frozen.disks().iter().map(|disk| pull(disk, &guest.path("pulled.raw")).is_ok()).collect();
    assert!(pulled.contains(&false));
    let complaints = guest.sh("dmesg | grep -ciE 'i/o error|remount' || true")?;
    assert_eq!(complaints.trim(), "0");
    frozen.release(Outcome::Abandoned).await?;
    assert_eq!(std::fs::read_dir(&tiny.0)?.count(), 0);
    guest.assert_untouched()?;

    // The same in an incremental, where only changes are saved.
    let parent = machine.freeze(guest.request("p2", None)).await?;
    let after = crate::guest::as_parent(&parent);
    parent.release(Outcome::Committed).await?;
    guest.write(3)?;
    let request = FreezeRequest { scratch: tiny.0.clone(), ..guest.request_after("p3", Some(after)) };
    let frozen = machine.freeze(request).await?;
    frozen.check().await?;
    guest.write(3)?; // the same places again
    assert_eq!(frozen.check().await.unwrap_err().kind(), ErrorKind::Broken);
    frozen.release(Outcome::Abandoned).await?;
    guest.assert_untouched()
}
