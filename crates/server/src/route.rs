//! A route: an address, what it needs, and what it calls.

use crate::app::App;
use axum::routing::MethodRouter;
use model::access::Action;

/// What a caller must be to be let through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Need {
    /// Nobody in particular.
    Nobody,
    /// Signed in, whoever it is. What is answered is about the caller.
    SignedIn,
    /// With a role for it in the vault that the address names as `{vault}`.
    InVault(Action),
    /// With a role for it in some vault: the act leaves out what the caller may not see.
    Somewhere(Action),
    /// With a role for it everywhere: no vault is concerned.
    Everywhere(Action),
    /// A mover, by its token.
    Mover,
}

/// A route.
pub(crate) struct Route {
    pub(crate) method: &'static str,
    pub(crate) path: &'static str,
    pub(crate) need: Need,
    pub(crate) call: MethodRouter<App>,
}

macro_rules! methods {
    ($($name:ident $word:literal),+) => {
        impl Route {$(
            /// A route for this method.
            pub(crate) fn $name<H, T>(path: &'static str, need: Need, call: H) -> Self
            where
                H: axum::handler::Handler<T, App>,
                T: 'static,
            {
                Self { method: $word, path, need, call: axum::routing::$name(call) }
            }
        )+}
    };
}

methods!(get "GET", post "POST", put "PUT", patch "PATCH", delete "DELETE");

/// What a route is, for whoever checks them all.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    /// `GET`...
    pub method: &'static str,
    /// With its parameters in braces.
    pub path: &'static str,
    /// What it needs, in one word or two: `nobody`, `vault View`, `mover`...
    pub need: String,
}

/// All routes.
pub fn listed() -> Vec<Listed> {
    let need = |need| match need {
        Need::Nobody => "nobody".to_owned(),
        Need::SignedIn => "signed-in".to_owned(),
        Need::InVault(action) => format!("vault {action:?}"),
        Need::Somewhere(action) => format!("somewhere {action:?}"),
        Need::Everywhere(action) => format!("everywhere {action:?}"),
        Need::Mover => "mover".to_owned(),
    };
    let all = crate::routes::all().into_iter();
    all.map(|route| Listed { method: route.method, path: route.path, need: need(route.need) }).collect()
}
