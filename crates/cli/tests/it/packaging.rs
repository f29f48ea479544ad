//! The systemd units: systemd understands them, and what they take from the program leaves it what it needs.

use anyhow::{Context, Result, ensure};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

const UNITS: [&str; 2] = ["strongroom.service", "strongroom-mover.service"];
/// By systemd's own measure of what a unit leaves open, in tenths; above 5 it speaks of a medium exposure.
const EXPOSURE_MAX: &str = "50";

fn unit(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../packaging").join(name)
}

/// Whether systemd's tools are here; they need no systemd that runs.
fn has_systemd() -> bool {
    Command::new("systemd-analyze").arg("--version").output().is_ok_and(|output| output.status.success())
}

fn run(command: &mut Command) -> Result<Output> {
    command.output().with_context(|| format!("start {command:?}"))
}

/// What a unit says of a setting, all its lines together.
fn words(text: &str, setting: &str) -> Vec<String> {
    let lines = text.lines().filter_map(|line| line.strip_prefix(setting)?.strip_prefix('='));
    lines.flat_map(str::split_whitespace).map(str::to_owned).collect()
}

#[test]
fn systemd_understands_the_units() -> Result<()> {
    if !has_systemd() {
        eprintln!("systemd-analyze is not installed: the units are not looked at");
        return Ok(());
    }
    let folder = tempfile::tempdir()?;
    for name in UNITS {
        let text = std::fs::read_to_string(unit(name))?;
        ensure!(text.contains("ExecStart=/usr/local/bin/strongroom "), "{name} starts the program");
        // As if it was installed; its pages of the manual are not.
        let text = text.replace("/usr/local/bin/strongroom", env!("CARGO_BIN_EXE_strongroom"));
        let lines = text.lines().filter(|line| !line.starts_with("Documentation="));
        let here = folder.path().join(name);
        std::fs::write(&here, lines.collect::<Vec<_>>().join("\n") + "\n")?;
        let verified = run(Command::new("systemd-analyze").args(["verify", "--man=no"]).arg(&here))?;
        let said = String::from_utf8_lossy(&verified.stderr);
        ensure!(verified.status.success() && !said.contains(name), "{name}: {said}");
        let offline = ["security", "--offline=true", "--no-pager", "--threshold", EXPOSURE_MAX];
        let measured = run(Command::new("systemd-analyze").args(offline).arg(&here))?;
        let said = String::from_utf8_lossy(&measured.stdout);
        ensure!(measured.status.success(), "{name} leaves too much open: {said}");
    }
    Ok(())
}

/// With the capabilities of a unit, and no way to get more, a cage can be made as `files` and `offline` make theirs.
#[test]
fn a_cage_can_be_made_with_what_a_unit_leaves() -> Result<()> {
    for name in UNITS {
        let text = std::fs::read_to_string(unit(name))?;
        let kept = words(&text, "CapabilityBoundingSet");
        let kept = kept.iter().map(|word| word.trim_start_matches("CAP_").to_lowercase());
        let kept = kept.fold("-all".to_owned(), |all, one| format!("{all},+{one}"));
        let spaces = words(&text, "RestrictNamespaces");
        ensure!(
            ["net", "ipc", "uts"].iter().all(|space| spaces.iter().any(|one| one == space)),
            "{spaces:?}"
        );
        let outer = ["--bounding-set", &kept, "--inh-caps", "-all", "--no-new-privs", "--"];
        let cage = ["unshare", "--net", "--ipc", "--uts", "--", "setpriv", "--no-new-privs"];
        let nobody = ["--reuid", "65534", "--regid", "65534", "--clear-groups", "--bounding-set=-all"];
        let ids = ["--inh-caps=-all", "--", "id", "-u"];
        let mut command = Command::new("setpriv");
        command.args(outer).args(cage).args(nobody).args(ids);
        let made = run(&mut command)?;
        let said = String::from_utf8_lossy(&made.stderr);
        ensure!(made.status.success() && made.stdout == b"65534\n", "{name}: {said}");
        // QEMU, which is started by it, makes code where there is no KVM.
        ensure!(words(&text, "MemoryDenyWriteExecute").is_empty(), "{name}");
        // So does virt-sysprep, of the host's kernel and modules, which are read and never loaded.
        ensure!(words(&text, "ProtectKernelModules").is_empty() && !kept.contains("sys_module"), "{name}");
    }
    Ok(())
}
