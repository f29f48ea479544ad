//! Machines of an image, once, however often the order is begun: their uuids and addresses follow from the job's id, so
//! that each attempt means the same machines, and takes those that an earlier one has made for its own.
//!
//! Those that run at once read through this mover until the image is here and each was off once since; so long the order
//! goes on. A mover that stopped, or died, is followed by the next claim, which serves again and lets guests run on that
//! had to wait; an order that is cancelled leaves machines and copy as they are, for `strongroom rescue image serve`, or
//! for whoever has the job tried again.

use super::backup::makes_no_sense;
use super::failure::{Failed, Result};
use super::order::Run;
use super::server::in_words;
use crate::deploy::{
    DeployRequest, Deployed, DeployedDisks, LocalCopy, NewIdentity, Serving, ServingProgress, deploy,
    note_copy,
};
use crate::instant::InstantRequest;
use crate::{Place, Progress};
use api::NewNetwork;
use api::images::{CreateMachines, MadeMachine};
use hypervisor::libvirt::THIS_LIBVIRT;
use hypervisor::recreate::Network;
use model::JobId;
use model::image::machine_names;
use model::job::{Failure, Step};
use serde_json::{Value, json};
use std::path::PathBuf;
use std::sync::Arc;
use uuid::{Builder, Uuid};
use vault::{Point, Vault};

/// Machines are made as soon as the copy is whole.
const WAIT_FOR_IT: &str = "leave out --at-once: they are made as soon as the image's copy is whole";

/// What machines are wanted.
pub(super) struct Wanted<'a> {
    /// The version, in words: `web:3`.
    pub(super) image: &'a str,
    pub(super) wish: &'a CreateMachines,
    pub(super) libvirt: Option<&'a str>,
    /// The job that their uuids and addresses follow from.
    pub(super) drawn_from: JobId,
}

pub(super) async fn create(
    run: &Run,
    (vault, point): (&Arc<Vault>, Point),
    wanted: &Wanted<'_>,
) -> Result<()> {
    let Wanted { image, wish, .. } = *wanted;
    let folder = PathBuf::from(&wish.folder);
    if !folder.is_absolute() {
        return Err(makes_no_sense(format!("{} is no absolute path", folder.display())));
    }
    let names = machine_names(&wish.name, wish.first, wish.count);
    let names = names.map_err(|refused| makes_no_sense(refused.to_string()))?;
    let copy = LocalCopy::folder(&folder, image);
    if run.order.steps_done > 0 {
        // They are made. Whatever somebody did with them since, nobody wants it undone.
        let serving = Serving::resume(vault, &copy).await?;
        follow(run, serving.only(names)).await;
        run.lease.step_done(Step::FollowData, run.order.result.clone());
        return Ok(());
    }
    run.lease.begin(&Step::MakeMachines.to_string(), point.disks.iter().map(|disk| disk.map.size).sum());
    let place = place(wanted, &point)?;
    // Whoever wants to delete the image here, without a server, is told of it.
    note_copy(&run.settings().image_copies(), point.id, &copy)?;
    let request = DeployRequest {
        point,
        image: image.to_owned(),
        folder,
        machines: NewIdentity::draw(names.clone(), &mut drawn_from(wanted.drawn_from.0)),
        disks: match (wish.full, wish.at_once) {
            (true, _) => DeployedDisks::Full,
            (_, true) => DeployedDisks::AtOnce(InstantRequest::PATIENCE),
            _ => DeployedDisks::Overlays,
        },
        place,
        network: network(&wish.network),
        cpus: wish.cpus,
        memory_bytes: wish.memory_mib.map(|mib| mib << 20),
        start: wish.start,
        user_data: wish.user_data.clone(),
        goes_on: true,
    };
    // Nobody else makes them meanwhile.
    run.lease.renewed().await;
    let tell = |progress| run.lease.progress(progress);
    let deployed = Box::pin(deploy(vault, &request, &tell)).await?;
    let result = told(run, &deployed, !wish.full)?;
    run.lease.step_done(Step::MakeMachines, Some(result.clone()));
    if !wish.at_once {
        return Ok(());
    }
    // A copy that was whole before needs nobody.
    if let Some(serving) = deployed.serving {
        follow(run, serving.only(names)).await;
    }
    run.lease.step_done(Step::FollowData, Some(result));
    Ok(())
}

fn place(wanted: &Wanted<'_>, point: &Point) -> Result<Place> {
    let of_libvirt = point.description["definition"].is_string();
    let place = match wanted.libvirt {
        Some(uri) => Place::Libvirt(uri.to_owned()),
        None if of_libvirt => Place::Libvirt(THIS_LIBVIRT.to_owned()),
        None => Place::Qemu,
    };
    if wanted.wish.at_once && matches!(place, Place::Libvirt(_)) {
        let text = format!(
            "machines of {} would be libvirt's, and only those of QEMU's own run at once",
            wanted.image
        );
        return Err(Failed::new(Failure::Invalid, text, WAIT_FOR_IT));
    }
    Ok(place)
}

/// Stays until the machines need nobody.
async fn follow(run: &Run, serving: Serving) {
    let step = Step::FollowData.to_string();
    run.lease.begin(&step, serving.bytes_to_fill());
    let tell = |progress| match progress {
        ServingProgress::Fetch(progress) => run.lease.progress(progress),
        ServingProgress::Unreadable(why) => {
            run.lease
                .warn(format!("the image cannot be brought here: {why}; guests may wait, it is tried again"));
            run.lease.begin(&step, 0);
        }
        ServingProgress::Waiting(names) => run.lease.progress(Progress::Step(waiting(names.len()))),
        ServingProgress::Unsettled(name, why) => {
            run.lease
                .warn(format!("{name} cannot be told to do without this mover: {why}; it is tried again"));
        }
        ServingProgress::RanOn(name) => run.lease.warn(format!("{name} stood still for a disk, and runs on")),
        ServingProgress::Whole | ServingProgress::Settled(_) => {}
    };
    serving.paced(run.vaults().transfers(&run.order.vault)).follow(&tell).await;
}

fn waiting(machines: usize) -> String {
    match machines {
        1 => "1 machine still reads through this mover, until it was off once".to_owned(),
        many => format!("{many} machines still read through this mover, until each was off once"),
    }
}

fn told(run: &Run, deployed: &Deployed, shares: bool) -> Result<Value> {
    for one in deployed.machines.first().iter().flat_map(|first| &first.left_out) {
        run.lease.warn(format!("{}: {}", one.what, one.reason));
    }
    let machine = |one: &crate::deploy::DeployedMachine| MadeMachine {
        name: one.identity.name.clone(),
        uuid: one.identity.uuid,
        folder: one.folder.display().to_string(),
        shares,
        error: one.made.as_ref().err().map(|error| in_words(error)),
    };
    let machines: Vec<MadeMachine> = deployed.machines.iter().map(machine).collect();
    let mut failed = machines.iter().filter_map(|one| Some((&one.name, one.error.as_ref()?)));
    if let Some((name, why)) = failed.next() {
        let count = 1 + failed.count();
        let text = format!("{count} machines have their disks but were not made; {name}: {why}");
        if count == machines.len() {
            return Err(Failed::new(
                Failure::Invalid,
                text,
                "their folders say how they are started by hand",
            ));
        }
        run.lease.warn(text);
    }
    Ok(json!({ "machines": machines, "copy": deployed.copy, "fetched_bytes": deployed.fetched_bytes }))
}

/// Ids that follow from a job's, as good as random: SplitMix64 from its random bits.
fn drawn_from(job: Uuid) -> impl FnMut() -> Uuid {
    let (high, low) = job.as_u64_pair();
    let mut state = high ^ low.rotate_left(32);
    let mut next = move || {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = state;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    };
    move || {
        let bytes = [next().to_be_bytes(), next().to_be_bytes()];
        Builder::from_random_bytes(bytes.as_flattened().try_into().expect("sixteen bytes")).into_uuid()
    }
}

fn network(wish: &NewNetwork) -> Network {
    match wish {
        NewNetwork::Disconnected {} => Network::Disconnected,
        NewNetwork::Keep {} => Network::Keep,
        NewNetwork::Isolated {} => Network::Isolated,
        NewNetwork::Remap { names } => Network::Remap(names.clone()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn ids_of_a_job_are_the_same_each_time_and_another_jobs_are_others() {
        let draw = |job: Uuid| {
            let mut draw = drawn_from(job);
            (0..1000).map(|_| draw()).collect::<Vec<_>>()
        };
        let (one, other) = (Uuid::now_v7(), Uuid::now_v7());
        assert_eq!(draw(one), draw(one));
        let all: BTreeSet<Uuid> = draw(one).into_iter().chain(draw(other)).collect();
        assert!(all.len() == 2000 && all.iter().all(|id| id.get_version_num() == 4));
    }
}
