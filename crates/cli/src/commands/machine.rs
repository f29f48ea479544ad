//! `strongroom machine`.

use crate::args::{MachineCommand, OutputFormat};
use crate::output;
use anyhow::{Context, Result};
use hypervisor::qemu::MachineAddress;

pub(crate) async fn run(format: OutputFormat, command: &MachineCommand) -> Result<()> {
    if let MachineCommand::Reconcile { outstanding } = *command {
        return super::reconcile::run(format, outstanding).await;
    }
    let machines = hypervisor::qemu::discover().context("look for running machines")?;
    let values: Vec<_> = machines.iter().map(value).collect();
    output::print(format, &values, || table(&machines))
}

fn value(machine: &MachineAddress) -> serde_json::Value {
    serde_json::json!({
        "name": machine.name, "uuid": machine.uuid, "pid": machine.pid, "qmp": machine.qmp, "agent": machine.agent,
    })
}

fn table(machines: &[MachineAddress]) -> String {
    if machines.is_empty() {
        return "No QEMU machine runs on this host, or none that you may see (try as root).\n".into();
    }
    let or_dash = |text: Option<String>| text.unwrap_or_else(|| "-".into());
    let rows = machines.iter().map(|machine| {
        vec![
            or_dash(machine.name.clone()),
            or_dash(machine.uuid.clone()),
            machine.pid.to_string(),
            or_dash(machine.qmp.first().map(|path| path.display().to_string())),
            or_dash(machine.agent.as_ref().map(|path| path.display().to_string())),
        ]
    });
    output::table(&["MACHINE", "ID", "PID", "QMP", "AGENT"], &["PID"], rows)
}
