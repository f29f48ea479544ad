//! The catalog on both databases: every test runs on SQLite and on a real PostgreSQL.

mod audit;
mod jobs;
mod people;
mod points;
mod rows;
mod scene;
