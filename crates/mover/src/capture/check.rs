//! Whether a machine's disks are nobody's: what in their file systems belongs to one machine alone. Looked for in a
//! caged process (`files`), on the disks as they lie.

use files::{Browser, ErrorKind, FilePath, Kind, Target};
use serde::{Deserialize, Serialize};

/// A machine's id and the like are a line.
const READ_BYTES_MAX: usize = 4096;
/// What systemd writes when it is to make one at the first boot.
const UNINITIALIZED: &[u8] = b"uninitialized";
/// A Windows that was generalised says so here.
const WINDOWS_STATE: &str = "/Windows/Setup/State/State.ini";
const WINDOWS_GENERALISED: &str = "IMAGE_STATE_GENERALIZE_RESEAL_TO_OOBE";
/// What tells that a volume has a Linux on it.
const LINUX: [&str; 3] = ["/etc/os-release", "/usr/lib/os-release", "/etc/passwd"];

/// Something that belongs to one machine alone.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    /// Where: volume and path.
    pub place: String,
    /// What it is, in words.
    pub what: String,
}

/// What was found on a machine's disks.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Checked {
    /// Volumes with a system on them.
    pub systems: Vec<String>,
    /// What belongs to one machine alone.
    pub findings: Vec<Finding>,
    /// Volumes that could not be looked into, and why.
    pub unread: Vec<String>,
}

impl Checked {
    /// Whether there is a system, and it is nobody's.
    pub fn is_generalised(&self) -> bool {
        !self.systems.is_empty() && self.findings.is_empty()
    }
}

/// Looks into all volumes.
///
/// # Errors
/// If the disks cannot be looked at; a volume that cannot is told.
pub(super) fn check(browser: &mut Browser) -> files::Result<Checked> {
    let mut checked = Checked::default();
    for volume in browser.volumes()? {
        if let Some(refusal) = &volume.refusal {
            checked.unread.push(format!("{}: {refusal}", volume.name));
        }
    }
    for root in crate::files::roots(browser)? {
        if let Err(error) = look(browser, &root, &mut checked) {
            checked.unread.push(format!("{}: {error}", root.volume));
        }
    }
    Ok(checked)
}

/// A volume that failed half-way counts as one that was not looked into.
fn look(browser: &mut Browser, root: &Target, checked: &mut Checked) -> files::Result<()> {
    let mut volume = Volume { browser, root };
    let (mut systems, mut findings) = (Vec::new(), Vec::new());
    if let Some(state) = volume.read(WINDOWS_STATE)? {
        systems.push(format!("{} (Windows)", root.volume));
        // It is UTF-16 on some.
        let shown = state.iter().filter(|byte| byte.is_ascii_graphic());
        if !shown.map(|byte| char::from(*byte)).collect::<String>().contains(WINDOWS_GENERALISED) {
            findings.push(volume.found(WINDOWS_STATE, "this Windows was not generalised by sysprep"));
        }
    }
    let mut is_linux = false;
    for path in LINUX {
        is_linux |= volume.kind(path)?.is_some();
    }
    if is_linux {
        systems.push(format!("{} (Linux)", root.volume));
        findings.extend(volume.linux()?);
    }
    checked.systems.extend(systems);
    checked.findings.extend(findings);
    Ok(())
}

/// A volume that is looked into.
struct Volume<'a> {
    browser: &'a mut Browser,
    root: &'a Target,
}

impl Volume<'_> {
    fn linux(&mut self) -> files::Result<Vec<Finding>> {
        let mut found = Vec::new();
        for name in self.names("/etc/ssh")?.iter().filter(|name| name.starts_with("ssh_host_")) {
            found.push(self.found(&format!("/etc/ssh/{name}"), "a host key of SSH"));
        }
        for path in ["/etc/machine-id", "/var/lib/dbus/machine-id"] {
            // A link leads to the other, or to what is made at each boot.
            let is_file = self.kind(path)? == Some(Kind::File);
            let id = if is_file { self.read(path)?.unwrap_or_default() } else { Vec::new() };
            let id = id.trim_ascii();
            if !id.is_empty() && id != UNINITIALIZED {
                found.push(self.found(path, "the machine's id"));
            }
        }
        for name in self.names("/var/lib/cloud/instances")? {
            let path = format!("/var/lib/cloud/instances/{name}");
            found.push(self.found(&path, "what cloud-init remembers of a machine"));
        }
        let id = "/var/lib/cloud/data/instance-id";
        if self.kind(id)?.is_some() {
            found.push(self.found(id, "what cloud-init remembers of a machine"));
        }
        let rules = "/etc/udev/rules.d";
        for name in self.names(rules)?.iter().filter(|name| name.contains("persistent-net")) {
            found.push(self.found(&format!("{rules}/{name}"), "addresses of a machine's network cards"));
        }
        Ok(found)
    }

    fn found(&self, path: &str, what: &str) -> Finding {
        Finding { place: format!("{}:{path}", self.root.volume), what: what.to_owned() }
    }

    fn target(&self, path: &str) -> files::Result<Target> {
        Ok(Target { volume: self.root.volume.clone(), path: FilePath::parse(path.as_bytes())? })
    }

    /// What is there; nothing if there is nothing.
    fn kind(&mut self, path: &str) -> files::Result<Option<Kind>> {
        let target = self.target(path)?;
        none_if_missing(self.browser.resolve(&target, false).map(|(_, metadata)| metadata.kind))
    }

    /// The names in a folder; none if it is not there.
    fn names(&mut self, path: &str) -> files::Result<Vec<String>> {
        let target = self.target(path)?;
        let listed = self.browser.resolve(&target, true).and_then(|(target, metadata)| match metadata.kind {
            Kind::Folder => self.browser.list(&target),
            _ => Ok(Vec::new()),
        });
        let entries = none_if_missing(listed)?.unwrap_or_default();
        Ok(entries.iter().map(|entry| files::shown(&entry.name)).collect())
    }

    /// The beginning of a file; nothing if it is not there.
    fn read(&mut self, path: &str) -> files::Result<Option<Vec<u8>>> {
        let target = self.target(path)?;
        let read = self.browser.resolve(&target, true).and_then(|(target, _)| self.browser.read(&target, 0));
        let piece = none_if_missing(read)?;
        // Zeros first would be no text.
        Ok(piece.map(
            |(zeros, bytes)| {
                if zeros > 0 { Vec::new() } else { bytes.into_iter().take(READ_BYTES_MAX).collect() }
            },
        ))
    }
}

fn none_if_missing<T>(answer: files::Result<T>) -> files::Result<Option<T>> {
    match answer {
        // A file stands where a folder of the path would be.
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::Invalid) => Ok(None),
        other => other.map(Some),
    }
}
