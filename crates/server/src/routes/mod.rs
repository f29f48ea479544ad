//! The routes, a file a noun. Adding one: its wire types in `api`, its act in `control`, its line here.

mod items;
mod machines;
mod meta;
mod points;
mod policies;
mod vaults;

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
    items,
    machines,
    meta,
    points,
    policies,
    vaults,
}
