//! A vault that is taken in may have an archive: it is found by the vault's note on itself, or told, and read as well.
//!
//! The server reads it, as it reads the vault: once, with its own `ARCHIVE_...` variables or else the vault's.
//!
//! CRASH, or an archive that cannot be reached: what is in the archive alone is not known, and what was dropped for it
//! shows as deleted, for its soft-delete days. Nothing is lost by it: taking the vault in again finds the rest, and brings
//! to life what was deleted before this catalog knew the vault.

use super::Scene;
use crate::archive::CREDENTIALS;
use crate::request::settings;
use crate::survey::Survey;
use crate::{Control, Error, Result, store};
use api::{ArchiveStore, Code};
use catalog::{Item, PointRow, VaultRow};
use jiff::Timestamp;
use model::protection::{Act, Protection};
use model::{Point, PointId};
use std::collections::BTreeMap;
use vault::{KeyFile, StoreAddress, Vault};

/// Where a vault's archive is, and what is to be said of it.
#[derive(Default)]
pub(crate) struct ArchiveFound {
    pub(crate) store: Option<ArchiveStore>,
    pub(crate) lost: Vec<String>,
    pub(crate) advice: Vec<String>,
}

impl Control {
    /// Finds the archive of a vault that is to be taken in, and adds to the survey what it lists. What somebody tells
    /// counts, then what is known, then what the vault itself says.
    ///
    /// # Errors
    /// The archive that somebody tells of cannot be read, or is another than is known. One that is only noted, and away,
    /// keeps nobody from the rest.
    pub(crate) async fn survey_archive(
        &self,
        (survey, key): (&mut Survey, &KeyFile),
        vault: &Vault,
        told: Option<ArchiveStore>,
        known: Option<&VaultRow>,
    ) -> Result<ArchiveFound> {
        let known = known.map(settings).transpose()?.and_then(|settings| settings.archive);
        let noted = survey.noted_archive();
        if let (Some(told), Some(known)) = (&told, &known)
            && told.location != known.location
        {
            let detail = format!("the vault's archive store is {}, not {}", known.location, told.location);
            let hint =
                "if that is wrong, `strongroom vault update --archive-to` changes it; then take it in again";
            return Err(Error::new(Code::Conflict, detail).hint(hint));
        }
        let mut found = ArchiveFound::default();
        if let (Some(told), Some(noted)) = (&told, &noted)
            && told.location != noted.location
        {
            found.advice.push(format!(
                "the vault says that its archive is in {}, and {} was told: of the first nothing was taken in",
                noted.location, told.location
            ));
        }
        let is_told = told.is_some();
        let Some(mut store) = told.or(known).or(noted) else { return Ok(found) };
        match Box::pin(open(&store, vault, key)).await {
            Ok(archive) => survey.add_archive(&archive).await?,
            Err(error) if is_told => {
                return Err(error.hint(
                    "the server reads the archive too: check where it is and the server's ARCHIVE_... variables; \
                     or leave it out, and give the vault one later with `strongroom vault update --archive-to`",
                ));
            }
            Err(error) => found.lost.push(format!(
                "points in the archive: {} cannot be read ({error}); what was moved there shows as deleted, or not at \
                 all, until the vault is taken in again with its archive at hand",
                store.location
            )),
        }
        if !is_told && self.must_be_mover(store.mover.as_deref()).await.is_err() {
            let mover = store.mover.take().unwrap_or_default();
            found.advice.push(format!(
                "the archive was reached by the mover {mover}, which is not here: once it is, `strongroom vault update \
                 --archive-mover {mover}`"
            ));
        }
        found.store = Some(store);
        Ok(found)
    }

    /// Keeps where the archive is, if that was not known of the vault.
    pub(crate) async fn keep_archive(&self, id: model::VaultId, store: Option<ArchiveStore>) -> Result<()> {
        let mut row = self.catalog.vault(id).await?;
        let mut settings = settings(&row)?;
        if store.is_none() || settings.archive.is_some() {
            return Ok(());
        }
        settings.archive = store;
        row.settings = serde_json::to_value(settings).expect("plain data");
        self.catalog.update_vault(&row).await?;
        Ok(())
    }

    /// Points of an item that was taken in before, when its archive was not read: of those that the archive has it is
    /// noted now, and those that were dropped for it are live again. What was deleted since the vault is known here stays
    /// deleted.
    pub(super) async fn adopt_archived(&self, scene: &Scene, item: &Item, rows: &[PointRow]) -> Result<()> {
        let there = rows.iter().filter(|row| row.point.archive.is_there());
        let there: BTreeMap<PointId, &Point> = there.map(|row| (row.point.id, &row.point)).collect();
        let known = self.catalog.points_to_plan(item.id).await?;
        if known.iter().all(|one| !one.point.archive.is_never() || !there.contains_key(&one.point.id)) {
            return Ok(());
        }
        self.change_points(item.id, |point| {
            let found = there.get(&point.id).filter(|_| point.archive.is_never())?;
            let was_dropped = found.purge_at.is_none() && scene.is_from_before(point.id);
            let purge_at = point.purge_at.filter(|_| !was_dropped);
            Some(Point { archive: found.archive, purge_at, ..point.clone() })
        })
        .await?;
        let points = self.catalog.points_to_plan(item.id).await?;
        let is_deleted = matches!(item.protection, Protection::Deleted { .. });
        // INVARIANT: of an item that is deleted everything goes, whatever the points say.
        if is_deleted && points.iter().any(|one| !one.point.is_deleted()) {
            self.act(item.id, Act::Undelete).await?;
        }
        self.plan_again(item.id).await
    }
}

/// Opens the archive of a vault.
async fn open(archive: &ArchiveStore, of: &Vault, key: &KeyFile) -> Result<Vault> {
    let pointer = "/settings/archive/location";
    let address =
        StoreAddress::parse(&archive.location).map_err(|error| Error::invalid(pointer, error.to_string()))?;
    let opened = store::open_with(&address, Some(CREDENTIALS)).await?;
    let opened = Box::pin(Vault::open(opened, key)).await.map_err(|error| store::refused(&error))?;
    if opened.id() != of.id() {
        let detail = format!("{} holds the vault {}, not {}", archive.location, opened.id(), of.id());
        return Err(Error::invalid(pointer, detail));
    }
    Ok(opened)
}

impl Scene {
    /// Whether the vault tier deleted a point before this catalog knew the vault, or has purged it.
    fn is_from_before(&self, point: PointId) -> bool {
        self.deleted_at.get(&point).is_none_or(|at| *at <= self.known_since)
    }
}

/// When the vault tier deleted points that it has yet.
pub(super) fn deleted_at(found: &[crate::survey::Found]) -> BTreeMap<PointId, Timestamp> {
    found.iter().filter_map(|one| Some((PointId(one.point.id.0), one.deleted_at?))).collect()
}
