//! A vault that is taken in may have an archive: it is found by the vault's note on itself, or told, and read as well.
//!
//! The server reads it, as it reads the vault: once, with its own `ARCHIVE_...` variables or else the vault's.
//!
//! CRASH, or an archive that cannot be reached: what is in the archive alone is not known, and what was dropped for it
//! shows as deleted, for its soft-delete days. Nothing is lost by it: taking the vault in again finds the rest, and brings
//! to life what was deleted before this catalog knew the vault. Until then nobody makes an archive anew in its place.

use super::Scene;
use crate::archive::CREDENTIALS;
use crate::request::settings;
use crate::survey::Survey;
use crate::{Control, Error, Result, store};
use api::{ArchiveStore, Code};
use catalog::{ErrorKind, Item, PointRow, VaultRow};
use jiff::Timestamp;
use model::protection::{Keep, Protection};
use model::{Point, PointId, VaultId};
use std::collections::{BTreeMap, BTreeSet};
use uuid::Uuid;
use vault::{KeyFile, StoreAddress, Vault};

/// Where a vault's archive is, and what is to be said of it.
#[derive(Default)]
pub(crate) struct ArchiveFound {
    pub(crate) store: Option<ArchiveStore>,
    pub(crate) lost: Vec<String>,
    pub(crate) advice: Vec<String>,
    /// There is to be one, and it could not be read.
    pub(crate) is_missing: bool,
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
        let is_missing = match known {
            Some(known) => self.catalog.is_archive_missing(known.id).await?,
            None => false,
        };
        let known = known.map(settings).transpose()?.and_then(|settings| settings.archive);
        // Nobody has found one there: what somebody tells counts for more.
        let known = known.filter(|_| !is_missing || told.is_none());
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
            Err(unread) if is_told => return Err(unread.into()),
            Err(Unread { why, .. }) => {
                found.is_missing = true;
                found.lost.push(format!(
                    "points in the archive {}, which cannot be read ({why}): what was moved there shows as deleted, or \
                     not at all, until the vault is taken in again with its archive at hand, or with --archive-to",
                    store.location
                ));
            }
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

    /// Keeps where the archive is, if that was not known of the vault, and whether it could be read.
    pub(crate) async fn keep_archive(&self, id: VaultId, found: &ArchiveFound) -> Result<()> {
        let mut row = self.catalog.vault(id).await?;
        let mut settings = settings(&row)?;
        let was_missing = self.catalog.is_archive_missing(id).await?;
        // Before there is a store that somebody could make anew.
        if found.is_missing {
            self.catalog.note_missing_archive(id, true).await?;
        }
        if found.store.is_none() || (settings.archive.is_some() && !was_missing) {
            return Ok(());
        }
        settings.archive.clone_from(&found.store);
        row.settings = serde_json::to_value(settings).expect("plain data");
        self.catalog.update_vault(&row).await?;
        Ok(self.catalog.note_missing_archive(id, found.is_missing).await?)
    }

    /// Points of an item that was taken in before, when its archive was not read: of those that the archive has it is
    /// noted now, and those that were dropped for it are live again. What was deleted since the vault is known here stays
    /// deleted. Gives the points that were known.
    pub(super) async fn adopt_archived(
        &self,
        scene: &Scene,
        item: &Item,
        rows: &[PointRow],
    ) -> Result<BTreeSet<PointId>> {
        let known = self.catalog.points_to_plan(item.id).await?;
        let known: BTreeMap<PointId, Point> =
            known.into_iter().map(|one| (one.point.id, one.point)).collect();
        let found: BTreeMap<PointId, &Point> = rows.iter().map(|row| (row.point.id, &row.point)).collect();
        let comes_to_life = |found: &Point| match known.get(&found.id) {
            None => found.archive.is_there() && !found.is_deleted(),
            Some(known) => known.is_deleted() && !scene.merged(known, found).is_deleted(),
        };
        // INVARIANT: of an item that is deleted everything goes, whatever its points say; so it is not from here on.
        if found.values().any(|found| comes_to_life(found)) {
            self.keep_item(item.id).await?;
        }
        let is_told = |point: &Point| found.get(&point.id).map(|found| scene.merged(point, found));
        if known.values().any(|point| is_told(point).is_some_and(|merged| merged != *point)) {
            self.change_points(item.id, is_told).await?;
            self.plan_again(item.id).await?;
        }
        Ok(known.into_keys().collect())
    }

    /// An item that is deleted keeps what it has.
    async fn keep_item(&self, item: Uuid) -> Result<()> {
        loop {
            let mut row = self.catalog.item(item).await?;
            if !matches!(row.protection, Protection::Deleted { .. }) {
                return Ok(());
            }
            row.protection = Protection::Stopped { keep: Keep::Forever {} };
            match self.catalog.update_item(&row).await {
                Err(error) if error.kind() == ErrorKind::Changed => {}
                updated => return Ok(updated.map(drop)?),
            }
        }
    }
}

/// Why an archive cannot be read, and whether waiting does not help.
struct Unread {
    why: String,
    is_wrong: bool,
}

impl From<vault::Error> for Unread {
    fn from(error: vault::Error) -> Self {
        let is_away = matches!(error.kind(), vault::ErrorKind::Store | vault::ErrorKind::Denied);
        Self { why: store::in_words(&error), is_wrong: !is_away }
    }
}

impl From<Unread> for Error {
    fn from(Unread { why, is_wrong }: Unread) -> Self {
        let error = match is_wrong {
            true => Self::invalid("/settings/archive/location", why),
            false => Self::new(Code::Unavailable, why),
        };
        error.hint(
            "the server reads the archive too: check where it is and the server's ARCHIVE_... variables; or leave it \
             out, and give the vault one later with `strongroom vault update --archive-to`",
        )
    }
}

/// Opens the archive of a vault.
async fn open(archive: &ArchiveStore, of: &Vault, key: &KeyFile) -> std::result::Result<Vault, Unread> {
    let opened = store::open_with(&StoreAddress::parse(&archive.location)?, Some(CREDENTIALS)).await?;
    let opened = Box::pin(Vault::open(opened, key)).await?;
    if opened.id() != of.id() {
        let why = format!("{} holds the vault {}, not {}", archive.location, opened.id(), of.id());
        return Err(Unread { why, is_wrong: true });
    }
    Ok(opened)
}

impl Scene {
    /// A point that is known, with what was found of it in the archive. What is known of its archive stays.
    fn merged(&self, known: &Point, found: &Point) -> Point {
        if !known.archive.is_never() || !found.archive.is_there() {
            return known.clone();
        }
        // Deleted in the vault tier before this catalog knew the vault: dropped for the archive. Or purged there by now.
        let is_from_before = self.deleted_at.get(&known.id).is_none_or(|at| *at <= self.known_since);
        let was_dropped = !found.is_deleted() && is_from_before;
        let purge_at = known.purge_at.filter(|_| !was_dropped);
        Point { archive: found.archive, purge_at, ..known.clone() }
    }
}

/// When the vault tier deleted points that it has yet.
pub(super) fn deleted_at(found: &[crate::survey::Found]) -> BTreeMap<PointId, Timestamp> {
    found.iter().filter_map(|one| Some((PointId(one.point.id.0), one.deleted_at?))).collect()
}
