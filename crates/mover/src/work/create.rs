//! Machines of an image, once, however often the order is begun: their uuids and addresses follow from the job's id, so
//! that each attempt means the same machines, and takes those that an earlier one has made for its own.

use super::backup::makes_no_sense;
use super::failure::{Failed, Result};
use super::order::Run;
use super::server::in_words;
use crate::Place;
use crate::deploy::{DeployRequest, Deployed, DeployedDisks, LocalCopy, NewIdentity, deploy, note_copy};
use api::NewNetwork;
use api::images::{CreateMachines, MadeMachine};
use hypervisor::libvirt::THIS_LIBVIRT;
use hypervisor::recreate::Network;
use model::image::machine_names;
use model::job::{Failure, Step};
use serde_json::json;
use std::path::PathBuf;
use std::sync::Arc;
use uuid::{Builder, Uuid};
use vault::{Point, Vault};

pub(super) async fn create(
    run: &Run,
    (vault, point): (&Arc<Vault>, Point),
    (image, wish): (&str, &CreateMachines),
    libvirt: Option<&str>,
) -> Result<()> {
    let folder = PathBuf::from(&wish.folder);
    if !folder.is_absolute() {
        return Err(makes_no_sense(format!("{} is no absolute path", folder.display())));
    }
    let names = machine_names(&wish.name, wish.first, wish.count);
    let names = names.map_err(|refused| makes_no_sense(refused.to_string()))?;
    run.lease.begin(&Step::MakeMachines.to_string(), point.disks.iter().map(|disk| disk.map.size).sum());
    let of_libvirt = point.description["definition"].is_string();
    let place = match libvirt {
        Some(uri) => Place::Libvirt(uri.to_owned()),
        None if of_libvirt => Place::Libvirt(THIS_LIBVIRT.to_owned()),
        None => Place::Qemu,
    };
    // Whoever wants to delete the image here, without a server, is told of it.
    note_copy(&run.settings().image_copies(), point.id, &LocalCopy::folder(&folder, image))?;
    let request = DeployRequest {
        point,
        image: image.to_owned(),
        folder,
        machines: NewIdentity::draw(names, &mut drawn_from(run.order.job.0)),
        disks: if wish.full { DeployedDisks::Full } else { DeployedDisks::Overlays },
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
    told(run, &deployed, !wish.full)
}

fn told(run: &Run, deployed: &Deployed, shares: bool) -> Result<()> {
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
    let result =
        json!({ "machines": machines, "copy": deployed.copy, "fetched_bytes": deployed.fetched_bytes });
    run.lease.step_done(Step::MakeMachines, Some(result));
    Ok(())
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
