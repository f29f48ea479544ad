//! People, services, and what they may do.

use jiff::Timestamp;
use model::VaultId;
use model::access::Role;
use serde::{Deserialize, Serialize};
use std::fmt;
use utoipa::ToSchema;
use uuid::Uuid;

/// A name and its password.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Credentials {
    /// The user's name.
    pub name: String,
    /// The password.
    pub password: String,
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Credentials({})", self.name)
    }
}

/// A session that began.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Session {
    /// Sent as `Authorization: Bearer TOKEN`. Shown this once.
    pub token: String,
    /// Until when it is good.
    #[schema(value_type = String, format = DateTime)]
    pub expires: Timestamp,
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Session(until {})", self.expires)
    }
}

/// A sign-in at the provider of single sign-on, to be begun.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct BeginSignIn {
    /// Where the provider sends the browser back to: `http://127.0.0.1:PORT/...`, where whoever begins it listens, or an
    /// address that the server was told of.
    #[schema(max_length = 2048)]
    pub redirect: String,
    /// Of a verifier that whoever begins it has drawn and keeps to themselves: its SHA-256 in base64url (RFC 7636).
    #[schema(min_length = 43, max_length = 43)]
    pub challenge: String,
}

/// A sign-in that was begun.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct SignInBegun {
    /// What is to be opened in a browser.
    pub url: String,
    /// What the browser must come back with.
    pub state: String,
    /// Until when it can be finished.
    #[schema(value_type = String, format = DateTime)]
    pub expires: Timestamp,
}

impl fmt::Debug for SignInBegun {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SignInBegun(until {})", self.expires)
    }
}

/// A sign-in to be finished, by what the browser came back with.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct FinishSignIn {
    /// As it came back.
    pub state: String,
    /// As it came back.
    pub code: String,
    /// What the challenge was made of.
    #[schema(min_length = 43, max_length = 128)]
    pub verifier: String,
}

impl fmt::Debug for FinishSignIn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("FinishSignIn")
    }
}

/// Who is signed in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Me {
    /// The user's id.
    #[schema(value_type = Uuid)]
    pub id: Uuid,
    /// The name.
    pub name: String,
    /// What this user may do, and where.
    pub roles: Vec<RoleGrant>,
}

/// A role, given somewhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RoleGrant {
    /// What may be done.
    pub role: Role,
    /// In which vault; none: in all, and where no vault is concerned.
    #[serde(default)]
    pub vault: Option<VaultId>,
}

/// All roles of a user, anew.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Roles {
    /// All of them: what is not listed is taken away.
    #[schema(max_items = 1000)]
    pub roles: Vec<RoleGrant>,
}

/// A person or a service.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct User {
    /// Its id.
    #[schema(value_type = Uuid)]
    pub id: Uuid,
    /// What it signs in by.
    pub name: String,
    /// Whether it has a password; else it comes by single sign-on or by token.
    pub has_password: bool,
    /// Whether it comes by single sign-on: its roles are those of its groups there.
    #[serde(default)]
    pub single_sign_on: bool,
    /// Whether it may not come in for now.
    pub disabled: bool,
    /// What it may do, and where.
    pub roles: Vec<RoleGrant>,
    /// When it was made.
    #[schema(value_type = String, format = DateTime)]
    pub created: Timestamp,
}

/// A user to be made.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewUser {
    /// 1 to 64 characters.
    #[schema(min_length = 1, max_length = 64)]
    pub name: String,
    /// 12 characters at least; none for a service.
    #[serde(default)]
    #[schema(min_length = 12, max_length = 1024)]
    pub password: Option<String>,
    /// What it may do, and where.
    #[serde(default)]
    pub roles: Vec<RoleGrant>,
}

impl fmt::Debug for NewUser {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "NewUser({}, {:?})", self.name, self.roles)
    }
}

/// A change of a user. What is not said stays.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct UserChange {
    /// Shut out, or let in again.
    #[serde(default)]
    pub disabled: Option<bool>,
    /// A new password; ends all sessions.
    #[serde(default)]
    #[schema(min_length = 12, max_length = 1024)]
    pub password: Option<String>,
}

impl fmt::Debug for UserChange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "UserChange(disabled {:?}, password {})", self.disabled, self.password.is_some())
    }
}

/// A token for a service, to be made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewToken {
    /// What it is for.
    #[schema(min_length = 1, max_length = 64)]
    pub name: String,
    /// Days until it expires: 1 to 730.
    #[schema(minimum = 1, maximum = 730)]
    pub days: u16,
}

/// A token that was made.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct TokenMade {
    /// The token. Shown this once.
    pub token: String,
    /// Until when it is good.
    #[schema(value_type = String, format = DateTime)]
    pub expires: Timestamp,
}

impl fmt::Debug for TokenMade {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TokenMade(until {})", self.expires)
    }
}

/// What is known of a token.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct TokenInfo {
    /// Names it; not the token.
    pub id: String,
    /// What it is for.
    pub name: String,
    /// `session`, `token` or `mover`.
    pub kind: String,
    /// When it was made.
    #[schema(value_type = String, format = DateTime)]
    pub created: Timestamp,
    /// Until when it is good.
    #[schema(value_type = String, format = DateTime)]
    pub expires: Timestamp,
    /// When it was last used.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub used: Option<Timestamp>,
}
