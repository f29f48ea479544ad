//! The one place that asks who is calling and whether they may.

use crate::answer::Refused;
use crate::app::App;
use crate::repeat;
use crate::route::Need;
use api::Code;
use axum::extract::rejection::PathRejection;
use axum::extract::{FromRequestParts, Path, Request, State};
use axum::http::Extensions;
use axum::http::header::AUTHORIZATION;
use axum::http::request::Parts;
use axum::middleware::Next;
use axum::response::Response;
use control::{Actor, Asker, Bearer, token_hash};
use model::VaultId;
use model::access::{Action, Grant, Scope};
use std::collections::HashMap;
use std::convert::Infallible;
use std::net::{IpAddr, Ipv4Addr};
use uuid::Uuid;

/// Who is calling.
#[derive(Clone, Debug)]
pub(crate) struct Caller {
    pub(crate) user: Uuid,
    /// Of a mover, the mover's name.
    pub(crate) name: String,
    /// The hash of the token that was shown.
    pub(crate) token: String,
    pub(crate) grants: Vec<Grant>,
    /// Whether somebody signed in for it.
    is_session: bool,
}

/// Where a request came from.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Peer(pub(crate) IpAddr);

impl Caller {
    /// For the audit log.
    pub(crate) fn actor(&self) -> Actor {
        Actor(self.name.clone())
    }

    /// Whether the caller may do that in the vault; none: where no vault is concerned.
    pub(crate) fn may(&self, action: Action, vault: Option<VaultId>) -> bool {
        model::access::may(&self.grants, action, vault)
    }

    /// The vaults that the caller may see; none: all.
    pub(crate) fn sees(&self) -> Option<Vec<VaultId>> {
        let vault = |grant: &Grant| match grant.scope {
            Scope::Vault { vault } => Some(vault),
            Scope::Everything {} => None,
        };
        self.grants.iter().map(vault).collect()
    }

    /// For acts that ask more than whether the caller may.
    pub(crate) fn asker(&self) -> Asker {
        let (actor, grants) = (self.actor(), self.grants.clone());
        Asker { actor, user: self.user, is_session: self.is_session, grants }
    }
}

/// Lets a request through, with its [`Caller`] as an extension, or refuses it.
pub(crate) async fn guard(
    State((app, need)): State<(App, Need)>,
    path: Result<Path<HashMap<String, String>>, PathRejection>,
    mut request: Request,
    next: Next,
) -> Result<Response, Refused> {
    let Ok(Path(path)) = path else { return Err(Refused::new(Code::NotFound, "the address is not UTF-8")) };
    let Peer(peer) = Peer::of(request.extensions());
    if need == Need::Nobody {
        app.strangers.take(peer, app.control.now())?;
        return Ok(next.run(request).await);
    }
    let token = shown(&request).map(token_hash);
    let caller = match caller(&app, token, need).await {
        // Whoever guesses tokens is slowed down; whoever has one is not, wherever it comes from.
        Err(refused) => return Err(app.strangers.take(peer, app.control.now()).err().unwrap_or(refused)),
        Ok(caller) => caller,
    };
    app.tokens.take(&caller.token, app.control.now())?;
    let vault = || path.get("vault").and_then(|vault| vault.parse().ok());
    let allowed = match need {
        Need::Nobody | Need::SignedIn | Need::Mover => true,
        Need::Everywhere(action) => caller.may(action, None),
        Need::Somewhere(action) => caller.grants.iter().any(|grant| grant.role.includes(action)),
        Need::InVault(action) => {
            let Some(vault) = vault() else {
                return Err(Refused::new(Code::NotFound, "there is no such vault"));
            };
            // Whoever may not see a vault is not told that it is there.
            if !caller.may(Action::View, Some(vault)) {
                return Err(Refused::new(Code::NotFound, format!("there is no vault {vault}")));
            }
            caller.may(action, Some(vault))
        }
    };
    if !allowed {
        let refused = Refused::new(Code::Forbidden, format!("{} has no role for this", caller.name));
        return Err(refused.hint("ask a vault owner for a role: `strongroom user grant`"));
    }
    request.extensions_mut().insert(caller.clone());
    match need {
        // What a mover asks is safe to ask again, and a claim that nobody waits for any more must not be made.
        Need::Mover => Ok(next.run(request).await),
        _ if request.method().is_safe() => Ok(next.run(request).await),
        _ => repeat::once(app, caller, request, next).await,
    }
}

async fn caller(app: &App, token: Option<String>, need: Need) -> Result<Caller, Refused> {
    let refused =
        |detail: &str| Refused::new(Code::Unauthenticated, detail).hint("sign in with `strongroom login`");
    let token = token.ok_or_else(|| refused("nobody is signed in"))?;
    let bearer = app.control.bearer(&token).await?;
    let Bearer { asker, mover } =
        bearer.ok_or_else(|| refused("the token is not known, or no longer good"))?;
    if mover.is_some() != (need == Need::Mover) {
        let detail = match mover {
            Some(_) => "a mover's token is good for movers' routes alone",
            None => "this is for movers, by their own tokens",
        };
        return Err(Refused::new(Code::Forbidden, detail));
    }
    let name = mover.unwrap_or(asker.actor.0);
    Ok(Caller { user: asker.user, name, token, grants: asker.grants, is_session: asker.is_session })
}

/// The token that a request shows.
pub(crate) fn shown(request: &Request) -> Option<&str> {
    let header = request.headers().get(AUTHORIZATION)?.to_str().ok()?;
    let (scheme, token) = header.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then_some(token.trim())
}

impl Peer {
    /// As `serve.rs` noted. Without a connection there is nobody to tell apart: a router that is called by itself.
    fn of(extensions: &Extensions) -> Self {
        extensions.get().copied().unwrap_or(Self(IpAddr::V4(Ipv4Addr::UNSPECIFIED)))
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Peer {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        Ok(Self::of(&parts.extensions))
    }
}
