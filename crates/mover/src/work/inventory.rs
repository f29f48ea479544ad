//! Tells the server of the machines of its hosts, every minute.

use super::doors::libvirt_of;
use super::orders::Mover;
use super::server::in_words;
use crate::machines::{Known, NEEDS_MONITOR, find};
use api::work::{AssignedHost, Inventory, SeenMachine};
use api::{MachineDisk, MachineState};
use futures_util::stream::{self, StreamExt};
use hypervisor::libvirt::RunState;
use hypervisor::{ErrorKind, MachineDescription};
use serde_json::{Value, json};
use std::collections::HashMap;
use std::time::Duration;
use tokio::time::{Instant, sleep, timeout};

/// How often a host is looked at.
const INTERVAL: Duration = Duration::from_secs(60);
/// How often the server is asked for its hosts: whoever adds one waits for its machines.
const HOSTS_EVERY: Duration = Duration::from_secs(3);
/// A machine that was asked what it is is not asked again before: each question takes a monitor that others may want.
const ASK_AFTER: Duration = Duration::from_secs(10 * 60);
/// A machine that does not say what it is within this is told of without.
const ASK_LIMIT: Duration = Duration::from_secs(5);
/// Machines asked at once.
const ASKED_AT_ONCE: usize = 4;
/// Machines that are told of one host, which is what a server takes.
const MACHINES_MAX: usize = 10_000;

/// What a machine said of itself when it was last asked.
#[derive(Clone)]
struct Said {
    /// None if it did not answer: it is asked again the next time.
    asked: Option<Instant>,
    /// Its process, if it runs here: a new one is another start, with other disks perhaps.
    process: Option<u32>,
    disks: Vec<MachineDisk>,
    description: Value,
    obstacle: Option<String>,
}

/// Tells of all hosts, for ever.
pub(super) async fn tell(mover: &Mover) {
    let (mut said, mut told) = (HashMap::new(), HashMap::new());
    loop {
        match mover.server.hosts().await {
            Ok(hosts) => {
                told.retain(|id, _| hosts.iter().any(|host| host.id == *id));
                for host in hosts {
                    let is_due = told.get(&host.id).is_none_or(|at: &Instant| at.elapsed() >= INTERVAL);
                    if is_due {
                        told.insert(host.id, Instant::now());
                        tell_host(mover, &host, &mut said).await;
                    }
                }
            }
            Err(error) => {
                tracing::warn!(error = in_words(&error), "the server does not say whose machines to tell of");
            }
        }
        sleep(HOSTS_EVERY).await;
    }
}

/// A host that cannot be looked at is not told of: it has not lost its machines.
async fn tell_host(mover: &Mover, host: &AssignedHost, said: &mut HashMap<String, Said>) {
    let found = match find(libvirt_of(host)).await {
        Ok(found) => found,
        Err(error) => {
            tracing::warn!(host = host.address, error = in_words(&error), "a host cannot be looked at");
            return;
        }
    };
    // That there is no libvirt is no news; that one cannot be asked is: its machines are not gone.
    let is_absent =
        |error: &hypervisor::Error| matches!(error.kind(), ErrorKind::Unsupported | ErrorKind::Unreachable);
    if let Some(error) = found.silent.filter(|error| !is_absent(error)) {
        tracing::warn!(host = host.address, error = in_words(&error), "libvirt cannot be asked");
        return;
    }
    let mut machines = found.machines;
    machines.retain(|machine| machine.known_as().is_some());
    machines.truncate(MACHINES_MAX);
    let earlier = said.clone();
    let asked = machines.iter().map(|machine| see(mover, machine, &earlier)).collect::<Vec<_>>();
    let seen: Vec<(SeenMachine, Said)> = stream::iter(asked).buffered(ASKED_AT_ONCE).collect().await;
    let mut machines = Vec::with_capacity(seen.len());
    for (machine, answer) in seen {
        said.insert(machine.known_as.clone(), answer);
        machines.push(machine);
    }
    let inventory = Inventory { host: host.id, machines };
    if let Err(error) = mover.server.tell(&inventory).await {
        tracing::warn!(host = host.address, error = in_words(&error), "the server was not told of a host");
    }
}

async fn see(mover: &Mover, machine: &Known, said: &HashMap<String, Said>) -> (SeenMachine, Said) {
    let known_as = machine.known_as().expect("those without were left out").to_owned();
    let (state, process) = state_of(machine);
    let earlier = said.get(&known_as).filter(|said| said.process == process);
    let answer = match earlier {
        Some(said) if said.asked.is_some_and(|asked| asked.elapsed() < ASK_AFTER) => said.clone(),
        _ => ask(mover, machine, &known_as, process).await.unwrap_or_else(|| {
            // A backup is at it, and needs its monitor more.
            let nothing =
                Said { asked: None, process, disks: Vec::new(), description: Value::Null, obstacle: None };
            earlier.cloned().unwrap_or(nothing)
        }),
    };
    let seen = SeenMachine {
        name: machine.name().unwrap_or(&known_as).to_owned(),
        known_as,
        state,
        disks: answer.disks.clone(),
        obstacle: answer.obstacle.clone(),
        description: answer.description.clone(),
    };
    (seen, answer)
}

fn state_of(machine: &Known) -> (MachineState, Option<u32>) {
    match machine {
        Known::Qemu(machine) => (MachineState::Running, Some(machine.pid)),
        Known::Libvirt(domain, process) => {
            let state = match domain.state {
                RunState::Running | RunState::Paused => MachineState::Running,
                RunState::Off => MachineState::Stopped,
                RunState::Other => MachineState::Unknown,
            };
            (state, *process)
        }
    }
}

/// Asks a machine what it is; none if it is in use.
async fn ask(mover: &Mover, machine: &Known, known_as: &str, process: Option<u32>) -> Option<Said> {
    let _inside = mover.doors.try_enter(known_as)?;
    let describe = async { machine.connect().await?.describe().await };
    let told = match timeout(ASK_LIMIT, describe).await {
        Ok(Ok(description)) => Ok(description),
        Ok(Err(error)) if error.kind() == ErrorKind::Unsupported => {
            Err(format!("{}; {NEEDS_MONITOR}", in_words(&error)))
        }
        Ok(Err(error)) => Err(in_words(&error)),
        Err(_) => Err("it does not say what it is".to_owned()),
    };
    Some(match told {
        Ok(description) => Said {
            asked: Some(Instant::now()),
            process,
            disks: disks(&description),
            description: facts(&description),
            obstacle: None,
        },
        Err(obstacle) => {
            let (disks, description) = (Vec::new(), Value::Null);
            Said { asked: None, process, disks, description, obstacle: Some(obstacle) }
        }
    })
}

/// What people may want to see in a list. All of it is in each point; here it is told every minute of every machine.
fn facts(machine: &MachineDescription) -> Value {
    let MachineDescription { uuid, status, cpus, memory_bytes, qemu, .. } = machine;
    let qemu = format!("{}.{}.{}", qemu.major, qemu.minor, qemu.micro);
    json!({ "uuid": uuid, "status": status, "cpus": cpus, "memory_bytes": memory_bytes, "qemu": qemu })
}

fn disks(machine: &MachineDescription) -> Vec<MachineDisk> {
    let is_firmware = |id: &str| machine.firmware.iter().any(|one| one.name == id);
    let disks = machine.disks.iter().filter(|disk| !is_firmware(&disk.id));
    let disk = |disk: &hypervisor::DiskDescription| MachineDisk {
        name: disk.id.clone(),
        bytes: disk.size,
        is_os: machine.boot.as_ref() == Some(&disk.id),
    };
    disks.map(disk).collect()
}
