//! Where a chunk counts as lying: the one place that keeps it from being lost.
//!
//! A map says where a chunk lay when it was written: its *hint*. Once the pack there is retired, or deleted, the
//! chunk may have a copy elsewhere. Markers must agree on which of them is needed: two collectors that each
//! believe in the copy that the other deletes would lose both. They agree because
//! - the log orders them: whoever condemns a copy has read every condemnation before it, and a copy that is
//!   condemned is no home;
//! - intents do, should the log fail: whoever is about to delete has published that first, and then does not
//!   believe in what others are about to delete.

use super::{Doom, Rules, State};
use crate::PackId;
use std::collections::BTreeSet;

/// What a marker knows when it asks.
pub(crate) struct View<'a> {
    /// What the log says.
    pub(crate) state: &'a State,
    /// Packs that intents of others name.
    pub(crate) intended: &'a BTreeSet<PackId>,
}

impl View<'_> {
    /// Whether a hint into this pack is followed without looking further.
    pub(crate) fn is_plain(&self, pack: &PackId, rules: Rules) -> bool {
        let unsettled = rules.intents_unsettle && self.intended.contains(pack);
        !self.state.retired.contains(pack)
            && self.state.doomed.get(pack) != Some(&Doom::Deleting)
            && !unsettled
    }

    /// Whether a copy in this pack may stand for one elsewhere.
    pub(crate) fn is_home(&self, pack: &PackId, rules: Rules) -> bool {
        let unsettled = rules.intents_unsettle && self.intended.contains(pack);
        (!rules.copies_need_homes || self.state.is_home(pack)) && !unsettled
    }

    /// The packs that must be kept for a chunk. `copies` are those there are that hold it, the hint's among them
    /// if that is still there. Where no copy is beyond doubt, all of them: whoever doubts another one may be
    /// deleting this.
    pub(crate) fn homes(&self, hint: PackId, copies: &[PackId], rules: Rules) -> Vec<PackId> {
        if copies.contains(&hint) && self.is_plain(&hint, rules) {
            return vec![hint];
        }
        let other = copies.iter().copied().find(|pack| *pack != hint && self.is_home(pack, rules));
        other.map_or_else(|| copies.to_vec(), |home| vec![home])
    }
}
