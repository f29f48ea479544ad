//! What a vault is told of itself: where its archive is, so that nobody who takes it in has to know. No credentials.
//!
//! CRASH: a number is drawn, the note is put, and only then is it marked as said. Whoever dies between leaves the vault's
//! word in doubt, and the next look puts another note, of a higher number; the highest counts. Nothing is deleted.

use super::VERSION;
use crate::request::settings;
use crate::{Control, Result, store};
use api::ArchiveStore;
use catalog::VaultRow;
use jiff::Timestamp;
use model::VaultId;
use serde::{Deserialize, Serialize};
use vault::MachineKey;

/// Under what name it stands among the machines' notes: as an owner's word (`model::Owner`), so that no machine goes by
/// it by chance.
const KEY: &str = "vault--itself";

/// What a note says of its vault.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct VaultNote {
    /// The version of this shape: 1. A reader passes over fields that it does not know.
    version: u32,
    /// The vault.
    vault: VaultId,
    /// Its archive store.
    #[serde(default)]
    archive: Option<NotedArchive>,
}

/// An archive store, as a note tells it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct NotedArchive {
    location: String,
    #[serde(default)]
    mover: Option<String>,
    #[serde(default)]
    mib_per_second: Option<u32>,
}

impl VaultNote {
    /// What is to be said of a vault; nothing if that is nothing.
    fn of(row: &VaultRow) -> Result<Option<Self>> {
        let archive = settings(row)?.archive.map(|archive| {
            let ArchiveStore { location, mover, mib_per_second } = archive;
            NotedArchive { location, mover, mib_per_second }
        });
        Ok(archive.map(|archive| Self { version: VERSION, vault: row.id, archive: Some(archive) }))
    }

    /// Whether a note is of its vault, not of a machine.
    pub(crate) fn is_one(note: &vault::Note) -> bool {
        note.machine.as_str() == KEY
    }

    /// What a vault's note says; else why it cannot be told.
    pub(crate) fn read(note: &vault::Note) -> std::result::Result<Option<Self>, String> {
        // What was noted once, and is no longer so.
        if note.note.is_null() {
            return Ok(None);
        }
        let said = Self::deserialize(&note.note);
        let said = said.map_err(|error| format!("the vault's note on itself cannot be read: {error}"))?;
        if said.version == VERSION {
            return Ok(Some(said));
        }
        Err(format!("the vault's note on itself is of version {}: use a newer strongroom", said.version))
    }

    /// Where it says that the archive is.
    pub(crate) fn archive(&self) -> Option<ArchiveStore> {
        let NotedArchive { location, mover, mib_per_second } = self.archive.clone()?;
        Some(ArchiveStore { location, mover, mib_per_second })
    }
}

impl Control {
    /// Tells a vault what is to be known of itself, if that is not what it was told last. One that cannot be reached is
    /// told later.
    pub(super) async fn tell_vault_of_itself(&self, row: &VaultRow, now: Timestamp) -> Result<()> {
        let wanted = text(VaultNote::of(row)?.as_ref());
        if self.catalog.vault_said(row.id).await?.as_ref() == Some(&wanted) {
            return Ok(());
        }
        let vault = self.open_vault(row).await?;
        let draft = self.catalog.draft_vault_note(row.id).await?;
        let said = VaultNote::of(&draft.vault)?;
        let machine = MachineKey::new(KEY).expect("a name that is safe");
        let note = serde_json::to_value(&said).expect("plain data");
        let note = vault::Note { machine, number: draft.number, at: now, note };
        match vault.put_note(&note).await {
            Ok(()) => Ok(self.catalog.mark_vault_note(row.id, draft.number, &text(said.as_ref())).await?),
            // Of the catalog before this one: the next look goes on behind it.
            Err(error) if error.kind() == vault::ErrorKind::AlreadyExists => {
                let last = vault.last_note(&note.machine).await.map_err(|error| store::refused(&error))?;
                Ok(self.catalog.skip_vault_notes(row.id, last.unwrap_or(draft.number)).await?)
            }
            Err(error) => Err(store::refused(&error)),
        }
    }
}

/// As the catalog keeps what was said.
fn text(note: Option<&VaultNote>) -> String {
    note.map(|note| serde_json::to_string(note).expect("plain data")).unwrap_or_default()
}
