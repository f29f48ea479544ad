//! The routes, a file a noun.
//!
//! **Adding a file**: `mod noun;` and `noun,` in `nouns!` below. Each file gives two things:
//! ```text
//! pub(super) fn routes() -> Vec<Route>          // address, need, what it calls
//! #[derive(OpenApi)]
//! #[openapi(paths(list, create, show))]         // every handler of the file
//! pub(super) struct Document;
//! ```
//! **Adding a route**: its wire types in `api`, its act in `control`, its handler with `#[utoipa::path]`, its `Route`, its
//! name in `paths(..)`, and its line in `tests/it/access.rs`, which says who may. Tests compare all of these.
//!
//! A handler's `#[utoipa::path]` lists its own parameters, its body and its good answers. What every route has is added
//! in `openapi.rs`: problem documents, who must be signed in, `Idempotency-Key`.
//!
//! What handlers take: `At(vault): At<VaultId>` or `At((vault, user))` from the address, `Params(query)` from behind the
//! `?` (a struct with `Deserialize`, `IntoParams` and `#[serde(deny_unknown_fields)]`; its `limit` is a
//! [`Limit`](crate::body::Limit)), `Body(new)`, and `Extension(caller): Extension<Caller>`.

mod alerts;
mod archive;
mod audit;
mod browse;
mod copies;
mod cost;
mod drills;
mod events;
mod files;
mod images;
mod items;
mod jobs;
mod keys;
mod machines;
mod meta;
mod movers;
mod points;
mod policies;
mod replacements;
mod restore_sets;
mod session;
mod snapshots;
mod users;
mod vaults;
mod watch;
mod work;

use crate::route::Route;
use utoipa::OpenApi as _;
use utoipa::openapi::OpenApi;

macro_rules! nouns {
    ($($noun:ident),+ $(,)?) => {
        /// All of them.
        pub(crate) fn all() -> Vec<Route> {
            [$($noun::routes()),+].into_iter().flatten().collect()
        }

        /// What each file says of its routes.
        pub(crate) fn documents() -> Vec<OpenApi> {
            vec![$($noun::Document::openapi()),+]
        }
    };
}

// In the order of `mod`.
nouns! {
    alerts,
    archive,
    audit,
    browse,
    copies,
    cost,
    drills,
    events,
    files,
    images,
    items,
    jobs,
    keys,
    machines,
    meta,
    movers,
    points,
    policies,
    replacements,
    restore_sets,
    session,
    snapshots,
    users,
    vaults,
    watch,
    work,
}
