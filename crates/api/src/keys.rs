//! The keys of a vault: who can open it, and the data key that its contents are sealed under.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// The keys of a vault.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct VaultKeys {
    /// The number of the keyring: each change of the keys puts the next one.
    pub keyring: u32,
    /// The data key that seals now, by its number. None if the server's key no longer opens the vault.
    pub epoch: Option<u32>,
    /// Data keys that there are, the one that seals now among them: each opens what was sealed under it. None as above.
    pub epochs: Option<u32>,
    /// Who can open the vault; any one of them is enough.
    pub holders: Vec<KeyHolder>,
}

/// A key outside the vault that opens it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct KeyHolder {
    /// Names the key without telling it: as `strongroom rescue key` says it.
    pub id: String,
    /// `key-file`, `passphrase` or `recovery-key`; of a vault that a newer program changed, maybe another.
    pub kind: String,
    /// What people call it; may be empty.
    pub label: String,
    /// When it was added.
    #[schema(value_type = String, format = DateTime)]
    pub added: Timestamp,
    /// It is the key file that this server opens the vault with, for its movers too.
    pub is_servers: bool,
}
