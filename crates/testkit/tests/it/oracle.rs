//! The oracle accepts disks of one instant, and only those.

use std::path::{Path, PathBuf};
use std::time::Duration;
use testkit::{Format, GuestDisk, GuestMachine, MachineOptions, copy_image, oracle};

#[test]
fn a_power_cut_leaves_one_instant_and_a_mixture_is_found() {
    let folder = tempfile::tempdir().unwrap();
    let disks = crate::image().fresh_disks(folder.path(), Format::Qcow2).unwrap();
    let early = cut_while_counting(folder.path(), &disks, "early");
    let first = oracle::check(&early[0], &early[1]).unwrap();
    assert!(first.a > 0);
    let late = cut_while_counting(folder.path(), &disks, "late");
    let second = oracle::check(&late[0], &late[1]).unwrap();
    assert!(second.b > first.a, "{first:?} then {second:?}");
    let mixed = oracle::check(&late[0], &early[1]).unwrap_err().to_string();
    assert!(mixed.contains("not of one instant"), "{mixed}");
}

/// Boots, counts on both disks, ends QEMU in the middle, and returns raw copies.
fn cut_while_counting(folder: &Path, disks: &[GuestDisk], name: &str) -> [PathBuf; 2] {
    let options = MachineOptions::new(name, folder, disks.to_vec()).without_postgres();
    let machine = GuestMachine::start(crate::image(), options).unwrap();
    machine.wait_agent(crate::BOOT).unwrap();
    assert_eq!(machine.sh("guest-probe seq /data0/seq /data1/seq 1").unwrap().0, 0);
    machine.agent().start("guest-probe seq /data0/seq /data1/seq >/dev/null 2>&1").unwrap();
    let written = machine.sh("guest-probe lat /data0/noise 1048576 1 4096").unwrap();
    assert!(written.1.contains("\"p99\""), "{written:?}");
    machine.quit().unwrap();
    [0, 1].map(|index| {
        let raw = folder.join(format!("{name}{index}.raw"));
        copy_image((disks[index].path.as_ref().unwrap(), Format::Qcow2), (&raw, Format::Raw)).unwrap();
        raw
    })
}

#[test]
fn the_probe_fills_and_rewrites_repeatably() {
    let folder = tempfile::tempdir().unwrap();
    let mut options = MachineOptions::new("probe", folder.path(), Vec::new()).without_postgres();
    options.mounts.clear();
    let machine = GuestMachine::start(crate::image(), options).unwrap();
    machine.wait_agent(Duration::from_secs(120)).unwrap();
    let make =
        "guest-probe fill /tmp/$f 300001 7 && guest-probe rndw /tmp/$f 300001 9 4096 8 && md5sum </tmp/$f";
    let (code, sums) = machine.sh(&format!("for f in a b; do {make}; done; wc -c </tmp/a")).unwrap();
    let lines: Vec<&str> = sums.lines().collect();
    assert_eq!((code, lines[0], lines[2]), (0, lines[1], "300001"), "{sums}");
}
