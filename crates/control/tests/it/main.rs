//! The service on both databases: every test runs on SQLite and on a real PostgreSQL.

#![expect(clippy::unwrap_used, reason = "a test that meets it has failed")]

mod acts;
mod adopt;
mod adopt_archived;
mod engine;
mod notes;
mod usage;
