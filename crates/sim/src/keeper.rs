//! Those who tidy up: collectors, who rotate keys, who verify.

use crate::scenario::Actor;
use crate::store::SimStore;
use std::sync::Arc;
use vault::{Holders, Vault};

/// How often a program that was cut off begins again.
const LIVES: u64 = 3;

/// What a keeper does in a round.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Duty {
    Collect,
    Keep,
}

/// A collector, or who does everything else.
pub(crate) struct Keeper {
    pub(crate) actor: Actor,
    pub(crate) duty: Duty,
}

impl Keeper {
    /// Lives until all its rounds are done.
    pub(crate) async fn live(mut self) -> Result<(), String> {
        let mut rounds = self.actor.scenario.numbers.rounds;
        for life in (0..LIVES).rev() {
            let process = self.actor.process(life);
            let work = async {
                let Some(vault) = self.actor.open(&process).await? else { return Ok::<_, String>(()) };
                let store = SimStore::open(&self.actor.scenario.world, &process);
                while rounds > 0 {
                    rounds -= 1;
                    self.actor.rest().await;
                    match (self.duty, self.actor.random.below(3)) {
                        (Duty::Collect, _) => self.collect(&vault).await?,
                        (Duty::Keep, 0) => self.rotate(store.clone()).await?,
                        (Duty::Keep, _) => self.verify(&vault).await?,
                    }
                }
                Ok(())
            };
            tokio::select! {
                biased;
                () = process.death() => {}
                done = work => done?,
            }
            if rounds == 0 {
                break;
            }
        }
        Ok(())
    }

    async fn collect(&self, vault: &Arc<Vault>) -> Result<(), String> {
        let options = self.actor.scenario.numbers.collection(self.actor.scenario.world.now());
        self.actor.act("collect", Box::pin(vault.collect(&options))).await.map(drop)
    }

    async fn rotate(&self, store: vault::Store) -> Result<(), String> {
        let key = &self.actor.scenario.begin.key;
        let rotate = async { Holders::open(store, key).await?.rotate().await };
        self.actor.act("rotate", rotate).await.map(drop)
    }

    /// While others write and collect, a whole vault must be found whole.
    async fn verify(&self, vault: &Arc<Vault>) -> Result<(), String> {
        let Some(done) = self.actor.act("verify", Box::pin(vault.verify(&|_| ()))).await? else {
            return Ok(());
        };
        let spoils = self.actor.scenario.world.inner().weather.spoils();
        let is_whole = done.damage.is_empty() && done.points.is_empty();
        if !(spoils || is_whole) {
            return Err(format!("verify: {:?} {:?}", done.damage, done.points));
        }
        Ok(())
    }
}
