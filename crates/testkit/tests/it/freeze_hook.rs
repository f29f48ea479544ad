//! The freeze hook by itself, under the shells it may meet.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;
use tempfile::TempDir;

const HOOK: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../hypervisor/guest/fsfreeze-hook");

/// Folders of scripts and of records, and the shell that runs the hook.
struct Hook<'a> {
    shell: &'a [String],
    folder: TempDir,
}

impl Hook<'_> {
    fn script(&self, name: &str, body: &str) {
        let path = self.folder.path().join("freeze.d").join(name);
        let log = self.folder.path().join("log");
        fs::write(&path, format!("#!/bin/sh\necho \"{name}:$1\" >>{}\n{body}\n", log.display())).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    }

    fn run(&self, phase: &str) -> bool {
        let mut hook = Command::new(&self.shell[0]);
        hook.args(&self.shell[1..]).args([HOOK, phase]);
        hook.env("STRONGROOM_FREEZE_FOLDER", self.folder.path().join("freeze.d"));
        hook.env("STRONGROOM_RUN_FOLDER", self.folder.path().join("run"));
        hook.env("STRONGROOM_FREEZE_SECONDS", "1").status().unwrap().success()
    }

    /// The record with every duration as `N`.
    fn record(&self) -> Vec<String> {
        let text = fs::read_to_string(self.folder.path().join("run/freeze-result")).unwrap();
        let line = |line: &str| match line.split_once(" ms ") {
            Some((start, number)) => {
                number.parse::<u64>().unwrap();
                format!("{start} ms N")
            }
            None => line.to_string(),
        };
        text.lines().map(line).collect()
    }

    fn take_log(&self) -> Vec<String> {
        let path = self.folder.path().join("log");
        let lines = fs::read_to_string(&path).unwrap_or_default().lines().map(str::to_string).collect();
        let _ = fs::remove_file(path);
        lines
    }
}

/// Runs `test` with every shell of this host, and with the guest's.
fn with_every_shell(test: impl Fn(&Hook<'_>)) {
    let busybox = crate::image().cache.join("boot/tree/usr/bin/busybox").display().to_string();
    let shells =
        [vec!["dash".to_string()], vec!["bash".into(), "--posix".into()], vec![busybox, "sh".into()]];
    for shell in &shells {
        let there = Path::new("/bin").join(&shell[0]).exists();
        if there {
            let folder = tempfile::tempdir().unwrap();
            fs::create_dir(folder.path().join("freeze.d")).unwrap();
            test(&Hook { shell, folder });
        }
    }
}

#[test]
fn scripts_freeze_in_order_and_thaw_in_reverse() {
    with_every_shell(|hook| {
        hook.script("10-a", "");
        hook.script("20 b", "");
        hook.script("30-c", "");
        hook.script("40-d.dpkg-old", "exit 1");
        fs::write(hook.folder.path().join("freeze.d/50-not-executable"), "").unwrap();
        fs::create_dir(hook.folder.path().join("run")).unwrap();
        fs::write(hook.folder.path().join("run/freeze-token"), "t-1").unwrap();
        assert!(hook.run("freeze"));
        let frozen = ["strongroom-freeze 1", "token t-1"];
        let calls = ["freeze 10-a exit 0 ms N", "freeze 20_b exit 0 ms N", "freeze 30-c exit 0 ms N"];
        assert_eq!(hook.record(), [&frozen[..], &calls].concat());
        assert!(hook.run("thaw"));
        let thawed = ["thaw 30-c exit 0 ms N", "thaw 20_b exit 0 ms N", "thaw 10-a exit 0 ms N", "done"];
        let whole = [&frozen[..], &calls, &thawed].concat();
        assert_eq!(hook.record(), whole);
        let order = ["10-a:freeze", "20 b:freeze", "30-c:freeze", "30-c:thaw", "20 b:thaw", "10-a:thaw"];
        assert_eq!(hook.take_log(), order);
        assert!(hook.run("thaw"), "a second thaw is harmless");
        assert_eq!(hook.record(), whole, "a finished record is left alone");
        assert_eq!(hook.take_log().len(), 3);
    });
}

#[test]
fn a_failing_script_thaws_those_called_and_refuses() {
    with_every_shell(|hook| {
        hook.script("10-a", "");
        hook.script("20-b", "[ $1 = thaw ] || exit 3");
        hook.script("30-c", "");
        assert!(!hook.run("freeze"));
        let record = [
            "strongroom-freeze 1",
            "token -",
            "freeze 10-a exit 0 ms N",
            "freeze 20-b exit 3 ms N",
            "thaw 20-b exit 0 ms N",
            "thaw 10-a exit 0 ms N",
            "done",
        ];
        assert_eq!(hook.record(), record);
    });
}

#[test]
fn a_script_that_hangs_is_ended() {
    with_every_shell(|hook| {
        hook.script("10-a", "[ $1 = thaw ] || exec sleep 60");
        assert!(!hook.run("freeze"));
        let record = hook.record();
        assert!(record[2].starts_with("freeze 10-a exit 1"), "timeout exits 124, 137 or 143: {record:?}");
        assert_eq!(record[3..], ["thaw 10-a exit 0 ms N", "done"]);
    });
}

#[test]
fn without_a_record_there_is_no_freeze() {
    with_every_shell(|hook| {
        hook.script("10-a", "");
        fs::write(hook.folder.path().join("run"), "in the way").unwrap();
        assert!(!hook.run("freeze"));
        assert!(hook.take_log().is_empty());
        assert!(hook.run("thaw"), "thawing must not depend on the record");
        assert_eq!(hook.take_log(), ["10-a:thaw"]);
    });
}
