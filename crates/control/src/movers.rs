//! Movers: how they join, who they are, how they are shut out.

use crate::faults::Faults;
use crate::machines::OWN_MOVER;
use crate::secret::{TokenKind, token, token_hash};
use crate::{Actor, Control, Error, Result};
use api::work::{AssignedHost, Join, Joined};
use api::{Code, Mover, TokenMade};
use catalog::{ErrorKind, Mover as MoverRow};
use jiff::SignedDuration;
use model::HostId;
use serde_json::json;

/// Long enough to walk to the other host, too short to be found on a desk.
const JOIN_WITHIN: SignedDuration = SignedDuration::from_hours(1);

impl Control {
    /// Makes a token that a mover joins with, once.
    ///
    /// # Errors
    /// The catalog's.
    pub async fn make_join_token(&self, actor: &Actor) -> Result<TokenMade> {
        let (token, expires) = (token(TokenKind::Join), self.now() + JOIN_WITHIN);
        self.audit(actor, "mover.token", "", &json!({ "expires": expires })).await?;
        self.catalog.add_join_token(&token_hash(&token), &actor.0, expires).await?;
        Ok(TokenMade { token, expires })
    }

    /// Takes a mover in: it has a token of its own from now on, and a host of its name.
    ///
    /// CRASH: a token that was used up and gave nothing back: an administrator makes another.
    ///
    /// # Errors
    /// `Unauthenticated` for a token that is not good (any more); `Exists` when there is a mover or a host of that
    /// name; `Invalid` for a name that cannot be one.
    pub async fn join(&self, wish: &Join) -> Result<Joined> {
        let mut faults = Faults::default();
        faults.name("/name", &wish.name);
        if wish.name == OWN_MOVER {
            faults.add("/name", "must not be the name of the mover within the server");
        }
        faults.none()?;
        if !self.catalog.use_join_token(&token_hash(&wish.token), self.now()).await? {
            let refused =
                Error::new(Code::Unauthenticated, "the token is not known, was used, or is too old");
            return Err(refused.hint("make another: `strongroom mover token`"));
        }
        let taken =
            |what: &str| Error::new(Code::Exists, format!("there is a {what} named {} already", wish.name));
        match self.catalog.mover(&wish.name).await {
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Ok(_) => return Err(taken("mover").hint("remove it first: `strongroom mover remove`")),
            Err(error) => return Err(error.into()),
        }
        let actor = Actor(format!("mover:{}", wish.name));
        self.audit(&actor, "mover.join", &wish.name, &json!({})).await?;
        let host = match self.catalog.add_own_host(HostId(self.draw()), &wish.name).await {
            Err(error) if error.kind() == ErrorKind::Exists => return Err(taken("host")),
            added => added?,
        };
        let token = self.mover_token(&wish.name).await?;
        self.note_mover(&wish.name).await?;
        Ok(Joined { token, host })
    }

    /// Has the mover within the server listed like any other, with its token.
    ///
    /// # Errors
    /// The catalog's.
    pub async fn own_mover_token(&self) -> Result<String> {
        let token = self.mover_token(OWN_MOVER).await?;
        self.note_mover(OWN_MOVER).await?;
        Ok(token)
    }

    /// All movers, by name.
    ///
    /// # Errors
    /// The catalog's.
    pub async fn movers(&self) -> Result<Vec<Mover>> {
        let shown = |row: MoverRow| Mover { name: row.name, joined: row.joined, seen: row.seen };
        Ok(self.catalog.movers().await?.into_iter().map(shown).collect())
    }

    /// Shuts a mover out. Its hosts stay, and their machines are not reached until another mover takes them.
    ///
    /// # Errors
    /// `NotFound`; `Conflict` for the one within the server.
    pub async fn remove_mover(&self, actor: &Actor, name: &str) -> Result<()> {
        if name == OWN_MOVER {
            return Err(Error::new(Code::Conflict, "the mover within the server comes and goes with it"));
        }
        match self.catalog.mover(name).await {
            Err(error) if error.kind() == ErrorKind::NotFound => {
                return Err(Error::not_found(format!("mover {name}")));
            }
            found => drop(found?),
        }
        self.audit(actor, "mover.remove", name, &json!({})).await?;
        // The token first: whatever fails then, it is shut out.
        self.remove_mover_tokens(name).await?;
        Ok(self.catalog.remove_mover(name).await?)
    }

    /// The hosts that a mover speaks with.
    ///
    /// # Errors
    /// The catalog's.
    pub async fn assigned_hosts(&self, mover: &str) -> Result<Vec<AssignedHost>> {
        let hosts = self.catalog.hosts_of(mover).await?;
        Ok(hosts.into_iter().map(|host| AssignedHost { id: host.id, address: host.address }).collect())
    }

    async fn note_mover(&self, name: &str) -> Result<()> {
        let new = MoverRow { name: name.to_owned(), joined: self.now(), seen: None };
        match self.catalog.add_mover(&new).await {
            Err(error) if error.kind() == ErrorKind::Exists => Ok(()),
            added => Ok(added?),
        }
    }
}
