//! Finding machines: those of this host's libvirt, and those whose QEMUs run here without one, each once. And how each
//! is reached.

use hypervisor::libvirt::THIS_LIBVIRT;
use hypervisor::libvirt::{LibvirtAddress, LibvirtMachine};
use hypervisor::qemu::{MachineAddress, QemuMachine};
use hypervisor::{Error, ErrorKind, Machine, Outstanding, Result};
use std::path::{Path, PathBuf};

/// What to do about a machine without a monitor.
pub const NEEDS_MONITOR: &str = "start it with -qmp unix:PATH,server=on,wait=off";

/// A machine, and how it is reached.
#[derive(Clone, Debug)]
pub enum Known {
    /// By its monitor.
    Qemu(MachineAddress),
    /// By its libvirt; its QEMU's process, if that runs here.
    Libvirt(LibvirtAddress, Option<u32>),
}

/// What was found, and why a libvirt that may be there did not answer.
#[derive(Debug)]
pub struct Found {
    /// The machines.
    pub machines: Vec<Known>,
    /// Why this host's libvirt is not among them.
    pub silent: Option<Error>,
}

/// The machines of a libvirt that is named; else all of this host.
pub async fn find(libvirt: Option<&str>) -> Result<Found> {
    if let Some(uri) = libvirt {
        let domains = hypervisor::libvirt::discover(uri).await?;
        return Ok(Found { machines: merge(domains, Vec::new()), silent: None });
    }
    let running = hypervisor::qemu::discover()?;
    // A host without libvirt is a host like any other.
    let (domains, silent) = match hypervisor::libvirt::discover(THIS_LIBVIRT).await {
        Ok(domains) => (domains, None),
        Err(error) => (Vec::new(), Some(error)),
    };
    Ok(Found { machines: merge(domains, running), silent })
}

/// A QEMU of libvirt's is a process like any other: it is known by its uuid, which libvirt always gives.
fn merge(domains: Vec<LibvirtAddress>, running: Vec<MachineAddress>) -> Vec<Known> {
    let is_domains = |machine: &MachineAddress, domain: &LibvirtAddress| {
        machine.uuid.as_deref().is_some_and(|uuid| uuid.eq_ignore_ascii_case(&domain.uuid))
    };
    let (theirs, ours): (Vec<_>, Vec<_>) =
        running.into_iter().partition(|machine| domains.iter().any(|domain| is_domains(machine, domain)));
    let process = |domain: &LibvirtAddress| {
        theirs.iter().find(|machine| is_domains(machine, domain)).map(|machine| machine.pid)
    };
    let of_libvirt = domains.into_iter().map(|domain| {
        let pid = process(&domain);
        Known::Libvirt(domain, pid)
    });
    of_libvirt.chain(ours.into_iter().map(Known::Qemu)).collect()
}

impl Known {
    /// Its name, if it has one.
    pub fn name(&self) -> Option<&str> {
        match self {
            Self::Qemu(machine) => machine.name.as_deref(),
            Self::Libvirt(domain, _) => Some(&domain.name),
        }
    }

    /// Its uuid, if it has one.
    pub fn uuid(&self) -> Option<&str> {
        match self {
            Self::Qemu(machine) => machine.uuid.as_deref(),
            Self::Libvirt(domain, _) => Some(&domain.uuid),
        }
    }

    /// Whether a person may mean it by this name.
    pub fn is_called(&self, name: &str) -> bool {
        self.name() == Some(name) || self.uuid().is_some_and(|uuid| uuid.eq_ignore_ascii_case(name))
    }

    /// What a server knows it by: its uuid, or its name where it has none.
    pub fn known_as(&self) -> Option<&str> {
        self.uuid().or_else(|| self.name())
    }

    /// Opens it.
    ///
    /// # Errors
    /// `Unsupported` if it has no monitor.
    pub async fn connect(&self) -> Result<Box<dyn Machine>> {
        match self {
            Self::Libvirt(domain, _) => {
                Ok(Box::new(LibvirtMachine::connect(&domain.uri, &domain.uuid).await?))
            }
            Self::Qemu(machine) if machine.qmp.is_empty() => {
                let name = machine.name.as_deref().unwrap_or("without a name");
                let text = format!("machine {name} runs without a QMP socket, so nobody can talk to it");
                Err(Error::new(ErrorKind::Unsupported, text))
            }
            Self::Qemu(machine) => by_monitor(&machine.qmp, machine.agent.as_deref()).await,
        }
    }
}

/// Opens a machine by the first of its QMP sockets that nobody else holds; at least one is given.
pub async fn by_monitor(sockets: &[PathBuf], agent: Option<&Path>) -> Result<Box<dyn Machine>> {
    let mut refused = None;
    for socket in sockets {
        match QemuMachine::connect(socket, agent).await {
            Ok(machine) => return Ok(Box::new(machine)),
            Err(error) => {
                let is_held = error.kind() == ErrorKind::Busy;
                let text = format!("connect to {}", socket.display());
                let error = Error::caused(error.kind(), text, error);
                if !is_held {
                    return Err(error);
                }
                refused = Some(error);
            }
        }
    }
    Err(refused.expect("a machine that is found has a socket"))
}

/// What came of a machine whose guest may have been left frozen.
#[derive(Debug)]
pub struct Reconciled {
    /// The machine, as it was written down.
    pub machine: String,
    /// What was done, or why nothing could be.
    pub came_of_it: Result<Vec<String>>,
}

/// Thaws what earlier programs wrote down in `records` and did not live to thaw.
pub async fn thaw_outstanding(records: &Path) -> Vec<Reconciled> {
    let mut all = Vec::new();
    for record in Outstanding::list(records) {
        let machine = record.address().join(" ");
        let settled = match reconcile(record.address()).await {
            Ok(done) => record.settle().map(|()| done),
            Err(gone) if gone.is_gone() => record.settle().map(|()| vec!["the machine is gone".into()]),
            Err(error) => Err(error),
        };
        all.push(Reconciled { machine, came_of_it: settled });
    }
    all
}

/// Takes back what backups have left of the machine at an address, in the words of a freeze record. Gives what was done.
///
/// # Errors
/// As [`Machine::reconcile`]; `Invalid` for words that are no address.
pub async fn reconcile(address: &[String]) -> Result<Vec<String>> {
    let words: Vec<&str> = address.iter().map(String::as_str).collect();
    let machine: Box<dyn Machine> = match words[..] {
        ["--qmp", socket] => Box::new(QemuMachine::connect(Path::new(socket), None).await?),
        ["--qmp", socket, "--agent", agent] => {
            Box::new(QemuMachine::connect(Path::new(socket), Some(Path::new(agent))).await?)
        }
        // A libvirt that answers and has no such machine has said that it is gone.
        ["--libvirt", uri, uuid] => Box::new(LibvirtMachine::connect(uri, uuid).await?),
        _ => {
            let text = format!("understand the address of a machine: {}", address.join(" "));
            return Err(Error::new(ErrorKind::Invalid, text));
        }
    };
    machine.reconcile().await
}

#[cfg(test)]
mod tests {
    use super::*;
    use hypervisor::libvirt::RunState;

    fn domain(name: &str, uuid: &str) -> LibvirtAddress {
        let (uri, state) = (THIS_LIBVIRT.to_owned(), RunState::Running);
        LibvirtAddress { uri, name: name.to_owned(), uuid: uuid.to_owned(), state, persistent: true }
    }

    fn qemu(words: &[&str], pid: u32) -> MachineAddress {
        let argv = ["qemu-system-x86_64"].iter().chain(words).map(|word| (*word).to_owned()).collect();
        hypervisor::qemu::parse(pid, argv).expect("it is a QEMU")
    }

    #[test]
    fn a_machine_of_libvirt_is_listed_once() {
        let running =
            vec![qemu(&["-name", "guest=web", "-uuid", "AB"], 7), qemu(&["-name", "own", "-uuid", "cd"], 8)];
        let found = merge(vec![domain("web", "ab"), domain("off", "ef")], running);
        let told: Vec<_> = found
            .iter()
            .map(|known| match known {
                Known::Libvirt(domain, pid) => (domain.name.as_str(), *pid),
                Known::Qemu(machine) => (machine.name.as_deref().unwrap_or_default(), Some(machine.pid)),
            })
            .collect();
        assert_eq!(told, [("web", Some(7)), ("off", None), ("own", Some(8))]);
        assert!(matches!(found[2], Known::Qemu(_)) && found[0].is_called("AB") && !found[0].is_called("a"));
        let known_as = found.iter().map(|machine| machine.known_as().expect("all have one"));
        assert_eq!(known_as.collect::<Vec<_>>(), ["ab", "ef", "cd"]);
        assert_eq!(Known::Qemu(qemu(&["-name", "bare"], 9)).known_as(), Some("bare"));
    }

    #[tokio::test]
    async fn a_record_that_nobody_can_read_is_no_machine() {
        let error = reconcile(&["--telnet".to_owned()]).await.expect_err("nobody writes that");
        assert_eq!(error.kind(), ErrorKind::Invalid);
        let gone = reconcile(&["--qmp".into(), "/nowhere/qmp.sock".into()]).await.expect_err("not there");
        assert!(gone.is_gone());
    }
}
