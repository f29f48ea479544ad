//! All routes, under one guard.

use crate::answer::Refused;
use crate::guard::guard;
use crate::routes;
use api::Code;
use axum::Router;
use axum::middleware::from_fn_with_state;
use control::Control;

/// What every handler works with. Cheap to clone; all clones are one.
#[derive(Clone)]
pub struct App {
    /// The service.
    pub control: Control,
}

/// The whole API.
pub fn router(app: App) -> Router {
    let mut router = Router::new();
    for route in routes::all() {
        let guarded = route.call.layer(from_fn_with_state((app.clone(), route.need), guard));
        router = router.route(route.path, guarded);
    }
    router
        .fallback(async || Refused::new(Code::NotFound, "there is nothing at this address"))
        .method_not_allowed_fallback(async || Refused::new(Code::MethodNotAllowed, "not at this address"))
        .with_state(app)
}
