//! Making a running Linux guest nobody's, through its agent: what belongs to one machine alone is removed, to be made
//! anew by each machine that starts from the image. The guest itself is as good as new afterwards.

use crate::error::{Doing, Result};
use hypervisor::{Error, ErrorKind, Machine};
use std::time::Duration;

/// What is done, in words, in this order.
pub const GENERALISE_STEPS: [&str; 5] = [
    "cloud-init forgets this machine: `cloud-init clean --logs`, and /var/lib/cloud/{instance,instances,data,sem}",
    "the host keys of SSH are removed: /etc/ssh/ssh_host_*",
    "the machine's id is emptied: /etc/machine-id, and /var/lib/dbus/machine-id where that is a file",
    "remembered addresses of network cards are removed: /etc/udev/rules.d/*persistent-net*",
    "the seed of its random numbers is removed: /var/lib/systemd/random-seed",
];

/// The same. Each part is done wherever the others fail, and the end tells whether all went well.
const SCRIPT: &str = r#"
failed=0
try() { "$@" || failed=1; }
if command -v cloud-init >/dev/null 2>&1; then try cloud-init clean --logs; fi
try rm -rf /var/lib/cloud/instance /var/lib/cloud/instances /var/lib/cloud/data /var/lib/cloud/sem
try rm -f /etc/ssh/ssh_host_*
if [ -e /etc/machine-id ]; then : >/etc/machine-id || failed=1; fi
if [ -f /var/lib/dbus/machine-id ] && [ ! -L /var/lib/dbus/machine-id ]; then try rm -f /var/lib/dbus/machine-id; fi
for rule in /etc/udev/rules.d/*persistent-net*; do [ ! -e "$rule" ] || try rm -f "$rule"; done
try rm -f /var/lib/systemd/random-seed
sync
exit $failed
"#;
/// A guest under emulation, and cloud-init is Python.
const LIMIT: Duration = Duration::from_secs(180);

/// Does it.
///
/// # Errors
/// `Guest` when the guest has no agent, or one that may not run programs, or something failed in it: then what was done
/// is done, and the check of the disks tells what is left.
pub async fn generalise(machine: &dyn Machine) -> Result<()> {
    let doing = || "generalise the guest through its agent".to_owned();
    let mut agent = machine.agent().await.doing(doing)?;
    let refused = |why: String| Err(Error::new(ErrorKind::Guest, why)).doing(doing);
    if agent.is_blocked("guest-exec") {
        return refused("its administrator does not let its agent run programs (guest-exec)".into());
    }
    let system = agent.system().await.doing(doing)?;
    if system.is_windows() {
        return refused(
            "in Windows run sysprep: C:\\Windows\\System32\\Sysprep\\sysprep.exe /generalize /oobe /shutdown"
                .into(),
        );
    }
    let run = agent.run("/bin/sh", &["-c", SCRIPT], LIMIT).await.doing(doing)?;
    match run.exit {
        0 => Ok(()),
        exit => refused(format!("its shell ended with {exit}: {}", run.stderr.trim())),
    }
}
