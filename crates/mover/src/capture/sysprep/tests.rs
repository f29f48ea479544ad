//! What the program is run with, and what is told when it fails; programs of our own stand in for it.

use super::*;
use hypervisor::DiskDescription;
use hypervisor::offline::{Format, Image};
use std::fs;

/// A shell that runs this script, with the arguments: no file that somebody else's fork may have open.
fn stand_in(script: &str, runs: Vec<Vec<OsString>>) -> OfflineGeneralise {
    let shell = |arguments: Vec<OsString>| {
        ["-c", script, "virt-sysprep"].into_iter().map(OsString::from).chain(arguments).collect()
    };
    OfflineGeneralise { program: "/bin/sh".into(), runs: runs.into_iter().map(shell).collect() }
}

async fn fails(script: &str, limit: Duration) -> String {
    let sysprep = stand_in(script, vec![Vec::new()]);
    let refused = sysprep.run_one(&sysprep.runs[0], limit).await;
    refused.expect_err("it fails").to_string()
}

/// A stopped machine with two raw disks, one of an odd name, and its firmware's variables.
fn machine(folder: &Path) -> (OfflineMachine, MachineDescription) {
    let names = [("d0", "-a b'c.img"), ("d1", "two.img"), ("vars", "vars.fd")];
    let image = |(name, file): (&str, &str)| {
        let path = folder.join(file);
        fs::write(&path, vec![0; 4096]).expect("written");
        Image { name: name.into(), path, format: Format::Raw, key_file: None, may_reach_outside: false }
    };
    let disk = |(name, _): (&str, &str)| DiskDescription {
        id: name.into(),
        device: String::new(),
        node: String::new(),
        format: "raw".into(),
        file: String::new(),
        size: 4096,
        keeps_bitmaps: false,
    };
    let told =
        MachineDescription { disks: names[..2].iter().copied().map(disk).collect(), ..Default::default() };
    let machine = OfflineMachine::new("m", None, names.map(image).into()).expect("a machine");
    (machine, told)
}

#[test]
fn each_disk_is_named_with_its_format() {
    let disks = [("/a b/-x.qcow2", "qcow2"), ("/y", "raw")].map(|(path, format)| (path.into(), format));
    let first = ["--quiet", "--no-network", "--format", "raw", "-a", "/y"];
    let then = ["--format", "qcow2", "-a", "/a b/-x.qcow2", "--operations"];
    let begin = [&first[..], &then].concat();
    let is_begun = |words: &[OsString]| words[..begin.len()].iter().eq(&begin);
    let last = arguments(&disks, RUNS[1]);
    assert!(is_begun(&last) && last[begin.len()..] == [RUNS[1]], "{last:?}");
    let words = arguments(&disks, RUNS[0]);
    assert!(is_begun(&words) && words[begin.len()] == RUNS[0], "{words:?}");
    let rest: Vec<_> = words[begin.len() + 1..].chunks(2).collect();
    assert!(rest.len() == FORGOTTEN.len() && rest.iter().all(|pair| pair[0] == "--delete"), "{rest:?}");
}

#[tokio::test]
async fn the_machines_disks_and_no_others_are_handed_over_as_they_are() {
    let folder = tempfile::tempdir().expect("a folder");
    let (machine, told) = machine(folder.path());
    let plan = OfflineGeneralise::plan(Path::new(SYSPREP), (&machine, &told)).await.expect("a plan");
    let shown = plan.commands();
    let begin = "LIBGUESTFS_BACKEND=direct virt-sysprep --quiet --no-network --format raw -a /";
    assert!(shown.len() == 2 && shown.iter().all(|one| one.starts_with(begin)), "{shown:?}");
    assert!(shown[0].contains(r"/-a b'\''c.img' --operations customize --delete /"), "{shown:?}");
    assert!(shown[1].ends_with("--operations machine-id,ssh-hostkeys"), "{shown:?}");

    let seen = folder.path().join("seen");
    let script = format!("printf '%s\\n' \"$LIBGUESTFS_BACKEND\" \"$@\" >>{}", seen.display());
    stand_in(&script, plan.runs).run().await.expect("it is done");
    let seen = fs::read_to_string(&seen).expect("it ran");
    let disks = folder.path().canonicalize().expect("there").display().to_string();
    let begin = format!(
        "direct\n--quiet\n--no-network\n--format\nraw\n-a\n{disks}/two.img\n--format\nraw\n-a\n{disks}/-a b'c.img\n"
    );
    assert!(seen.matches(&begin).count() == 2, "each disk, in each run: {seen}");
    assert!(!seen.contains("vars.fd"), "{seen}");
}

#[tokio::test]
async fn a_disk_that_is_not_there_or_in_use_is_refused_before() {
    let folder = tempfile::tempdir().expect("a folder");
    let (machine, told) = machine(folder.path());
    // As a QEMU does that writes it.
    let file =
        fs::OpenOptions::new().read(true).write(true).open(folder.path().join("two.img")).expect("opened");
    rustix::fs::fcntl_lock(&file, rustix::fs::FlockOperation::NonBlockingLockExclusive).expect("locked");
    let refused =
        OfflineGeneralise::plan(Path::new(SYSPREP), (&machine, &told)).await.expect_err("somebody writes it");
    let crate::Error::Machine(_, error) = refused else { panic!("{refused:?}") };
    assert_eq!(error.kind(), hypervisor::ErrorKind::Busy);
    drop(file);
    OfflineGeneralise::plan(Path::new(SYSPREP), (&machine, &told)).await.expect("nobody writes it");
    fs::remove_file(folder.path().join("two.img")).expect("removed");
    assert!(OfflineGeneralise::plan(Path::new(SYSPREP), (&machine, &told)).await.is_err());
}

#[tokio::test]
async fn its_last_words_are_told() {
    let script = "for n in 1 2 3 4 5 6 7 8 9; do echo line $n >&2; done
                  printf 'no \\033[31mroot\\n\\nIf reporting bugs, do this\\nand that\\n' >&2; exit 3";
    let said = fails(script, LIMIT).await;
    let told =
        "it failed (exit status: 3): line 3; line 4; line 5; line 6; line 7; line 8; line 9; no  [31mroot";
    assert_eq!(said, told);
    assert_eq!(fails("kill -9 $$", LIMIT).await, "it failed (signal: 9 (SIGKILL)): it said nothing");
    let endless = fails("yes x | head -c 1000000 >&2; exit 1", LIMIT).await;
    assert_eq!(endless, "it failed (exit status: 1): x; x; x; x; x; x; x; x");
}

#[tokio::test]
async fn one_that_does_not_end_is_ended() {
    let said = fails("echo waiting for nothing >&2; exec sleep 1000", Duration::from_secs(1)).await;
    assert_eq!(said, "it did not end within 1 s and was ended: waiting for nothing");
}

#[tokio::test]
async fn where_it_is_missing_that_is_told() {
    let missing =
        OfflineGeneralise { program: "virt-sysprep-that-nobody-has".into(), runs: vec![Vec::new()] };
    assert!(!missing.is_installed() && stand_in("true", Vec::new()).is_installed());
    assert!(missing.run().await.is_err());
}
