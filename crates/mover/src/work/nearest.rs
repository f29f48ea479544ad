//! Where a point is read from: the nearest store of its vault that has it and answers.
//!
//! Each store is opened only when those before it do not have the point. A vault that is away keeps nobody from what
//! lies beside the host, and a snapshot store that is broken nobody from the vault.

use super::failure::Result;
use super::order::Run;
use super::vaults::Vaults;
use super::verify::find;
use api::work::VaultAccess;
use model::PointId;
use std::iter::once;
use std::sync::Arc;
use uuid::Uuid;
use vault::{Point, Vault};

/// A point that an order reads, and the store.
///
/// # Errors
/// What the vault said: it is the one that should have the point.
pub(super) async fn find_nearest(run: &Run, item: Uuid, point: PointId) -> Result<(Arc<Vault>, Point)> {
    nearest(run.vaults(), &run.order.vault, item, point).await
}

/// A point of a vault, and the store.
pub(super) async fn nearest(
    vaults: &Vaults,
    access: &VaultAccess,
    item: Uuid,
    point: PointId,
) -> Result<(Arc<Vault>, Point)> {
    if let Some(near) = vaults.near(access).await {
        match find(once(&near), item, point).await {
            Ok((_, point)) => return Ok((near, point)),
            Err(why) => tracing::info!(%point, ?why, "not in the snapshot tier"),
        }
    }
    let vault = vaults.vault(access).await?;
    let (_, point) = find(once(&vault), item, point).await?;
    Ok((vault, point))
}
