//! What people do: vaults, policies, machines, items, points; and what is refused to them.

mod files;
mod items;
mod keys;
mod machines;
mod points;
mod policies;
pub(crate) mod scene;
mod vaults;
