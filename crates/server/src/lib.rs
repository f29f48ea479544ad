//! HTTP: which route is which act, who is asking, and whether they may.
//!
//! **Called by** the command line (`strongroom server`). **Calls** `control` for every act; holds no rule of its own.
//!
//! Reading order: `route.rs` (a route is an address, what it needs, and what it calls: there is no other way to make
//! one) → `guard.rs`, the one place that asks whether a caller may → `routes/`, a file a noun → `app.rs`, all of it. `portal.rs` serves the pages that
//! people look at.
//!
//! Invariants:
//! - a route without a `Need` cannot be made, and the guard runs before the body is read;
//! - every error is a problem document: never a panic's text, never a bare status;
//! - a vault that a caller may not see is not told from one that is not there.

mod answer;
mod app;
mod body;
mod frame;
mod guard;
mod openapi;
mod portal;
mod rate;
mod repeat;
mod route;
mod routes;
mod serve;
mod start;
mod tls;

pub use app::{App, router};
pub use openapi::{document, operations};
pub use route::{Listed, listed};
pub use start::{Options, Running, StartError, Tls, start};
