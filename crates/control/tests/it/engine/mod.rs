//! The engine: schedules, claims, reports, retention, with the clock moved by hand and a mover that is scripted. The
//! real mover has its own tests; this one is there to die at the worst moments.

mod archive;
mod copies;
mod dispatch;
mod drills;
mod images;
mod limits;
mod many;
mod mover;
mod race;
mod replace;
mod retention;
mod scene;
mod schedule;
mod settle;
mod snapshots;
mod tiers;
mod waiting;
