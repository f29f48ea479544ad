//! Coming in: people by a password, services and movers by a token; and what the server itself gives out.

use crate::people::{Asker, MOVER, check_name, grant};
use crate::secret::{TokenKind, hash_password, is_password, password, token, token_hash};
use crate::{Actor, Control, Error, Result};
use api::{Code, Credentials, Session};
use catalog::{ErrorKind, Token};
use jiff::{SignedDuration, Timestamp};
use serde_json::json;
use std::net::IpAddr;
use uuid::Uuid;
use zeroize::Zeroizing;

/// A working day, and not the next one.
pub(crate) const SESSION: SignedDuration = SignedDuration::from_hours(12);
/// A mover goes on for years; it is shut out by taking its token away.
const MOVER_TOKEN: SignedDuration = SignedDuration::from_hours(24 * 365 * 10);
/// Longer is no password but a mistaken file.
pub(crate) const PASSWORD_BYTES_MAX: usize = 1024;

/// Who may come in by a token.
#[derive(Clone, Debug)]
pub struct Bearer {
    /// With what rights.
    pub asker: Asker,
    /// The mover's name, if it is one: it may do what movers do, and nothing else.
    pub mover: Option<String>,
}

/// Coming in.
impl Control {
    /// Begins a session. A wrong name and a wrong password are not told apart, by words or by time.
    ///
    /// # Errors
    /// `Unauthenticated`; `TooManyRequests` after failures.
    pub async fn sign_in(&self, credentials: &Credentials, from: IpAddr) -> Result<Session> {
        let Credentials { name, password } = credentials;
        let wait = self.tries.wait(name, from, self.now());
        if !wait.is_zero() {
            let seconds = u64::try_from(wait.as_secs()).unwrap_or(0) + 1;
            let detail = format!("too many failures: try again in {seconds} s");
            return Err(Error::new(Code::TooManyRequests, detail).retry_after(seconds));
        }
        // Counted before it is known: many tries at once do not get past the count together.
        self.tries.failed(name, from, self.now());
        let user = match self.catalog.user_named(name).await {
            Ok(user) => Some(user),
            Err(error) if error.kind() == ErrorKind::NotFound => None,
            Err(error) => return Err(error.into()),
        };
        let kept = user.as_ref().and_then(|user| user.password.as_deref());
        let is_long = password.len() > PASSWORD_BYTES_MAX;
        let is_right = is_password(if is_long { "" } else { password }, kept).await?;
        let user = user.filter(|user| is_right && !is_long && !user.disabled);
        let Some(user) = user else {
            tracing::warn!(name, %from, "a sign-in failed");
            return Err(Error::new(Code::Unauthenticated, "the name or the password is wrong"));
        };
        self.tries.went_well(name, from);
        self.audit(&Actor(user.name.clone()), "sign_in", &user.name, &json!({ "from": from })).await?;
        let (token, expires) = self.make_token(user.id, "", TokenKind::Session, SESSION).await?;
        Ok(Session { token, expires })
    }

    /// Ends a session, or whatever else the token was good for.
    pub async fn sign_out(&self, by: &Asker, token_hash: &str) -> Result<()> {
        self.audit(&by.actor, "sign_out", &by.actor.0, &json!({})).await?;
        Ok(self.catalog.remove_token(token_hash).await?)
    }

    /// Who comes with the token of this hash, if it is good.
    pub async fn bearer(&self, token_hash: &str) -> Result<Option<Bearer>> {
        let Some((user, token)) = self.catalog.bearer(token_hash, self.now()).await? else { return Ok(None) };
        let mover = user.name.strip_prefix(MOVER).map(str::to_owned);
        // INVARIANT: a mover's token is of a mover, and a mover has no other.
        if mover.is_some() != (token.kind == TokenKind::Mover.word()) {
            return Ok(None);
        }
        let grants = match mover {
            Some(_) => Vec::new(),
            None => self.catalog.grants(user.id).await?.iter().map(grant).collect(),
        };
        let is_session = token.kind == TokenKind::Session.word();
        let asker = Asker { actor: Actor(user.name), user: user.id, is_session, grants };
        Ok(Some(Bearer { asker, mover }))
    }

    /// A token for the mover of this name; one that it had is no longer good.
    ///
    /// # Errors
    /// `Invalid` for a name that cannot be one.
    pub async fn mover_token(&self, name: &str) -> Result<String> {
        check_name(name)?;
        let name = format!("{MOVER}{name}");
        let new = self.new_user(name.clone(), None);
        let user = match self.catalog.add_user(&new).await {
            Ok(()) => new,
            Err(error) if error.kind() == ErrorKind::Exists => self.catalog.user_named(&name).await?,
            Err(error) => return Err(error.into()),
        };
        for old in self.catalog.tokens(user.id).await? {
            self.catalog.remove_token(&old.hash).await?;
        }
        Ok(self.make_token(user.id, &name, TokenKind::Mover, MOVER_TOKEN).await?.0)
    }

    /// Shuts the mover of this name out.
    pub async fn remove_mover_tokens(&self, name: &str) -> Result<()> {
        let Ok(user) = self.catalog.user_named(&format!("{MOVER}{name}")).await else { return Ok(()) };
        for old in self.catalog.tokens(user.id).await? {
            self.catalog.remove_token(&old.hash).await?;
        }
        Ok(())
    }

    pub(crate) async fn make_token(
        &self,
        user: Uuid,
        name: &str,
        kind: TokenKind,
        lasts: SignedDuration,
    ) -> Result<(String, Timestamp)> {
        let (token, now) = (token(kind), self.now());
        let kept = Token {
            hash: token_hash(&token),
            user,
            name: name.to_owned(),
            kind: kind.word().to_owned(),
            created: now,
            expires: now + lasts,
            used: None,
        };
        self.catalog.add_token(&kept).await?;
        Ok((token, kept.expires))
    }
}

/// The server's own: whoever has its data needs no role.
impl Control {
    /// Makes the first user, who owns everything. Gives its password, which is shown once.
    ///
    /// # Errors
    /// `Exists` when there is a user already; `Invalid` for a name that cannot be one.
    pub async fn create_first_administrator(&self, name: &str) -> Result<Zeroizing<String>> {
        check_name(name)?;
        let password = password();
        let user = self.new_user(name.to_owned(), Some(hash_password(&password).await?));
        self.catalog.add_first_user(&user, MOVER).await.map_err(|error| match error.kind() {
            ErrorKind::Exists => Error::from(error)
                .hint("the service is set up already: sign in, or `strongroom server reset-password NAME`"),
            _ => error.into(),
        })?;
        self.audit(&Actor("server".to_owned()), "user.create", name, &json!({ "owns": "everything" }))
            .await?;
        Ok(password)
    }

    /// Gives somebody a new password, which is shown once, and ends all sessions.
    ///
    /// # Errors
    /// `NotFound`.
    pub async fn reset_password(&self, name: &str) -> Result<Zeroizing<String>> {
        let user = self.catalog.user_named(name).await?;
        let password = password();
        let hash = hash_password(&password).await?;
        self.audit(&Actor("server".to_owned()), "user.password", name, &json!({})).await?;
        self.catalog.set_password(user.id, &hash).await?;
        Ok(password)
    }
}
