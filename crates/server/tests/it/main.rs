//! The API as those who call it see it: over the router, and over real connections.

#![expect(clippy::unwrap_used, reason = "a test that meets it has failed")]

mod access;
mod bad_input;
mod connections;
mod documents;
mod events;
mod files;
mod portal;
mod repeat;
mod scene;
mod schemathesis;
mod sign_in;
mod single_sign_on;
mod users;
mod watch;
