//! One machine of one libvirt, and the few questions that all of this provider asks of it.

use super::domain::{self, Domain};
use super::virsh::Virsh;
use crate::{Error, ErrorKind, Result, WriteLoad};
use std::time::Duration;

/// Names a machine to libvirt. Nothing is open between questions.
#[derive(Clone, Debug)]
pub(super) struct Link {
    pub(super) virsh: Virsh,
    pub(super) uuid: String,
}

/// What a machine does at the moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    Running,
    /// By somebody, or by libvirt for a purpose of its own.
    Paused,
    /// QEMU stopped it: a disk could not be written.
    IoError,
    Off,
    /// Shutting down, crashed, asleep.
    Other,
}

impl Link {
    /// Asks something of this machine.
    pub(super) async fn ask(&self, command: &str, arguments: &[&str]) -> Result<String> {
        self.virsh.run(&self.words(command, arguments)).await
    }

    /// [`ask`](Self::ask) with a limit of its own.
    pub(super) async fn ask_within(
        &self,
        command: &str,
        arguments: &[&str],
        limit: Duration,
    ) -> Result<String> {
        self.virsh.run_within(&self.words(command, arguments), limit).await
    }

    fn words<'a>(&'a self, command: &'a str, arguments: &[&'a str]) -> Vec<&'a str> {
        let mut words = vec![command, "--domain", &self.uuid];
        words.extend(arguments);
        words
    }

    pub(super) async fn state(&self) -> Result<State> {
        Ok(read_state(&self.ask("domstate", &["--reason"]).await?))
    }

    /// The machine as it is now.
    pub(super) async fn domain(&self) -> Result<Domain> {
        domain::parse(&self.ask("dumpxml", &[]).await?)
    }

    /// How the guest's writes have fared so far, on all disks.
    pub(super) async fn write_load(&self) -> Result<WriteLoad> {
        // The one command that takes its domain without a word before it.
        Ok(read_write_load(&self.virsh.run(&["domstats", "--block", &self.uuid]).await?))
    }

    /// The size of a disk as the guest sees it.
    pub(super) async fn disk_size(&self, target: &str) -> Result<u64> {
        let info = self.ask("domblkinfo", &["--device", target]).await?;
        let size = field(&info, "Capacity").and_then(|text| text.parse().ok());
        size.ok_or_else(|| Error::new(ErrorKind::Failed, format!("read the size of the disk {target}")))
    }
}

/// Lines `block.N.wr.reqs=COUNT` and `block.N.wr.times=NANOSECONDS`.
fn read_write_load(said: &str) -> WriteLoad {
    let mut load = WriteLoad::default();
    for (key, value) in said.lines().filter_map(|line| line.trim().split_once('=')) {
        let Ok(value) = value.parse::<u64>() else { continue };
        if key.starts_with("block.") && key.ends_with(".wr.reqs") {
            load.writes += value;
        } else if key.starts_with("block.") && key.ends_with(".wr.times") {
            load.busy += Duration::from_nanos(value);
        }
    }
    load
}

fn read_state(said: &str) -> State {
    let said = said.trim();
    match said.split(" (").next().unwrap_or(said) {
        "running" => State::Running,
        "paused" if said.ends_with("(I/O error)") => State::IoError,
        "paused" => State::Paused,
        "shut off" => State::Off,
        _ => State::Other,
    }
}

/// The value of a line `Key:   value`.
pub(super) fn field<'a>(said: &'a str, key: &str) -> Option<&'a str> {
    let mut pairs = said.lines().filter_map(|line| line.split_once(':'));
    pairs.find(|(name, _)| name.trim() == key).map(|(_, value)| value.trim())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn states_are_told_apart() {
        let table = [
            ("running (booted)\n\n", State::Running),
            ("paused (user)\n", State::Paused),
            ("paused (I/O error)\n", State::IoError),
            ("shut off (crashed)\n", State::Off),
            ("in shutdown\n", State::Other),
        ];
        for (said, state) in table {
            assert_eq!(read_state(said), state);
        }
        assert_eq!(field("Capacity:       12\nAllocation: 3\n", "Capacity"), Some("12"));
        assert_eq!(field("Capacity:       12\n", "Capa"), None);
    }

    #[test]
    fn writes_are_summed_over_all_disks() {
        let said = "Domain: 'a'\n  block.count=2\n  block.0.rd.reqs=7\n  block.0.wr.reqs=3\n  \
            block.0.wr.times=1000\n  block.1.wr.reqs=4\n  block.1.wr.times=500\n";
        assert_eq!(read_write_load(said), WriteLoad { writes: 7, busy: Duration::from_nanos(1500) });
        assert_eq!(read_write_load("error"), WriteLoad::default());
    }
}
