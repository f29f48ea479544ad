//! Signing in at a provider over real HTTP, with real keys; and all that must not let anybody in.

mod another;
mod faults;
mod good;
mod scene;
