//! What is to stand in a vault beside an item's points, so that whoever takes the vault in has it: what was pinned, how
//! the machine is tagged, that protection was stopped, what was proved.
//!
//! INVARIANT: what changes one of these counts `wanted` up in its own transaction ([`want`]). A number is drawn and what
//! is to be said is read in one transaction that holds the row, so a note of a higher number never knows less. What the
//! vault says is believed only while nobody is between drawing and marking: a draw takes that belief away ([`DOUBT`]),
//! and only who has drawn last gives it back.

use crate::drills::drill;
use crate::items::item;
use crate::row::{count, document, json, number, parsed, text};
use crate::{Catalog, DrillRow, Error, Item, Result};
use model::{MachineId, PointId, VaultId};
use sqlx::any::AnyRow;
use sqlx::{AnyConnection, Row};
use std::collections::BTreeMap;
use uuid::Uuid;

/// Drills that a note tells of: years of weekly ones, and a note stays below a megabyte.
const DRILLS_MAX: i64 = 500;
/// Stands for what a note says while somebody may be writing another.
const DOUBT: &str = "?";

/// What is to be noted of an item, and under which number.
#[derive(Clone, Debug, PartialEq)]
pub struct NoteDraft {
    /// The item; none: it is gone, and its notes are to go.
    pub item: Option<Item>,
    /// What its machine is known as, if that can be told.
    pub known_as: Option<String>,
    /// What people sort the machine by.
    pub tags: BTreeMap<String, String>,
    /// The points that are pinned, by id.
    pub pinned: Vec<PointId>,
    /// The last drill of each point that was tried, the newest ones, by the points' instants.
    pub drills: Vec<DrillRow>,
    /// The number that was drawn.
    pub number: u64,
    /// The count that this is.
    pub wanted: u64,
    /// What the vault's note says; empty for none, nothing if that is not known for sure.
    pub said: Option<String>,
}

/// Counts up what is wanted of an item's note; to be done by whatever changes what one says.
pub(crate) async fn want(connection: &mut AnyConnection, item: Uuid) -> sqlx::Result<()> {
    let upsert = "insert into notes (item_id, vault_id, number, wanted, noted, said, held)
        select id, vault_id, 0, 1, 0, '', 0 from items where id = $1
        on conflict (item_id) do update set wanted = notes.wanted + 1";
    sqlx::query(upsert).bind(item.to_string()).execute(connection).await.map(drop)
}

impl Catalog {
    /// Items of a vault whose notes are to be written anew, by id.
    pub async fn notes_due(&self, vault: VaultId, limit: u32) -> Result<Vec<Uuid>> {
        let select = "select item_id from notes where vault_id = $1 and noted <> wanted and held = 0
            order by item_id limit $2";
        let query = sqlx::query(select).bind(vault.to_string()).bind(i64::from(limit));
        let found = query.try_map(|row: AnyRow| parsed(&row, "item_id")).fetch_all(&self.pool).await;
        found.map_err(|e| Error::sql("look for notes that are due", e))
    }

    /// Draws the next number for an item's note, with what it is to say. None if there is nothing to be noted of it.
    pub async fn draft_note(&self, id: Uuid) -> Result<Option<NoteDraft>> {
        let sql = |e| Error::sql(format!("see what is to be noted of the item {id}"), e);
        let mut transaction = self.begin().await.map_err(sql)?;
        // First, so that what is read from here on is what the count stands for.
        let update = "update notes set number = number + 1 where item_id = $1 returning number, wanted, said";
        let query = sqlx::query(update).bind(id.to_string()).try_map(|row: AnyRow| {
            Ok((number(&row, "number")?, number(&row, "wanted")?, text(&row, "said")?))
        });
        let drawn = query.fetch_optional(&mut *transaction).await.map_err(sql)?;
        let Some((number, wanted, said)) = drawn else { return Ok(None) };
        let doubt = sqlx::query("update notes set said = $1 where item_id = $2").bind(DOUBT);
        doubt.bind(id.to_string()).execute(&mut *transaction).await.map_err(sql)?;
        let mut draft = NoteDraft {
            item: None,
            known_as: None,
            tags: BTreeMap::new(),
            pinned: Vec::new(),
            drills: Vec::new(),
            number,
            wanted,
            said: Some(said).filter(|said| said != DOUBT),
        };
        read(&mut transaction, id, &mut draft).await.map_err(sql)?;
        transaction.commit().await.map_err(sql)?;
        Ok(Some(draft))
    }

    /// Marks a note as written: that the vault says so now.
    pub async fn mark_note(&self, item: Uuid, draft: &NoteDraft, said: &str) -> Result<()> {
        // Somebody who has drawn since may put another note at any moment, or none.
        let update = "update notes set noted = $1, said = case when number = $2 then $3 else $4 end
            where item_id = $5 and noted <= $1";
        let query = sqlx::query(update).bind(count(draft.wanted)).bind(count(draft.number)).bind(said);
        let marked = query.bind(DOUBT).bind(item.to_string()).execute(&self.pool).await;
        marked.map(drop).map_err(|e| Error::sql(format!("mark the note of the item {item}"), e))
    }

    /// Goes on behind a number that the vault has already.
    pub async fn skip_notes(&self, item: Uuid, last: u64) -> Result<()> {
        let update = "update notes set number = $1 where item_id = $2 and number < $1";
        let query = sqlx::query(update).bind(count(last)).bind(item.to_string());
        let skipped = query.execute(&self.pool).await;
        skipped.map(drop).map_err(|e| Error::sql(format!("number the notes of the item {item}"), e))
    }

    /// Forgets that an item that is gone ever had notes.
    pub async fn forget_note(&self, item: Uuid) -> Result<()> {
        let delete = "delete from notes where item_id = $1
            and not exists (select 1 from items where items.id = notes.item_id)";
        let forgotten = sqlx::query(delete).bind(item.to_string()).execute(&self.pool).await;
        forgotten.map(drop).map_err(|e| Error::sql(format!("forget the notes of the item {item}"), e))
    }

    /// Has the note of an item that is being taken in stay as it is, until [`release_note`](Self::release_note). `last`
    /// is its number in the vault, if there is one.
    pub async fn hold_note(&self, item: Uuid, vault: VaultId, last: Option<u64>) -> Result<()> {
        let upsert = "insert into notes (item_id, vault_id, number, wanted, noted, said, held)
            values ($1, $2, $3, 1, 0, $4, 1) on conflict (item_id) do update set held = 1";
        let query = sqlx::query(upsert).bind(item.to_string()).bind(vault.to_string());
        let query = query.bind(count(last.unwrap_or(0))).bind(last.map_or("", |_| DOUBT));
        let held = query.execute(&self.pool).await;
        held.map(drop).map_err(|e| Error::sql(format!("hold the note of the item {item}"), e))
    }

    /// The item knows all that its note says: the next may be written.
    pub async fn release_note(&self, item: Uuid) -> Result<()> {
        let update = "update notes set held = 0, wanted = wanted + 1 where item_id = $1 and held = 1";
        let released = sqlx::query(update).bind(item.to_string()).execute(&self.pool).await;
        released.map(drop).map_err(|e| Error::sql(format!("release the note of the item {item}"), e))
    }

    /// Keeps the tags of a machine that a vault told of: until a host tells of it, or on the machine itself if it is there
    /// and has none.
    pub async fn adopt_tags(&self, machine: MachineId, tags: &BTreeMap<String, String>) -> Result<()> {
        let sql = |e| Error::sql(format!("tag the machine {machine}"), e);
        let mut transaction = self.begin().await.map_err(sql)?;
        for update in [
            "update adopted set tags = $1 where machine_id = $2 and tags is null",
            "update machines set tags = $1 where id = $2 and tags = '{}'",
        ] {
            let query = sqlx::query(update).bind(document(tags)).bind(machine.to_string());
            query.execute(&mut *transaction).await.map_err(sql)?;
        }
        transaction.commit().await.map_err(sql)
    }

    /// The tags that a vault told of a machine that no host has told of.
    pub async fn adopted_tags(&self, machine: MachineId) -> Result<BTreeMap<String, String>> {
        let select = "select tags from adopted where machine_id = $1 and tags is not null limit 1";
        let query = sqlx::query(select).bind(machine.to_string()).try_map(|row: AnyRow| json(&row, "tags"));
        let found = query.fetch_optional(&self.pool).await;
        Ok(found.map_err(|e| Error::sql(format!("find the tags of {machine}"), e))?.unwrap_or_default())
    }
}

/// Reads all that an item's note says. Nothing for one that is gone.
async fn read(connection: &mut AnyConnection, id: Uuid, draft: &mut NoteDraft) -> sqlx::Result<()> {
    let select = sqlx::query("select * from items where id = $1").bind(id.to_string());
    draft.item = select.try_map(|row| item(&row)).fetch_optional(&mut *connection).await?;
    let Some(found) = &draft.item else { return Ok(()) };
    let machine = found.machine.to_string();
    let select = sqlx::query("select known_as, tags from machines where id = $1").bind(&machine);
    let told = select.try_map(|row: AnyRow| Ok((text(&row, "known_as")?, json(&row, "tags")?)));
    let told = told.fetch_optional(&mut *connection).await?;
    let told = match told {
        Some(told) => Some(told),
        None => {
            let select =
                sqlx::query("select known_as, tags from adopted where machine_id = $1").bind(&machine);
            let told = select.try_map(|row: AnyRow| {
                let tags: Option<String> = row.try_get("tags")?;
                Ok((
                    text(&row, "known_as")?,
                    if tags.is_some() { json(&row, "tags")? } else { BTreeMap::new() },
                ))
            });
            told.fetch_optional(&mut *connection).await?
        }
    };
    if let Some((known_as, tags)) = told {
        (draft.known_as, draft.tags) = (Some(known_as), tags);
    }
    // The word as `model` stores it: what is pinned has no column of its own.
    let pinned = "select id from points where item_id = $1 and replace(kept, '\"pinned\":true', '') <> kept
        order by id";
    let pinned = sqlx::query(pinned).bind(id.to_string()).try_map(|row: AnyRow| parsed(&row, "id"));
    draft.pinned = pinned.fetch_all(&mut *connection).await?;
    let drills = "select d.*, cast(0 as bigint) as has_picture
        from drills d where d.item_id = $1 and not exists (select 1 from drills later
            where later.point_id = d.point_id and (later.ended_at, later.id) > (d.ended_at, d.id))
        order by d.instant desc, d.id limit $2";
    let drills = sqlx::query(drills).bind(id.to_string()).bind(DRILLS_MAX).try_map(|row| drill(&row));
    draft.drills = drills.fetch_all(&mut *connection).await?;
    draft.drills.reverse();
    Ok(())
}
