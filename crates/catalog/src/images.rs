//! Versions of images, and the machines that were made of them. What is here is found by, what is true stands in the
//! vault.

use crate::page::{Cursor, Page, with_one_more};
use crate::row::{count, document, flag, instant, instant_option, json, like, micros, number, parsed, text};
use crate::vaults::one_revision_on;
use crate::{Catalog, Error, ErrorKind, Result};
use jiff::Timestamp;
use model::{PointId, VaultId};
use serde_json::Value;
use sqlx::any::AnyRow;
use uuid::Uuid;

/// A version of an image.
#[derive(Clone, Debug, PartialEq)]
pub struct ImageRow {
    /// Its id: that of its point in the vault.
    pub id: PointId,
    /// The vault.
    pub vault: VaultId,
    /// The image.
    pub name: String,
    /// The version, from 1 on.
    pub version: u32,
    /// Whether it is meant only when its number is said.
    pub excluded: bool,
    /// The instant of its disks.
    pub taken: Timestamp,
    /// Deleted: until when it can be brought back.
    pub purge_at: Option<Timestamp>,
    /// All else.
    pub document: Value,
    /// Which version of the row this is.
    pub revision: u64,
}

/// A machine that was made of an image.
#[derive(Clone, Debug, PartialEq)]
pub struct ImageMachineRow {
    /// The image's version.
    pub image: PointId,
    /// The machine's uuid.
    pub uuid: Uuid,
    /// Its name.
    pub name: String,
    /// When it was told of.
    pub made: Timestamp,
    /// Where it is, and who made it.
    pub document: Value,
}

fn image(row: &AnyRow) -> sqlx::Result<ImageRow> {
    Ok(ImageRow {
        id: parsed(row, "id")?,
        vault: parsed(row, "vault_id")?,
        name: text(row, "name")?,
        version: u32::try_from(number(row, "version")?).unwrap_or(u32::MAX),
        excluded: flag(row, "excluded")?,
        taken: instant(row, "taken_at")?,
        purge_at: instant_option(row, "purge_at")?,
        document: json(row, "document")?,
        revision: number(row, "revision")?,
    })
}

fn machine(row: &AnyRow) -> sqlx::Result<ImageMachineRow> {
    Ok(ImageMachineRow {
        image: parsed(row, "image_id")?,
        uuid: parsed(row, "uuid")?,
        name: text(row, "name")?,
        made: instant(row, "made_at")?,
        document: json(row, "document")?,
    })
}

/// Where a version stands in a list by name and number.
fn place_of(row: &ImageRow) -> Cursor {
    Cursor { key: format!("{} {}", row.version, row.name), id: row.id.to_string() }
}

/// The name, number and id that a page begins behind.
fn place(after: Option<&Cursor>) -> Result<(&str, i64, &str)> {
    let Some(after) = after else { return Ok(("", 0, "")) };
    let not_ours = || Error::new(ErrorKind::Invalid, "read the place in a list: it is not one of ours");
    let (version, name) = after.key.split_once(' ').ok_or_else(not_ours)?;
    Ok((name, version.parse().map_err(|_| not_ours())?, &after.id))
}

impl Catalog {
    /// Writes a new version. One that is known stays as it is.
    ///
    /// # Errors
    /// `Invalid` when its vault is not there.
    pub async fn add_image(&self, new: &ImageRow) -> Result<()> {
        let insert =
            "insert into images (id, vault_id, name, version, excluded, taken_at, purge_at, document, revision)
            values ($1, $2, $3, $4, $5, $6, $7, $8, 1) on conflict (id) do nothing";
        let query = sqlx::query(insert).bind(new.id.to_string()).bind(new.vault.to_string());
        let query = query.bind(&new.name).bind(i64::from(new.version)).bind(i64::from(new.excluded));
        let query = query.bind(micros(new.taken)).bind(new.purge_at.map(micros));
        let done = query.bind(document(&new.document)).execute(&self.pool).await;
        done.map(drop).map_err(|e| Error::sql(format!("note the image {}:{}", new.name, new.version), e))
    }

    /// One version.
    ///
    /// # Errors
    /// `NotFound`.
    pub async fn image(&self, id: PointId) -> Result<ImageRow> {
        let query = sqlx::query("select * from images where id = $1").bind(id.to_string());
        let found = query.try_map(|row| image(&row)).fetch_one(&self.pool).await;
        found.map_err(|e| Error::sql(format!("find the image {id}"), e))
    }

    /// A page of a vault's images by name and number; with those that were deleted and can be brought back. `name`: only
    /// those whose names fit this, `*` being anything, `?` one character; empty: all.
    pub async fn images(
        &self,
        vault: VaultId,
        name: &str,
        after: Option<&Cursor>,
        limit: u32,
    ) -> Result<Page<ImageRow>> {
        let (behind, version, id) = place(after)?;
        let select = "select * from images where vault_id = $1 and (name, version, id) > ($2, $3, $4)
            and ($5 = '' or lower(name) like $5 escape '\\') order by name, version, id limit $6";
        let query = sqlx::query(select).bind(vault.to_string()).bind(behind).bind(version).bind(id);
        let query = query.bind(like(name)).bind(with_one_more(limit));
        let rows = query.try_map(|row| image(&row)).fetch_all(&self.pool).await;
        Ok(Page::of(rows.map_err(|e| Error::sql("list the images", e))?, limit, place_of))
    }

    /// All versions of one image.
    pub async fn image_versions(&self, vault: VaultId, name: &str) -> Result<Vec<ImageRow>> {
        let select = "select * from images where vault_id = $1 and name = $2 order by version, id";
        let query = sqlx::query(select).bind(vault.to_string()).bind(name);
        let rows = query.try_map(|row| image(&row)).fetch_all(&self.pool).await;
        rows.map_err(|e| Error::sql(format!("list the versions of {name}"), e))
    }

    /// How many versions a vault has, deleted ones that can be brought back included.
    pub async fn images_in(&self, vault: VaultId) -> Result<u64> {
        let query = sqlx::query("select count(*) as images from images where vault_id = $1");
        let query = query.bind(vault.to_string()).try_map(|row: AnyRow| number(&row, "images"));
        query.fetch_one(&self.pool).await.map_err(|e| Error::sql("count the images", e))
    }

    /// Says until when a version can be brought back, or that it is not deleted.
    ///
    /// # Errors
    /// `Changed` when somebody changed it since it was read.
    pub async fn mark_image(&self, row: &ImageRow, purge_at: Option<Timestamp>) -> Result<u64> {
        let context = || format!("change the image {}", row.id);
        let update =
            "update images set purge_at = $1, revision = revision + 1 where id = $2 and revision = $3";
        let query = sqlx::query(update).bind(purge_at.map(micros)).bind(row.id.to_string());
        let done = query.bind(count(row.revision)).execute(&self.pool).await;
        let done = done.map_err(|e| Error::sql(context(), e))?;
        one_revision_on(done.rows_affected(), row.revision, context)
    }

    /// Versions in a vault whose days to be brought back were over by then, by id.
    pub async fn images_to_purge(&self, vault: VaultId, by: Timestamp) -> Result<Vec<PointId>> {
        let select = "select id from images where vault_id = $1 and purge_at <= $2 order by id";
        let query = sqlx::query(select).bind(vault.to_string()).bind(micros(by));
        let found = query.try_map(|row: AnyRow| parsed(&row, "id")).fetch_all(&self.pool).await;
        found.map_err(|e| Error::sql("look for images to purge", e))
    }

    /// Forgets a version that the vault has purged, with its machines. One that is gone already is as good.
    pub async fn remove_image(&self, id: PointId) -> Result<()> {
        let query = sqlx::query("delete from images where id = $1").bind(id.to_string());
        query.execute(&self.pool).await.map(drop).map_err(|e| Error::sql("forget an image", e))
    }

    /// Notes machines that were made of a version. Those that are known stay as they are.
    pub async fn add_image_machines(&self, machines: &[ImageMachineRow]) -> Result<()> {
        let sql = |e| Error::sql("note machines of an image", e);
        let mut transaction = self.begin().await.map_err(sql)?;
        let insert = "insert into image_machines (image_id, uuid, name, made_at, document)
            values ($1, $2, $3, $4, $5) on conflict (image_id, uuid) do nothing";
        for one in machines {
            let query = sqlx::query(insert).bind(one.image.to_string()).bind(one.uuid.to_string());
            let query = query.bind(&one.name).bind(micros(one.made)).bind(document(&one.document));
            query.execute(&mut *transaction).await.map_err(sql)?;
        }
        transaction.commit().await.map_err(sql)
    }

    /// A page of the machines that were made of a version, by name.
    pub async fn image_machines(
        &self,
        image: PointId,
        after: Option<&Cursor>,
        limit: u32,
    ) -> Result<Page<ImageMachineRow>> {
        let (name, uuid) = after.map(|place| (&*place.key, &*place.id)).unwrap_or_default();
        let select = "select * from image_machines where image_id = $1 and (name, uuid) > ($2, $3)
            order by name, uuid limit $4";
        let query = sqlx::query(select).bind(image.to_string()).bind(name).bind(uuid);
        let query = query.bind(with_one_more(limit));
        let rows = query.try_map(|row| machine(&row)).fetch_all(&self.pool).await;
        let rows = rows.map_err(|e| Error::sql("list the machines of an image", e))?;
        Ok(Page::of(rows, limit, |row| Cursor { key: row.name.clone(), id: row.uuid.to_string() }))
    }

    /// How many machines were made of each version in a vault that has any.
    pub async fn image_machine_counts(&self, vault: VaultId) -> Result<Vec<(PointId, u64)>> {
        let select = "select image_id, count(*) as machines from image_machines
            where image_id in (select id from images where vault_id = $1) group by image_id";
        let query = sqlx::query(select).bind(vault.to_string());
        let query = query.try_map(|row: AnyRow| Ok((parsed(&row, "image_id")?, number(&row, "machines")?)));
        query.fetch_all(&self.pool).await.map_err(|e| Error::sql("count the machines of images", e))
    }
}
