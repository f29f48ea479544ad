//! A vault that cannot be read while its second store has the point: whoever waits for a restore is told.

use crate::Control;
use crate::order::{item_of, request_of};
use api::JobError;
use catalog::{JobRow, VaultRow};
use model::job::Failure;

const WAY_OUT: &str = "the vault's second store has this point, too: ask again with --from-copy (`from_copy`), and cancel this \
                       job if it still waits";

impl Control {
    /// Why an attempt failed, and what to do: also to read the second store instead, where that would do.
    pub(crate) async fn with_way_out(&self, row: &JobRow, error: &JobError) -> JobError {
        let mut error = error.clone();
        if self.is_in_copy(row, &error).await {
            let hint = error.hint.map(|hint| format!("{hint}; or "));
            error.hint = Some(format!("{}{WAY_OUT}", hint.unwrap_or_default()));
        }
        error
    }

    /// Whether a job failed for its vault's sake, and what it wants of that stands in the second store as well. If nobody
    /// can tell, it does not.
    async fn is_in_copy(&self, row: &JobRow, error: &JobError) -> bool {
        let (Some(vault), Ok(item), Ok(request)) = (row.vault, item_of(row), request_of(row)) else {
            return false;
        };
        let (Some(point), Ok(vault)) = (request.reads_of_vault(), self.catalog.vault(vault).await) else {
            return false;
        };
        may_be_of(&vault, error) && self.copy_row(vault.id, item, point).await.is_ok()
    }
}

/// Whether a vault may be what failed: it does not answer, lets nobody in, holds other bytes than were written, or is gone.
fn may_be_of(vault: &VaultRow, error: &JobError) -> bool {
    match error.failure {
        Failure::Unreachable | Failure::Denied | Failure::Corrupt => true,
        Failure::Invalid => error.text.contains(&vault.location),
        Failure::Busy | Failure::Guest | Failure::NoSpace | Failure::Lost => false,
    }
}
