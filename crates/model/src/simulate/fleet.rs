//! Made-up machines: where they are, under which policy, and how long their runs take.

use super::Scenario;
use crate::chance::Random;
use crate::policy::{PolicyDocument, Schedule, VaultRetention, Weekday, Weekly};
use crate::{HostId, MachineId, Policy, StoreId};
use jiff::SignedDuration;
use uuid::Uuid;

/// The policies, and how many in a hundred machines are under each.
const SHARES: [(u64, Kind, &str); 6] = [
    (30, Kind::Daily, "Europe/Berlin"),
    (25, Kind::Daily, "America/New_York"),
    (15, Kind::Daily, "Asia/Kolkata"),
    (10, Kind::Daily, "Australia/Sydney"),
    (15, Kind::Hourly, "Europe/Berlin"),
    (5, Kind::Weekly, "Europe/Berlin"),
];
/// Shortest usual run of a machine.
const MINUTES_MIN: u64 = 2;
/// One run in so many takes ten times as long as usual: a full backup, or much that changed.
const LONG_RUN_IN: u64 = 100;

#[derive(Clone, Copy)]
enum Kind {
    Daily,
    Hourly,
    Weekly,
}

pub(super) struct Fleet {
    pub(super) policies: Vec<Policy>,
    /// By number.
    pub(super) members: Vec<Member>,
    /// Numbers of the machines under each policy.
    under: Vec<Vec<usize>>,
    pub(super) hosts: usize,
}

/// One machine.
pub(super) struct Member {
    pub(super) number: usize,
    pub(super) machine: MachineId,
    pub(super) host: HostId,
    pub(super) store: StoreId,
    pub(super) policy: usize,
    /// How long a run usually takes.
    usual: SignedDuration,
}

impl Fleet {
    pub(super) fn new(scenario: &Scenario) -> Self {
        let mut random = Random::new(scenario.seed);
        let mut under = vec![Vec::new(); SHARES.len()];
        let members: Vec<Member> = (0..scenario.machines as usize)
            .map(|number| {
                let member = Member::draw(number, scenario, &mut random);
                under[member.policy].push(number);
                member
            })
            .collect();
        let hosts = scenario.machines.div_ceil(scenario.machines_per_host) as usize;
        Self {
            policies: SHARES.iter().map(|(_, kind, zone)| kind.policy(zone)).collect(),
            members,
            under,
            hosts,
        }
    }

    pub(super) fn under(&self, policy: usize) -> impl Iterator<Item = &Member> + use<'_> {
        self.under[policy].iter().map(|number| &self.members[*number])
    }

    /// A machine's number, from its id.
    pub(super) fn number(machine: MachineId) -> usize {
        usize::try_from(machine.0.as_u64_pair().1).expect("made from a usize")
    }

    /// The host of a machine, by number.
    pub(super) fn host_of(&self, number: usize) -> usize {
        number % self.hosts
    }
}

impl Member {
    fn draw(number: usize, scenario: &Scenario, random: &mut Random) -> Self {
        let hosts = scenario.machines.div_ceil(scenario.machines_per_host) as usize;
        let share = random.below(100);
        let mut reached = 0;
        let policy = SHARES.iter().position(|(percent, ..)| {
            reached += percent;
            share < reached
        });
        // Of four draws the smallest: most runs are short, few are long.
        let minutes = MINUTES_MIN + (0..4).map(|_| random.below(60)).min().expect("four");
        Self {
            number,
            machine: MachineId(Uuid::from_u64_pair(scenario.seed, number as u64)),
            host: HostId(Uuid::from_u64_pair(0, (number % hosts) as u64)),
            store: StoreId(Uuid::from_u64_pair(0, random.below(scenario.stores.into()))),
            policy: policy.expect("the shares are a hundred"),
            usual: SignedDuration::from_mins(minutes.cast_signed()),
        }
    }

    /// Between half and one and a half of what is usual; now and then ten times as much.
    pub(super) fn next_duration(&self, random: &mut Random) -> SignedDuration {
        let usual = self.usual.as_secs().cast_unsigned();
        let seconds = usual / 2 + random.below(usual);
        let times = if random.below(LONG_RUN_IN) == 0 { 10 } else { 1 };
        SignedDuration::from_secs((seconds * times).cast_signed())
    }
}

impl Kind {
    fn policy(self, zone: &str) -> Policy {
        let document = match self {
            Self::Daily => Policy::standard(zone, "22:00"),
            Self::Hourly => Policy::enhanced(zone),
            Self::Weekly => {
                let weekdays = vec![Weekday::Saturday];
                PolicyDocument {
                    schedule: Schedule::Weekly { weekdays: weekdays.clone(), time: "22:00".to_owned() },
                    snapshot_days: 5,
                    vault: VaultRetention {
                        weekly: Some(Weekly { weekdays, keep_weeks: 12 }),
                        ..VaultRetention::default()
                    },
                    ..Policy::standard(zone, "22:00")
                }
            }
        };
        document.check().expect("valid, as a test shows")
    }
}
