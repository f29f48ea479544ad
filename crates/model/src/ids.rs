//! Ids: each a type of its own, so that none can stand where another belongs.

use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;
use uuid::Uuid;

macro_rules! uuid_id {
    ($($(#[$doc:meta])* $name:ident),+ $(,)?) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        #[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
        pub struct $name(pub Uuid);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl FromStr for $name {
            type Err = uuid::Error;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                Uuid::parse_str(text).map(Self)
            }
        }
    )+};
}

uuid_id! {
    /// A vault.
    VaultId,
    /// A policy.
    PolicyId,
    /// A machine.
    MachineId,
    /// A host that runs machines.
    HostId,
    /// A store that holds a tier.
    StoreId,
    /// A recovery point.
    PointId,
    /// A job.
    JobId,
    /// A server or mover that claims jobs. Drawn anew with every start of the process.
    ClaimantId,
}
