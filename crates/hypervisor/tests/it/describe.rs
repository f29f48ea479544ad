//! Machines found and described, with drives of every kind.

use crate::guest::{Guest, compare, pull, run};
use anyhow::{Context, Result};
use hypervisor::{ErrorKind, Machine, Outcome, Tracking, discover};
use serde_json::Value;
use std::process::Command;

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

#[tokio::test(flavor = "multi_thread")]
async fn a_machine_is_found_described_and_frozen_whatever_its_drives_are() -> Result<()> {
    let guest = tokio::task::block_in_place(|| {
        Guest::start("drives", |folder, options| {
            let text = |name: &str| {
                let path = folder.join(name);
                std::fs::write(&path, name.repeat(100_000)).unwrap();
                path.display().to_string()
            };
            let (old, bus, fixed) = (text("old.raw"), text("bus.raw"), text("fixed.raw"));
            for argument in [
                "-drive",
                &format!("if=virtio,format=raw,file={old}"),
                "-object",
                "iothread,id=io0",
                "-device",
                "virtio-scsi-pci,id=scsi0",
                "-drive",
                &format!("if=none,id=d1,format=raw,file={bus}"),
                "-device",
                "scsi-hd,drive=d1,id=bus-disk,bus=scsi0.0",
                "-device",
                "scsi-cd,bus=scsi0.0",
                "-drive",
                &format!("if=none,id=d2,format=raw,readonly=on,file={fixed}"),
                "-device",
                "virtio-blk-pci,drive=d2,id=fixed-disk",
            ] {
                options.arguments.push(argument.to_owned());
            }
        })
    })?;
    let options = guest.machine.options();
    let found = discover()?.into_iter().find(|found| found.pid == guest.machine.process_id());
    let found = found.context("not discovered")?;
    assert_eq!(found.name.as_deref(), Some("drives"));
    assert_eq!(found.uuid, Some(options.uuid.to_string()));
    assert!(found.qmp.contains(&guest.machine.qmp_socket()));
    assert_eq!(found.agent, Some(guest.machine.agent_socket()));

    let machine = Machine::connect(&found.qmp[0], found.agent.as_deref()).await?;
    let told = machine.describe().await?;
    assert_eq!((told.name.as_deref(), told.status.as_str(), told.cpus), (Some("drives"), "running", 1));
    assert_eq!((told.uuid.as_ref(), told.memory_bytes), (found.uuid.as_ref(), 512 << 20));
    assert_eq!(told.argv, found.argv);
    assert!(told.qemu.at_least(7, 1));
    let mut ids: Vec<&str> = told.disks.iter().map(|disk| disk.id.as_str()).collect();
    ids.sort_unstable();
    assert_eq!(ids, ["bus-disk", "d-disk0", "d-disk1", "virtio0"]);
    let reasons: Vec<(&str, &str)> =
        told.skipped.iter().map(|s| (s.id.as_str(), s.reason.as_str())).collect();
    assert!(reasons.contains(&("fixed-disk", "read-only")), "{reasons:?}");
    assert!(reasons.iter().any(|(_, reason)| *reason == "no medium"), "{reasons:?}");
    let stored = serde_json::to_string(&told)?;
    assert_eq!(serde_json::from_str::<hypervisor::MachineDescription>(&stored)?, told);

    let frozen = machine.freeze(guest.request("p1", None)).await?;
    assert_eq!(machine.describe().await?.disks, told.disks); // our filters are seen through
    for disk in frozen.disks().iter().filter(|disk| disk.format == "raw") {
        let name = if disk.id == "virtio0" { "old.raw" } else { "bus.raw" };
        let copy = guest.path("copy.raw");
        pull(disk, &copy)?;
        compare(&copy, &guest.path(name))?;
    }
    let parent = crate::guest::as_parent(&frozen);
    let released = frozen.release(Outcome::Committed).await;
    eprintln!("{released:?} {}", std::fs::read_to_string(guest.path("qemu.log"))?);
    released?;
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
    assert_eq!(
        machine.qmp().execute("no-such", Value::Null).await.unwrap_err().kind(),
        ErrorKind::Unsupported
    );
    drop(machine);
    // The images are whole.
    let image = guest.path("data0.qcow2");
    let folder = tokio::task::block_in_place(|| {
        let Guest { machine, folder } = guest;
        machine.quit().map(|()| folder)
    })?;
    run(Command::new("qemu-img").arg("check").arg(&image))?;
    drop(folder);
    Ok(())
}
