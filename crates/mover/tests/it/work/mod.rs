//! The work of a mover, from an order to a point and back.
//!
//! What is not real is the server: `desk.rs` hands out orders as it is told, writes down what is reported, and dies,
//! forgets or refuses on demand. `scene.rs` is a test's folder with its vault and machine.

mod archive;
mod at_once;
mod backup;
mod copies;
mod desk;
mod drill;
mod dying;
mod image;
mod into;
mod others;
mod replace;
mod scene;
mod snapshot;
mod tiers;
