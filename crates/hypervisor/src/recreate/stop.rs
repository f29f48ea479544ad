//! A machine that is there: what it sits on, stopped, and started again as it was.

use super::start::run;
use super::words;
use crate::libvirt::Virsh;
use crate::qmp::Qmp;
use crate::{Error, ErrorKind, MachineDescription, Result};
use serde::{Deserialize, Serialize};
use serde_json::json;
use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;
use tokio::process::Command;
use tokio::time::{sleep, timeout};

/// How long a guest may take to shut down: services that write their caches, updates that are being installed.
const SHUT_DOWN_LIMIT: Duration = Duration::from_secs(300);
/// How long a machine takes whose power is cut: its images are closed.
const POWER_OFF_LIMIT: Duration = Duration::from_secs(60);
/// How often it is looked whether it is off.
const POLL: Duration = Duration::from_millis(200);
/// Until QEMU has started again.
const START_LIMIT: Duration = Duration::from_secs(60);

/// How a machine is stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Stop {
    /// Its guest is asked to shut down.
    ShutDown,
    /// Its power is cut. For the guest that is a crash; its images are closed in order.
    PowerOff,
}

impl Stop {
    fn limit(self) -> Duration {
        match self {
            Self::ShutDown => SHUT_DOWN_LIMIT,
            Self::PowerOff => POWER_OFF_LIMIT,
        }
    }
}

/// What each disk sits on, by its id: libvirt's word for the bus, or QEMU's for the device. Disks of which that
/// cannot be told are left out.
pub fn buses(description: &MachineDescription) -> BTreeMap<String, String> {
    if let Some(definition) = &description.definition {
        let Ok(document) = roxmltree::Document::parse(definition) else { return BTreeMap::new() };
        let targets = document.descendants().filter(|node| {
            node.has_tag_name("target") && node.parent().is_some_and(|disk| disk.has_tag_name("disk"))
        });
        let bus = |node: roxmltree::Node<'_, '_>| {
            Some((node.attribute("dev")?.to_owned(), node.attribute("bus")?.to_owned()))
        };
        return targets.filter_map(bus).collect();
    }
    let words = words::parse(description.argv.get(1..).unwrap_or_default());
    let devices: Vec<_> =
        words.iter().filter(|word| word.is("device")).map(|word| word.settings("driver")).collect();
    let bus = |disk: &crate::DiskDescription| {
        let is_its = |key: &str, name: &str| {
            devices.iter().find(|device| device.get(key).as_deref() == Some(name))?.get("driver")
        };
        let driver = is_its("id", &disk.id)
            .or_else(|| is_its("drive", &disk.node))
            .or_else(|| is_its("drive", &disk.id));
        Some((disk.id.clone(), driver?))
    };
    description.disks.iter().filter_map(bus).collect()
}

/// Stops a machine of QEMU's, by its monitor, and returns when its images are closed.
///
/// # Errors
/// `Guest` when its guest does not shut down in time.
pub async fn stop_qemu(qmp: &Path, how: Stop) -> Result<()> {
    let qmp = Qmp::connect(qmp).await?;
    let command = match how {
        Stop::ShutDown => "system_powerdown",
        Stop::PowerOff => "quit",
    };
    match qmp.execute(command, json!({})).await {
        // It may be gone before the answer is.
        Err(error) if error.kind() != ErrorKind::Unreachable => return Err(error),
        _ => {}
    }
    // QEMU closes its images before its monitors.
    let off = async {
        while !qmp.is_closed() {
            sleep(POLL).await;
        }
        Ok(())
    };
    off_within(how, off).await
}

/// Stops a machine of libvirt's, and returns when it is off.
///
/// # Errors
/// `Guest` when its guest does not shut down in time.
pub async fn stop_libvirt(uri: &str, name: &str, how: Stop) -> Result<()> {
    let virsh = Virsh::new(uri);
    match how {
        Stop::ShutDown => virsh.run(&["shutdown", "--domain", name]).await?,
        Stop::PowerOff => virsh.run(&["destroy", "--domain", name, "--graceful"]).await?,
    };
    let off = async {
        while !libvirt_is_off(uri, name).await? {
            sleep(POLL).await;
        }
        Ok(())
    };
    off_within(how, off).await
}

async fn off_within(how: Stop, off: impl Future<Output = Result<()>>) -> Result<()> {
    let text = || {
        let seconds = how.limit().as_secs();
        format!("stop the machine: it is still running after {seconds} s; shut its guest down, then go on")
    };
    timeout(how.limit(), off).await.map_err(|_| Error::new(ErrorKind::Guest, text()))?
}

/// Whether a machine of libvirt's is off.
///
/// # Errors
/// `NotFound` when there is no such machine.
pub async fn libvirt_is_off(uri: &str, name: &str) -> Result<bool> {
    Ok(Virsh::new(uri).run(&["domstate", "--domain", name]).await?.trim() == "shut off")
}

/// Starts a QEMU again with the very command line that it ran with, as a process of its own.
///
/// # Errors
/// `Unsupported` where it spoke with the terminal that started it: only a person can start it so again.
pub async fn start_again(argv: &[String], folder: Option<&str>) -> Result<()> {
    let by_hand = |why: &str| {
        let text = format!("start the machine again: {why}; start it as it was started before");
        Error::new(ErrorKind::Unsupported, text)
    };
    let [program, arguments @ ..] = argv else { return Err(by_hand("its command line is not known")) };
    let words = words::parse(arguments);
    let speaks = |word: &words::Word| {
        word.is("nographic")
            || word.is("curses")
            || word.text().split([':', ',', '=']).any(|part| part == "stdio")
    };
    if words.iter().any(speaks) {
        return Err(by_hand("its console was a terminal"));
    }
    let mut qemu = Command::new(program);
    qemu.args(arguments);
    if !words.iter().any(|word| word.is("daemonize")) {
        qemu.arg("-daemonize");
    }
    qemu.current_dir(folder.unwrap_or("/"));
    run(qemu, program, START_LIMIT).await.map(drop)
}
