//! Coming in by single sign-on: a provider says who somebody is and which groups they are of, and the mapping says which
//! roles that gives them.
//!
//! A sign-in is begun for whoever has drawn a secret, and finished by them alone; what is known of it in between lies in
//! the catalog, so any server finishes what another has begun.
//!
//! **Who somebody is, is the provider and its subject**, never a name: nobody comes in as a user whom somebody else has
//! made, whatever the provider calls them.

use crate::people::rows;
use crate::secret::{TokenKind, token_hash};
use crate::sign_in::SESSION;
use crate::{Actor, Control, Error, Result};
use api::{BeginSignIn, Code, FinishSignIn, RoleGrant, Session, SignInBegun};
use catalog::{ErrorKind, Grant as GrantRow, SignIn, User as UserRow};
use jiff::SignedDuration;
use model::access::Role;
use oidc::{Answer, Identity, Provider, Wish, challenge, is_challenge, is_loopback, is_verifier, secret};
use serde_json::json;
use std::net::IpAddr;

/// To find the password and the second factor. It ends what was begun and forgotten.
const SIGN_IN_WITHIN: SignedDuration = SignedDuration::from_mins(10);
/// Begun at once: strangers can begin them, and each is a row. A strangers' address begins some 12,000 in that time.
const SIGN_INS_MAX: u32 = 100_000;
/// Longer is no code and no address.
const TEXT_BYTES_MAX: usize = 8192;
/// Of namesakes each has a number behind the name. More of them are a provider that gives everybody one name.
const NAMESAKES_MAX: usize = 20;
/// For those who act for everybody that the provider lets in.
const EVERYBODY: &str = "*";

/// Whose word counts, and what it gives.
#[derive(Debug)]
pub struct SingleSignOn {
    /// Who says who somebody is.
    pub provider: Provider,
    /// What that gives them.
    pub mapping: Mapping,
}

/// What a provider's word gives.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Mapping {
    /// The claim that names somebody, for people.
    pub name_claim: String,
    /// The claim that lists somebody's groups.
    pub groups_claim: String,
    /// What groups give.
    pub roles: Vec<GroupRole>,
    /// Addresses that the browser may be sent back to, besides those of the loopback: a portal's.
    pub redirects: Vec<String>,
}

/// A role that a group gives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupRole {
    /// As the provider calls it; `*` is whoever it lets in.
    pub group: String,
    /// What it gives.
    pub role: Role,
    /// In which vault, by its name or id; none: everywhere.
    pub vault: Option<String>,
}

/// Coming in by somebody else's word.
impl Control {
    /// The address at which somebody signs in, and what they come back with.
    ///
    /// # Errors
    /// `Invalid`; `Conflict` where there is no single sign-on; `Unavailable` when the provider does not answer.
    pub async fn begin_sign_in(&self, wish: &BeginSignIn) -> Result<SignInBegun> {
        let sso = self.sso()?;
        if !is_challenge(&wish.challenge) {
            return Err(Error::invalid(
                "/challenge",
                "the SHA-256 of a verifier in base64url: 43 characters",
            ));
        }
        if !sso.mapping.may_be_sent_to(&wish.redirect) {
            let rule =
                "http://127.0.0.1:PORT/..., or an address that the server was told of (--sso-redirect)";
            return Err(Error::invalid("/redirect", rule));
        }
        let (state, nonce, expires) = (secret(), secret(), self.now() + SIGN_IN_WITHIN);
        let (redirect, challenge) = (wish.redirect.as_str(), wish.challenge.as_str());
        let asked = Wish { redirect, state: &state, nonce: &nonce, challenge };
        let url = sso.provider.begin(&asked).await.map_err(|error| told(&error))?;
        self.catalog.forget_sign_ins(self.now()).await?;
        let (redirect, challenge) = (redirect.to_owned(), challenge.to_owned());
        let new = SignIn { state_hash: token_hash(&state), challenge, nonce, redirect, expires };
        if !self.catalog.begin_sign_in(&new, SIGN_INS_MAX).await? {
            let error = Error::new(Code::TooManyRequests, "too many sign-ins have been begun");
            return Err(error.retry_after(u64::try_from(SIGN_IN_WITHIN.as_secs()).unwrap_or(0)));
        }
        Ok(SignInBegun { url, state, expires })
    }

    /// Begins a session of whoever came back from the provider.
    ///
    /// # Errors
    /// `Unauthenticated`: it was not begun, or not by them, is over, or proves nothing; `Forbidden`: the provider lets
    /// them in and we do not; `Conflict`; `Unavailable`.
    pub async fn finish_sign_in(&self, answer: &FinishSignIn, from: IpAddr) -> Result<Session> {
        let sso = self.sso()?;
        let FinishSignIn { state, code, verifier } = answer;
        let begun = match is_verifier(verifier)
            && code.len() <= TEXT_BYTES_MAX
            && state.len() <= TEXT_BYTES_MAX
        {
            true => self.catalog.take_sign_in(&token_hash(state), &challenge(verifier), self.now()).await?,
            false => None,
        };
        let Some(SignIn { redirect, nonce, .. }) = begun else {
            tracing::warn!(%from, "a single sign-on was finished that nobody had begun");
            let error = Error::new(
                Code::Unauthenticated,
                "the sign-in is not known, is over, or was finished already",
            );
            return Err(error.hint("begin anew: `strongroom login --sso`"));
        };
        let answer = Answer { code, redirect: &redirect, nonce: &nonce, verifier };
        let identity = sso.provider.finish(&answer, self.now()).await.map_err(|error| {
            tracing::warn!(%from, %error, "a single sign-on failed");
            told(&error)
        })?;
        let user = match self.let_in(&sso.mapping, &identity).await {
            Err(refused) if refused.code() == Code::Forbidden => {
                let detail = json!({ "from": from, "why": refused.to_string() });
                self.audit(&server(), "sign_in.refuse", &identity.key(), &detail).await?;
                return Err(refused);
            }
            decided => decided?,
        };
        let detail = json!({ "from": from, "issuer": identity.issuer, "subject": identity.subject });
        self.audit(&Actor(user.name.clone()), "sign_in", &user.name, &detail).await?;
        let (token, expires) = self.make_token(user.id, "", TokenKind::Session, SESSION).await?;
        Ok(Session { token, expires })
    }

    /// Whether anybody can come in so.
    pub fn has_single_sign_on(&self) -> bool {
        self.single_sign_on.is_some()
    }

    /// Whether the provider is there and fits the settings; nothing to say where there is none.
    ///
    /// # Errors
    /// `Unavailable`, with why.
    pub async fn check_single_sign_on(&self) -> Result<()> {
        match &self.single_sign_on {
            Some(sso) => sso.provider.check().await.map_err(|error| told(&error)),
            None => Ok(()),
        }
    }

    fn sso(&self) -> Result<&SingleSignOn> {
        self.single_sign_on.as_deref().ok_or_else(|| {
            let error = Error::new(Code::Conflict, "this server has no single sign-on");
            error.hint("sign in by name and password; `strongroom server run --sso-issuer` sets it up")
        })
    }

    /// The user that an identity is, with the roles that its groups give it now; made if it never came before.
    async fn let_in(&self, mapping: &Mapping, identity: &Identity) -> Result<UserRow> {
        let known = self.catalog.user_of_subject(&identity.key()).await?;
        if let Some(user) = known.as_ref().filter(|user| user.disabled) {
            return Err(Error::new(Code::Forbidden, format!("{} is shut out", user.name)));
        }
        let roles = self.roles_of(mapping, identity).await?;
        let user = match known {
            Some(user) => user,
            None if roles.is_empty() => return Err(nothing_given(mapping, identity)),
            None => self.add_user_of(mapping, identity).await?,
        };
        self.refresh_roles(&user, &roles, identity).await?;
        // What they had is taken before they are turned away: sessions that still run may do nothing more.
        if roles.is_empty() { Err(nothing_given(mapping, identity)) } else { Ok(user) }
    }

    /// What the groups of an identity give it.
    async fn roles_of(&self, mapping: &Mapping, identity: &Identity) -> Result<Vec<RoleGrant>> {
        let groups = identity.list(&mapping.groups_claim);
        let is_of = |one: &&GroupRole| one.group == EVERYBODY || groups.contains(&one.group.as_str());
        let (mut roles, vaults) = (Vec::new(), self.catalog.vaults().await?);
        for GroupRole { role, vault, group } in mapping.roles.iter().filter(is_of) {
            let Some(wanted) = vault else {
                roles.push(RoleGrant { role: *role, vault: None });
                continue;
            };
            match vaults.iter().find(|vault| vault.name == *wanted || vault.id.to_string() == *wanted) {
                Some(vault) => roles.push(RoleGrant { role: *role, vault: Some(vault.id) }),
                None => {
                    tracing::warn!(group, vault = wanted, "a group is mapped to a vault that is not there");
                }
            }
        }
        Ok(roles)
    }

    /// A user without roles and without a password, by the name that the provider gives; with a number behind it if
    /// somebody has that name.
    async fn add_user_of(&self, mapping: &Mapping, identity: &Identity) -> Result<UserRow> {
        let name = mapping.name_of(identity)?;
        let subject = identity.key();
        for number in 1..=NAMESAKES_MAX {
            let name = if number == 1 { name.clone() } else { format!("{name} {number}") };
            let new = UserRow { subject: Some(subject.clone()), ..self.new_user(name, None) };
            match self.catalog.add_user(&new).await {
                Ok(()) => {
                    let detail = json!({ "issuer": identity.issuer, "subject": identity.subject });
                    // CRASH: before this the user has no roles; it is made and then told of, for its name is settled
                    // by whether it could be made.
                    self.audit(&server(), "user.create", &new.name, &detail).await?;
                    return Ok(new);
                }
                // Either somebody has the name, or the same person came in at the same time elsewhere.
                Err(error) if error.kind() == ErrorKind::Exists => {
                    if let Some(user) = self.catalog.user_of_subject(&subject).await? {
                        return Ok(user);
                    }
                }
                Err(error) => return Err(error.into()),
            }
        }
        let detail = format!("there are {NAMESAKES_MAX} users of the name {name} already");
        Err(Error::new(Code::Conflict, detail).hint("name people by another claim: --sso-name-claim"))
    }

    async fn refresh_roles(&self, user: &UserRow, roles: &[RoleGrant], identity: &Identity) -> Result<()> {
        let (before, after) = (self.catalog.grants(user.id).await?, rows(user.id, roles));
        let has = |all: &[GrantRow], one: &GrantRow| all.contains(one);
        if before.len() == after.len() && after.iter().all(|one| has(&before, one)) {
            return Ok(());
        }
        let detail = json!({ "roles": roles, "subject": identity.subject });
        self.audit(&server(), "user.roles", &user.name, &detail).await?;
        Ok(self.catalog.set_grants(user.id, &after, self.now()).await?)
    }
}

impl Mapping {
    /// Whether a browser may be sent there with a code: to whoever asked, on the host of the browser, or to an address
    /// that the administrator named.
    fn may_be_sent_to(&self, redirect: &str) -> bool {
        self.redirects.iter().any(|one| one == redirect) || is_loopback(redirect)
    }

    /// What the provider calls somebody, as far as it can be a name here.
    fn name_of(&self, identity: &Identity) -> Result<String> {
        let name = identity.text(&self.name_claim).ok_or_else(|| {
            let detail = format!(
                "the provider does not say what they are called: there is no claim {}",
                self.name_claim
            );
            Error::new(Code::Conflict, detail)
                .hint("name another claim by --sso-name-claim, or ask for it by --sso-scope")
        })?;
        Ok(crate::people::as_name(name))
    }
}

fn server() -> Actor {
    Actor("server".to_owned())
}

fn nothing_given(mapping: &Mapping, identity: &Identity) -> Error {
    let who = identity.text(&mapping.name_claim).unwrap_or(&identity.subject);
    let groups = identity.list(&mapping.groups_claim).len();
    let detail = format!("none of the {groups} groups of {who} gives a role here");
    Error::new(Code::Forbidden, detail).hint("ask whoever runs the server to map one: --sso-role GROUP=ROLE")
}

fn told(error: &oidc::Error) -> Error {
    let text = format!("single sign-on: {error}");
    match error.kind() {
        oidc::ErrorKind::Refused => Error::new(Code::Unauthenticated, text).hint("begin anew"),
        oidc::ErrorKind::Unavailable => {
            Error::new(Code::Unavailable, text).hint("try again, or sign in by password")
        }
        oidc::ErrorKind::Settings => Error::new(Code::Unavailable, text)
            .hint("tell whoever runs the server: its --sso settings and the provider do not fit"),
    }
}
