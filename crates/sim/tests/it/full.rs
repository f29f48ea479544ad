//! A file system that is full: whatever needs room fails then, `write` among it.
//!
//! A process works on a vault in a little file system of its own, which has less room than it needs. What it had
//! acknowledged by then is there, and with more room the next one goes on.

use crate::victim::command;
use sim::process::{Said, create, key_path, work};
use std::path::Path;
use std::process::{Command, Output};

/// A work of this seed: backups, an incremental, deletions and a collection.
const ROUNDS: u64 = 3;
const SEED: u64 = 3;
/// Room beside what the vault takes at first: from none to enough, by the pages that such a file system counts in.
const ROOM_KIB_MAX: usize = 200;
const STEP_KIB: usize = 4;

/// Makes the file system, copies the vault into it, works, and copies what is there out of it.
const SCRIPT: &str = r#"
place=$1 first=$2 room=$3 out=$4; shift 4
mount -t tmpfs -o size=64m none "$place" && cp -r "$first"/. "$place" || exit 99
taken=$(df -k --output=used "$place" | tail -n 1)
mount -o remount,size=$((taken + room))k "$place" || exit 99
"$@"; code=$?
cp -r "$place"/. "$out" || exit 99
exit $code
"#;

/// How a process gets file systems of its own here, if it may at all.
fn apart() -> Option<Vec<String>> {
    let ways = [["unshare", "-m"], ["unshare", "-rm"]];
    let may = |way: &&[&str; 2]| {
        let mut tried = Command::new(way[0]);
        tried
            .args([way[1], "mount", "-t", "tmpfs", "none", "/mnt"])
            .output()
            .is_ok_and(|o| o.status.success())
    };
    ways.iter().find(may).map(|way| way.map(String::from).into())
}

fn run(apart: &[String], folder: &Path, room_kib: usize) -> Output {
    let at = |name: &str| folder.join(name).display().to_string();
    let mut words = apart.to_vec();
    words.extend(["sh", "-c", SCRIPT, "sh"].map(String::from));
    words.extend([at("vault"), at("first"), room_kib.to_string(), at("out")]);
    command(&words, &folder.join("vault"), SEED, ROUNDS).output().expect("it starts")
}

#[tokio::test]
async fn a_full_file_system_loses_nothing() {
    let Some(apart) = apart() else {
        println!("SKIPPED: file systems cannot be mounted here (unshare is forbidden)");
        return;
    };
    let folder = tempfile::tempdir().expect("tempdir");
    let at = |name: &str| folder.path().join(name);
    std::fs::create_dir(at("first")).expect("mkdir");
    std::fs::create_dir(at("vault")).expect("mkdir");
    create(&at("first")).await.expect("create");
    work(&at("first"), SEED, 1).await.expect("a first point");
    for name in ["vault", "out"] {
        std::fs::copy(key_path(&at("first")), key_path(&at(name))).expect("copy the key");
    }
    let (mut failed, mut done) = (0, 0);
    for room_kib in (0..ROOM_KIB_MAX).step_by(STEP_KIB) {
        let _ = std::fs::remove_dir_all(at("out"));
        std::fs::create_dir(at("out")).expect("mkdir");
        let mut said = Said::of(&at("first")).await.expect("the first point");
        let output = run(&apart, folder.path(), room_kib);
        String::from_utf8_lossy(&output.stdout).lines().for_each(|line| said.hear(line));
        match output.status.code() {
            Some(0) => done += 1,
            Some(1) => failed += 1,
            _ => panic!("{room_kib} KiB of room: {output:?}"),
        }
        said.check(&at("out")).await.unwrap_or_else(|error| panic!("{room_kib} KiB: {error}\n{output:?}"));
    }
    assert!(failed > 10 && done > 0, "{failed} {done}");
}
