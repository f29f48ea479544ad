//! The catalog on both databases: every test runs on SQLite and on a real PostgreSQL.

#![expect(clippy::unwrap_used, reason = "a test that meets it has failed")]

mod archive;
mod audit;
mod images;
mod jobs;
mod people;
mod points;
mod rows;
mod scene;
mod snapshots;
