//! `strongroom rescue instant`.

use super::new_machine;
use crate::args::{DoorArgs, FolderArgs, InstantArgs, InstantCommand, InstantStartArgs, VaultArgs};
use crate::failure::Told;
use crate::output::Output;
use crate::{open, output};
use anyhow::{Context, Result};
use mover::Progress;
use mover::instant::{
    Door, InstantDisk, InstantMachine, InstantOptions, InstantProgress, InstantRequest, InstantRestore,
    Journal, State, libvirt_disk, plan_discard, qemu_arguments,
};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use vault::Vault;

pub(crate) async fn run(output: &Output, command: InstantCommand) -> Result<()> {
    match command {
        InstantCommand::Start(args) => start(output, *args).await,
        InstantCommand::Status(FolderArgs { folder }) => status(output, &folder),
        InstantCommand::Resume { folder, vault, options } => {
            let restore = resume(&folder, &vault, &options).await?;
            follow(output, restore).await
        }
        InstantCommand::Finish { folder, vault } => finish(output, &folder, &vault).await,
        InstantCommand::Discard { folder, yes } => discard(output, &folder.folder, yes).await,
    }
}

async fn start(output: &Output, args: InstantStartArgs) -> Result<()> {
    let vault = open::vault(&args.vault).await?;
    let point = open::point(&vault, &args.point).await?;
    let request = InstantRequest {
        point,
        folder: args.to,
        vault: args.vault.vault.to_string(),
        door: door(args.door)?,
        run_folder: None,
        job: None,
        patience: Duration::from_secs(args.patience),
    };
    let options = served(&args.vault, &args.options);
    if let Some(name) = args.name {
        let storage = new_machine::absolute(&request.folder)?;
        let (recreation, place) = new_machine::machine(name, &args.machine, &storage, &request.point)?;
        let machine = InstantMachine { recreation, place, start: args.machine.start };
        return start_machine(output, (&request, &machine), &vault, &options).await;
    }
    let restore = InstantRestore::start(&vault, &request, &options).await?;
    let (folder, journal) = (restore.folder(), restore.journal());
    output::print(output, &instructions(folder, journal), || in_words(folder, journal))?;
    eprintln!("Serving point {} of {}; start the machine.", journal.point, journal.machine_name);
    follow(output, restore).await
}

/// Serves, makes the machine, and stays until its data has followed.
async fn start_machine(
    output: &Output,
    (request, machine): (&InstantRequest, &InstantMachine),
    vault: &Arc<Vault>,
    options: &InstantOptions,
) -> Result<()> {
    let step = |progress| {
        if let Progress::Step(text) = progress {
            eprintln!("{text}");
        }
    };
    let (restore, defined) = InstantRestore::start_machine(vault, request, machine, options, &step).await?;
    for one in &defined.left_out {
        eprintln!("note: {}: {}", one.what, one.reason);
    }
    let (name, folder) = (&machine.recreation.name, restore.folder());
    let mut value = instructions(folder, restore.journal());
    value["name"] = json!(name);
    value["definition"] = json!(defined.definition);
    value["machine"] = new_machine::made_value(&defined.made, machine.start);
    let words = || new_machine::made_words(&defined.made, name, machine.start, &defined.definition) + "\n";
    output::print(output, &value, words)?;
    if let Err(error) = &defined.made {
        let because = std::error::Error::source(error).map(|cause| format!(": {cause}")).unwrap_or_default();
        eprintln!(
            "warning: there is no machine ({error}{because}); mend {} and start it",
            defined.definition.display()
        );
    }
    follow(output, restore).await
}

fn door(args: DoorArgs) -> Result<Option<Door>> {
    Ok(match (args.qmp, args.libvirt.zip(args.domain)) {
        (Some(socket), _) => Some(Door::Qmp(std::path::absolute(socket).context("find the QMP socket")?)),
        (None, Some((uri, domain))) => Some(Door::Libvirt(uri, domain)),
        (None, None) => None,
    })
}

fn served(vault: &VaultArgs, args: &InstantArgs) -> InstantOptions {
    InstantOptions { limit: args.limit, cache: Some(open::cache(vault)) }
}

async fn resume(folder: &FolderArgs, vault: &VaultArgs, options: &InstantArgs) -> Result<InstantRestore> {
    let vault_args = vault;
    let vault = open::vault(vault_args).await?;
    Ok(InstantRestore::resume(&vault, &folder.folder, &served(vault_args, options)).await?)
}

/// Serves until the data has followed, or somebody interrupts: then the guest waits.
async fn follow(output: &Output, restore: InstantRestore) -> Result<()> {
    let folder = restore.folder().to_owned();
    let shown = Shown::default();
    let show = |progress| shown.show(progress);
    let following = async { Ok(restore.follow(&show).await?) };
    let ended = super::unless_interrupted("the instant restore", following).await;
    if ended.is_err() {
        let again = format!("strongroom rescue instant resume {}", folder.display());
        eprintln!("Nothing the guest wrote is lost, but what it reads is served no more: `{again}` goes on.");
    }
    let journal = ended?;
    eprintln!("The images need nothing of the vault any more.");
    let _ = (output, journal); // what is to be printed was printed at the start
    Ok(())
}

async fn finish(output: &Output, folder: &FolderArgs, vault: &VaultArgs) -> Result<()> {
    let restore = resume(folder, vault, &InstantArgs { limit: None }).await?;
    let show = |progress| {
        if let InstantProgress::Whole(name) = progress {
            eprintln!("Disk {name} is complete.");
        }
    };
    let finishing = async { Ok(restore.finish(&show).await?) };
    let journal = super::unless_interrupted("completing the images", finishing).await?;
    output::print(output, &value(&journal, false), || table(&journal, false))
}

fn status(output: &Output, folder: &Path) -> Result<()> {
    let folder = folder.canonicalize().with_context(|| format!("find the folder {}", folder.display()))?;
    let journal = Journal::read(&folder)?;
    let served = std::os::unix::net::UnixStream::connect(folder.join("nbd.sock")).is_ok();
    let mut shown = value(&journal, served);
    shown["qemu"] = json!(qemu_arguments(&folder, &journal));
    output::print(output, &shown, || table(&journal, served))
}

async fn discard(output: &Output, folder: &Path, yes: bool) -> Result<()> {
    let plan = plan_discard(folder).await?;
    let files = plan.files.clone();
    let shown = json!({ "files": files, "done": yes });
    let list = || files.iter().map(|file| format!("{}\n", file.display())).collect();
    if yes {
        plan.apply().await?;
        eprintln!("Deleted.");
    } else {
        let what = format!("These would be deleted, with all that {} wrote:", plan.journal().machine_name);
        eprintln!("{what}");
    }
    output::print(output, &shown, list)?;
    if yes { Ok(()) } else { Err(Told::declined("nothing was deleted: add --yes to do it")) }
}

/// What to start a machine with.
fn instructions(folder: &Path, journal: &Journal) -> Value {
    let disks: Vec<Value> = images(journal)
        .map(|(target, disk)| {
            let xml = libvirt_disk(folder, journal, disk, &target);
            json!({ "name": disk.name, "image": disk.image, "size": disk.size, "libvirt": xml })
        })
        .collect();
    json!({ "folder": folder, "disks": disks, "qemu": qemu_arguments(folder, journal) })
}

fn in_words(folder: &Path, journal: &Journal) -> String {
    let mut text = String::from("For QEMU:\n");
    for pair in qemu_arguments(folder, journal).chunks(2) {
        text += &format!("  {} '{}' \\\n", pair[0], pair.get(1).map_or("", String::as_str));
    }
    text += "For libvirt:\n";
    for (target, disk) in images(journal) {
        text += &format!("  {}\n", libvirt_disk(folder, journal, disk, &target));
    }
    text
}

/// The disks of the machine, and what a guest calls them.
fn images(journal: &Journal) -> impl Iterator<Item = (String, &InstantDisk)> {
    let disks = journal.disks.iter().filter(|disk| !disk.firmware);
    ('a'..='z').map(|letter| format!("vd{letter}")).zip(disks)
}

fn value(journal: &Journal, served: bool) -> Value {
    let disks: Vec<Value> = journal
        .disks
        .iter()
        .map(|disk| {
            json!({ "name": disk.name, "image": disk.image, "size": disk.size, "done": disk.done, "whole": disk.whole })
        })
        .collect();
    json!({
        "state": journal.state,
        "served": served,
        "machine": journal.machine_name,
        "point": journal.point,
        "vault": journal.location,
        "disks": disks,
    })
}

fn table(journal: &Journal, served: bool) -> String {
    let state = match (journal.state, served) {
        (State::Whole, _) => "complete: nothing needs the vault any more",
        (_, true) => "served; data follows",
        (State::Preparing, false) => "was interrupted while it was prepared: resume it",
        (State::Serving, false) => "not served: resume it, or finish it if the machine is stopped",
    };
    let rows = journal.disks.iter().map(|disk| {
        let how = if disk.whole { "complete".to_owned() } else { output::size(disk.done) };
        vec![disk.name.clone(), output::size(disk.size), how, disk.image.display().to_string()]
    });
    let facts = output::facts(&[
        ("state", state.to_owned()),
        ("machine", journal.machine_name.clone()),
        ("point", journal.point.to_string()),
    ]);
    format!("{facts}\n{}", output::table(&["DISK", "SIZE", "DONE", "IMAGE"], &["SIZE", "DONE"], rows))
}

/// Progress on standard error: a line for each tenth of a disk.
#[derive(Default)]
struct Shown {
    tenths: Mutex<BTreeMap<String, u64>>,
}

impl Shown {
    fn show(&self, progress: InstantProgress) {
        match progress {
            InstantProgress::Waiting(why) => eprintln!("Waiting for the machine ({why})"),
            InstantProgress::Reached => eprintln!("The machine is there; its data follows."),
            InstantProgress::Disk { name, done, total } => {
                let tenth = done.saturating_mul(10) / total.max(1);
                let mut tenths = self.tenths.lock().expect("no holder panics");
                if tenths.insert(name.clone(), tenth) != Some(tenth) {
                    eprintln!("Disk {name}: {} of {}", output::size(done), output::size(total));
                }
            }
            InstantProgress::Whole(name) => eprintln!("Disk {name} is complete."),
            InstantProgress::Unreadable(name) => {
                eprintln!(
                    "warning: the vault cannot be read for disk {name}; the guest waits, it is tried again"
                );
            }
            InstantProgress::RanOn => eprintln!("The guest stood still for a disk and runs on."),
        }
    }
}
