//! `strongroom machine reconcile`, and what every backup does of it first.

use crate::machines::{self, Known};
use crate::output::Output;
use crate::{open, output};
use anyhow::{Result, bail};
use hypervisor::{ErrorKind, Watchdog};
use mover::machines::{Reconciled, reconcile};
use std::path::Path;

pub(crate) async fn run(output: &Output, only_outstanding: bool) -> Result<()> {
    let mut all = outstanding().await;
    let known = if only_outstanding { Vec::new() } else { machines::find(None).await?.machines };
    for known in known {
        let found = match known {
            Known::Qemu(found) => found,
            // Nothing runs that could be frozen.
            Known::Libvirt(_, None) => continue,
            Known::Libvirt(domain, Some(_)) => {
                let came_of_it = reconcile(&["--libvirt".into(), domain.uri, domain.uuid]).await;
                all.push(Reconciled { machine: domain.name, came_of_it });
                continue;
            }
        };
        let name = found.name.clone().unwrap_or_else(|| format!("process {}", found.pid));
        // A socket may be another tool's.
        for (index, qmp) in found.qmp.iter().enumerate() {
            let came_of_it = reconcile(&address(qmp, found.agent.as_deref())).await;
            let busy = matches!(&came_of_it, Err(error) if error.kind() == ErrorKind::Busy);
            if !busy || index + 1 == found.qmp.len() {
                all.push(Reconciled { machine: name, came_of_it });
                break;
            }
        }
    }
    let values: Vec<_> = all.iter().map(value).collect();
    output::print(output, &values, || table(&all))?;
    let failed = all.iter().filter(|one| one.came_of_it.is_err()).count();
    if failed > 0 {
        bail!("{failed} machines could not be looked at; what holds them is named above");
    }
    Ok(())
}

/// Thaws what earlier programs wrote down and did not live to thaw. Tells of it; never stops a backup.
pub(crate) async fn thaw_outstanding() {
    for Reconciled { machine, came_of_it } in outstanding().await {
        match came_of_it {
            Ok(done) => eprintln!("A backup of {machine} had died while it froze: {}", words(&done)),
            Err(error) => eprintln!("warning: the guest of {machine} may still be frozen: {error}"),
        }
    }
}

/// What a backup posts so that no guest stays frozen: this program, by another name.
pub(crate) fn watchdog() -> Watchdog {
    Watchdog {
        // Not by its path: it may have been replaced since this process started.
        program: "/proc/self/exe".into(),
        arguments: vec!["thaw-watchdog".into()],
        records: open::freeze_records(),
    }
}

async fn outstanding() -> Vec<Reconciled> {
    mover::machines::thaw_outstanding(&open::freeze_records()).await
}

fn address(qmp: &Path, agent: Option<&Path>) -> Vec<String> {
    let word = |path: &Path| path.display().to_string();
    let mut words = vec!["--qmp".into(), word(qmp)];
    if let Some(agent) = agent {
        words.extend(["--agent".into(), word(agent)]);
    }
    words
}

fn words(done: &[String]) -> String {
    if done.is_empty() { "nothing of ours was left".into() } else { done.join(", ") }
}

fn value(one: &Reconciled) -> serde_json::Value {
    let (done, error) = match &one.came_of_it {
        Ok(done) => (done.clone(), None),
        Err(error) => (Vec::new(), Some(error.to_string())),
    };
    serde_json::json!({ "machine": one.machine, "done": done, "error": error })
}

fn table(all: &[Reconciled]) -> String {
    if all.is_empty() {
        return "Nothing to take back: no machine was looked at.\n".into();
    }
    let rows = all.iter().map(|one| {
        let said = match &one.came_of_it {
            Ok(done) => words(done),
            Err(error) => format!("failed: {error}"),
        };
        vec![one.machine.clone(), said]
    });
    output::table(&["MACHINE", "DONE"], &[], rows)
}
