//! What a vault is told of its machines beside their points, so that nothing of it is lost with the catalog: pins, tags,
//! stopped protection, proofs; and where its archive is (`notes/vault_note.rs`). [`tick_notes`](Control::tick_notes) writes it;
//! `adopt.rs` finds it again.
//!
//! The server writes notes itself: they are small, and no machine is needed for them. Where it cannot reach a vault's
//! store, they wait for a day when it can.
//!
//! CRASH: between a note and its mark, the note is written once more.

mod vault_note;

pub(crate) use vault_note::VaultNote;

use crate::{Control, Error, Result, store};
use api::Code;
use catalog::{DrillRow, NoteDraft, VaultRow};
use jiff::Timestamp;
use model::drill::DrillRecord;
use model::protection::Protection;
use model::{JobId, MachineId, PointId, VaultId};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use uuid::Uuid;
use vault::{KeyFile, MachineKey, StoreAddress, Vault};

/// Notes of a vault that are written in one go; a night's backups change none.
const BATCH: u32 = 500;
/// The version of what a note says.
const VERSION: u32 = 1;

/// What a note says of an item.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ItemNote {
    /// The version of this shape: 1. A reader passes over fields that it does not know.
    version: u32,
    /// The item.
    pub(crate) item: Uuid,
    /// Its machine.
    pub(crate) machine: MachineId,
    /// What its host's hypervisor knows it by, if that is known.
    #[serde(default)]
    pub(crate) known_as: Option<String>,
    /// Where its protection stands, if it was stopped.
    #[serde(default)]
    pub(crate) stopped: Option<Protection>,
    /// Points that are kept until somebody says otherwise.
    #[serde(default)]
    pub(crate) pinned: Vec<PointId>,
    /// What people sort the machine by.
    #[serde(default)]
    pub(crate) tags: BTreeMap<String, String>,
    /// The last drill of each point that was tried.
    #[serde(default)]
    pub(crate) drills: Vec<NotedDrill>,
}

/// A drill, as a note tells it: without what the guest printed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct NotedDrill {
    job: JobId,
    pub(crate) point: PointId,
    instant: Timestamp,
    ended: Timestamp,
    record: DrillRecord,
}

impl NotedDrill {
    fn of(row: DrillRow) -> Self {
        let DrillRow { job, point, instant, ended, mut record, .. } = row;
        record.console.clear();
        record.checks.iter_mut().for_each(|check| check.output.clear());
        Self { job, point, instant, ended, record }
    }

    /// As the catalog has it.
    pub(crate) fn row(self, item: Uuid) -> DrillRow {
        let Self { job, point, instant, ended, record } = self;
        DrillRow { job, point, item, instant, ended, record, has_picture: false }
    }
}

impl ItemNote {
    /// What is to be said of an item; nothing if that is nothing.
    fn of(draft: &NoteDraft) -> Option<Self> {
        // Nothing is kept of one that is not protected, so there is nothing to find again.
        let item = draft.item.as_ref().filter(|item| item.protection != Protection::Unprotected {})?;
        let note = Self {
            version: VERSION,
            item: item.id,
            machine: item.machine,
            known_as: draft.known_as.clone(),
            stopped: Some(item.protection).filter(|state| matches!(state, Protection::Stopped { .. })),
            pinned: draft.pinned.clone(),
            tags: draft.tags.clone(),
            drills: draft.drills.iter().cloned().map(NotedDrill::of).collect(),
        };
        let is_empty = note.stopped.is_none() && note.pinned.is_empty();
        (!is_empty || !note.tags.is_empty() || !note.drills.is_empty()).then_some(note)
    }

    /// What a vault's note says; else why it cannot be told.
    pub(crate) fn read(note: &vault::Note) -> std::result::Result<Option<Self>, String> {
        // What was noted once, and is no longer so.
        if note.note.is_null() {
            return Ok(None);
        }
        let said = Self::deserialize(&note.note);
        let said = said.map_err(|error| format!("a note on {} cannot be read: {error}", note.machine))?;
        if said.version == VERSION {
            return Ok(Some(said));
        }
        Err(format!("a note on {} is of version {}: use a newer strongroom", note.machine, said.version))
    }
}

impl Control {
    /// Tells the vaults what is to be known of their machines beside the points. A vault that cannot be reached is told
    /// later.
    ///
    /// # Errors
    /// The catalog's.
    pub async fn tick_notes(&self, now: Timestamp) -> Result<()> {
        for row in self.catalog.vaults().await? {
            if let Err(error) = self.tell_vault_of_itself(&row, now).await {
                tracing::warn!(vault = row.name, %error, "where its archive is could not be noted in the vault");
            }
            let due = self.catalog.notes_due(row.id, BATCH).await?;
            if due.is_empty() {
                continue;
            }
            if let Err(error) = self.tell_vault(&row, &due, now).await {
                tracing::warn!(vault = row.name, %error, "pins, tags and proofs could not be noted in the vault");
            }
        }
        Ok(())
    }

    async fn tell_vault(&self, row: &VaultRow, due: &[Uuid], now: Timestamp) -> Result<()> {
        let mut opened: Option<Vault> = None;
        for item in due {
            let Some(draft) = self.catalog.draft_note(*item).await? else { continue };
            let note = ItemNote::of(&draft);
            let text = note.as_ref().map(|note| serde_json::to_string(note).expect("plain data"));
            let text = text.unwrap_or_default();
            // Most of what happens to an item changes nothing of this.
            if draft.item.is_some() && draft.said.as_ref() == Some(&text) {
                self.catalog.mark_note(*item, &draft, &text).await?;
                continue;
            }
            let is_over = |item: &catalog::Item| item.protection == Protection::Unprotected {};
            if opened.is_none() {
                opened = Some(self.open_vault(row).await?);
            }
            let vault = opened.as_ref().expect("it was opened above");
            let machine = MachineKey::new(item.to_string()).expect("a uuid is a name");
            if draft.item.as_ref().is_none_or(is_over) {
                vault.forget_notes(&machine).await.map_err(|error| store::refused(&error))?;
                self.catalog.mark_note(*item, &draft, &text).await?;
                self.catalog.forget_note(*item).await?;
                continue;
            }
            let note = serde_json::to_value(&note).expect("plain data");
            let note = vault::Note { machine, number: draft.number, at: now, note };
            match vault.put_note(&note).await {
                Ok(()) => self.catalog.mark_note(*item, &draft, &text).await?,
                // Of another server that drew later, or of the catalog before this one: the next look goes on behind it.
                Err(error) if error.kind() == vault::ErrorKind::AlreadyExists => {
                    let last =
                        vault.last_note(&note.machine).await.map_err(|error| store::refused(&error))?;
                    self.catalog.skip_notes(*item, last.unwrap_or(draft.number)).await?;
                }
                Err(error) => return Err(store::refused(&error)),
            }
        }
        Ok(())
    }

    /// Opens a vault of the catalog's with this server's key and credentials.
    pub(crate) async fn open_vault(&self, row: &VaultRow) -> Result<Vault> {
        let key = self.key_file(row.id).await?;
        let address = StoreAddress::parse(&row.location).map_err(|error| unusable(row.id, &error))?;
        let store = store::open(&address).await?;
        Box::pin(Vault::open(store, &key)).await.map_err(|error| store::refused(&error))
    }

    /// This server's key to a vault.
    pub(crate) async fn key_file(&self, vault: VaultId) -> Result<KeyFile> {
        let text = self.vault_key(vault).await?;
        KeyFile::from_text(&text).map_err(|error| unusable(vault, &error))
    }
}

fn unusable(vault: VaultId, error: &vault::Error) -> Error {
    Error::new(Code::Internal, format!("open the vault {vault}: {error}"))
}
