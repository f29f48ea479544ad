//! The routes, a file a noun. Adding one: its wire types in `api`, its act in `control`, its line here.

mod meta;

use crate::route::Route;

/// All of them.
pub(crate) fn all() -> Vec<Route> {
    [meta::routes()].into_iter().flatten().collect()
}
