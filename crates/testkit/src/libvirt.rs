//! A libvirt of its own, and guests that it runs.
//!
//! libvirt's folders are fixed when it is built, so the daemon gets a view of the file system of its own (a
//! mount namespace) in which they are folders of the test's, and in which libvirt's user exists. A libvirt that
//! the host runs is neither seen nor touched, and nothing is left of ours but empty folders where libvirt's
//! would be. What is mounted on the host after its start the daemon and its machines do not see.

use crate::libvirt_xml::libvirt_xml;
use crate::wait::wait_for;
use crate::{Accel, Agent, GuestImage, MachineOptions, command, host};
use anyhow::{Context, Result, bail};
use serde_json::{Value, json};
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// The first start asks QEMU what it can do, which takes seconds.
const START_TIMEOUT: Duration = Duration::from_secs(60);
/// For a daemon to end, or a machine.
const END_TIMEOUT: Duration = Duration::from_secs(60);
/// libvirt's folders, and which of ours stand there.
const FOLDERS: [(&str, &str); 5] = [
    ("etc", "/etc/libvirt"),
    ("run", "/run/libvirt"),
    ("lib", "/var/lib/libvirt"),
    ("log", "/var/log/libvirt"),
    ("cache", "/var/cache/libvirt"),
];
/// What needs systemd, another user or a security module is off.
const QEMU_SETTINGS: &str = "user = \"root\"\ngroup = \"root\"\ndynamic_ownership = 0\nremember_owner = 0\n\
    security_driver = \"none\"\nnamespaces = []\ncgroup_controllers = []\nstdio_handler = \"file\"\n";
const DAEMON_SETTINGS: &str = "auth_unix_rw = \"none\"\n";
/// libvirt does not start without the user it would run machines as.
const USER: &str = "libvirt-qemu:x:64055:64055::/nonexistent:/usr/sbin/nologin\n";
const GROUPS: &str = "libvirt-qemu:x:64055:\nkvm:x:64056:\n";

/// A libvirt daemon. Dropped it ends; its machines run on unless they are dropped before.
pub struct LibvirtDaemon {
    folder: PathBuf,
    process: Child,
}

impl LibvirtDaemon {
    /// Starts one with its folders below `folder`. Needs root.
    pub fn start(folder: &Path) -> Result<Self> {
        host::require_root("running a libvirt of one's own")?;
        for (ours, theirs) in FOLDERS {
            fs::create_dir_all(folder.join(ours)).context("cannot make a folder for libvirt")?;
            // A place to mount on.
            fs::create_dir_all(theirs).with_context(|| format!("cannot make {theirs}"))?;
        }
        let write = |name: &str, text: &str| {
            fs::write(folder.join(name), text).with_context(|| format!("cannot write {name} for libvirt"))
        };
        write("etc/qemu.conf", QEMU_SETTINGS)?;
        write("etc/libvirtd.conf", DAEMON_SETTINGS)?;
        write("passwd", &with_missing("/etc/passwd", USER)?)?;
        write("group", &with_missing("/etc/group", GROUPS)?)?;
        let process = spawn(folder)?;
        let daemon = Self { folder: folder.into(), process };
        daemon.wait()?;
        Ok(daemon)
    }

    /// Its address.
    pub fn uri(&self) -> String {
        format!("qemu:///system?socket={}", self.folder.join("run/libvirt-sock").display())
    }

    /// Defines a machine, by a file with its XML; it stays off.
    pub fn define(&self, xml: &Path) -> Result<()> {
        virsh(&self.uri(), &["define", "--file", &xml.display().to_string()]).map(drop)
    }

    /// Ends the daemon; its machines run on.
    pub fn stop(&mut self) -> Result<()> {
        let id = self.process.id().to_string();
        command::run(Command::new("kill").arg(&id), "end libvirt")?;
        let process = &mut self.process;
        wait_for("libvirt to end", END_TIMEOUT, || process.try_wait().context("cannot watch libvirt"))?;
        Ok(())
    }

    /// Starts the daemon again, which finds its machines.
    pub fn start_again(&mut self) -> Result<()> {
        self.process = spawn(&self.folder)?;
        self.wait()
    }

    fn wait(&self) -> Result<()> {
        let uri = self.uri();
        let answered =
            wait_for("libvirt to answer", START_TIMEOUT, || Ok(virsh(&uri, &["version"]).ok().map(drop)));
        answered.with_context(|| {
            fs::read_to_string(self.folder.join("libvirtd.log")).unwrap_or_default().trim_end().to_owned()
        })
    }
}

impl Drop for LibvirtDaemon {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// A file of the host's, with the lines whose first word it lacks.
fn with_missing(path: &str, lines: &str) -> Result<String> {
    let mut text = fs::read_to_string(path).with_context(|| format!("cannot read {path}"))?;
    for line in lines.split_inclusive('\n') {
        let name = &line[..=line.find(':').unwrap_or(0)];
        if !text.lines().any(|known| known.starts_with(name)) {
            text.push_str(line);
        }
    }
    Ok(text)
}

fn spawn(folder: &Path) -> Result<Child> {
    // "$1" is our folder, the rest pairs of folders: nothing is read as a command. Images that other tests have mounted
    // are given back first: they would stay mounted here, and unfinished, when those unmount and read them.
    let script = "awk '$1 ~ \"^/dev/loop\" { print $2 }' /proc/self/mounts | xargs -r umount; \
                  f=$1; shift; while [ $# -gt 0 ]; do mount --bind \"$f/$1\" \"$2\" || exit; shift 2; done; \
                  exec libvirtd -f \"$f/etc/libvirtd.conf\" -p \"$f/run/libvirtd.pid\"";
    let log = File::create(folder.join("libvirtd.log")).context("cannot make libvirt's log")?;
    let mut daemon = Command::new("unshare");
    daemon.args(["--mount", "--propagation", "private", "sh", "-c", script, "libvirtd"]).arg(folder);
    for (ours, theirs) in FOLDERS.into_iter().chain([("passwd", "/etc/passwd"), ("group", "/etc/group")]) {
        daemon.args([ours, theirs]);
    }
    let path = std::env::var("PATH").unwrap_or_default() + ":/usr/sbin:/sbin";
    daemon.env("PATH", path).stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
    daemon.spawn().context("cannot start libvirt")
}

/// Runs libvirt's program.
pub(crate) fn virsh(uri: &str, arguments: &[&str]) -> Result<String> {
    let mut virsh = Command::new("virsh");
    virsh.env("LC_ALL", "C").args(["--quiet", "--connect", uri]).args(arguments);
    command::run_text(&mut virsh, &format!("ask libvirt for {}", arguments.first().unwrap_or(&"")))
}

/// The usual guest, run by libvirt. Dropping it destroys it.
pub struct LibvirtGuest {
    uri: String,
    options: MachineOptions,
    agent: Agent,
    pid_file: PathBuf,
}

impl LibvirtGuest {
    /// Defines and starts a machine. The guest is booting when this returns.
    pub fn start(image: &GuestImage, daemon: &LibvirtDaemon, options: MachineOptions) -> Result<Self> {
        let accel = match options.accel {
            Some(accel) => accel,
            None => Accel::probe(image, &|_| ())?,
        };
        let file = options.folder.join("domain.xml");
        fs::write(&file, libvirt_xml(image, &options, accel)?)
            .with_context(|| format!("cannot write {}", file.display()))?;
        let uri = daemon.uri();
        daemon.define(&file)?;
        let pid_file = daemon.folder.join(format!("run/qemu/{}.pid", options.name));
        let agent = Agent::of_libvirt(&uri, &options.name);
        let machine = Self { uri, options, agent, pid_file };
        machine.virsh("start", &[])?;
        Ok(machine)
    }

    /// What it was started with.
    pub fn options(&self) -> &MachineOptions {
        &self.options
    }

    /// The guest agent.
    pub fn agent(&self) -> &Agent {
        &self.agent
    }

    /// A command of virsh's for this machine.
    pub fn virsh(&self, command: &str, arguments: &[&str]) -> Result<String> {
        virsh(&self.uri, &[&[command, "--domain", &self.options.name], arguments].concat())
    }

    /// A command of QEMU's monitor, through libvirt.
    pub fn qmp(&self, command: &str, arguments: Value) -> Result<Value> {
        let mut message = json!({ "execute": command });
        if !arguments.is_null() {
            message["arguments"] = arguments;
        }
        let said = self.virsh("qemu-monitor-command", &["--cmd", &message.to_string()])?;
        let mut answer: Value = serde_json::from_str(&said).context("QEMU's answer is not JSON")?;
        if let Some(error) = answer.get("error") {
            bail!("QEMU refused {command}: {error}");
        }
        Ok(answer["return"].take())
    }

    /// QEMU's process number.
    pub fn process_id(&self) -> Result<u32> {
        let text = fs::read_to_string(&self.pid_file).context("the machine has no QEMU")?;
        text.trim().parse().context("cannot read QEMU's process number")
    }

    /// Kills QEMU, as the loss of the host would, and waits until libvirt has noticed.
    pub fn kill(&self) -> Result<()> {
        let id = self.process_id()?.to_string();
        command::run(Command::new("kill").args(["-KILL", &id]), "kill QEMU")?;
        wait_for("libvirt to notice", END_TIMEOUT, || {
            Ok((self.virsh("domstate", &[])?.trim() == "shut off").then_some(()))
        })
    }

    /// Starts it again, after its QEMU has ended.
    pub fn start_again(&self) -> Result<()> {
        self.virsh("start", &[]).map(drop)
    }
}

impl Drop for LibvirtGuest {
    fn drop(&mut self) {
        if self.virsh("destroy", &[]).is_err()
            && let Ok(id) = self.process_id()
        {
            let _ = Command::new("kill").args(["-KILL", &id.to_string()]).status();
        }
    }
}
