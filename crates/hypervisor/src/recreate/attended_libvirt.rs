//! A machine of libvirt's as a part of us: it ends when it is dropped, and when we are killed.
//!
//! For machines that only try something out. libvirt destroys a domain that was created with `--autodestroy` when the
//! connection that created it ends. That connection is a `virsh` which waits for more to be said: when we are gone,
//! whatever ended us, it finds nobody to listen to and goes, too. CRASH: nothing is left but files; a transient domain
//! has no definition.

use super::domain::{LibvirtDefinition, retain, set_path, tell};
use super::recreation::refused;
use super::start::{MONITOR_POLL, START_LIMIT};
use crate::libvirt::{LibvirtMachine, Virsh};
use crate::{Error, ErrorKind, Machine, Result};
use std::fs::{self, DirBuilder, File};
use std::io::Write;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use tokio::time::{Instant, sleep};
use xmltree::{Element, XMLNode};

/// What the console said, in the machine's folder.
const CONSOLE_LOG: &str = "strongroom-console.log";
/// Users that libvirt runs machines as: Debian's and Ubuntu's, and everybody else's.
const LIBVIRT_USERS: [&str; 2] = ["libvirt-qemu", "qemu"];
/// Who is not us goes through a machine's folder, and looks at nothing in it.
const FOLDER_MODE: u32 = 0o711;

/// A machine of libvirt's that runs as long as this is held.
#[derive(Debug)]
pub struct AttendedInLibvirt {
    virsh: Virsh,
    name: String,
    machine: LibvirtMachine,
    has_agent: bool,
    keeper: Keeper,
}

/// The connection. Dropped, libvirt destroys the machine.
#[derive(Debug)]
struct Keeper {
    child: Child,
    _commands: ChildStdin,
}

impl Drop for Keeper {
    fn drop(&mut self) {
        let _ = self.child.kill(); // ended already
        let _ = self.child.wait();
    }
}

/// The definition of a machine that only tries something out: its console is written to a file in `folder`, which is
/// given, and what was said to QEMU past libvirt is left out, for nobody knows whose files that names.
pub fn attend(definition: &mut LibvirtDefinition, folder: &Path) -> Result<PathBuf> {
    let unread = |e: xmltree::ParseError| refused(format!("its definition cannot be read: {e}"));
    let mut domain = Element::parse(definition.text.as_bytes()).map_err(unread)?;
    let before = domain.children.len();
    domain.children.retain(|node| node.as_element().is_none_or(|one| one.prefix.as_deref() != Some("qemu")));
    if domain.children.len() < before {
        tell(&mut definition.left_out, "its own words for QEMU", "they may name what is the original's");
    }
    let console = folder.join(CONSOLE_LOG);
    let devices = domain.get_mut_child("devices").ok_or_else(|| refused("its definition has no devices"))?;
    record_console(devices, &console)?;
    let mut written = Vec::new();
    let unwritten = |e| refused(format!("its definition cannot be written: {e}"));
    domain.write(&mut written).map_err(unwritten)?;
    definition.text =
        String::from_utf8(written).map_err(|e| refused(format!("its definition is no text: {e}")))?;
    Ok(console)
}

/// The first serial port; else the first console of another kind; else a serial port that is added.
fn record_console(devices: &mut Element, file: &Path) -> Result<()> {
    let is_serial = |console: &Element| {
        let kind = console.get_child("target").and_then(|target| target.attributes.get("type"));
        kind.is_none_or(|kind| kind == "serial")
    };
    // Of the first serial port libvirt makes a console by itself.
    retain(devices, "console", |console| !is_serial(console));
    let name = match (devices.get_child("serial"), devices.get_child("console")) {
        (None, Some(_)) => "console",
        (None, None) => {
            devices.children.push(XMLNode::Element(Element::new("serial")));
            "serial"
        }
        _ => "serial",
    };
    let line = devices.get_mut_child(name).expect("it is there now");
    line.attributes.insert("type".into(), "file".into());
    for gone in ["source", "protocol", "log", "alias"] {
        while line.take_child(gone).is_some() {}
    }
    let mut source = Element::new("source");
    set_path(&mut source, "path", file)?;
    line.children.insert(0, XMLNode::Element(source));
    Ok(())
}

/// Starts the machine, and returns once libvirt says that it runs. The guest boots meanwhile.
///
/// # Errors
/// `Unsupported` when virsh is not installed; else as libvirt refuses.
pub async fn start_attended_in_libvirt(
    uri: &str,
    definition: &LibvirtDefinition,
    folder: &Path,
) -> Result<AttendedInLibvirt> {
    let doing = || format!("start the machine {} in {uri}", definition.name);
    let keeper = begin(uri, definition, folder).map_err(|error| error.within(doing()))?;
    let (mut keeper, said) = keeper;
    let virsh = Virsh::new(uri);
    let deadline = Instant::now() + START_LIMIT;
    loop {
        let words = fs::read_to_string(&said).unwrap_or_default();
        if words.contains("error:") || matches!(keeper.child.try_wait(), Ok(Some(_))) {
            return Err(Virsh::refused(doing(), &words));
        }
        match virsh.run(&["domstate", "--domain", &definition.name]).await {
            Ok(state) if state.trim() == "running" => break,
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(error.within(doing())),
            _ if Instant::now() >= deadline => {
                let text = format!("{}: not running within {} s", doing(), START_LIMIT.as_secs());
                return Err(Error::new(ErrorKind::Unreachable, text));
            }
            _ => sleep(MONITOR_POLL).await,
        }
    }
    let machine = LibvirtMachine::connect(uri, &definition.name).await?;
    let has_agent = definition.text.contains("org.qemu.guest_agent.0");
    Ok(AttendedInLibvirt { virsh, name: definition.name.clone(), machine, has_agent, keeper })
}

/// Tells a virsh that waits for more to create the machine; gives it, and where its complaints go.
fn begin(uri: &str, definition: &LibvirtDefinition, folder: &Path) -> Result<(Keeper, PathBuf)> {
    let failed = |what: &str| {
        let text = format!("{what} in {}", folder.display());
        move |e| Error::io(text, e)
    };
    if !folder.is_dir() {
        let made = DirBuilder::new().mode(FOLDER_MODE).create(folder);
        made.map_err(failed("make the machine's folder"))?;
    }
    let xml = folder.join("domain.xml");
    fs::write(&xml, &definition.text).map_err(failed("write the definition"))?;
    // libvirt gives it to its user; QEMU could not make it.
    File::create(folder.join(CONSOLE_LOG)).map_err(failed("make the console's file"))?;
    let said = folder.join("virsh.log");
    let log = File::create(&said).map_err(failed("make virsh's log"))?;
    let shown = xml.to_str().filter(|path| !path.contains(['\'', '\\', '\n']));
    let shown = shown.ok_or_else(|| refused(format!("virsh cannot be told the path {}", xml.display())))?;
    let mut command = Command::new("virsh");
    command.args(["--quiet", "--connect", uri]).env("LC_ALL", "C").env_remove("VIRSH_DEBUG");
    command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(log);
    let mut child = command.spawn().map_err(|e| match e.kind() {
        std::io::ErrorKind::NotFound => Virsh::not_installed(),
        _ => Error::io("start virsh", e),
    })?;
    let mut commands = child.stdin.take().expect("it was asked for");
    let told = writeln!(commands, "create --file '{shown}' --autodestroy");
    let keeper = Keeper { child, _commands: commands };
    told.map_err(|e| Error::io("tell virsh", e))?;
    Ok((keeper, said))
}

impl AttendedInLibvirt {
    /// The machine.
    pub fn machine(&self) -> &dyn Machine {
        &self.machine
    }

    /// Whether the machine has a guest agent's channel at all.
    pub fn has_agent(&self) -> bool {
        self.has_agent
    }

    /// Whether libvirt has it no more.
    pub async fn has_ended(&self) -> bool {
        let asked = self.virsh.run(&["domstate", "--domain", &self.name]).await;
        asked.is_err_and(|error| error.kind() == ErrorKind::NotFound)
    }

    /// Why its processors stand still, if they do.
    pub async fn stands(&self) -> Option<String> {
        let state = self.virsh.run(&["domstate", "--domain", &self.name, "--reason"]).await.ok()?;
        (!state.starts_with("running")).then(|| state.trim().to_owned())
    }

    /// Writes a picture of its screen to a file, as PNG or PPM.
    pub async fn screenshot(&self, file: &Path) -> Result<()> {
        let file = super::recreation::text_of(file)?;
        self.virsh.run(&["screenshot", "--domain", &self.name, "--file", &file]).await.map(drop)
    }

    /// Destroys it, and returns when it is gone. Its images are not closed in order.
    pub async fn end(self) -> Result<()> {
        let ended = self.virsh.run(&["destroy", "--domain", &self.name]).await;
        drop(self.keeper);
        match ended {
            Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }
}

/// Whom libvirt runs machines as, where it has a user for them: what they are to reach must be theirs.
pub fn libvirt_user() -> Option<(u32, u32)> {
    let find = |name| nix::unistd::User::from_name(name).ok().flatten();
    LIBVIRT_USERS.into_iter().find_map(find).map(|user| (user.uid.as_raw(), user.gid.as_raw()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn attended(devices: &str) -> (String, usize) {
        let text = format!(
            "<domain xmlns:qemu='http://libvirt.org/schemas/domain/qemu/1.0'><devices>{devices}</devices>\
             <qemu:commandline><qemu:arg value='-x'/></qemu:commandline></domain>"
        );
        let mut definition = LibvirtDefinition { name: "d".into(), text, is_new: true, left_out: Vec::new() };
        attend(&mut definition, Path::new("/r")).expect("a definition");
        (definition.text, definition.left_out.len())
    }

    #[test]
    fn a_console_is_written_down_whatever_it_was_and_words_past_libvirt_go() {
        let file = r#"<source path="/r/strongroom-console.log" />"#;
        let serial = format!(r#"<serial type="file">{file}</serial>"#);
        for devices in [
            "",
            "<serial type='pty'/><console type='pty'><target type='serial' port='0'/></console>",
            "<serial type='tcp'><source mode='bind'/><protocol type='raw'/><log file='/x'/></serial>",
        ] {
            let (text, left_out) = attended(devices);
            assert!(text.contains(&serial) && !text.contains("<console"), "{text}");
            assert!(!text.contains("commandline") && left_out == 1, "{text}");
        }
        let (text, _) = attended("<console type='pty'><target type='virtio' port='0'/></console>");
        assert!(text.contains(&format!(r#"<console type="file">{file}<target"#)), "{text}");
        let (text, _) = attended("<serial type='pty'/><serial type='pty'/>");
        assert!(text.matches(file).count() == 1 && text.contains(r#"<serial type="pty" />"#), "{text}");
    }
}
