//! Machines found and described, with drives of every kind.

use crate::guest::{Guest, compare, pull, run};
use anyhow::{Context, Result};
use hypervisor::qemu::{MachineAddress, QemuMachine, discover};
use hypervisor::{ErrorKind, Machine, MachineDescription, Outcome, Tracking};
use serde_json::Value;
use std::path::Path;
use std::process::Command;
use testkit::MachineOptions;

/// Its export would kill QEMU before 9.0, so such a machine is refused before anything is done.
#[tokio::test(flavor = "multi_thread")]
async fn disks_with_iothreads_are_refused_by_a_qemu_that_would_die_of_them() -> Result<()> {
    let on_controller = ["virtio-scsi-pci,id=scsi0,iothread=io0", "scsi-hd,drive=more,bus=scsi0.0"];
    let on_device = ["virtio-blk-pci,drive=more,iothread=io0"];
    for devices in [&on_controller[..], &on_device[..]] {
        let guest = tokio::task::block_in_place(|| {
            Guest::start("iothread", |folder, options| {
                let file = folder.join("more.raw");
                std::fs::write(&file, [0; 65536]).unwrap();
                let drive = format!("if=none,id=more,format=raw,file={}", file.display());
                options.arguments.extend(["-object", "iothread,id=io0", "-drive", &drive].map(str::to_owned));
                options
                    .arguments
                    .extend(devices.iter().flat_map(|device| ["-device", device]).map(str::to_owned));
            })
        })?;
        let machine = guest.connect().await?;
        match machine.freeze(guest.request("p1", None)).await {
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::Unsupported, "{error}");
                assert!(error.to_string().contains("iothread"));
            }
            Ok(frozen) => {
                assert!(machine.qmp().version().at_least(9, 0));
                for disk in frozen.disks() {
                    pull(disk, &guest.path("copy.raw"))?;
                }
                frozen.release(Outcome::Abandoned).await?;
            }
        }
        guest.assert_untouched()?;
    }
    Ok(())
}

/// The usual two disks, an old-style drive, one on a bus, an empty CD drive, and one that cannot be written. An
/// iothread is there, which no disk uses.
fn with_drives_of_every_kind(folder: &Path, options: &mut MachineOptions) {
    let text = |name: &str| {
        let path = folder.join(name);
        std::fs::write(&path, name.repeat(100_000)).expect("a file in a temporary folder");
        path.display().to_string()
    };
    let (old, bus, fixed) = (text("old.raw"), text("bus.raw"), text("fixed.raw"));
    let pairs = [
        ("-drive", format!("if=virtio,format=raw,file={old}")),
        ("-object", "iothread,id=io0".to_owned()),
        ("-device", "virtio-scsi-pci,id=scsi0".to_owned()),
        ("-drive", format!("if=none,id=d1,format=raw,file={bus}")),
        ("-device", "scsi-hd,drive=d1,id=bus-disk,bus=scsi0.0".to_owned()),
        ("-device", "scsi-cd,bus=scsi0.0".to_owned()),
        ("-drive", format!("if=none,id=d2,format=raw,readonly=on,file={fixed}")),
        ("-device", "virtio-blk-pci,drive=d2,id=fixed-disk".to_owned()),
    ];
    options.arguments.extend(pairs.into_iter().flat_map(|(option, value)| [option.to_owned(), value]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_machine_is_found_described_and_frozen_whatever_its_drives_are() -> Result<()> {
    let guest = tokio::task::block_in_place(|| Guest::start("drives", with_drives_of_every_kind))?;
    let found = discover()?.into_iter().find(|found| found.pid == guest.machine.process_id());
    let found = found.context("not discovered")?;
    assert_eq!(found.name.as_deref(), Some("drives"));
    assert_eq!(found.uuid, Some(guest.machine.options().uuid.to_string()));
    assert!(found.qmp.contains(&guest.machine.qmp_socket()));
    assert_eq!(found.agent, Some(guest.machine.agent_socket()));
    let machine = QemuMachine::connect(&found.qmp[0], found.agent.as_deref()).await?;
    let told = machine.describe().await?;
    assert_described(&told, &found)?;

    let frozen = machine.freeze(guest.request("p1", None)).await?;
    assert_eq!(machine.describe().await?.disks, told.disks); // our filters are seen through
    for disk in frozen.disks().iter().filter(|disk| disk.format == "raw") {
        let name = if disk.id == "virtio0" { "old.raw" } else { "bus.raw" };
        let copy = guest.path("copy.raw");
        pull(disk, &copy)?;
        compare(&copy, &guest.path(name))?;
    }
    let parent = crate::guest::as_parent(&frozen);
    frozen.release(Outcome::Committed).await?;
    guest.assert_untouched()?;

    // A disk that grew is read whole, the others are not.
    guest.qmp("block_resize", serde_json::json!({ "node-name": "disk1", "size": 640 << 20 }))?;
    let frozen = machine.freeze(guest.request_after("p2", Some(parent))).await?;
    for disk in frozen.disks() {
        match &disk.tracking {
            Tracking::Full { reason } => assert!(disk.id == "d-disk1" && reason.contains("size"), "{disk:?}"),
            Tracking::Incremental { .. } => assert_ne!(disk.id, "d-disk1"),
        }
    }
    assert!(frozen.disks().iter().any(|disk| disk.tracking.bitmap().is_none()));
    frozen.release(Outcome::Abandoned).await?;
    guest.assert_untouched()?;
    let unknown = machine.qmp().execute("no-such", Value::Null).await;
    assert!(unknown.is_err_and(|error| error.kind() == ErrorKind::Unsupported));
    drop(machine);

    // The images are whole.
    let image = guest.path("data0.qcow2");
    let Guest { machine, folder } = guest;
    tokio::task::block_in_place(|| machine.quit())?;
    run(Command::new("qemu-img").arg("check").arg(&image))?;
    drop(folder);
    Ok(())
}

fn assert_described(told: &MachineDescription, found: &MachineAddress) -> Result<()> {
    assert_eq!((told.name.as_deref(), told.status.as_str(), told.cpus), (Some("drives"), "running", 1));
    assert_eq!((told.uuid.as_ref(), told.memory_bytes), (found.uuid.as_ref(), 512 << 20));
    assert_eq!(told.argv, found.argv);
    assert!(told.qemu.at_least(7, 1));
    let mut ids: Vec<&str> = told.disks.iter().map(|disk| disk.id.as_str()).collect();
    ids.sort_unstable();
    assert_eq!(ids, ["bus-disk", "d-disk0", "d-disk1", "virtio0"]);
    let skipped = |reason: &str| told.skipped.iter().find(|drive| drive.reason == reason);
    assert_eq!(skipped("read-only").map(|drive| drive.id.as_str()), Some("fixed-disk"));
    assert!(skipped("no medium").is_some(), "{:?}", told.skipped);
    let stored = serde_json::to_string(told)?;
    assert_eq!(&serde_json::from_str::<MachineDescription>(&stored)?, told);
    Ok(())
}
