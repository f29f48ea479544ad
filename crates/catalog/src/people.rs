//! Who may come in, and what they may do.

use crate::row::{flag, instant, instant_option, micros, parsed, parsed_option, spelt, text, word};
use crate::{Catalog, Error, Result};
use jiff::Timestamp;
use model::VaultId;
use model::access::Role;
use sqlx::Row;
use sqlx::any::AnyRow;
use uuid::Uuid;

/// A person or a service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct User {
    /// Its id.
    pub id: Uuid,
    /// What it signs in by.
    pub name: String,
    /// A hash with its parameters and salt; none for those who come by single sign-on or by token.
    pub password: Option<String>,
    /// Who it is to the single sign-on.
    pub subject: Option<String>,
    /// Whether it may not come in for now.
    pub disabled: bool,
    /// When it was made.
    pub created: Timestamp,
}

/// A session or a service's token. The token itself is known to its bearer alone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Token {
    /// SHA-256 of the token, in hex.
    pub hash: String,
    /// Whose.
    pub user: Uuid,
    /// What it is for.
    pub name: String,
    /// `session`, `token`...
    pub kind: String,
    /// When it was made.
    pub created: Timestamp,
    /// Until when it is good.
    pub expires: Timestamp,
    /// When it was last used.
    pub used: Option<Timestamp>,
}

/// A role somebody has in a vault, or in all.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grant {
    /// Who.
    pub user: Uuid,
    /// Where; `None` is everywhere.
    pub vault: Option<VaultId>,
    /// What.
    pub role: Role,
}

fn user(row: &AnyRow) -> sqlx::Result<User> {
    Ok(User {
        id: parsed(row, "id")?,
        name: text(row, "name")?,
        password: row.try_get("password")?,
        subject: row.try_get("subject")?,
        disabled: flag(row, "disabled")?,
        created: instant(row, "created_at")?,
    })
}

fn token(row: &AnyRow) -> sqlx::Result<Token> {
    Ok(Token {
        hash: text(row, "hash")?,
        user: parsed(row, "user_id")?,
        name: text(row, "name")?,
        kind: text(row, "kind")?,
        created: instant(row, "created_at")?,
        expires: instant(row, "expires_at")?,
        used: instant_option(row, "used_at")?,
    })
}

impl Catalog {
    /// Adds a user.
    ///
    /// # Errors
    /// `Exists` when the name is taken.
    pub async fn add_user(&self, new: &User) -> Result<()> {
        let insert = "insert into users (id, name, password, subject, disabled, created_at)
            values ($1, $2, $3, $4, $5, $6)";
        let query = sqlx::query(insert).bind(new.id.to_string()).bind(&new.name).bind(&new.password);
        let query = query.bind(&new.subject).bind(i64::from(new.disabled)).bind(micros(new.created));
        let added = query.execute(&self.pool).await;
        added.map(drop).map_err(|e| Error::sql(format!("add the user {}", new.name), e))
    }

    /// A user by the name it signs in by.
    ///
    /// # Errors
    /// `NotFound`.
    pub async fn user_named(&self, name: &str) -> Result<User> {
        let query = sqlx::query("select * from users where name = $1").bind(name);
        let found = query.try_map(|row| user(&row)).fetch_one(&self.pool).await;
        found.map_err(|e| Error::sql(format!("find the user {name}"), e))
    }

    /// All users, by name.
    pub async fn users(&self) -> Result<Vec<User>> {
        let query = sqlx::query("select * from users order by name, id").try_map(|row| user(&row));
        query.fetch_all(&self.pool).await.map_err(|e| Error::sql("list the users", e))
    }

    /// Shuts a user out at once, sessions and tokens included, or lets it in again.
    ///
    /// # Errors
    /// `NotFound`.
    pub async fn disable_user(&self, id: Uuid, disabled: bool) -> Result<()> {
        let query = sqlx::query("update users set disabled = $1 where id = $2 returning id");
        let done = query.bind(i64::from(disabled)).bind(id.to_string()).fetch_one(&self.pool).await;
        done.map(drop).map_err(|e| Error::sql(format!("disable the user {id}"), e))
    }

    /// Keeps a token's hash.
    pub async fn add_token(&self, new: &Token) -> Result<()> {
        let insert = "insert into tokens (hash, user_id, name, kind, created_at, expires_at, used_at)
            values ($1, $2, $3, $4, $5, $6, $7)";
        let query = sqlx::query(insert).bind(&new.hash).bind(new.user.to_string()).bind(&new.name);
        let query = query.bind(&new.kind).bind(micros(new.created)).bind(micros(new.expires));
        let added = query.bind(new.used.map(micros)).execute(&self.pool).await;
        added.map(drop).map_err(|e| Error::sql("keep a token", e))
    }

    /// Whose token this is, if it is good now and its bearer may come in; notes its use.
    pub async fn bearer(&self, hash: &str, now: Timestamp) -> Result<Option<User>> {
        let context = "look for the bearer of a token";
        let update = "update tokens set used_at = $1 where hash = $2 and expires_at > $1";
        let query = sqlx::query(update).bind(micros(now)).bind(hash);
        let known = query.execute(&self.pool).await.map_err(|e| Error::sql(context, e))?;
        if known.rows_affected() == 0 {
            return Ok(None);
        }
        let select = "select users.* from users join tokens on tokens.user_id = users.id
            where tokens.hash = $1 and users.disabled = 0";
        let query = sqlx::query(select).bind(hash).try_map(|row| user(&row));
        query.fetch_optional(&self.pool).await.map_err(|e| Error::sql(context, e))
    }

    /// The tokens of a user, newest first.
    pub async fn tokens(&self, of: Uuid) -> Result<Vec<Token>> {
        let query = sqlx::query("select * from tokens where user_id = $1 order by created_at desc, hash");
        let query = query.bind(of.to_string()).try_map(|row| token(&row));
        query.fetch_all(&self.pool).await.map_err(|e| Error::sql("list the tokens", e))
    }

    /// Makes a token worthless. That it was so already is no error.
    pub async fn remove_token(&self, hash: &str) -> Result<()> {
        let done = sqlx::query("delete from tokens where hash = $1").bind(hash).execute(&self.pool).await;
        done.map(drop).map_err(|e| Error::sql("remove a token", e))
    }

    /// Gives a role. That it was given already is no error.
    pub async fn grant(&self, grant: &Grant) -> Result<()> {
        let insert = "insert into grants (user_id, vault_id, role) values ($1, $2, $3)
            on conflict (user_id, vault_id, role) do nothing";
        let vault = grant.vault.map(|id| id.to_string()).unwrap_or_default();
        let query = sqlx::query(insert).bind(grant.user.to_string()).bind(vault).bind(spelt(&grant.role));
        query.execute(&self.pool).await.map(drop).map_err(|e| Error::sql("give a role", e))
    }

    /// Takes a role away.
    pub async fn revoke(&self, grant: &Grant) -> Result<()> {
        let delete = "delete from grants where user_id = $1 and vault_id = $2 and role = $3";
        let vault = grant.vault.map(|id| id.to_string()).unwrap_or_default();
        let query = sqlx::query(delete).bind(grant.user.to_string()).bind(vault).bind(spelt(&grant.role));
        query.execute(&self.pool).await.map(drop).map_err(|e| Error::sql("take a role away", e))
    }

    /// All that a user may do.
    pub async fn grants(&self, of: Uuid) -> Result<Vec<Grant>> {
        let query = sqlx::query(
            "select user_id, nullif(vault_id, '') as vault_id, role from grants where user_id = $1
            order by grants.vault_id, role",
        );
        let query = query.bind(of.to_string()).try_map(|row: AnyRow| {
            let (user, vault) = (parsed(&row, "user_id")?, parsed_option(&row, "vault_id")?);
            Ok(Grant { user, vault, role: word(&row, "role")? })
        });
        query.fetch_all(&self.pool).await.map_err(|e| Error::sql("list the roles", e))
    }
}
