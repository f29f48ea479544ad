//! How one store of a vault has a point: it may be deleted here and not there, and a copy may go by another id.

use crate::copy::id_here;
use crate::log::Told;
use crate::protocol::{PointState, State};
use crate::vault::Vault;
use crate::{Error, ErrorKind, MachineKey, Point, PointId, Result, Standing, Survey};
use jiff::Timestamp;
use std::collections::BTreeMap;

impl Vault {
    /// How this store has a point, and under which id: that of a copy may be another (`copy.rs`).
    pub async fn standing_of(&self, point: PointId) -> Result<(PointId, Standing)> {
        let all = self.standings(&[point]).await?;
        Ok(all.into_iter().next().expect("one for each point"))
    }

    /// The same of several points, as they stand at one moment, in their order.
    pub async fn standings(&self, points: &[PointId]) -> Result<Vec<(PointId, Standing)>> {
        let told = self.read_log(Told::default()).await?;
        let standing = |point: &PointId| {
            let Some(here) = id_here(&told.state, *point) else { return (*point, Standing::NotInLog) };
            let standing = match told.state.points.get(&here) {
                Some(PointState::Live) => Standing::Listed,
                Some(PointState::SoftDeleted) => Standing::Deleted,
                Some(PointState::Purged) => Standing::Purged,
                None => Standing::NotInLog,
            };
            (here, standing)
        };
        Ok(points.iter().map(standing).collect())
    }

    /// Points that are here, live or deleted, by another name than they were made under: by the name here, the first
    /// one. A copy that came back after it was purged has one, for instance.
    pub async fn first_names(&self) -> Result<BTreeMap<PointId, PointId>> {
        Ok(first_names(&self.read_log(Told::default()).await?.state))
    }

    /// The point that this store has for an id, its own or a copy's.
    ///
    /// # Errors
    /// `NotFound` if it has none, or that is deleted.
    pub async fn find_point(&self, machine: &MachineKey, point: PointId) -> Result<Point> {
        let missing = |why: &str| Error::new(ErrorKind::NotFound, format!("point {point} {why}"));
        let here = match self.standing_of(point).await? {
            (here, Standing::Listed) => here,
            (_, Standing::Deleted) => return Err(missing("was deleted")),
            (_, Standing::Purged) => return Err(missing("was deleted for good")),
            _ => return Err(missing("is not in this store")),
        };
        match self.point(machine, here).await {
            // It was made before its machine was known by this name.
            Err(error) if error.kind() == ErrorKind::NotFound => {
                let objects = self.point_objects(None).await?;
                let (machine, here) = objects.into_iter().find(|(_, id)| *id == here).ok_or(error)?;
                self.point(&machine, here).await
            }
            read => read,
        }
    }

    /// Points that were deleted and can still be had back, and what stands in the way of others.
    pub async fn survey_deleted(&self) -> Result<Survey> {
        self.survey_in(None, PointState::SoftDeleted).await
    }

    /// When points were deleted that can still be had back.
    pub async fn deletions(&self) -> Result<BTreeMap<PointId, Timestamp>> {
        let Told { state, mut deleted_at, .. } = self.read_log(Told::default()).await?;
        deleted_at.retain(|point, _| state.points.get(point) == Some(&PointState::SoftDeleted));
        Ok(deleted_at)
    }
}

/// A name that was claimed, and under which nothing is any more, is the first of a series or within one; only from the
/// first on the series leads to what is there.
fn first_names(state: &State) -> BTreeMap<PointId, PointId> {
    let purged = state.points.iter().filter(|(_, state)| **state == PointState::Purged).map(|(id, _)| *id);
    // A copy that died after it had claimed its name left a session of that name.
    let claimed = state.sessions.keys().map(|session| PointId(session.0));
    let claimed = claimed.filter(|id| !state.points.contains_key(id));
    let is_there =
        |id: &PointId| matches!(state.points.get(id), Some(PointState::Live | PointState::SoftDeleted));
    let named = purged.chain(claimed).filter_map(|first| Some((id_here(state, first)?, first)));
    named.filter(|(here, first)| here != first && is_there(here)).collect()
}
