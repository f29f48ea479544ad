//! What else a machine is: its cards, what was plugged in later, and what its firmware remembers.

use crate::guest::{Guest, run, until};
use crate::program::Running;
use crate::scene::{Scene, id};
use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use std::path::Path;
use std::process::{Child, Command};

/// Flash memory of a machine: QEMU takes 64 KiB sectors, real stores have 528 KiB.
const NVRAM_BYTES: usize = 540_672;

/// A TPM, until dropped.
struct Tpm(Child);

impl Tpm {
    fn start(folder: &Path, socket: &Path) -> Result<Self> {
        let mut swtpm = Command::new("swtpm");
        swtpm.args(["socket", "--tpm2", "--flags", "startup-clear", "--tpmstate"]);
        swtpm.arg(format!("dir={},mode=0600", folder.display()));
        swtpm.arg("--ctrl").arg(format!("type=unixio,path={}", socket.display()));
        let tpm = Self(swtpm.spawn().context("start swtpm")?);
        until("the TPM", || Ok(socket.exists()))?;
        Ok(tpm)
    }
}

impl Drop for Tpm {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn is_installed(program: &str) -> bool {
    let asked = Command::new(program).arg("--version").output();
    asked.is_ok_and(|output| output.status.success())
}

/// A real store of variables where one is installed, else noise: QEMU looks into neither.
fn nvram() -> Vec<u8> {
    let real = std::fs::read("/usr/share/OVMF/OVMF_VARS_4M.fd");
    real.unwrap_or_else(|_| (0..NVRAM_BYTES).map(|n| (n * n % 251) as u8).collect())
}

#[test]
fn what_firmware_remembers_comes_back_as_files() -> Result<()> {
    let scene = Scene::new()?;
    let vars = scene.path("vars.fd");
    let code = scene.path("code.fd");
    std::fs::write(&vars, nvram())?;
    std::fs::write(&code, vec![0; 1 << 20])?;
    let mut options = Guest::options(&scene, "m")?;
    let mut add = |words: &[&str]| options.arguments.extend(words.iter().map(|&word| word.to_owned()));
    add(&["-S", "-drive", &format!("if=pflash,unit=0,format=raw,readonly=on,file={}", code.display())]);
    add(&["-drive", &format!("if=pflash,unit=1,format=raw,file={}", vars.display())]);
    add(&["-netdev", "user,id=n0", "-device", "virtio-net-pci,netdev=n0,id=net0,mac=52:54:00:ab:cd:ef"]);
    add(&["-nic", "user,model=e1000"]);
    let (state, socket) = (scene.path("tpm"), scene.path("tpm.sock"));
    std::fs::create_dir(&state)?;
    let tpm = if is_installed("swtpm") { Some(Tpm::start(&state, &socket)?) } else { None };
    if tpm.is_some() {
        add(&["-chardev", &format!("socket,id=c,path={}", socket.display())]);
        add(&["-tpmdev", "emulator,id=tpm0,chardev=c", "-device", "tpm-tis,tpmdev=tpm0"]);
    }
    let guest = Guest::start(options)?;
    guest.machine.qmp("device_add", json!({ "driver": "virtio-rng-pci", "id": "later" }))?;

    let point = scene.backup(guest.name())?;
    let told = &point["description"];
    let card = |driver: &str| {
        told["nics"].as_array().into_iter().flatten().find(|card| card["driver"] == driver).cloned()
    };
    let given =
        json!({ "id": "net0", "driver": "virtio-net-pci", "mac": "52:54:00:ab:cd:ef", "netdev": "n0" });
    ensure!(card("virtio-net-pci") == Some(given), "{told}");
    let chosen = card("e1000").context("the card that QEMU named")?;
    ensure!(chosen["mac"].as_str().is_some_and(|mac| mac.starts_with("52:54:00:")), "{chosen}");
    ensure!(told["plugged_later"] == json!([{ "id": "later", "driver": "virtio-rng-pci" }]), "{told}");
    let kinds = |kind: &str| -> Vec<&Value> {
        told["firmware"].as_array().into_iter().flatten().filter(|file| file["kind"] == kind).collect()
    };
    ensure!(kinds("nvram").len() == 1 && kinds("nvram")[0]["name"] == "pflash1", "{told}");
    ensure!(kinds("tpm").len() == usize::from(tpm.is_some()), "{told}");

    let back = scene.path("back");
    let mut restore = scene.command(["restore", "disks", id(&point)?, "--to"]);
    Running::start(restore.arg(&back))?.finish()?.succeeded()?;
    ensure!(back.join("d-disk0.qcow2").is_file());
    run(Command::new("cmp").arg(&vars).arg(back.join("pflash1")))?;
    if tpm.is_some() {
        run(Command::new("cmp").arg(state.join("tpm2-00.permall")).arg(back.join("tpm2-00.permall")))?;
    }
    let shown = scene.run(["point", "show", id(&point)?])?;
    ensure!(shown.succeeded()?.lines().any(|line| line.contains("pflash1") && line.contains("firmware")));
    // The flash is written through its own drive again.
    let drives = guest.machine.qmp("query-block", Value::Null)?;
    ensure!(!drives.to_string().contains("strongroom-filter"), "{drives}");
    let next = scene.backup(guest.name())?;
    let skipped = next["description"]["skipped"].to_string();
    ensure!(!skipped.contains("has it no more"), "{skipped}");
    ensure!(next["description"]["firmware"] == told["firmware"], "{next}");
    // A TPM that cannot be looked at is told of, and no reason to be without a backup.
    if let Some(tpm) = tpm {
        drop(tpm);
        let point = scene.backup(guest.name())?;
        let skipped = point["description"]["skipped"].to_string();
        ensure!(skipped.contains("tpm0") && skipped.contains("no swtpm is seen"), "{skipped}");
        ensure!(!skipped.contains("has it no more"), "{skipped}");
    }
    Ok(())
}
