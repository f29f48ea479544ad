//! Vaults: made, taken in, changed, forgotten.

use crate::faults::Faults;
use crate::request::settings;
use crate::survey::Survey;
use crate::{Actor, Adopted, Control, Error, Paging, Result, store};
use api::{Code, NewVault, Page, Vault, VaultChange, VaultMade, VaultRemoved, VaultSettings};
use catalog::{ErrorKind, VaultRow};
use jiff::SignedDuration;
use model::VaultId;
use model::protection::{SOFT_DELETE_DAYS_MAX, SOFT_DELETE_DAYS_MIN};
use serde_json::json;
use std::collections::HashSet;
use vault::{NewHolder, RecoveryKey, StoreAddress};

/// Azure's limit; lists of vaults are made for it.
const VAULTS_MAX: usize = 500;
/// Rules are tried one after the other for each new machine.
const AUTO_PROTECT_MAX: usize = 100;
/// The longest path that Linux takes.
const PATH_MAX: usize = 4096;
/// A pattern for names, which have 255 characters at most.
const PATTERN_MAX: usize = 255;
/// A tag's key and value, and `=` between them.
const TAG_MAX: usize = 385;

impl Control {
    /// The vaults that the caller may see, by name.
    pub async fn vaults(&self, may_see: impl Fn(VaultId) -> bool, paging: &Paging) -> Result<Page<Vault>> {
        let rows = self.catalog.vaults().await?;
        let items = self.catalog.items_by_vault().await?;
        let seen = rows.into_iter().filter(|row| may_see(row.id));
        let vaults: Result<Vec<_>> = seen.map(|row| shown(&row, items.get(&row.id).copied())).collect();
        paging.of(vaults?, |vault| (vault.name.clone(), vault.id.to_string()))
    }

    /// One vault.
    pub async fn vault(&self, id: VaultId) -> Result<Vault> {
        let row = self.vault_row(id).await?;
        let items = self.catalog.items_by_vault().await?;
        let copies = self.copy_state(id, &settings(&row)?).await?;
        let archived = self.archive_state(id, &settings(&row)?).await?;
        Ok(Vault { copies, archived, ..shown(&row, items.get(&id).copied())? })
    }

    /// Makes a vault, or takes in one that exists.
    pub async fn make_vault(&self, actor: &Actor, new: NewVault) -> Result<VaultMade> {
        let address = check_new(&new)?;
        let others = self.catalog.vaults().await?;
        if others.len() >= VAULTS_MAX {
            return Err(Error::new(
                Code::Conflict,
                format!("there are {VAULTS_MAX} vaults, as many as may be"),
            ));
        }
        // One that was half taken in is taken in again.
        let there = others.iter().find(|other| other.location == address.to_string());
        if let Some(other) = there.filter(|_| !new.adopt) {
            let detail = format!("the vault {} is in {address} already", other.name);
            return Err(Error::new(Code::Conflict, detail));
        }
        let is_taken = |other: &VaultRow| other.name == new.name && there.is_none_or(|it| it.id != other.id);
        if others.iter().any(is_taken) {
            return Err(name_taken(&new.name));
        }
        if new.adopt {
            self.take_vault_in(actor, new, address).await
        } else {
            self.create(actor, new, address).await
        }
    }

    /// CRASH: leaves a vault that no server knows, and its key in `keys/`; taking it in with that key goes on.
    async fn create(&self, actor: &Actor, new: NewVault, address: StoreAddress) -> Result<VaultMade> {
        let id = VaultId(self.draw());
        self.audit(
            actor,
            "vault.create",
            &id.to_string(),
            &json!({ "name": new.name, "location": new.location }),
        )
        .await?;
        self.can_share_keys().await?;
        let store = store::open_new(&address).await?;
        let (key, recovery) = (self.new_key(id)?, RecoveryKey::generate());
        let text = key.text()?;
        let now = self.now();
        let holders = [
            NewHolder { key: &key.key, label: String::new(), added: now },
            NewHolder { key: &recovery, label: String::new(), added: now },
        ];
        let making = vault::Vault::create_with(store.clone(), vault::VaultId(id.0), now, &holders);
        if let Err(error) = Box::pin(making).await {
            if store::may_hold(&store, id).await {
                key.leave();
            }
            return Err(store::refused(&error));
        }
        key.keep(id)?;
        self.share_key(id, &text).await?;
        let vault = self.add(id, &new, &address).await?;
        Ok(VaultMade {
            vault,
            key: Some(text),
            recovery_key: Some(recovery.to_text().to_string()),
            lost: Vec::new(),
            advice: Vec::new(),
        })
    }

    /// CRASH: leaves a vault of which not all is known; taking it in again goes on.
    async fn take_vault_in(
        &self,
        actor: &Actor,
        mut new: NewVault,
        address: StoreAddress,
    ) -> Result<VaultMade> {
        let key = self.told_key(new.key.as_deref().expect("checked with the rest"))?;
        let store = store::open(&address).await?;
        let opened = Box::pin(vault::Vault::open(store, &key.key)).await;
        let opened = opened.map_err(|error| store::refused(&error))?;
        let id = VaultId(opened.id().0);
        let known = self.catalog.vault(id).await.ok();
        if let Some(other) = known.as_ref().filter(|known| known.location != address.to_string()) {
            let detail = format!("the vault is known already, as {} in {}", other.name, other.location);
            return Err(Error::new(Code::Conflict, detail));
        }
        let detail = json!({ "name": new.name, "location": new.location });
        self.audit(actor, "vault.adopt", &id.to_string(), &detail).await?;
        let goes_on = |error: Error| error.hint("take the vault in again: that goes on");
        let mut survey = Box::pin(Survey::of(&opened)).await.map_err(goes_on)?;
        let archive = new.settings.archive.take();
        let looking = self.survey_archive((&mut survey, &key.key), &opened, archive, known.as_ref());
        let archive = Box::pin(looking).await?;
        new.settings.archive = archive.store.clone();
        let text = key.text()?;
        key.keep(id)?;
        self.share_key(id, &text).await?;
        let mut advice = Vec::new();
        if known.is_none() {
            advice.extend(survey.settle(&mut new.settings));
            self.add(id, &new, &address).await?;
        }
        self.keep_archive(id, &archive).await?;
        if let Some(number) = survey.note_number() {
            self.catalog.skip_vault_notes(id, number).await?;
        }
        let Adopted { mut lost, advice: more, .. } =
            Box::pin(self.adopt(id, survey, self.now())).await.map_err(goes_on)?;
        lost.extend(archive.lost);
        advice.extend(archive.advice.into_iter().chain(more));
        Ok(VaultMade { vault: self.vault(id).await?, key: None, recovery_key: None, lost, advice })
    }

    async fn add(&self, id: VaultId, new: &NewVault, address: &StoreAddress) -> Result<Vault> {
        let row = VaultRow {
            id,
            name: new.name.clone(),
            location: address.to_string(),
            settings: serde_json::to_value(&new.settings).expect("plain data"),
            created: self.now(),
            revision: 1,
        };
        self.catalog.add_vault(&row).await.map_err(|error| {
            let hint = format!("the vault is there, and its key in keys/{id}.key: take it in with `adopt`");
            taken_or(error, &new.name).hint(hint)
        })?;
        shown(&row, None)
    }

    /// Changes a vault's name or settings.
    pub async fn change_vault(&self, actor: &Actor, id: VaultId, change: VaultChange) -> Result<Vault> {
        let mut row = self.vault_row(id).await?;
        if change.revision.is_some_and(|revision| revision != row.revision) {
            return Err(Error::new(Code::Changed, "the vault was changed meanwhile").hint("read it again"));
        }
        let before = settings(&row)?;
        let mut faults = Faults::default();
        if let Some(name) = &change.name {
            faults.name("/name", name);
        }
        if let Some(wanted) = &change.settings {
            let policies = self.catalog.policies(id).await?.iter().map(|policy| policy.id).collect();
            check_settings(wanted, &policies, &mut faults);
            crate::copies::check(&row.location, wanted, &mut faults);
            crate::archive::check(&row.location, wanted, &mut faults);
        }
        faults.none()?;
        let copy_mover = change.settings.as_ref().and_then(|wanted| wanted.copy.as_ref()?.mover.as_deref());
        self.must_be_mover(copy_mover).await?;
        let archive_mover =
            change.settings.as_ref().and_then(|wanted| wanted.archive.as_ref()?.mover.as_deref());
        self.must_be_mover(archive_mover).await?;
        let items = self.catalog.items_by_vault().await?.get(&id).copied().unwrap_or(0);
        if let Some(wanted) = &change.settings {
            may_become(&before, wanted, items)?;
            if crate::archive::is_elsewhere(&before, wanted) && self.catalog.is_archive_used(id).await? {
                let detail = "points of the vault are in its archive store, and nowhere else";
                let hint = "it can be moved or taken away once none is there any more";
                return Err(Error::new(Code::Conflict, detail).hint(hint));
            }
            if before.keep_everything && !wanted.keep_everything && !change.accept_loss {
                self.nothing_is_over(id).await?;
            }
        }
        let detail =
            json!({ "name": change.name, "settings": change.settings, "accept_loss": change.accept_loss });
        self.audit(actor, "vault.change", &id.to_string(), &detail).await?;
        if let Some(wanted) = change.settings {
            self.keep_promise(&row, &before, &wanted).await?;
            // Before it has another: what lies in the old one is no copy in the new one. CRASH: the old one's are noted
            // again by the next job that copies.
            if crate::copies::is_elsewhere(&before, &wanted) {
                self.catalog.forget_copies(row.id).await?;
            }
            if crate::archive::is_elsewhere(&before, &wanted) {
                self.catalog.note_missing_archive(row.id, false).await?;
            }
            row.settings = serde_json::to_value(wanted).expect("plain data");
        }
        row.name = change.name.unwrap_or(row.name);
        row.revision = self.catalog.update_vault(&row).await.map_err(|error| taken_or(error, &row.name))?;
        shown(&row, Some(items))
    }

    /// Forgets a vault that has no items. Its data stay where they are.
    pub async fn remove_vault(&self, actor: &Actor, id: VaultId) -> Result<VaultRemoved> {
        let row = self.vault_row(id).await?;
        let has_items = |items: u64| {
            let detail =
                format!("the vault {} has {items} machines, stopped and deleted ones included", row.name);
            let hint = "stop their protection and delete their data; \
                        what is deleted is gone once its soft-delete days are over";
            Error::new(Code::Conflict, detail).hint(hint)
        };
        if let Some(items) = self.catalog.items_by_vault().await?.get(&id) {
            return Err(has_items(*items));
        }
        let snapshots = self.catalog.snapshots_in(id).await?;
        if snapshots > 0 {
            let detail = format!("the vault {} has {snapshots} snapshots, deleted ones included", row.name);
            let hint = "delete them: `strongroom snapshot delete`; they are gone once their soft-delete days are over";
            return Err(Error::new(Code::Conflict, detail).hint(hint));
        }
        let images = self.catalog.images_in(id).await?;
        if images > 0 {
            let detail = format!("the vault {} has {images} images, deleted ones included", row.name);
            let hint =
                "delete them: `strongroom image delete`; they are gone once their soft-delete days are over";
            return Err(Error::new(Code::Conflict, detail).hint(hint));
        }
        let detail = json!({ "name": row.name, "location": row.location });
        self.audit(actor, "vault.remove", &id.to_string(), &detail).await?;
        match self.catalog.remove_vault(id).await {
            Err(error) if error.kind() == ErrorKind::Invalid => return Err(has_items(1)),
            removed => removed?,
        }
        let note = format!(
            "The data stay in {}, and the key in keys/{id}.key of the server's data directory. `strongroom vault \
             adopt` takes the vault in again; to be rid of it, delete what is there.",
            row.location
        );
        Ok(VaultRemoved { id, location: row.location, note })
    }

    /// A vault that must be there.
    pub(crate) async fn vault_row(&self, id: VaultId) -> Result<VaultRow> {
        self.catalog.vault(id).await.map_err(|error| Error::missing(error, format!("vault {id}")))
    }

    /// How long what is deleted in a vault stays there at least: as the settings say, or as they said when something
    /// was deleted that can be brought back yet.
    pub(crate) async fn soft_delete(&self, row: &VaultRow) -> Result<SignedDuration> {
        let promised = self.catalog.promised(row.id).await?.filter(|(_, until)| self.now() < *until);
        let days = settings(row)?.soft_delete_days.max(promised.map_or(0, |(days, _)| days));
        Ok(SignedDuration::from_hours(24 * i64::from(days)))
    }

    /// Fewer days do not count for what was deleted while they were more.
    async fn keep_promise(
        &self,
        row: &VaultRow,
        before: &VaultSettings,
        after: &VaultSettings,
    ) -> Result<()> {
        if after.soft_delete_days >= before.soft_delete_days {
            return Ok(());
        }
        let lasts = self.soft_delete(row).await?;
        let days = u16::try_from(lasts.as_hours() / 24).unwrap_or(SOFT_DELETE_DAYS_MAX);
        let until = self.now().saturating_add(lasts).expect("a duration, not a span");
        Ok(self.catalog.promise(row.id, days, until).await?)
    }
}

fn shown(row: &VaultRow, items: Option<u64>) -> Result<Vault> {
    Ok(Vault {
        id: row.id,
        name: row.name.clone(),
        location: row.location.clone(),
        settings: settings(row)?,
        created: row.created,
        items: items.unwrap_or(0),
        copies: None,
        archived: None,
        revision: row.revision,
    })
}

fn check_new(new: &NewVault) -> Result<StoreAddress> {
    let mut faults = Faults::default();
    faults.name("/name", &new.name);
    faults.text("/location", &new.location, PATH_MAX);
    let address = store::address(&new.location).map_err(|rule| faults.add("/location", rule)).ok();
    check_settings(&new.settings, &HashSet::new(), &mut faults);
    crate::copies::check(&new.location, &new.settings, &mut faults);
    crate::archive::check(&new.location, &new.settings, &mut faults);
    match (new.adopt, &new.key) {
        (true, None) => {
            faults.add("/key", "is needed to take a vault in: the text of a key file that opens it");
        }
        (false, Some(_)) => faults.add("/key", "is for a vault that is taken in; a new one gets its own"),
        _ => {}
    }
    faults.none()?;
    Ok(address.expect("or it would be a fault"))
}

fn check_settings(settings: &VaultSettings, policies: &HashSet<model::PolicyId>, faults: &mut Faults) {
    if settings.transfer_mib_per_second == Some(0) {
        faults.add("/settings/transfer_mib_per_second", "must be 1 or more; leave it out for no limit");
    }
    let days = (SOFT_DELETE_DAYS_MIN, SOFT_DELETE_DAYS_MAX);
    faults.range("/settings/soft_delete_days", days, settings.soft_delete_days);
    if let Some(store) = &settings.snapshot_store {
        faults.text("/settings/snapshot_store", store, PATH_MAX);
        if !store.starts_with('/') {
            faults.add("/settings/snapshot_store", "must be an absolute path");
        }
    }
    faults.entries("/settings/auto_protect", (0, AUTO_PROTECT_MAX), settings.auto_protect.len());
    for (at, rule) in settings.auto_protect.iter().enumerate() {
        let pointer = |field: &str| format!("/settings/auto_protect/{at}/{field}");
        if let Some(name) = &rule.name {
            faults.text(&pointer("name"), name, PATTERN_MAX);
        }
        if let Some(tag) = &rule.tag {
            faults.text(&pointer("tag"), tag, TAG_MAX);
        }
        if !policies.contains(&rule.policy) {
            faults.add(pointer("policy"), format!("must be a policy of the vault; {} is none", rule.policy));
        }
    }
}

/// Whether a vault with so many items may be treated otherwise.
fn may_become(before: &VaultSettings, after: &VaultSettings, items: u64) -> Result<()> {
    if before.immutable && !after.immutable && items > 0 {
        let detail = format!("the vault is immutable, and stays so while it has items; it has {items}");
        return Err(Error::new(Code::Locked, detail));
    }
    if before.snapshot_store.is_some() && before.snapshot_store != after.snapshot_store && items > 0 {
        let detail = format!("the snapshot tier holds snapshots of the vault's items; it has {items}");
        return Err(Error::new(Code::Conflict, detail).hint("it can be moved while the vault has none"));
    }
    Ok(())
}

fn name_taken(name: &str) -> Error {
    Error::new(Code::Exists, format!("there is a vault {name} already"))
}

fn taken_or(error: catalog::Error, name: &str) -> Error {
    if error.kind() == ErrorKind::Exists { name_taken(name) } else { error.into() }
}
