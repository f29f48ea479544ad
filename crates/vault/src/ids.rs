//! Where the ids come from that a vault draws by itself: heads of log records, names of intents.

use std::fmt;
use std::sync::Arc;
use uuid::Uuid;

/// Draws ids that were never drawn before. Clones draw from one source.
///
/// INVARIANT: keys of objects are derived from these ids. A source that repeats itself within one vault breaks
/// the encryption; only simulations, whose vaults nobody keeps, hand in their own.
#[derive(Clone)]
pub struct Ids(Arc<dyn Fn() -> Uuid + Send + Sync>);

impl Ids {
    /// A source of one's own.
    pub fn new(draw: impl Fn() -> Uuid + Send + Sync + 'static) -> Self {
        Self(Arc::new(draw))
    }

    /// The next one.
    pub(crate) fn draw(&self) -> Uuid {
        self.0()
    }
}

impl Default for Ids {
    /// Random ids from the operating system.
    fn default() -> Self {
        Self::new(Uuid::new_v4)
    }
}

impl fmt::Debug for Ids {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Ids")
    }
}
