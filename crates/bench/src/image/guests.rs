//! Machines that were started as processes of their own, and what they say of themselves.

use super::source::{BOOT, MARK};
use anyhow::{Context, Result, ensure};
use hypervisor::recreate::StartedQemu;
use mover::Made;
use mover::deploy::{DeployedMachine, NewIdentity};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::path::Path;
use testkit::{Agent, Monitor};

/// What a guest tells of itself, a line each; all of it differs from machine to machine.
const WHO: &str = "hostname; cat /etc/machine-id /etc/ssh/ssh_host_ed25519_key /var/lib/cloud/data/instance-id \
                   /sys/class/dmi/id/product_uuid";

/// Who a machine is: name, machine id, host key, instance, uuid, address of its card.
pub(super) type Who = Vec<String>;

/// Machines that run; dropped, they end.
pub(super) struct Guests(Vec<(NewIdentity, StartedQemu)>);

impl Guests {
    pub(super) fn of(machines: &[DeployedMachine]) -> Result<Self> {
        let started = machines.iter().map(|one| match &one.made {
            Ok(Made::Started(qemu)) => Ok((one.identity.clone(), qemu.clone())),
            other => anyhow::bail!("{}: {other:?}", one.identity.name),
        });
        started.collect::<Result<_>>().map(Self)
    }

    /// Waits for all of them, and asks each who it is.
    pub(super) fn who(&self) -> Result<Vec<Who>> {
        self.0.iter().map(|(identity, qemu)| who(identity, qemu)).collect()
    }
}

fn who(identity: &NewIdentity, qemu: &StartedQemu) -> Result<Who> {
    let name = &identity.name;
    let agent = Agent::new(qemu.agent.as_deref().context("an agent's socket")?);
    agent.wait(BOOT).with_context(|| format!("{name} boots"))?;
    let (code, said) = agent.sh(WHO)?;
    ensure!(code == 0, "{name}: {said}");
    let mark = agent.sh("cat /data0/mark && echo mine >/data0/mine && sync")?;
    ensure!(mark == (0, format!("{MARK}\n")), "{name} is of the image, and writes: {mark:?}");
    let mut who: Who = said.lines().map(str::to_owned).collect();
    ensure!(who.len() == 5 && who[0] == *name, "{name}: {who:?}");
    ensure!(who[4] == identity.uuid.to_string(), "{name}: {who:?}");
    let mut monitor = Monitor::connect(&qemu.qmp)?;
    let card = json!({ "path": "/machine/peripheral/card", "property": "mac" });
    who.push(monitor.command("qom-get", card)?.as_str().unwrap_or_default().to_owned());
    Ok(who)
}

/// That no two machines share anything.
pub(super) fn all_differ(all: &[Who]) -> Result<()> {
    for place in 0..all.first().map_or(0, Vec::len) {
        let different: BTreeSet<&String> = all.iter().map(|who| &who[place]).collect();
        ensure!(different.len() == all.len(), "machines share something: {all:?}");
    }
    Ok(())
}

impl Drop for Guests {
    fn drop(&mut self) {
        for (_, qemu) in &self.0 {
            if let Ok(mut monitor) = Monitor::connect(&qemu.qmp) {
                let _ = monitor.command("quit", Value::Null); // gone before the answer is
            }
        }
        for (_, qemu) in &self.0 {
            while Path::new("/proc").join(qemu.pid.to_string()).exists() {
                std::thread::yield_now();
            }
        }
    }
}
