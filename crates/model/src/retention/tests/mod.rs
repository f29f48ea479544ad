//! Retention: worked examples, and laws over histories that a server could really have had.

mod examples;
mod history;
mod laws;
