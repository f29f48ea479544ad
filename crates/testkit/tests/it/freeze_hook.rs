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
        fs::write(&path, format!("#!/bin/sh\necho \"{name}:$*\" >>{}\n{body}\n", log.display())).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    }

    fn configure(&self, text: &str) {
        fs::write(self.folder.path().join("freeze.conf"), text).unwrap();
    }

    /// What the host writes before it asks for a freeze.
    fn order(&self, text: &str) {
        fs::create_dir_all(self.folder.path().join("run")).unwrap();
        fs::write(self.folder.path().join("run/freeze-token"), text).unwrap();
    }

    fn allow(&self, name: &str, mode: u32) {
        fs::set_permissions(self.folder.path().join(name), fs::Permissions::from_mode(mode)).unwrap();
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
            Some((start, rest)) => {
                let (number, rest) = rest.split_once(' ').unwrap();
                number.parse::<u64>().unwrap();
                format!("{start} ms N {rest}")
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
        hook.order("t-1");
        assert!(hook.run("freeze"));
        let frozen = ["strongroom-freeze 2", "token t-1"];
        let calls = [
            "freeze 10-a exit 0 ms N attempts 1",
            "freeze 20_b exit 0 ms N attempts 1",
            "freeze 30-c exit 0 ms N attempts 1",
        ];
        assert_eq!(hook.record(), [&frozen[..], &calls].concat());
        assert!(hook.run("thaw"));
        let thawed = [
            "thaw 30-c exit 0 ms N attempts 1",
            "thaw 20_b exit 0 ms N attempts 1",
            "thaw 10-a exit 0 ms N attempts 1",
            "done",
        ];
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
            "strongroom-freeze 2",
            "token -",
            "freeze 10-a exit 0 ms N attempts 1",
            "freeze 20-b exit 3 ms N attempts 1",
            "thaw 20-b exit 0 ms N attempts 1",
            "thaw 10-a exit 0 ms N attempts 1",
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
        assert_eq!(record[3..], ["thaw 10-a exit 0 ms N attempts 1", "done"]);
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

#[test]
fn scripts_are_called_as_the_configuration_says() {
    with_every_shell(|hook| {
        let count = hook.folder.path().join("count");
        let third = format!("[ $1 = thaw ] && exit 0; echo >>{0}; [ $(wc -l <{0}) = 3 ]", count.display());
        hook.script("10 a", &third);
        hook.script("20-b", "exit 7");
        hook.configure(
            "# what is said of nobody counts for nobody\nretries = 9\n[10_a]\nparameters = --x *  # words\n\
             retries=2\n[20-b]\n\tcontinueBackupOnFailure\t= true\nretries = many\n[30-c]\nretries = 1",
        );
        assert!(hook.run("freeze"));
        assert!(hook.run("thaw"));
        let record = [
            "strongroom-freeze 2",
            "token -",
            "freeze 10_a exit 0 ms N attempts 3",
            "freeze 20-b exit 7 ms N attempts 1 continued",
            "thaw 20-b exit 7 ms N attempts 1",
            "thaw 10_a exit 0 ms N attempts 1",
            "done",
        ];
        assert_eq!(hook.record(), record);
        assert_eq!(hook.take_log()[0], "10 a:freeze --x *");
        let _ = fs::remove_file(count);
        hook.configure("[10_a]\nretries = 2\n");
        assert!(!hook.run("freeze"), "a failure that nothing allows refuses the freeze");
    });
}

#[test]
fn what_others_could_have_changed_is_not_run() {
    with_every_shell(|hook| {
        hook.script("10-a", "");
        hook.script("20-b", "");
        hook.script("30-c", "");
        hook.allow("freeze.d/10-a", 0o775);
        std::os::unix::fs::chown(hook.folder.path().join("freeze.d/20-b"), Some(99), None).unwrap();
        assert!(hook.run("freeze"), "the file systems are frozen all the same");
        assert!(hook.run("thaw"));
        let record = [
            "strongroom-freeze 2",
            "token -",
            "skipped 10-a writable-by-others",
            "skipped 20-b not-owned-by-root",
            "freeze 30-c exit 0 ms N attempts 1",
            "thaw 30-c exit 0 ms N attempts 1",
            "done",
        ];
        assert_eq!(hook.record(), record);
        assert_eq!(hook.take_log(), ["30-c:freeze", "30-c:thaw"]);

        hook.configure("[30-c]\nparameters = rm -rf /\n");
        hook.allow("freeze.conf", 0o602);
        assert!(hook.run("freeze"));
        assert_eq!(hook.record()[4], "skipped 30-c freeze.conf-is-writable-by-others");
        hook.allow("freeze.conf", 0o644);
        hook.allow("freeze.d", 0o777);
        assert!(hook.run("freeze"));
        assert_eq!(hook.record()[2], "skipped 10-a freeze.d-is-writable-by-others");
        assert_eq!(hook.take_log(), Vec::<String>::new());
        hook.allow("freeze.d", 0o755);
        fs::write(hook.folder.path().join("30-c.env"), "").unwrap();
        hook.allow("30-c.env", 0o666);
        assert!(hook.run("freeze"));
        assert_eq!(hook.record()[4], "skipped 30-c 30-c.env-is-writable-by-others");
    });
}

#[test]
fn all_scripts_together_keep_to_the_callers_limit() {
    with_every_shell(|hook| {
        hook.order("t-2\n1\n");
        hook.configure("[10-a]\ntimeoutInSeconds = 1800\nretries = 3\n");
        hook.script("10-a", "[ $1 = thaw ] || exec sleep 60");
        assert!(!hook.run("freeze"));
        let record = hook.record();
        assert_eq!(record[1], "token t-2");
        assert!(record[2].starts_with("freeze 10-a exit 1"), "timeout exits 124, 137 or 143: {record:?}");
        assert!(record[2].ends_with("attempts 1"), "no time is left for another: {record:?}");
    });
}
