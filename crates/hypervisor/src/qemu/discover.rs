//! Finds the machines that run on this host by the command lines of their QEMUs.
//!
//! [`parse`] is pure and knows QEMU's option grammar; [`discover()`] reads /proc. Sockets that a manager
//! handed over as open files (libvirt does) have no path and are not listed.

use crate::{Error, Result};
use serde_json::Value;
use std::fs;
use std::path::{Path, PathBuf};

/// The port name by which the guest agent is known everywhere.
const AGENT_PORT: &str = "org.qemu.guest_agent.0";

/// Where a running machine can be talked to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MachineAddress {
    /// Its name, where QEMU was told one.
    pub name: Option<String>,
    /// Its uuid, where QEMU was told one.
    pub uuid: Option<String>,
    /// QEMU's process.
    pub pid: u32,
    /// Its QMP sockets: each serves one client at a time.
    pub qmp: Vec<PathBuf>,
    /// The guest agent's socket.
    pub agent: Option<PathBuf>,
    /// The command line, program first.
    pub argv: Vec<String>,
}

/// All machines running on this host whose command lines we may read, by process id. Brief: it reads two
/// small files of /proc per process, and blocks meanwhile.
///
/// # Errors
/// When /proc cannot be listed. Processes that end meanwhile, or are not ours to see, are left out.
pub fn discover() -> Result<Vec<MachineAddress>> {
    let processes = fs::read_dir("/proc").map_err(|e| Error::io("list /proc", e))?;
    let ids = processes.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    let mut machines: Vec<MachineAddress> = ids.filter_map(machine_of).collect();
    machines.sort_by_key(|machine| machine.pid);
    Ok(machines)
}

fn machine_of(pid: u32) -> Option<MachineAddress> {
    let mut machine = parse(pid, command_line(pid)?)?;
    // QEMU's relative paths are relative to where it was started.
    let folder = working_folder(pid);
    for path in machine.qmp.iter_mut().chain(&mut machine.agent) {
        *path = folder.join(&path);
    }
    Some(machine)
}

/// Where a process was started.
pub(crate) fn working_folder(pid: u32) -> PathBuf {
    fs::read_link(format!("/proc/{pid}/cwd")).unwrap_or_else(|_| PathBuf::from("/"))
}

/// The command line of a process, program first; `None` when it is not ours to read or has ended.
pub(crate) fn command_line(pid: u32) -> Option<Vec<String>> {
    let bytes = fs::read(format!("/proc/{pid}/cmdline")).ok()?;
    let words = bytes.strip_suffix(b"\0").unwrap_or(&bytes).split(|&byte| byte == 0);
    let argv: Vec<String> = words.map(|word| String::from_utf8_lossy(word).into_owned()).collect();
    is_qemu(argv.first()?).then_some(argv)
}

fn is_qemu(program: &str) -> bool {
    let name = Path::new(program).file_name().and_then(|name| name.to_str()).unwrap_or_default();
    name.starts_with("qemu-system-") || name == "qemu-kvm" || name == "kvm"
}

/// What a QEMU command line says of its machine; `None` for other programs. Paths stay as written.
pub fn parse(pid: u32, argv: Vec<String>) -> Option<MachineAddress> {
    if !is_qemu(argv.first()?) {
        return None;
    }
    let mut found = Found::default();
    let mut words = argv.iter().skip(1).peekable();
    while let Some(word) = words.next() {
        let Some(option) = word.strip_prefix("--").or_else(|| word.strip_prefix('-')) else { continue };
        // Options without a value are followed by another option: it must not be swallowed.
        let Some(value) = words.next_if(|value| !value.starts_with('-')) else { continue };
        found.option(option, value);
    }
    let chardev_path =
        |id: &str| found.chardevs.iter().find(|(name, _)| name == id).map(|(_, path)| path.clone());
    let mut qmp = found.qmp;
    qmp.extend(found.monitors.iter().filter_map(|id| chardev_path(id)));
    let agent = found.agent_chardev.as_deref().and_then(chardev_path);
    Some(MachineAddress { name: found.name, uuid: found.uuid, pid, qmp, agent, argv })
}

#[derive(Default)]
struct Found {
    name: Option<String>,
    uuid: Option<String>,
    qmp: Vec<PathBuf>,
    /// Socket chardevs with a path: id, path.
    chardevs: Vec<(String, PathBuf)>,
    /// Chardevs of QMP monitors.
    monitors: Vec<String>,
    agent_chardev: Option<String>,
}

impl Found {
    fn option(&mut self, option: &str, value: &str) {
        match option {
            "name" => self.name = Options::parse(value, "guest").get("guest"),
            "uuid" => self.uuid = Some(value.to_ascii_lowercase()),
            "qmp" | "qmp-pretty" => self.qmp(value),
            "chardev" => self.chardev(&Options::parse(value, "backend")),
            "mon" => self.monitor(&Options::parse(value, "chardev")),
            "device" => self.device(&Options::parse(value, "driver")),
            _ => {}
        }
    }

    fn qmp(&mut self, value: &str) {
        if let Some(chardev) = value.strip_prefix("chardev:") {
            self.monitors.push(chardev.to_owned());
        } else if let Some(path) = Options::parse(value, "address").get("address") {
            self.qmp.extend(path.strip_prefix("unix:").map(PathBuf::from));
        }
    }

    fn chardev(&mut self, options: &Options) {
        let socket = options.get("backend").is_some_and(|backend| backend == "socket");
        if let (true, Some(id), Some(path)) = (socket, options.get("id"), options.get("path")) {
            self.chardevs.push((id, PathBuf::from(path)));
        }
    }

    fn monitor(&mut self, options: &Options) {
        if options.get("mode").is_some_and(|mode| mode == "control") {
            self.monitors.extend(options.get("chardev"));
        }
    }

    fn device(&mut self, options: &Options) {
        if options.get("name").is_some_and(|name| name == AGENT_PORT) {
            self.agent_chardev = options.get("chardev");
        }
    }
}

/// `first,key=value,...` with `,,` for a comma, or the same as a JSON object.
pub(crate) struct Options(Vec<(String, String)>);

impl Options {
    pub(crate) fn parse(text: &str, implied: &str) -> Self {
        if text.starts_with('{') {
            return Self::parse_json(text);
        }
        let mut pairs = Vec::new();
        for (index, part) in split_commas(text).into_iter().enumerate() {
            match part.split_once('=') {
                // A path may hold `=`; only a word can be a key.
                Some((key, value)) if !key.contains([':', '/']) => {
                    pairs.push((key.to_owned(), value.to_owned()));
                }
                _ if index == 0 => pairs.push((implied.to_owned(), part)),
                _ => pairs.push((part, "on".to_owned())),
            }
        }
        Self(pairs)
    }

    fn parse_json(text: &str) -> Self {
        let object: serde_json::Map<String, Value> = serde_json::from_str(text).unwrap_or_default();
        let strings = object.into_iter().filter_map(|(key, value)| Some((key, value.as_str()?.to_owned())));
        Self(strings.collect())
    }

    pub(crate) fn get(&self, key: &str) -> Option<String> {
        self.0.iter().find(|(name, _)| name == key).map(|(_, value)| value.clone())
    }
}

/// The parts of an option of QEMU's; a doubled comma is one that stands for itself.
pub(crate) fn split_commas(text: &str) -> Vec<String> {
    let mut parts = vec![String::new()];
    let mut characters = text.chars().peekable();
    while let Some(character) = characters.next() {
        let doubled = character == ',' && characters.next_if_eq(&',').is_some();
        match parts.last_mut() {
            Some(part) if character != ',' || doubled => part.push(character),
            _ => parts.push(String::new()),
        }
    }
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    fn machine(options: &[&str]) -> MachineAddress {
        let argv = std::iter::once("/usr/bin/qemu-system-x86_64").chain(options.iter().copied());
        parse(7, argv.map(str::to_owned).collect()).unwrap()
    }

    fn paths(names: &[&str]) -> Vec<PathBuf> {
        names.iter().map(PathBuf::from).collect()
    }

    #[test]
    fn a_hand_started_machine() {
        let found = machine(&[
            "-nodefaults",
            "-name",
            "web",
            "-uuid",
            "0F1E0000-0000-4000-8000-000000000001",
            "-S",
            "-qmp",
            "unix:/run/web.qmp,server=on,wait=off",
            "-chardev",
            "socket,path=/run/web.ga,server=on,wait=off,id=qga0",
            "-device",
            "virtio-serial-pci",
            "-device",
            "virtserialport,chardev=qga0,name=org.qemu.guest_agent.0",
        ]);
        assert_eq!(found.name.as_deref(), Some("web"));
        assert_eq!(found.uuid.as_deref(), Some("0f1e0000-0000-4000-8000-000000000001"));
        assert_eq!(found.qmp, paths(&["/run/web.qmp"]));
        assert_eq!(found.agent, Some(PathBuf::from("/run/web.ga")));
    }

    #[test]
    fn monitors_on_chardevs_and_devices_as_json() {
        let found = machine(&[
            "--name",
            "guest=a,,b,debug-threads=on",
            "-chardev",
            "socket,id=m1,path=/run/m1,server,nowait",
            "-mon",
            "chardev=m1,mode=control,pretty=on",
            "-chardev",
            "socket,id=m2,path=/run/m2,server,nowait",
            "-mon",
            "m2,mode=readline",
            "-chardev",
            "socket,id=m3,path=/run/m3=x,server,nowait",
            "-qmp",
            "chardev:m3",
            "-device",
            r#"{"driver":"virtserialport","chardev":"g","name":"org.qemu.guest_agent.0","nr":1}"#,
            "-chardev",
            "socket,id=g,path=/run/g",
        ]);
        assert_eq!(found.name.as_deref(), Some("a,b"));
        assert_eq!(found.qmp, paths(&["/run/m1", "/run/m3=x"]));
        assert_eq!(found.agent, Some(PathBuf::from("/run/g")));
    }

    #[test]
    fn sockets_handed_over_as_files_have_no_path() {
        let found = machine(&[
            "-chardev",
            "socket,id=charmonitor,fd=28,server=on,wait=off",
            "-mon",
            "chardev=charmonitor,id=monitor,mode=control",
            "-qmp",
            "tcp:localhost:4444,server=on",
        ]);
        assert_eq!((found.qmp, found.agent, found.name), (vec![], None, None));
    }

    #[test]
    fn other_programs_are_not_machines() {
        for program in ["/usr/bin/qemu-img", "qemu-storage-daemon", "vi"] {
            assert_eq!(parse(1, vec![program.to_owned(), "qemu-system-x86_64".to_owned()]), None);
        }
        assert!(parse(1, vec!["/usr/libexec/qemu-kvm".to_owned()]).is_some());
    }
}
