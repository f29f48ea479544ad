//! Items put under another policy, or under one again.

use crate::dry_run::{KeptBy, Tally, loss};
use crate::faults::Faults;
use crate::items::{NAMED, elsewhere_or};
use crate::policies::stored;
use crate::request::settings;
use crate::{Actor, Control, Error, Result};
use api::{BulkChange, BulkOutcome, ChangeItem, Code, DryRun, Item, ItemChanged, Resume};
use catalog::VaultRow;
use model::protection::{Act, apply};
use model::{Policy, PolicyId, VaultId};
use serde_json::json;
use uuid::Uuid;

/// Backups change an item as well: who is outrun by them tries again.
pub(crate) const TRIES: u32 = 8;

/// Where an item is to go.
struct Target {
    act: Act,
    policy: Policy,
    accept_loss: bool,
}

impl Control {
    /// Puts an item under another policy, or tells what that would do.
    pub async fn change_item(
        &self,
        actor: &Actor,
        vault: VaultId,
        id: Uuid,
        change: &ChangeItem,
    ) -> Result<ItemChanged> {
        let Some(policy) = change.policy else {
            return Err(Error::invalid(
                "/policy",
                "must name a policy: nothing else of an item can be changed",
            ));
        };
        let row = self.vault_row(vault).await?;
        let item = self.item_row(vault, id).await?;
        let target = self.target(vault, (Act::ChangePolicy(policy), policy), change.accept_loss).await?;
        if change.dry_run {
            return Ok(ItemChanged::DryRun(self.moved(&row, &item, &target.policy).await?));
        }
        Ok(ItemChanged::Item(self.shown_item(&self.put_under(actor, &row, id, &target).await?).await?))
    }

    /// Puts many items under another policy, each for itself.
    pub async fn change_items(
        &self,
        actor: &Actor,
        vault: VaultId,
        change: &BulkChange,
    ) -> Result<Vec<BulkOutcome>> {
        let mut faults = Faults::default();
        faults.entries("/items", NAMED, change.items.len());
        faults.none()?;
        let row = self.vault_row(vault).await?;
        let act = (Act::ChangePolicy(change.policy), change.policy);
        let target = self.target(vault, act, change.accept_loss).await?;
        let mut outcomes = Vec::with_capacity(change.items.len());
        for id in &change.items {
            let put = match self.put_under(actor, &row, *id, &target).await {
                Ok(item) => self.shown_item(&item).await,
                Err(error) => Err(error),
            };
            outcomes.push(match put {
                Ok(item) => BulkOutcome { id: *id, item: Some(item), problem: None },
                Err(error) => BulkOutcome { id: *id, item: None, problem: Some(error.into_problem()) },
            });
        }
        Ok(outcomes)
    }

    /// Puts an item whose protection was stopped under a policy again.
    pub async fn resume(&self, actor: &Actor, vault: VaultId, id: Uuid, wish: &Resume) -> Result<Item> {
        let row = self.vault_row(vault).await?;
        self.item_row(vault, id).await?;
        let target = self.target(vault, (Act::Resume(wish.policy), wish.policy), wish.accept_loss).await?;
        self.shown_item(&self.put_under(actor, &row, id, &target).await?).await
    }

    async fn target(
        &self,
        vault: VaultId,
        (act, policy): (Act, PolicyId),
        accept_loss: bool,
    ) -> Result<Target> {
        Ok(Target { act, policy: self.named_policy(vault, policy).await?, accept_loss })
    }

    async fn put_under(
        &self,
        actor: &Actor,
        vault: &VaultRow,
        id: Uuid,
        target: &Target,
    ) -> Result<catalog::Item> {
        for _ in 1..TRIES {
            match self.try_put_under(actor, vault, id, target).await {
                Err(error) if error.code() == Code::Changed => {}
                done => return done,
            }
        }
        self.try_put_under(actor, vault, id, target).await
    }

    async fn try_put_under(
        &self,
        actor: &Actor,
        vault: &VaultRow,
        id: Uuid,
        target: &Target,
    ) -> Result<catalog::Item> {
        let item = self.item_row(vault.id, id).await?;
        let mut world = self.circumstances(vault, item.machine).await?;
        let found = self.moved(vault, &item, &target.policy).await?;
        world.shortens = world.is_immutable && !found.allowed;
        let protection = apply(item.protection, target.act, &world)?;
        if found.lost > 0 && !target.accept_loss {
            return Err(loss(&found));
        }
        let (verb, policy) = match target.act {
            Act::Resume(policy) => ("item.resume", policy),
            Act::ChangePolicy(policy) => ("item.change-policy", policy),
            _ => unreachable!("a target is one of these two"),
        };
        let detail = json!({
            "vault": vault.id, "name": item.name, "policy": policy, "lost": found.lost, "shorter": found.shorter,
        });
        self.audit(actor, verb, &id.to_string(), &detail).await?;
        let changed = catalog::Item { protection, ..item };
        let revision = self.catalog.update_item(&changed).await.map_err(elsewhere_or)?;
        self.plan_again(id).await?;
        Ok(catalog::Item { revision, ..changed })
    }

    /// What a policy would make of an item's points.
    async fn moved(&self, vault: &VaultRow, item: &catalog::Item, after: &Policy) -> Result<DryRun> {
        let is_immutable = settings(vault)?.immutable;
        let mut tally = Tally::new(is_immutable);
        match item.protection.retention_policy() {
            Some(before) => {
                let before = stored(&self.policy_row(vault.id, before).await?)?;
                tally.add(item, self.item_difference(item, KeptBy::Policy(&before), after).await?);
                Ok(tally.result())
            }
            None => {
                tally.add(item, self.item_difference(item, KeptBy::Word, after).await?);
                let found = tally.result();
                // "Until somebody says otherwise" promised no date: only what goes at once is lost.
                Ok(DryRun { allowed: !(is_immutable && found.lost > 0), ..found })
            }
        }
    }
}
