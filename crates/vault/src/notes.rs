//! Notes: what a service wants to find again of a machine beside its points, `notes/<machine>/<n>`.
//!
//! The newest note of a machine that can be read counts. INVARIANT: nothing in a vault depends on one: no point is
//! listed, kept or deleted for what a note says, and a reader that knows of none loses nothing but that.
//!
//! Each says all there is to say of its machine, so older ones may go; two are kept, for one may rot.
//!
//! CRASH: a note is one object, there or not. Left between the put and the deletions that follow: older notes, which
//! the next one removes.

use crate::seal::ObjectKind;
use crate::vault::Vault;
use crate::{Error, ErrorKind, MachineKey, Result};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::BTreeMap;

/// The only version there is.
const FORMAT: u32 = 1;
/// Of a machine. The one before the newest stands in for it where it rots.
const KEPT: usize = 2;

/// What a service wants to find again of a machine.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Note {
    /// The machine.
    pub machine: MachineKey,
    /// Which of the machine's notes this is: the highest counts.
    pub number: u64,
    /// When it was written, by the writer's clock. For people.
    pub at: Timestamp,
    /// What it says; the vault does not look inside.
    pub note: Value,
}

/// The notes of a vault.
#[derive(Debug, Default)]
pub struct Notes {
    /// The newest of each machine that can be read, by machine.
    pub notes: Vec<Note>,
    /// Why others cannot.
    pub damage: Vec<Error>,
}

/// A note as it lies in the store.
#[derive(Serialize, Deserialize)]
struct Stored {
    format: u32,
    #[serde(flatten)]
    note: Note,
}

impl Vault {
    /// Writes a note of a machine. Whoever has drawn the higher number must know at least what others knew.
    ///
    /// # Errors
    /// `AlreadyExists` if the machine has one of this number, or a higher: [`last_note`](Self::last_note) tells.
    pub async fn put_note(&self, note: &Note) -> Result<()> {
        let mut numbers = self.note_numbers(&note.machine).await?;
        if let Some(last) = numbers.last().filter(|last| **last >= note.number) {
            let context = format!("note {} of {}: there is note {last}", note.number, note.machine);
            return Err(Error::new(ErrorKind::AlreadyExists, context));
        }
        let name = object(&note.machine, note.number);
        let stored = Stored { format: FORMAT, note: note.clone() };
        let body = serde_json::to_vec(&stored).expect("plain data with names for keys");
        let sealed = self.seal_named(ObjectKind::Note, sequence(note.number), &body)?;
        self.store().create(&name, sealed).await?;
        numbers.push(note.number);
        for old in &numbers[..numbers.len().saturating_sub(KEPT)] {
            // Where deleting is forbidden they stay: they are small, and say nothing that counts.
            let _ = self.store().delete(&object(&note.machine, *old)).await;
        }
        Ok(())
    }

    /// The number of the last note of a machine; none if it has none.
    pub async fn last_note(&self, machine: &MachineKey) -> Result<Option<u64>> {
        Ok(self.note_numbers(machine).await?.last().copied())
    }

    /// The newest notes of all machines.
    ///
    /// # Errors
    /// Only where the store cannot be read at all: a note that cannot be read hides no other.
    pub async fn notes(&self) -> Result<Notes> {
        let mut of_machines: BTreeMap<MachineKey, Vec<u64>> = BTreeMap::new();
        for (name, _) in self.store().list("notes").await? {
            if let Some((machine, number)) = parse(&name) {
                of_machines.entry(machine).or_default().push(number);
            }
        }
        let mut found = Notes::default();
        for (machine, mut numbers) in of_machines {
            numbers.sort_unstable();
            while let Some(number) = numbers.pop() {
                match self.note(&machine, number).await {
                    Ok(note) => {
                        found.notes.push(note);
                        break;
                    }
                    // Replaced since the listing: what replaced it is asked for next time.
                    Err(error) if error.kind() == ErrorKind::NotFound => {}
                    Err(error) if is_unreadable(&error) => found.damage.push(error),
                    Err(error) => return Err(error),
                }
            }
        }
        Ok(found)
    }

    /// Removes all notes of a machine: the newest last, so that no older one comes to count.
    pub async fn forget_notes(&self, machine: &MachineKey) -> Result<()> {
        for number in self.note_numbers(machine).await? {
            self.store().delete(&object(machine, number)).await?;
        }
        Ok(())
    }

    /// Writes the newest notes into another store of the vault, where that knows less. Gives how many.
    ///
    /// What is newer there, or says the same, stays as it is.
    pub async fn copy_notes(&self, to: &Self) -> Result<usize> {
        let there = to.notes().await?.notes;
        let mut copied = 0;
        for note in self.notes().await?.notes {
            let known = there.iter().find(|known| known.machine == note.machine);
            if known.is_some_and(|known| known.at >= note.at || known.note == note.note) {
                continue;
            }
            let last = to.last_note(&note.machine).await?;
            to.put_note(&Note { number: last.map_or(0, |last| last + 1), ..note }).await?;
            copied += 1;
        }
        Ok(copied)
    }

    async fn note(&self, machine: &MachineKey, number: u64) -> Result<Note> {
        #[derive(Deserialize)]
        struct Version {
            format: u32,
        }
        let name = object(machine, number);
        let body = self.open_named(ObjectKind::Note, &name, sequence(number)).await?;
        let damaged = |e| Error::caused(ErrorKind::Corrupt, format!("read {name}"), e);
        let Version { format } = serde_json::from_slice(&body).map_err(damaged)?;
        if format != FORMAT {
            let context = format!("{name} has format {format}, this program reads {FORMAT}: use a newer one");
            return Err(Error::new(ErrorKind::Unsupported, context));
        }
        let Stored { note, .. } = serde_json::from_slice(&body).map_err(damaged)?;
        if note.machine != *machine || note.number != number {
            return Err(Error::corrupt(name, 0, "it is another note than its name says"));
        }
        Ok(note)
    }

    /// The numbers of a machine's notes, ascending.
    async fn note_numbers(&self, machine: &MachineKey) -> Result<Vec<u64>> {
        let objects = self.store().list(&format!("notes/{machine}")).await?;
        let mut numbers: Vec<u64> = objects.iter().filter_map(|(name, _)| Some(parse(name)?.1)).collect();
        numbers.sort_unstable();
        Ok(numbers)
    }
}

/// Whether it is the note that is wrong, not the store.
fn is_unreadable(error: &Error) -> bool {
    matches!(error.kind(), ErrorKind::Corrupt | ErrorKind::Unsupported | ErrorKind::Key)
}

fn object(machine: &MachineKey, number: u64) -> String {
    format!("notes/{machine}/{number:016x}")
}

/// The low half of a note's number, bound into its seal.
fn sequence(number: u64) -> u32 {
    (number & 0xFFFF_FFFF) as u32
}

/// Whose note has that name, and which. Other names are none of a note.
fn parse(name: &str) -> Option<(MachineKey, u64)> {
    let (machine, number) = name.strip_prefix("notes/")?.split_once('/')?;
    let number = u64::from_str_radix(number, 16).ok().filter(|_| number.len() == 16)?;
    let machine = MachineKey::new(machine).ok()?;
    (object(&machine, number) == name).then_some((machine, number))
}
