//! What people look at: whether all is well, what will run, what was done.

use jiff::Timestamp;
use model::cost::{Redundancy, StorageTier};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use utoipa::ToSchema;
use uuid::Uuid;

/// Whether the server can work.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Health {
    /// `ok`, or what is wrong.
    pub status: String,
}

/// What the server is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Version {
    /// Of the program.
    pub version: String,
    /// Of the API.
    pub api: String,
    /// Whether somebody can sign in by single sign-on.
    #[serde(default)]
    pub single_sign_on: bool,
}

/// At a glance.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Overview {
    /// Items by state.
    pub items: BTreeMap<String, u64>,
    /// Machines that no vault protects.
    pub unprotected: u64,
    /// Jobs of the last 24 hours by state.
    pub jobs: BTreeMap<String, u64>,
    /// Open alerts by severity.
    pub alerts: BTreeMap<String, u64>,
    /// Points in all.
    pub points: u64,
    /// What they added to their stores.
    pub stored_bytes: u64,
    /// Movers that were heard of in the last minute.
    pub movers: u64,
    /// What lies in the stores of each tier, as they were measured last; those that were not measured yet are missing.
    #[serde(default)]
    pub storage: Vec<TierStored>,
}

/// What lies in the stores of a tier.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct TierStored {
    /// What the stores are used for.
    pub tier: StorageTier,
    /// Which copy they hold.
    pub redundancy: Redundancy,
    /// Bytes of all that lies in them.
    pub stored_bytes: u64,
    /// When the store was measured that was measured longest ago.
    #[schema(value_type = String, format = DateTime)]
    pub measured: Timestamp,
}

/// What will run, and when it will end, if runs take as long as they last did.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Forecast {
    /// In the order they start.
    pub runs: Vec<ForecastRun>,
    /// When the last is over.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub ends: Option<Timestamp>,
    /// How many run at once at most.
    pub peak: u64,
}

/// A run to come.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ForecastRun {
    /// The item.
    #[schema(value_type = Uuid)]
    pub item: Uuid,
    /// Its machine's name.
    pub name: String,
    /// When it is due.
    #[schema(value_type = String, format = DateTime)]
    pub due: Timestamp,
    /// When it will start.
    #[schema(value_type = String, format = DateTime)]
    pub start: Timestamp,
    /// When it will end.
    #[schema(value_type = String, format = DateTime)]
    pub end: Timestamp,
}

/// Something that somebody should know.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Alert {
    /// Its id.
    #[schema(value_type = Uuid)]
    pub id: Uuid,
    /// How bad it is.
    pub severity: Severity,
    /// What kind of thing.
    pub category: String,
    /// What it is about.
    pub subject: String,
    /// What is wrong and what to do.
    pub text: String,
    /// Since when.
    #[schema(value_type = String, format = DateTime)]
    pub raised: Timestamp,
    /// When it was over.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub resolved: Option<Timestamp>,
    /// Who has seen it.
    pub acknowledged_by: Option<String>,
}

/// How bad an alert is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// Data or its safety is at stake.
    Critical,
    /// Something failed.
    Error,
    /// Something may fail.
    Warning,
    /// Good to know.
    Informational,
}

/// One act in the audit log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct AuditEntry {
    /// Its place, from 1.
    pub ordinal: u64,
    /// When.
    #[schema(value_type = String, format = DateTime)]
    pub at: Timestamp,
    /// Who.
    pub actor: String,
    /// What was done.
    pub action: String,
    /// To what.
    pub object: String,
    /// The rest.
    pub detail: serde_json::Value,
    /// Over all of this and the entry before.
    pub hash: String,
}

/// Whether the audit log is whole.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct AuditChain {
    /// Whether no entry was changed or taken out.
    pub whole: bool,
    /// Entries that are whole.
    pub entries: u64,
    /// The newest hash: keep it elsewhere to see whether the end was cut off.
    pub head: Option<String>,
}
