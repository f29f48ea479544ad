//! The one place that asks who is calling and whether they may.

use crate::answer::Refused;
use crate::app::App;
use crate::route::Need;
use api::Code;
use aws_lc_rs::digest::{SHA256, digest};
use axum::extract::{Path, Request, State};
use axum::http::header::AUTHORIZATION;
use axum::middleware::Next;
use axum::response::Response;
use control::Actor;
use model::VaultId;
use model::access::{Action, Grant, Scope, may};
use std::collections::HashMap;
use uuid::Uuid;

/// Who is calling.
#[derive(Clone, Debug)]
pub(crate) struct Caller {
    pub(crate) user: Uuid,
    pub(crate) name: String,
    /// The hash of the token that was shown.
    pub(crate) token: String,
    pub(crate) grants: Vec<Grant>,
}

impl Caller {
    /// For the audit log.
    pub(crate) fn actor(&self) -> Actor {
        Actor(self.name.clone())
    }

    /// Whether the caller may do that in the vault; none: where no vault is concerned.
    pub(crate) fn may(&self, action: Action, vault: Option<VaultId>) -> bool {
        may(&self.grants, action, vault)
    }
}

/// Lets a request through, with its [`Caller`] as an extension, or refuses it.
pub(crate) async fn guard(
    State((app, need)): State<(App, Need)>,
    Path(path): Path<HashMap<String, String>>,
    mut request: Request,
    next: Next,
) -> Result<Response, Refused> {
    if need == Need::Nobody {
        return Ok(next.run(request).await);
    }
    let header =
        request.headers().get(AUTHORIZATION).and_then(|value| value.to_str().ok()).map(str::to_owned);
    let caller = caller(&app, header.as_deref()).await?;
    let vault = || path.get("vault").and_then(|vault| vault.parse().ok());
    let allowed = match need {
        Need::Nobody | Need::SignedIn => true,
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
        Need::Mover => false,
    };
    if !allowed {
        let refused = Refused::new(Code::Forbidden, format!("{} has no role for this", caller.name));
        return Err(refused.hint("ask a vault owner for a role: `strongroom user grant`"));
    }
    request.extensions_mut().insert(caller);
    Ok(next.run(request).await)
}

async fn caller(app: &App, header: Option<&str>) -> Result<Caller, Refused> {
    let refused =
        |detail: &str| Refused::new(Code::Unauthenticated, detail).hint("sign in with `strongroom login`");
    let token = header
        .and_then(|value| value.strip_prefix("Bearer "))
        .ok_or_else(|| refused("nobody is signed in"))?;
    let token = hash(token);
    let now = app.control.now();
    let user = app.control.catalog().bearer(&token, now).await.map_err(control::Error::from)?;
    let user = user.ok_or_else(|| refused("the token is not known, or no longer good"))?;
    let grants = app.control.catalog().grants(user.id).await.map_err(control::Error::from)?;
    let scope = |vault: Option<VaultId>| vault.map_or(Scope::Everything {}, |vault| Scope::Vault { vault });
    let grants = grants.into_iter().map(|one| Grant { role: one.role, scope: scope(one.vault) }).collect();
    Ok(Caller { user: user.id, name: user.name, token, grants })
}

/// SHA-256 of a token, in hex: what the catalog knows of it. Tokens are random, so nobody can guess back.
pub(crate) fn hash(token: &str) -> String {
    digest(&SHA256, token.as_bytes()).as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}
