//! Signing in at a provider over real HTTP, with real keys; and all that must not let anybody in.

#![expect(clippy::unwrap_used, reason = "a test that meets it has failed")]

mod another;
mod faults;
mod good;
mod scene;
