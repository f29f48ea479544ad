//! People and services: who gives them what.
//!
//! **Nobody gains by a role what the role does not give**: whoever gives roles in a vault gives and takes them there
//! alone, and may change another's password, tokens and standing only if they could take all of that user's roles.

use crate::secret::{TokenKind, hash_password};
use crate::sign_in::PASSWORD_BYTES_MAX;
use crate::{Actor, Control, Error, Result};
use api::{Code, NewToken, NewUser, Page, RoleGrant, Roles, TokenInfo, TokenMade, User, UserChange};
use catalog::{ErrorKind, Grant as GrantRow, Token, User as UserRow};
use jiff::SignedDuration;
use model::VaultId;
use model::access::{Action, Grant, Scope, may};
use serde_json::json;
use uuid::Uuid;
use zeroize::Zeroizing;

/// With longer ones nobody would ever look at what is still needed.
const TOKEN_DAYS_MAX: u16 = 730;
/// A user that makes tokens in a loop stops here.
const TOKENS_MAX: usize = 100;
/// Whoever leaves is out where they come from, and is never seen here again: what they had made must end by itself.
/// Services have users of their own.
const TOKEN_DAYS_MAX_OF_SSO: u16 = 30;
const ROLES_MAX: usize = 1000;
const NAME_CHARS_MAX: usize = 64;
/// What the API allows to guess is limited; twelve is beyond what leaked lists hold.
const PASSWORD_CHARS_MIN: usize = 12;
/// Movers are users of their own, by names that nobody else can have: `:` stands in no other.
pub(crate) const MOVER: &str = "mover:";

/// Who asks, and with what rights.
#[derive(Clone, Debug)]
pub struct Asker {
    /// For the audit log.
    pub actor: Actor,
    /// The user.
    pub user: Uuid,
    /// Whether somebody signed in for it, rather than that a service's token was shown.
    pub is_session: bool,
    /// What it may do.
    pub grants: Vec<Grant>,
}

impl Asker {
    /// Whether the asker may do that in the vault; none: where no vault is concerned.
    pub fn may(&self, action: Action, vault: Option<VaultId>) -> bool {
        may(&self.grants, action, vault)
    }

    /// The same, as an error.
    ///
    /// # Errors
    /// `Forbidden`.
    pub fn needs(&self, action: Action, vault: Option<VaultId>) -> Result<()> {
        self.may(action, vault).then_some(()).ok_or_else(|| {
            let place = vault.map_or("everywhere".to_owned(), |vault| format!("in vault {vault}"));
            forbidden(format!("{} has no role for this {place}", self.actor.0))
        })
    }

    /// Whether the asker could take all of somebody's roles.
    fn governs(&self, roles: &[GrantRow]) -> bool {
        let everywhere = self.may(Action::GrantAccess, None);
        everywhere || !roles.is_empty() && roles.iter().all(|one| self.may(Action::GrantAccess, one.vault))
    }
}

fn forbidden(detail: String) -> Error {
    Error::new(Code::Forbidden, detail).hint("ask a vault owner for a role: `strongroom user grant`")
}

/// Users and what they may do.
impl Control {
    /// A page of the users, by name.
    ///
    /// # Errors
    /// `Invalid` if `after` is no place in them.
    pub async fn users(&self, after: Option<&str>, limit: u32) -> Result<Page<User>> {
        let place = after.map(str::parse).transpose();
        let place = place
            .map_err(|_: catalog::Error| Error::invalid("after", "as `next` of an earlier page said"))?;
        let page = self.catalog.users(MOVER, place.as_ref(), limit).await?;
        let items = page.rows.into_iter().map(|(user, grants)| shown(user, &grants)).collect();
        Ok(Page { items, next: page.next.map(|next| next.to_string()) })
    }

    /// Makes a user.
    ///
    /// # Errors
    /// `Invalid`; `Exists`; `Forbidden` for roles that the asker may not give.
    pub async fn create_user(&self, by: &Asker, new: NewUser) -> Result<User> {
        check_name(&new.name)?;
        let password = new.password.map(Zeroizing::new);
        password.as_ref().map_or(Ok(()), |password| check_password(password))?;
        check_roles_count(&new.roles)?;
        self.check_gift(by, &new.roles).await?;
        let hash = match &password {
            Some(password) => Some(hash_password(password).await?),
            None => None,
        };
        let user = self.new_user(new.name, hash);
        let grants = rows(user.id, &new.roles);
        self.audit(&by.actor, "user.create", &user.name, &json!({ "roles": new.roles })).await?;
        self.catalog.add_user(&user).await?;
        // CRASH: here it leaves a user without roles, who may do nothing.
        self.catalog.set_grants(user.id, &grants, self.now()).await?;
        Ok(shown(user, &grants))
    }

    /// Changes a user: shuts it out, lets it in, gives it another password.
    ///
    /// # Errors
    /// `Invalid`; `NotFound`; `Forbidden`; `Conflict` if nobody would be left who owns everything.
    pub async fn change_user(&self, by: &Asker, id: Uuid, change: UserChange) -> Result<User> {
        let (user, grants) = self.user_for(by, id).await?;
        let of_itself = user.id == by.user && by.is_session && change.disabled.is_none();
        if !of_itself && !by.governs(&grants) {
            return Err(forbidden(format!("{} may not change {}", by.actor.0, user.name)));
        }
        let password = change.password.map(Zeroizing::new);
        password.as_ref().map_or(Ok(()), |password| check_password(password))?;
        if password.is_some() {
            not_by_sso(&user, "has no password")?;
        }
        let detail = json!({ "disabled": change.disabled, "password": password.is_some() });
        self.audit(&by.actor, "user.change", &user.name, &detail).await?;
        if let Some(disabled) = change.disabled {
            self.catalog.disable_user(id, disabled, self.now()).await?;
        }
        if let Some(password) = password {
            self.catalog.set_password(id, &hash_password(&password).await?).await?;
        }
        Ok(shown(self.catalog.user(id).await?, &grants))
    }

    /// Gives a user these roles and no others. What is given and what is taken must be the asker's to give.
    ///
    /// # Errors
    /// `Invalid`; `NotFound`; `Forbidden`; `Conflict` if nobody would be left who owns everything.
    pub async fn set_roles(&self, by: &Asker, id: Uuid, roles: &Roles) -> Result<User> {
        let (user, before) = self.user_for(by, id).await?;
        not_by_sso(&user, "has the roles that its groups give it")?;
        let after = rows(id, &roles.roles);
        check_roles_count(&roles.roles)?;
        let given: Vec<_> = after.iter().filter(|one| !before.contains(one)).map(role_grant).collect();
        self.check_gift(by, &given).await?;
        let mut taken = before.iter().filter(|one| !after.contains(one));
        taken.try_for_each(|one| by.needs(Action::GrantAccess, one.vault))?;
        self.audit(&by.actor, "user.roles", &user.name, &json!({ "roles": roles.roles })).await?;
        self.catalog.set_grants(id, &after, self.now()).await?;
        Ok(shown(user, &self.catalog.grants(id).await?))
    }

    /// A page of a user's tokens. There are few: all are on the first.
    ///
    /// # Errors
    /// `NotFound`; `Forbidden`.
    pub async fn tokens(&self, by: &Asker, user: Uuid) -> Result<Page<TokenInfo>> {
        self.user_whose_tokens(by, user).await?;
        let tokens = self.catalog.tokens(user).await?.into_iter().filter(|token| token.expires > self.now());
        Ok(Page { items: tokens.map(info).collect(), next: None })
    }

    /// Makes a token for a service.
    ///
    /// # Errors
    /// `Invalid`; `NotFound`; `Forbidden`; `Conflict` when there are too many.
    pub async fn create_token(&self, by: &Asker, user: Uuid, new: &NewToken) -> Result<TokenMade> {
        let user = self.user_whose_tokens(by, user).await?;
        if !by.is_session {
            return Err(forbidden("a token makes no tokens: it would outlive itself".to_owned()));
        }
        let most = if user.subject.is_some() { TOKEN_DAYS_MAX_OF_SSO } else { TOKEN_DAYS_MAX };
        if !(1..=most).contains(&new.days) {
            return Err(Error::invalid("/days", format!("1 to {most}")));
        }
        if !is_name(&new.name) {
            return Err(Error::invalid("/name", name_rule()));
        }
        let kept = self.catalog.tokens(user.id).await?;
        if kept.iter().filter(|token| token.kind == TokenKind::Token.word()).count() >= TOKENS_MAX {
            let detail = format!("{} has {TOKENS_MAX} tokens", user.name);
            return Err(Error::new(Code::Conflict, detail).hint("take one away that is no longer used"));
        }
        self.audit(&by.actor, "token.create", &user.name, &json!({ "token": new.name, "days": new.days }))
            .await?;
        let lasts = SignedDuration::from_hours(24 * i64::from(new.days));
        let (token, expires) = self.make_token(user.id, &new.name, TokenKind::Token, lasts).await?;
        Ok(TokenMade { token, expires })
    }

    /// Makes a token, or a session, worthless.
    ///
    /// # Errors
    /// `NotFound`; `Forbidden`.
    pub async fn remove_token(&self, by: &Asker, user: Uuid, token: &str) -> Result<()> {
        let user = self.user_whose_tokens(by, user).await?;
        let kept = self.catalog.tokens(user.id).await?.into_iter().find(|kept| kept.hash == token);
        let kept = kept.ok_or_else(|| Error::not_found("such token of this user"))?;
        self.audit(&by.actor, "token.remove", &user.name, &json!({ "token": kept.name })).await?;
        Ok(self.catalog.remove_token(token).await?)
    }

    /// Whether these roles are the asker's to give, and the vaults are there.
    async fn check_gift(&self, by: &Asker, roles: &[RoleGrant]) -> Result<()> {
        for one in roles {
            by.needs(Action::GrantAccess, one.vault)?;
            let Some(vault) = one.vault else { continue };
            self.catalog.vault(vault).await.map_err(|error| match error.kind() {
                ErrorKind::NotFound => Error::invalid("/roles", format!("there is no vault {vault}")),
                _ => error.into(),
            })?;
        }
        Ok(())
    }

    /// A user whom the asker may know of: itself, or anybody for those who give roles.
    async fn user_for(&self, by: &Asker, id: Uuid) -> Result<(UserRow, Vec<GrantRow>)> {
        let gives = by.grants.iter().any(|grant| grant.role.includes(Action::GrantAccess));
        let nobody = || Error::not_found(format!("user {id}"));
        let user = match self.catalog.user(id).await {
            Ok(user) if (gives || id == by.user) && !user.name.starts_with(MOVER) => user,
            Ok(_) => return Err(nobody()),
            Err(error) if error.kind() == ErrorKind::NotFound => return Err(nobody()),
            Err(error) => return Err(error.into()),
        };
        Ok((user, self.catalog.grants(id).await?))
    }

    async fn user_whose_tokens(&self, by: &Asker, id: Uuid) -> Result<UserRow> {
        let (user, grants) = self.user_for(by, id).await?;
        match id == by.user || by.governs(&grants) {
            true => Ok(user),
            false => Err(forbidden(format!("{} may not see the tokens of {}", by.actor.0, user.name))),
        }
    }

    pub(crate) fn new_user(&self, name: String, password: Option<String>) -> UserRow {
        UserRow { id: self.draw(), name, password, subject: None, disabled: false, created: self.now() }
    }
}

pub(crate) fn grant(row: &GrantRow) -> Grant {
    let scope = row.vault.map_or(Scope::Everything {}, |vault| Scope::Vault { vault });
    Grant { role: row.role, scope }
}

pub(crate) fn rows(user: Uuid, roles: &[RoleGrant]) -> Vec<GrantRow> {
    let mut rows: Vec<_> =
        roles.iter().map(|one| GrantRow { user, vault: one.vault, role: one.role }).collect();
    rows.sort_by_key(|one| (one.vault, one.role));
    rows.dedup();
    rows
}

fn role_grant(row: &GrantRow) -> RoleGrant {
    RoleGrant { role: row.role, vault: row.vault }
}

fn shown(user: UserRow, grants: &[GrantRow]) -> User {
    let roles = grants.iter().map(role_grant).collect();
    User {
        id: user.id,
        name: user.name,
        has_password: user.password.is_some(),
        single_sign_on: user.subject.is_some(),
        disabled: user.disabled,
        roles,
        created: user.created,
    }
}

fn info(token: Token) -> TokenInfo {
    TokenInfo {
        id: token.hash,
        name: token.name,
        kind: token.kind,
        created: token.created,
        expires: token.expires,
        used: token.used,
    }
}

fn name_rule() -> String {
    format!("1 to {NAME_CHARS_MAX} letters, digits, and any of . _ - @ + and spaces inside")
}

fn is_name(name: &str) -> bool {
    let length = name.chars().count();
    (1..=NAME_CHARS_MAX).contains(&length) && name.chars().all(may_stand_in_name) && name.trim() == name
}

fn may_stand_in_name(c: char) -> bool {
    c.is_alphanumeric() || "._-@+ ".contains(c)
}

/// What somebody is called elsewhere, as a name here: with `-` for what cannot stand in one, and with room for a number
/// behind it.
pub(crate) fn as_name(text: &str) -> String {
    let good = text.chars().map(|c| if may_stand_in_name(c) { c } else { '-' });
    let name: String = good.take(NAME_CHARS_MAX - 4).collect();
    match name.trim() {
        "" => "-".to_owned(),
        name => name.to_owned(),
    }
}

/// Fails for those who come by single sign-on: what is settled there must not be settled here as well.
fn not_by_sso(user: &UserRow, has: &str) -> Result<()> {
    if user.subject.is_none() {
        return Ok(());
    }
    let detail = format!("{} comes by single sign-on, and {has}", user.name);
    Err(Error::new(Code::Conflict, detail)
        .hint("change it where they come from, or shut them out: `strongroom user disable`"))
}

pub(crate) fn check_name(name: &str) -> Result<()> {
    is_name(name).then_some(()).ok_or_else(|| Error::invalid("/name", name_rule()))
}

fn check_password(password: &str) -> Result<()> {
    let is_good = password.chars().count() >= PASSWORD_CHARS_MIN && password.len() <= PASSWORD_BYTES_MAX;
    let rule = || format!("{PASSWORD_CHARS_MIN} characters at least, {PASSWORD_BYTES_MAX} bytes at most");
    is_good.then_some(()).ok_or_else(|| Error::invalid("/password", rule()))
}

fn check_roles_count(roles: &[RoleGrant]) -> Result<()> {
    let rule = || format!("{ROLES_MAX} at most");
    (roles.len() <= ROLES_MAX).then_some(()).ok_or_else(|| Error::invalid("/roles", rule()))
}
