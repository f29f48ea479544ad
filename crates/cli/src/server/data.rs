//! What a server is opened from: its data directory, and its catalog there or in a database.

use anyhow::{Context, Result};
use catalog::Catalog;
use clap::Args as ClapArgs;
use control::{Control, Settings};
use model::schedule::Limits;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use uuid::Uuid;

#[derive(Debug, ClapArgs)]
pub(crate) struct DataArgs {
    /// The data directory: the catalog, keys of vaults, the server's certificate.
    #[arg(long, value_name = "DIR", env = "STRONGROOM_DATA", default_value = "/var/lib/strongroom")]
    pub(super) data: PathBuf,
    /// Where the catalog is, as postgres://USER@HOST/DATABASE; a file in the data directory if not said.
    #[arg(long, value_name = "URL", env = "STRONGROOM_DATABASE", hide_env_values = true)]
    database: Option<String>,
}

/// How many backups run at once, unless it is said otherwise: what two disks and one network bear without the guests
/// noticing; a store takes several writers before it slows down.
const LIMITS: Limits = Limits { per_host: 2, per_store: 4, overall: 8 };

#[derive(Debug, ClapArgs)]
pub(crate) struct LimitArgs {
    /// Backups at once on one host.
    #[arg(long, value_name = "NUMBER", default_value_t = LIMITS.per_host)]
    per_host: usize,
    /// Backups at once into one vault.
    #[arg(long, value_name = "NUMBER", default_value_t = LIMITS.per_store)]
    per_store: usize,
    /// Backups at once in all.
    #[arg(long, value_name = "NUMBER", default_value_t = LIMITS.overall)]
    overall: usize,
}

impl LimitArgs {
    pub(super) fn limits(&self) -> Limits {
        Limits { per_host: self.per_host, per_store: self.per_store, overall: self.overall }
    }
}

impl DataArgs {
    /// The service over the catalog. The data directory must be there.
    pub(super) async fn open(&self, limits: Limits) -> Result<Control> {
        let data = std::fs::canonicalize(&self.data);
        let data = data.with_context(|| {
            format!("find the data directory {}: `strongroom server init` makes it", self.data.display())
        })?;
        let catalog = match &self.database {
            Some(url) => Catalog::open(url).await?,
            None => Catalog::open_file(&data.join("catalog.sqlite")).await?,
        };
        let clock = Arc::new(crate::commands::now);
        Ok(Control::new(catalog, Settings { data, limits }, clock, Arc::new(Uuid::now_v7)))
    }

    /// As few as must run for a look at the catalog.
    pub(super) async fn open_still(&self) -> Result<Control> {
        self.open(LIMITS).await
    }
}

/// Makes a folder that is nobody else's to look into.
pub(super) fn make(folder: &Path) -> Result<()> {
    let made = std::fs::DirBuilder::new().recursive(true).mode(0o700).create(folder);
    made.with_context(|| format!("make the data directory {}", folder.display()))
}
