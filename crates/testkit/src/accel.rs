//! Whether guests can run on the processor itself.

use crate::wait::wait_for;
use crate::{GuestImage, GuestMachine, MachineOptions, Progress};
use anyhow::{Context, Result, bail};
use std::fs;
use std::path::Path;
use std::time::Duration;

/// A kernel that runs on the processor prints its first line within a second.
const BOOT_TIMEOUT: Duration = Duration::from_secs(10);
/// Overrides the probe: `kvm` or `tcg`.
const OVERRIDE: &str = "STRONGROOM_ACCEL";

/// How QEMU executes the guest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Accel {
    /// On the processor.
    Kvm,
    /// Emulated: a tenth of the speed, works everywhere.
    Tcg,
}

impl Accel {
    /// KVM if a kernel really boots with it, else emulation. Asked once per boot of the host, unless the
    /// environment variable `STRONGROOM_ACCEL` says.
    ///
    /// That `/dev/kvm` exists proves nothing: in a nested machine it may open and then never run a guest.
    pub fn probe(image: &GuestImage, progress: Progress<'_>) -> Result<Self> {
        if let Ok(word) = std::env::var(OVERRIDE) {
            return Self::named(&word).with_context(|| format!("{OVERRIDE} is `{word}`, not kvm or tcg"));
        }
        let host = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
        let path = image.cache.join("accel");
        let known = fs::read_to_string(&path).unwrap_or_default();
        if let Some((accel, at)) = known.split_once(' ').filter(|(_, at)| *at == host) {
            return Self::named(accel)
                .with_context(|| format!("{} is damaged ({at}): delete it", path.display()));
        }
        let accel = if Path::new("/dev/kvm").exists() {
            progress("checking whether KVM runs guests (up to 10 s)");
            if boots(image).is_ok() { Self::Kvm } else { Self::Tcg }
        } else {
            Self::Tcg
        };
        fs::write(&path, format!("{} {host}", accel.name()))
            .with_context(|| format!("cannot write {}", path.display()))?;
        Ok(accel)
    }

    /// What QEMU calls it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Kvm => "kvm",
            Self::Tcg => "tcg",
        }
    }

    /// QEMU's words for it. Emulating a plain processor boots a fifth faster than `max`, whose five levels
    /// of page tables cost at every miss; without `rdrand` PostgreSQL would wait for entropy.
    pub(crate) fn arguments(self) -> [&'static str; 4] {
        match self {
            Self::Kvm => ["-accel", "kvm", "-cpu", "host"],
            Self::Tcg => ["-accel", "tcg,thread=multi", "-cpu", "qemu64,+rdrand"],
        }
    }

    fn named(word: &str) -> Option<Self> {
        [Self::Kvm, Self::Tcg].into_iter().find(|accel| accel.name() == word)
    }
}

fn boots(image: &GuestImage) -> Result<()> {
    let folder = tempfile::tempdir().context("cannot create a temporary folder")?;
    let mut options = MachineOptions::new("accel-probe", folder.path(), Vec::new()).without_postgres();
    options.mounts.clear();
    options.accel = Some(Accel::Kvm);
    let mut machine = GuestMachine::start(image, options)?;
    wait_for("a kernel to boot", BOOT_TIMEOUT, || {
        if let Ok(status) = machine.wait_exit(Duration::ZERO) {
            bail!("QEMU ended with {status}");
        }
        Ok(machine.console().contains("GUEST-BOOT").then_some(()))
    })
}
