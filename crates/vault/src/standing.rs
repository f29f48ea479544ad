//! How one store of a vault has a point: it may be deleted here and not there, and a copy may go by another id.

use crate::copy::id_here;
use crate::log::Told;
use crate::protocol::PointState;
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
