//! All routes, under one guard, in one frame.

use crate::answer::Refused;
use crate::frame::{BODY_BYTES_MAX, frame};
use crate::guard::guard;
use crate::portal::{self, Files};
use crate::rate::Buckets;
use crate::routes;
use api::Code;
use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::middleware::{from_fn, from_fn_with_state};
use control::Control;
use std::sync::Arc;
use tokio::sync::watch;

/// A script that asks in a loop is slowed down; what a person or a mover does is far below.
const TOKEN_RATE: (f64, f64) = (500.0, 2000.0);
/// For those who are not signed in: health checks, signing in, tokens that are not good. An office behind one address
/// must get through.
const STRANGER_RATE: (f64, f64) = (20.0, 200.0);

/// What every handler works with. Cheap to clone; all clones are one.
#[derive(Clone)]
pub struct App {
    /// The service.
    pub control: Control,
    /// How often each token may ask.
    pub(crate) tokens: Arc<Buckets>,
    /// How often each address may that shows none.
    pub(crate) strangers: Arc<Buckets>,
    /// Becomes true when the server stops: what would go on for long ends then.
    pub(crate) stopping: watch::Sender<bool>,
    /// The portal.
    pub(crate) files: Files,
}

impl App {
    /// Over a service.
    pub fn new(control: Control) -> Self {
        let buckets = |(rate, burst)| Arc::new(Buckets::new(rate, burst));
        let (stopping, _) = watch::channel(false);
        let (tokens, strangers) = (buckets(TOKEN_RATE), buckets(STRANGER_RATE));
        Self { control, tokens, strangers, stopping, files: Files::built() }
    }
}

/// The whole API, and the portal at all other addresses.
pub fn router(app: App) -> Router {
    let mut router = Router::new();
    for route in routes::all() {
        let guarded = route.call.layer(from_fn_with_state((app.clone(), route.need), guard));
        router = router.route(route.path, guarded);
    }
    router
        .fallback(portal::answer)
        .method_not_allowed_fallback(async || Refused::new(Code::MethodNotAllowed, "not at this address"))
        .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
        .layer(from_fn(crate::body::no_null))
        .layer(from_fn_with_state(app.clone(), frame))
        .with_state(app)
}
