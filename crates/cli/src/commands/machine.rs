//! `strongroom rescue machine`.

use super::machine_create;
use crate::args::HostMachineCommand;
use crate::machines::{self, Known};
use crate::output::{self, Output};
use anyhow::Result;
use hypervisor::ErrorKind;

pub(crate) async fn run(output: &Output, command: HostMachineCommand) -> Result<()> {
    match command {
        HostMachineCommand::List { libvirt } => list(output, libvirt.as_deref()).await,
        HostMachineCommand::Create(args) => machine_create::run(output, *args).await,
    }
}

async fn list(output: &Output, libvirt: Option<&str>) -> Result<()> {
    let found = machines::find(libvirt).await?;
    // That there is no libvirt is no news; that one cannot be asked is.
    let absent =
        |error: &hypervisor::Error| matches!(error.kind(), ErrorKind::Unsupported | ErrorKind::Unreachable);
    if let Some(error) = found.silent.filter(|error| !absent(error)) {
        eprintln!("warning: machines of libvirt are not listed: {error}");
    }
    let values: Vec<_> = found.machines.iter().map(value).collect();
    output::print(output, &values, || table(&found.machines))
}

fn value(machine: &Known) -> serde_json::Value {
    match machine {
        Known::Qemu(machine) => serde_json::json!({
            "provider": "qemu", "name": machine.name, "uuid": machine.uuid, "pid": machine.pid,
            "qmp": machine.qmp, "agent": machine.agent,
        }),
        Known::Libvirt(domain, pid) => serde_json::json!({
            "provider": "libvirt", "name": domain.name, "uuid": domain.uuid, "pid": pid,
            "libvirt": domain.uri, "state": domain.state.word(), "persistent": domain.persistent,
        }),
    }
}

fn table(machines: &[Known]) -> String {
    if machines.is_empty() {
        return "No machine of QEMU or libvirt is on this host, or none that you may see (try as root).\n"
            .into();
    }
    let or_dash = |text: Option<String>| text.unwrap_or_else(|| "-".into());
    let path = |path: Option<&std::path::PathBuf>| or_dash(path.map(|path| path.display().to_string()));
    let rows = machines.iter().map(|machine| {
        let (state, pid, reached, agent) = match machine {
            Known::Qemu(found) => {
                ("running", Some(found.pid), path(found.qmp.first()), path(found.agent.as_ref()))
            }
            Known::Libvirt(domain, pid) => (domain.state.word(), *pid, domain.uri.clone(), "-".into()),
        };
        vec![
            or_dash(machine.name().map(str::to_owned)),
            or_dash(machine.uuid().map(str::to_owned)),
            state.to_owned(),
            or_dash(pid.map(|pid| pid.to_string())),
            reached,
            agent,
        ]
    });
    output::table(&["MACHINE", "ID", "STATE", "PID", "REACHED BY", "AGENT"], &["PID"], rows)
}
