//! Who may refer to a pack, and who may delete it: commit and collection as pure step functions.
//!
//! Deleting from a store that many write to is where backup systems have lost data, and every one that
//! relied on time margins did. Here two protocols run together, and a pack is only deleted if both agree:
//!
//! - **The log**: `log/<n>`, put create-only, is one order of everything that matters: sessions opened,
//!   committed, aborted; points purged; packs condemned, then deleting. A record counts only if it was
//!   computed from exactly the records before it. Needs a store whose create-only put has one winner.
//! - **The handshake**: a writer publishes its references, *then* looks for intents to delete, *then* for
//!   the packs themselves; a collector publishes its intent, *then* looks for references again, *then*
//!   deletes. Whoever comes second sees the other. Needs a store whose listings see what was written.
//!
//! Nothing here does I/O, tells time or knows how packs are found: [`Writer`] and [`Collector`] say what to
//! do next and are told what was seen. The same functions run in production, and in `model`, which
//! tries every interleaving of two writers, two collectors, a janitor and a user, with deletes that arrive
//! late and twice, and must find the loss when any one of the [`Rules`] is broken.
//!
//! | file | holds |
//! | --- | --- |
//! | `state.rs` | what the log says: records, and which may follow |
//! | `writer.rs` | commit, step by step |
//! | `collector.rs` | condemn, delete, confirm, step by step |
//! | `home.rs` | which copy of a chunk counts, once there are several |
//! | `model/` | every interleaving, and every rule broken |

mod collector;
mod home;
#[cfg(test)]
mod model;
mod rules;
mod state;
mod writer;

pub(crate) use collector::{Collector, CollectorDoes, CollectorSees};
pub(crate) use home::View;
pub(crate) use rules::Rules;
pub(crate) use state::{Doom, PointState, Record, Refusal, SessionState, State};
pub(crate) use writer::{Intention, Writer, WriterDoes, WriterSees};
