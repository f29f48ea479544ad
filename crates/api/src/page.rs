//! Pages of a list.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Some entries of a list, and where the next ones are.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Page<T> {
    /// In the list's order.
    pub items: Vec<T>,
    /// Given back as `after`, it gives the next page; none on the last one. Opaque.
    pub next: Option<String>,
}
