//! `strongroom guest`.

use crate::args::{Application, GuestCommand};
use crate::output::Output;
use crate::{machines, output};
use anyhow::{Context, Result};
use hypervisor::guest::{self, GuestHooks};

pub(crate) async fn run(output: &Output, command: GuestCommand) -> Result<()> {
    let hooks = match command {
        GuestCommand::Status { machine } => {
            let machine = Box::pin(machines::open(&machine)).await?;
            guest::status(&*machine).await.context("look at the guest")?
        }
        GuestCommand::InstallHooks { machine, with } => {
            let machine = Box::pin(machines::open(&machine)).await?;
            let names: Vec<&str> = with.iter().copied().map(name).collect();
            guest::install(&*machine, &names).await?
        }
        GuestCommand::RemoveHooks { machine } => {
            let machine = Box::pin(machines::open(&machine)).await?;
            guest::remove(&*machine).await?
        }
    };
    output::print(output, &hooks, || summary(&hooks))
}

/// As `hypervisor` calls it.
fn name(application: Application) -> &'static str {
    match application {
        Application::Postgresql => "postgresql",
        Application::Mariadb => "mariadb",
    }
}

fn summary(hooks: &GuestHooks) -> String {
    let system = hooks.guest_system.as_ref().map_or("unknown", |system| &system.name);
    let hook = match (hooks.hook, hooks.enabled) {
        (None, _) => "none".into(),
        (Some(version), true) => format!("version {version}"),
        (Some(version), false) => format!("version {version}, not called by the agent"),
    };
    let scripts: Vec<String> =
        hooks.scripts.iter().map(|script| format!("{} ({})", script.name, script.state)).collect();
    let or_none = |list: String| if list.is_empty() { "none".into() } else { list };
    let mut text = output::facts(&[
        ("Agent", hooks.agent_version.clone().unwrap_or_else(|| "none that answers".into())),
        ("Guest", system.to_owned()),
        ("Hook", hook),
        ("Scripts", or_none(scripts.join(", "))),
        ("Applications", or_none(hooks.applications.join(", "))),
    ]);
    for kept in &hooks.kept {
        text += &format!("Kept as it is: {kept}\n");
    }
    for advice in &hooks.advice {
        text += &format!("To do: {advice}\n");
    }
    text
}
