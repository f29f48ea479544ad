//! Flash memory: frozen at the instant of the disks, like any drive.

use crate::guest::{VAULT, pull};
use anyhow::{Result, ensure};
use hypervisor::qemu::QemuMachine;
use hypervisor::{FirmwareKind, FreezeRequest, Level, Machine, Outcome};
use serde_json::json;
use testkit::{Format, GuestImage, GuestMachine, MachineOptions};

const BYTES: usize = 540_672;

#[tokio::test(flavor = "multi_thread")]
async fn flash_written_after_the_instant_shows_as_it_was() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let path = |name: &str| folder.path().join(name);
    let (code, vars) = (path("code.fd"), path("vars.fd"));
    std::fs::write(&code, vec![0; 1 << 20])?;
    std::fs::write(&vars, vec![0x5a; BYTES])?;
    std::fs::create_dir(path("scratch"))?;
    let machine = tokio::task::block_in_place(|| {
        let image = GuestImage::build(&testkit::default_cache(), &testkit::to_stderr)?;
        let disks = image.fresh_disks(folder.path(), Format::Qcow2)?;
        let mut options = MachineOptions::new("flash", folder.path(), disks).without_postgres();
        let flash = |unit: u32, more: &str, file: &std::path::Path| {
            ["-drive".to_owned(), format!("if=pflash,unit={unit},format=raw{more},file={}", file.display())]
        };
        // Its processors never run: what is on the flash is nobody's firmware.
        options.arguments.push("-S".into());
        options.arguments.extend(flash(0, ",readonly=on", &code));
        options.arguments.extend(flash(1, "", &vars));
        GuestMachine::start(&image, options)
    })?;
    let connected = QemuMachine::connect(&machine.qmp_socket(), None).await?;
    let request = FreezeRequest { wish: Level::Crash, ..FreezeRequest::new("p1", VAULT, path("scratch")) };
    let frozen = connected.freeze(request).await?;
    let firmware = &frozen.description().firmware;
    ensure!(firmware.len() == 1 && firmware[0].kind == FirmwareKind::Nvram, "{firmware:?}");
    ensure!(firmware[0].name == "pflash1" && firmware[0].file == vars.display().to_string());
    // As its device would.
    let write = json!({ "command-line": "qemu-io pflash1 \"write -P 0x77 60k 200k\"" });
    tokio::task::block_in_place(|| machine.qmp("human-monitor-command", write))?;
    ensure!(std::fs::read(&vars)?[100 << 10] == 0x77, "the write did not reach the file");
    let disk = frozen.disks().iter().find(|disk| disk.id == "pflash1").expect("a frozen disk");
    pull(disk, &path("copy"))?;
    ensure!(std::fs::read(path("copy"))? == vec![0x5a; BYTES], "it is not as it was at the instant");
    frozen.check().await?;
    frozen.release(Outcome::Committed).await?;
    Ok(())
}
