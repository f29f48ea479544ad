//! What machines are to be made.

use crate::error::{Doing, Result};
use crate::new_machine::{Made, Place};
use hypervisor::recreate::{LeftOut, Network, new_mac};
use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::Duration;
use uuid::Uuid;
use vault::Point;

/// Cards of a machine whose addresses are kept apart from the other machines'. Few have more.
const CARDS: usize = 16;

/// What machines are to be made of an image.
#[derive(Clone, Debug)]
pub struct DeployRequest {
    /// The image's version.
    pub point: Point,
    /// The same in words: `web:3`.
    pub image: String,
    /// The folder in which each gets one of its name; absolute.
    pub folder: PathBuf,
    /// Who they are.
    pub machines: Vec<NewIdentity>,
    /// What their disks are.
    pub disks: DeployedDisks,
    /// Who is to have them.
    pub place: Place,
    /// What their cards are connected to.
    pub network: Network,
    /// Virtual processors of each; none: as many as the image's machine had.
    pub cpus: Option<u32>,
    /// Memory of each in bytes; none: as much as it had.
    pub memory_bytes: Option<u64>,
    /// Whether they are to run.
    pub start: bool,
    /// What cloud-init is told besides who the guest is; none: that it is new.
    pub user_data: Option<String>,
    /// Machines of these very identities may be there already, of an attempt that was cut off: they are taken for made.
    pub goes_on: bool,
}

/// What the disks of a machine are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeployedDisks {
    /// Overlays on the shared copy, which is whole before anything runs. Nobody has to be there afterwards.
    Overlays,
    /// Overlays on the shared copy, which is filled while the machines run: somebody has to serve it until then. Reads
    /// wait for that one so long. Only of QEMU's own machines.
    AtOnce(Duration),
    /// Copies of the disks, which stand alone.
    Full,
}

/// Who a new machine is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewIdentity {
    /// Its name, and its guest's.
    pub name: String,
    /// Its uuid; its guest knows by it that it is new.
    pub uuid: Uuid,
    /// What the addresses of its cards are made of.
    pub macs: u64,
}

impl NewIdentity {
    /// Machines of these names, all else drawn. No two of them get the same address.
    pub fn draw(names: Vec<String>, random: &mut dyn FnMut() -> Uuid) -> Vec<Self> {
        let mut taken = BTreeSet::new();
        let mut macs = |uuid: Uuid| {
            let mut number = uuid.as_u64_pair().1;
            loop {
                let addresses: Vec<String> = (0..CARDS).map(|card| new_mac(number, card)).collect();
                if addresses.iter().all(|address| !taken.contains(address)) {
                    taken.extend(addresses);
                    return number;
                }
                number = number.wrapping_add(1);
            }
        };
        let identity = |name| {
            let macs = macs(random());
            Self { name, uuid: random(), macs }
        };
        names.into_iter().map(identity).collect()
    }
}

/// A machine that was made.
#[derive(Debug)]
pub struct DeployedMachine {
    /// Who it is.
    pub identity: NewIdentity,
    /// Its folder.
    pub folder: PathBuf,
    /// The definition, to be changed and used by hand: `domain.xml` or `start.sh`.
    pub definition: PathBuf,
    /// What it has not, or differently.
    pub left_out: Vec<LeftOut>,
    /// The machine, or why there is none. Its disks are there in any case.
    pub made: Result<Made>,
}

impl DeployRequest {
    /// Refuses what makes no sense.
    pub(super) fn check(&self) -> Result<()> {
        let invalid = |why: String| {
            Err(block::Error::new(block::ErrorKind::Invalid, why))
                .doing(|| "plan the new machines".to_owned())
        };
        if self.user_data.as_ref().is_some_and(|text| text.len() > super::seed::USER_DATA_BYTES_MAX) {
            return invalid("what cloud-init is told is longer than 1 MiB".into());
        }
        if matches!((self.disks, &self.place), (DeployedDisks::AtOnce(_), Place::Libvirt(_))) {
            return invalid(
                "only machines of QEMU's own run at once; those of libvirt's need a whole copy".into(),
            );
        }
        let shared = super::copy::LocalCopy::folder(&self.folder, &self.image);
        let names: BTreeSet<&str> = self.machines.iter().map(|machine| machine.name.as_str()).collect();
        if names.len() < self.machines.len() || names.is_empty() {
            return invalid("each new machine needs a name of its own".into());
        }
        match names.iter().find(|name| self.folder.join(name) == shared) {
            Some(name) => invalid(format!("a machine called {name} would lie where the image's copy is")),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_two_machines_get_one_address() {
        let mut drawn = 0_u128;
        // Two draws of the same number.
        let mut random = || {
            drawn += 1;
            Uuid::from_u128(drawn / 4)
        };
        let names = (0..200).map(|n| format!("m{n}")).collect();
        let machines = NewIdentity::draw(names, &mut random);
        let addresses: Vec<String> =
            machines.iter().flat_map(|one| (0..CARDS).map(|card| new_mac(one.macs, card))).collect();
        assert_eq!(addresses.iter().collect::<BTreeSet<_>>().len(), 200 * CARDS);
    }
}
