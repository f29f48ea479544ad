//! Who takes part in a seed, and how they live: programs that are cut off and begin again.

use crate::begin::Beginning;
use crate::oracle::Oracle;
use crate::random::Random;
use crate::store::SimStore;
use crate::weather::Fault;
use crate::world::{Process, World};
use jiff::SignedDuration;
use std::sync::Arc;
use std::time::Duration;
use vault::{CollectOptions, Error, ErrorKind, Ids, Vault};

/// No act takes longer, whatever the store does: all its tries and pauses are bounded.
const ACT_MAX: Duration = Duration::from_secs(48 * 3600);

/// What is true of a whole seed.
#[derive(Clone)]
pub(crate) struct Scenario {
    pub(crate) world: Arc<World>,
    pub(crate) oracle: Oracle,
    pub(crate) ids: Ids,
    pub(crate) begin: Arc<Beginning>,
    pub(crate) numbers: Numbers,
}

/// The numbers a seed draws.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Numbers {
    pub(crate) writers: u64,
    pub(crate) collectors: u64,
    pub(crate) rounds: u64,
    /// Programs in a thousand that are cut off.
    cut_per_mille: u64,
    pack_bytes: usize,
    soft_delete: i64,
    grace: i64,
    session_age: i64,
    /// The longest that anybody rests between two acts, in seconds.
    rest: u64,
}

impl Numbers {
    pub(crate) fn draw(random: &mut Random) -> Self {
        Self {
            writers: 2 + random.below(2),
            collectors: 1 + random.below(2),
            rounds: 2 + random.below(4),
            cut_per_mille: *random.one(&[0, 300, 700]),
            pack_bytes: *random.one(&[200, 600, 1 << 20]),
            soft_delete: *random.one(&[0, 30, 600]),
            grace: *random.one(&[0, 0, 30, 600]),
            session_age: *random.one(&[1, 60, 3600]),
            rest: *random.one(&[1, 20, 300]),
        }
    }

    /// Collection as it is at this time in this seed.
    pub(crate) fn collection(&self, now: jiff::Timestamp) -> CollectOptions {
        CollectOptions {
            soft_delete: SignedDuration::from_secs(self.soft_delete),
            grace: SignedDuration::from_secs(self.grace),
            session_age: SignedDuration::from_secs(self.session_age),
            share_max: 1.0,
            ..CollectOptions::new(now)
        }
    }
}

/// One who takes part: a name, chance of its own, and how often it may begin again.
pub(crate) struct Actor {
    pub(crate) scenario: Scenario,
    pub(crate) name: String,
    pub(crate) random: Random,
}

impl Actor {
    /// A run of its program: cut off or not, by chance.
    pub(crate) fn process(&mut self, lives_left: u64) -> Arc<Process> {
        let cut = lives_left > 0 && self.random.happens(self.scenario.numbers.cut_per_mille);
        let cut_after = cut.then(|| self.random.below(150));
        Process::new(self.name.clone(), cut_after)
    }

    /// Opens the vault as a new program does.
    pub(crate) async fn open(&self, process: &Arc<Process>) -> Result<Option<Arc<Vault>>, String> {
        let store = SimStore::open(&self.scenario.world, process);
        let opened = self.act("open", Vault::open(store, &self.scenario.begin.key)).await?;
        Ok(opened.map(|vault| Arc::new(self.scenario.prepare(vault))))
    }

    /// Does something with the vault. `None` if it failed in a way that is right in this weather.
    pub(crate) async fn act<T>(
        &self,
        what: &str,
        act: impl Future<Output = vault::Result<T>>,
    ) -> Result<Option<T>, String> {
        match self.try_act(what, act).await? {
            Ok(done) => Ok(Some(done)),
            Err(_) => Ok(None),
        }
    }

    /// The same, with the error.
    pub(crate) async fn try_act<T>(
        &self,
        what: &str,
        act: impl Future<Output = vault::Result<T>>,
    ) -> Result<vault::Result<T>, String> {
        let world = &self.scenario.world;
        let done = tokio::time::timeout(ACT_MAX, act).await;
        let Ok(done) = done else { return Err(format!("{} {what}: it hangs", self.name)) };
        match &done {
            Ok(_) => world.note(&self.name, format_args!("{what}: done")),
            Err(error) => world.note(&self.name, format_args!("{what}: {:?}", error.kind())),
        }
        if let Err(error) = &done {
            self.scenario.accept(error).map_err(|why| format!("{} {what}: {why}", self.name))?;
        }
        Ok(done)
    }

    /// Rests a while.
    pub(crate) async fn rest(&mut self) {
        let millis = self.random.below(self.scenario.numbers.rest * 1000);
        tokio::time::sleep(Duration::from_millis(millis)).await;
    }
}

impl Scenario {
    /// An open vault as simulations need it.
    pub(crate) fn prepare(&self, vault: Vault) -> Vault {
        vault.with_ids(self.ids.clone()).with_pack_bytes(self.numbers.pack_bytes)
    }

    /// Whether an error may come in this weather. Any other is a fault of the engine.
    pub(crate) fn accept(&self, error: &Error) -> Result<(), String> {
        let inner = self.world.inner();
        let weather = &inner.weather;
        let is_right = match error.kind() {
            ErrorKind::Conflict => true,
            ErrorKind::Store => !weather.is_calm(),
            ErrorKind::NoSpace => weather.may(Fault::Full),
            ErrorKind::Denied => weather.may(Fault::Denied),
            ErrorKind::Corrupt
            | ErrorKind::Key
            | ErrorKind::Unsupported
            | ErrorKind::NotFound
            | ErrorKind::AlreadyExists => weather.spoils(),
            ErrorKind::Invalid | ErrorKind::TooMuch => false,
        };
        if is_right { Ok(()) } else { Err(format!("{:?}: {error}", error.kind())) }
    }
}
