//! What every act works with.

use crate::SingleSignOn;
use crate::browse::Desk;
use crate::tries::Tries;
use catalog::{AuditEntry, Catalog};
use jiff::Timestamp;
use model::schedule::Limits;
use std::path::PathBuf;
use std::sync::Arc;
use tokio::sync::watch;
use uuid::Uuid;

/// Tells the time. Passed in, so that tests move it.
pub type Clock = Arc<dyn Fn() -> Timestamp + Send + Sync>;

/// Draws ids and seeds. Passed in, so that tests repeat them.
pub type Chance = Arc<dyn Fn() -> Uuid + Send + Sync>;

/// Who acts: for the audit log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Actor(pub String);

/// What the service is told at its start.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The data directory: keys of vaults in `keys/`, caches in `cache/`.
    pub data: PathBuf,
    /// How many runs at once.
    pub limits: Limits,
}

/// The service. Cheap to clone; all clones are one.
#[derive(Clone)]
pub struct Control {
    pub(crate) catalog: Catalog,
    pub(crate) settings: Arc<Settings>,
    pub(crate) clock: Clock,
    pub(crate) chance: Chance,
    /// Counted up when a job changes here: whoever waits for jobs looks again. Another server's changes are found by
    /// looking now and then.
    pub(crate) jobs_changed: watch::Sender<u64>,
    /// Failed sign-ins.
    pub(crate) tries: Arc<Tries>,
    /// Looks into points.
    pub(crate) desk: Arc<Desk>,
    /// Whose word counts besides passwords.
    pub(crate) single_sign_on: Option<Arc<SingleSignOn>>,
}

impl Control {
    /// The service over a catalog.
    pub fn new(catalog: Catalog, settings: Settings, clock: Clock, chance: Chance) -> Self {
        let (jobs_changed, _) = watch::channel(0);
        let (settings, tries, desk) = (Arc::new(settings), Arc::default(), Arc::default());
        Self { catalog, settings, clock, chance, jobs_changed, tries, desk, single_sign_on: None }
    }

    /// With single sign-on.
    #[must_use]
    pub fn with_single_sign_on(mut self, by: SingleSignOn) -> Self {
        self.single_sign_on = Some(Arc::new(by));
        self
    }

    /// The catalog, for what only reads and needs no rule.
    pub fn catalog(&self) -> &Catalog {
        &self.catalog
    }

    /// The time.
    pub fn now(&self) -> Timestamp {
        (self.clock)()
    }

    /// A fresh id.
    pub fn draw(&self) -> Uuid {
        (self.chance)()
    }

    /// Is told whenever a job changed here.
    pub fn jobs_changed(&self) -> watch::Receiver<u64> {
        self.jobs_changed.subscribe()
    }

    /// Tells whoever waits that a job changed.
    pub(crate) fn tell_jobs_changed(&self) {
        self.jobs_changed.send_modify(|count| *count = count.wrapping_add(1));
    }

    /// Writes an act into the audit log.
    pub(crate) async fn audit(
        &self,
        actor: &Actor,
        action: &str,
        object: &str,
        detail: &serde_json::Value,
    ) -> crate::Result<()> {
        let entry = AuditEntry {
            ordinal: 0,
            at: self.now(),
            actor: actor.0.clone(),
            action: action.to_owned(),
            object: object.to_owned(),
            detail: detail.to_string(),
            hash: String::new(),
        };
        self.catalog.append_audit(entry).await?;
        Ok(())
    }
}
