//! System calls of a real process that fail, one after the other: no room, a broken disk, no files left.
//!
//! `strace` first tells which calls touch the vault, then makes one of them fail in each run. Whatever the process
//! was doing, what it had acknowledged is there, and the next one goes on.

use crate::victim::command;
use sim::process::{Said, create, work};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// Kinds of calls, and how they fail. Not `write`: the runtime wakes itself by writing, and hangs if that fails.
const FAULTS: [(&str, &str); 9] = [
    ("openat", "EMFILE"),
    ("openat", "EIO"),
    ("fsync", "ENOSPC"),
    ("openat", "ENOSPC"),
    ("fsync", "EIO"),
    ("link,linkat", "ENOSPC"),
    ("link,linkat", "EIO"),
    ("unlink,unlinkat", "EIO"),
    ("getdents64", "EIO"),
];
/// Rounds of one process: backups, an incremental, deletions and a collection with this seed.
const ROUNDS: u64 = 3;
const SEED: u64 = 3;
/// Calls of a kind that are made to fail, spread evenly over all: what a test's time allows.
const EACH_MAX: usize = 8;

/// A vault with a point, and what must be true of it.
struct Scene {
    folder: tempfile::TempDir,
    vault: PathBuf,
    trace: PathBuf,
}

impl Scene {
    /// The vault as it was before any fault.
    fn reset(&self) {
        let _ = std::fs::remove_dir_all(&self.vault);
        let copied =
            Command::new("cp").arg("-r").arg(self.folder.path().join("first")).arg(&self.vault).status();
        assert!(copied.expect("cp starts").success());
    }

    fn strace(&self, options: &[String]) -> (Output, String) {
        let mut words: Vec<String> =
            ["strace", "-f", "--seccomp-bpf", "-y", "-qq", "-o"].map(String::from).into();
        words.push(self.trace.display().to_string());
        words.extend_from_slice(options);
        let output = command(&words, &self.vault, SEED, ROUNDS).output().expect("strace starts");
        (output, std::fs::read_to_string(&self.trace).expect("strace wrote what it saw"))
    }

    /// Which calls of a kind, counted for each thread as `strace` does, touch the vault.
    fn numbers(&self, calls: &str) -> Vec<u64> {
        self.reset();
        let (output, trace) = self.strace(&["-e".into(), format!("trace={calls}")]);
        assert!(output.status.success(), "without a fault: {output:?}");
        let mut counts = std::collections::BTreeMap::<&str, u64>::new();
        let mut numbers = BTreeSet::new();
        let place = self.vault.display().to_string();
        for line in trace.lines().filter(|line| !line.contains(" resumed>") && !line.contains("+++")) {
            let Some((thread, call)) = line.split_once(' ') else { continue };
            let count = counts.entry(thread).or_default();
            *count += 1;
            if call.contains(&place) {
                numbers.insert(*count);
            }
        }
        numbers.into_iter().collect()
    }
}

/// Whether programs can be traced here at all.
fn is_permitted() -> bool {
    let tried = Command::new("strace").args(["-qq", "-o", "/dev/null", "true"]).status();
    tried.is_ok_and(|status| status.success())
}

async fn scene() -> Scene {
    let folder = tempfile::tempdir().expect("tempdir");
    let (first, vault, trace) =
        (folder.path().join("first"), folder.path().join("vault"), folder.path().join("trace"));
    std::fs::create_dir(&first).expect("mkdir");
    create(&first).await.expect("create");
    work(&first, SEED, 1).await.expect("a first point");
    std::fs::copy(first.with_extension("key"), vault.with_extension("key")).expect("copy the key");
    Scene { folder, vault, trace }
}

#[tokio::test]
async fn no_failing_system_call_loses_anything() {
    if !is_permitted() {
        println!("SKIPPED: strace is not installed, or may not trace here (ptrace is forbidden)");
        return;
    }
    let scene = scene().await;
    let (mut hit, mut failed) = (0, 0);
    for (calls, error) in FAULTS {
        let numbers = scene.numbers(calls);
        assert!(!numbers.is_empty(), "{calls}: nothing touches the vault");
        for number in numbers.iter().step_by(numbers.len().div_ceil(EACH_MAX)) {
            scene.reset();
            let mut said = Said::of(&scene.vault).await.expect("the first point");
            let inject = format!("inject={calls}:error={error}:when={number}");
            let options = ["-e".into(), format!("trace={calls}"), "-e".into(), inject.clone()];
            let (output, trace) = scene.strace(&options);
            String::from_utf8_lossy(&output.stdout).lines().for_each(|line| said.hear(line));
            let injected: Vec<_> = trace.lines().filter(|line| line.contains("(INJECTED)")).collect();
            let place = scene.vault.display().to_string();
            hit += injected.iter().filter(|line| line.contains(&place)).count();
            failed += u64::from(!output.status.success());
            // Where only the vault's files fail nothing may panic; the runtime's own pipes are not our matter.
            let only_ours = injected.iter().all(|line| line.contains(&place));
            assert!(!only_ours || output.status.code() != Some(101), "{inject}: a panic: {output:?}");
            if let Err(error) = check(&mut said, &scene.vault).await {
                panic!("{inject}: {error}\n{injected:?}\n{output:?}");
            }
        }
    }
    println!("{hit} calls failed, {failed} processes with them");
    assert!(hit > 30 && failed > 15, "{hit} {failed}");
}

async fn check(said: &mut Said, vault: &Path) -> vault::Result<()> {
    said.check(vault).await.map(drop)
}
