//! Items: machines put under protection, seen, backed up on demand. What ends protection is in `stopping.rs`, what
//! changes its policy in `moving.rs`.

use crate::faults::Faults;
use crate::inventory::must_be_protectable;
use crate::machines::PATTERN_MAX;
use crate::policies::stored;
use crate::request::Request;
use crate::request::settings;
use crate::{Actor, Control, Error, Paging, Result};
use api::{BackUp, BulkOutcome, Code, Item, ItemState, Page, Protect};
use catalog::{ErrorKind, ItemFilter, Machine, VaultRow};
use jiff::{SignedDuration, Timestamp};
use model::protection::{Act, Circumstances, ON_DEMAND_KEEP_DAYS, ON_DEMAND_PER_DAY_MAX, Protection, apply};
use model::{JobId, MachineId, Origin, Policy, PolicyId, VaultId};
use serde_json::json;
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use uuid::Uuid;

/// Machines or items that one request names.
pub(crate) const NAMED: (usize, usize) = (1, 1000);
/// 99 years, as in a policy.
pub(crate) const KEEP_DAYS: (u16, u16) = (1, 36135);
/// The next backup is at most so far away: a weekly one whose day the zone left out.
const NEXT_WITHIN: SignedDuration = SignedDuration::from_hours(16 * 24);

/// Which items. What is not said does not matter.
#[derive(Clone, Debug, Default)]
pub struct WhichItems {
    /// They stand so.
    pub state: Option<ItemState>,
    /// Under this policy.
    pub policy: Option<PolicyId>,
    /// Their names fit this: `*` is anything, `?` one character; case does not matter.
    pub name: Option<String>,
}

impl Control {
    /// The items of a vault, by name.
    pub async fn items(&self, vault: VaultId, which: &WhichItems, paging: &Paging) -> Result<Page<Item>> {
        let (after, limit) = paging.place()?;
        let mut faults = Faults::default();
        if let Some(name) = &which.name {
            faults.text("name", name, PATTERN_MAX);
        }
        faults.none()?;
        self.vault_row(vault).await?;
        let filter = ItemFilter {
            vault: Some(vault),
            state: which.state.map(word),
            policy: which.policy,
            name: which.name.clone(),
        };
        let page = self.catalog.items(&filter, after.as_ref(), limit).await?;
        let items = self.shown_items(&page.rows).await?;
        Ok(Page { items, next: page.next.map(|next| next.to_string()) })
    }

    /// One item.
    pub async fn item(&self, vault: VaultId, id: Uuid) -> Result<Item> {
        let row = self.item_row(vault, id).await?;
        self.shown_item(&row).await
    }

    /// Puts machines under a policy, each for itself: one that cannot be does not hinder the others.
    pub async fn protect_many(
        &self,
        actor: &Actor,
        vault: VaultId,
        wish: &Protect,
    ) -> Result<Vec<BulkOutcome>> {
        let mut faults = Faults::default();
        faults.entries("/machines", NAMED, wish.machines.len());
        faults.none()?;
        self.vault_row(vault).await?;
        self.named_policy(vault, wish.policy).await?;
        let mut outcomes = Vec::with_capacity(wish.machines.len());
        for id in &wish.machines {
            outcomes.push(match self.protect_named(actor, vault, *id, wish).await {
                Ok((item, problem)) => {
                    let problem = problem.map(Error::into_problem);
                    BulkOutcome { id: id.0, item: Some(item), problem }
                }
                Err(error) => BulkOutcome { id: id.0, item: None, problem: Some(error.into_problem()) },
            });
        }
        Ok(outcomes)
    }

    /// The item, and why it is not being backed up although that was wished.
    async fn protect_named(
        &self,
        actor: &Actor,
        vault: VaultId,
        id: MachineId,
        wish: &Protect,
    ) -> Result<(Item, Option<Error>)> {
        let machine = self.machine_row(id).await?;
        let item = self.protect(actor, vault, &machine, wish.policy).await?;
        let backup = match wish.back_up_now {
            true => self.back_up(actor, vault, item.id, &BackUp::default()).await.err(),
            false => None,
        };
        Ok((self.shown_item(&item).await?, backup))
    }

    /// Puts a machine under a policy, which is one of the vault's.
    pub(crate) async fn protect(
        &self,
        actor: &Actor,
        vault: VaultId,
        machine: &Machine,
        policy: PolicyId,
    ) -> Result<catalog::Item> {
        let row = self.vault_row(vault).await?;
        let of_machine = self.catalog.items_of(&[machine.id]).await?;
        let before = of_machine.into_iter().find(|item| item.vault == vault);
        let from = before.as_ref().map_or(Protection::Unprotected {}, |item| item.protection);
        let world = self.circumstances(&row, machine.id).await?;
        let protection = apply(from, Act::Protect(policy), &world)?;
        must_be_protectable(machine)?;
        let is_new = before.is_none();
        let item = before.unwrap_or_else(|| catalog::Item {
            id: self.draw(),
            vault,
            machine: machine.id,
            name: machine.name.clone(),
            protection,
            last_point: None,
            created: self.now(),
            revision: 1,
        });
        let item = catalog::Item { protection, ..item };
        let detail = json!({ "vault": vault, "machine": machine.id, "name": item.name, "policy": policy });
        self.audit(actor, "item.protect", &item.id.to_string(), &detail).await?;
        if is_new {
            self.catalog.add_item(&item).await.map_err(elsewhere_or)?;
            return Ok(item);
        }
        let revision = self.catalog.update_item(&item).await.map_err(elsewhere_or)?;
        self.plan_again(item.id).await?;
        Ok(catalog::Item { revision, ..item })
    }

    /// Backs a machine up because somebody asks for it.
    pub async fn back_up(&self, actor: &Actor, vault: VaultId, id: Uuid, wish: &BackUp) -> Result<JobId> {
        let days = wish.keep_days.unwrap_or(ON_DEMAND_KEEP_DAYS);
        let mut faults = Faults::default();
        faults.range("/keep_days", KEEP_DAYS, days);
        faults.none()?;
        let item = self.item_row(vault, id).await?;
        let Some(policy) = item.protection.backup_policy() else {
            let error = Error::new(Code::Conflict, format!("{} is not protected", item.name));
            return Err(error.hint("resume its protection first"));
        };
        let policy = stored(&self.policy_row(vault, policy).await?)?;
        let now = self.now();
        let day = now.to_zoned(policy.zone().clone()).start_of_day();
        let since = day.map_or(now, |day| day.timestamp());
        let today = self.catalog.on_demand_since(id, since).await?;
        if !item.protection.allows_on_demand(u32::try_from(today).unwrap_or(u32::MAX)) {
            let detail =
                format!("{} had {today} backups on demand today; {ON_DEMAND_PER_DAY_MAX} may be", item.name);
            return Err(Error::new(Code::Conflict, detail).hint("the schedule goes on; ask again tomorrow"));
        }
        let lasts = SignedDuration::from_hours(24 * i64::from(days));
        let keep_until = now.saturating_add(lasts).expect("a duration, not a span");
        let detail =
            json!({ "vault": vault, "name": item.name, "keep_until": keep_until, "full": wish.full });
        self.audit(actor, "item.back-up", &id.to_string(), &detail).await?;
        let request = Request::BackUp { origin: Origin::OnDemand { keep_until }, full: wish.full };
        self.queue_for(actor, vault, id, &request).await
    }

    /// An item of a vault that must be there.
    pub(crate) async fn item_row(&self, vault: VaultId, id: Uuid) -> Result<catalog::Item> {
        let missing = || format!("item {id} in the vault");
        let row = self.catalog.item(id).await.map_err(|error| Error::missing(error, missing()))?;
        if row.vault == vault { Ok(row) } else { Err(Error::not_found(missing())) }
    }

    /// What the vault and the rest of the world say to an act on a machine: without what depends on its points.
    pub(crate) async fn circumstances(&self, vault: &VaultRow, machine: MachineId) -> Result<Circumstances> {
        let settings = settings(vault)?;
        let others = self.catalog.items_of(&[machine]).await?;
        let holds =
            |protection| !matches!(protection, Protection::Deleted { .. } | Protection::Unprotected {});
        Ok(Circumstances {
            soft_delete_days: settings.soft_delete_days,
            is_immutable: settings.immutable,
            shortens: false,
            is_elsewhere: others.iter().any(|other| other.vault != vault.id && holds(other.protection)),
            has_pinned: false,
            now: self.now(),
        })
    }

    /// As the API shows it.
    pub(crate) async fn shown_item(&self, row: &catalog::Item) -> Result<Item> {
        let shown = self.shown_items(std::slice::from_ref(row)).await?;
        Ok(shown.into_iter().next().expect("one for each row"))
    }

    async fn shown_items(&self, rows: &[catalog::Item]) -> Result<Vec<Item>> {
        let now = self.now();
        let mut policies: HashMap<PolicyId, Policy> = HashMap::new();
        let mut items = Vec::with_capacity(rows.len());
        for row in rows {
            let mut next_backup = None;
            if let Some(id) = row.protection.backup_policy() {
                let policy = match policies.entry(id) {
                    Entry::Occupied(known) => known.into_mut(),
                    Entry::Vacant(place) => place.insert(stored(&self.policy_row(row.vault, id).await?)?),
                };
                next_backup = next(policy, row.machine, now);
            }
            items.push(shown(row, next_backup));
        }
        Ok(items)
    }
}

/// When a machine's next run starts.
fn next(policy: &Policy, machine: MachineId, now: Timestamp) -> Option<Timestamp> {
    let before = now.saturating_add(NEXT_WITHIN).expect("a duration, not a span");
    policy.starts(machine, now, before).next().map(|(_, start)| start)
}

fn shown(row: &catalog::Item, next_backup: Option<Timestamp>) -> Item {
    let (state, purge_at) = match row.protection {
        Protection::Unprotected {} => (ItemState::Unprotected, None),
        Protection::AwaitsFirst { .. } => (ItemState::AwaitsFirst, None),
        Protection::Protected { .. } => (ItemState::Protected, None),
        Protection::InError { .. } => (ItemState::InError, None),
        Protection::Stopped { .. } => (ItemState::Stopped, None),
        Protection::Deleted { purge_at } => (ItemState::Deleted, Some(purge_at)),
    };
    Item {
        id: row.id,
        vault: row.vault,
        machine: row.machine,
        name: row.name.clone(),
        state,
        policy: row.protection.retention_policy(),
        last_point: row.last_point,
        next_backup,
        purge_at,
        created: row.created,
        revision: row.revision,
    }
}

/// As the catalog spells it: the API's words are the same.
fn word(state: ItemState) -> String {
    let word = serde_json::to_value(state).expect("a word");
    word.as_str().expect("a word").to_owned()
}

/// Two that protect one machine at the same moment: the second is told.
pub(crate) fn elsewhere_or(error: catalog::Error) -> Error {
    match error.kind() {
        ErrorKind::Exists => {
            Error::new(Code::Conflict, "somebody else protected the machine at the same moment")
                .hint("look again")
        }
        _ => error.into(),
    }
}
