//! Who may come in, and what they may do.

use crate::page::{Cursor, Page, with_one_more};
use crate::row::{flag, instant, instant_option, micros, parsed, parsed_option, spelt, text, word};
use crate::{Catalog, Error, ErrorKind, Result};
use jiff::{SignedDuration, Timestamp};
use model::VaultId;
use model::access::Role;
use sqlx::Row;
use sqlx::any::AnyRow;
use sqlx::{Any, Transaction};
use std::collections::HashMap;
use uuid::Uuid;

/// When a token was last used is known to the minute: a note with every request would be a write with every one.
const USE_NOTED: SignedDuration = SignedDuration::from_secs(60);
/// How many users there are whom a role lets in everywhere as owners.
const OWNERS: &str = "select count(*) from grants join users on users.id = grants.user_id
    where grants.role = 'vault_owner' and grants.vault_id = '' and users.disabled = 0";

/// A person or a service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct User {
    /// Its id.
    pub id: Uuid,
    /// What it signs in by.
    pub name: String,
    /// A hash with its parameters and salt; none for those who come by single sign-on or by token.
    pub password: Option<String>,
    /// Who it is to the single sign-on: no two users are the same.
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

/// A statement with its values.
type Query<'q> = sqlx::query::Query<'q, Any, sqlx::any::AnyArguments>;

pub(crate) fn user(row: &AnyRow) -> sqlx::Result<User> {
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

fn grant(row: &AnyRow) -> sqlx::Result<Grant> {
    let (user, vault) = (parsed(row, "user_id")?, parsed_option(row, "vault_id")?);
    Ok(Grant { user, vault, role: word(row, "role")? })
}

fn insert_user(new: &User) -> Query<'_> {
    let insert = "insert into users (id, name, password, subject, disabled, created_at)
        values ($1, $2, $3, $4, $5, $6)";
    let query = sqlx::query(insert).bind(new.id.to_string()).bind(&new.name).bind(&new.password);
    query.bind(&new.subject).bind(i64::from(new.disabled)).bind(micros(new.created))
}

fn insert_grant(grant: &Grant) -> Query<'static> {
    let insert = "insert into grants (user_id, vault_id, role) values ($1, $2, $3)
        on conflict (user_id, vault_id, role) do nothing";
    let vault = grant.vault.map(|id| id.to_string()).unwrap_or_default();
    sqlx::query(insert).bind(grant.user.to_string()).bind(vault).bind(spelt(&grant.role))
}

async fn owners(work: &mut Transaction<'static, Any>) -> sqlx::Result<i64> {
    sqlx::query(OWNERS).fetch_one(&mut **work).await?.try_get(0)
}

/// Somebody must be left who can give roles: without, nobody ever could again.
fn keep_an_owner(before: i64, after: i64) -> Result<()> {
    if before > 0 && after == 0 {
        let text = "nobody would be left who owns everything, and could give roles";
        return Err(Error::new(ErrorKind::Invalid, text));
    }
    Ok(())
}

impl Catalog {
    /// Adds a user.
    ///
    /// # Errors
    /// `Exists` when the name is taken.
    pub async fn add_user(&self, new: &User) -> Result<()> {
        let added = insert_user(new).execute(&self.pool).await;
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

    /// A user by its id.
    ///
    /// # Errors
    /// `NotFound`.
    pub async fn user(&self, id: Uuid) -> Result<User> {
        let query = sqlx::query("select * from users where id = $1").bind(id.to_string());
        let found = query.try_map(|row| user(&row)).fetch_one(&self.pool).await;
        found.map_err(|e| Error::sql(format!("find the user {id}"), e))
    }

    /// Adds a user who owns everything, if there is nobody yet whose name does not begin with `besides`.
    ///
    /// # Errors
    /// `Exists` when there is somebody.
    pub async fn add_first_user(&self, new: &User, besides: &str) -> Result<()> {
        let context = "add the first user";
        let mut work = self.begin_people(new.created).await.map_err(|e| Error::sql(context, e))?;
        let count = sqlx::query("select count(*) as n from users where substr(name, 1, $1) <> $2");
        let count = count.bind(i32::try_from(besides.len()).unwrap_or(i32::MAX)).bind(besides);
        let row = count.fetch_one(&mut *work).await.map_err(|e| Error::sql(context, e))?;
        if row.try_get::<i64, _>(0).map_err(|e| Error::sql(context, e))? > 0 {
            return Err(Error::new(ErrorKind::Exists, format!("{context}: there are users already")));
        }
        let owner = Grant { user: new.id, vault: None, role: Role::VaultOwner };
        let done = async {
            insert_user(new).execute(&mut *work).await?;
            insert_grant(&owner).execute(&mut *work).await?;
            work.commit().await
        };
        done.await.map_err(|e| Error::sql(context, e))
    }

    /// A page of the users with their roles, by name, without those whose name begins with `besides`.
    pub async fn users(
        &self,
        besides: &str,
        after: Option<&Cursor>,
        limit: u32,
    ) -> Result<Page<(User, Vec<Grant>)>> {
        let (name, id) = after.map_or(("", ""), |after| (&after.key, &after.id));
        let select = "select * from users where (name, id) > ($1, $2) and substr(name, 1, $3) <> $4
            order by name, id limit $5";
        let query = sqlx::query(select).bind(name).bind(id);
        let query = query.bind(i32::try_from(besides.len()).unwrap_or(i32::MAX)).bind(besides);
        let query = query.bind(with_one_more(limit)).try_map(|row| user(&row));
        let users = query.fetch_all(&self.pool).await.map_err(|e| Error::sql("list the users", e))?;
        let page = Page::of(users, limit, |user| Cursor { key: user.name.clone(), id: user.id.to_string() });
        let (Some(first), Some(last)) = (page.rows.first(), page.rows.last()) else {
            return Ok(Page { rows: Vec::new(), next: None });
        };
        let select = "select user_id, nullif(vault_id, '') as vault_id, role from grants
            where user_id in (select id from users where name between $1 and $2)
            order by grants.vault_id, role";
        let query = sqlx::query(select).bind(&first.name).bind(&last.name).try_map(|row| grant(&row));
        let grants = query.fetch_all(&self.pool).await.map_err(|e| Error::sql("list the roles", e))?;
        let mut of: HashMap<Uuid, Vec<Grant>> = HashMap::new();
        for grant in grants {
            of.entry(grant.user).or_default().push(grant);
        }
        let rows = page.rows.into_iter().map(|user| {
            let grants = of.remove(&user.id).unwrap_or_default();
            (user, grants)
        });
        Ok(Page { rows: rows.collect(), next: page.next })
    }

    /// Shuts a user out at once, sessions and tokens included, or lets it in again.
    ///
    /// # Errors
    /// `NotFound`; `Invalid` if nobody would be left who owns everything.
    pub async fn disable_user(&self, id: Uuid, disabled: bool, now: Timestamp) -> Result<()> {
        let context = format!("disable the user {id}");
        let failed = |e| Error::sql(&context, e);
        let mut work = self.begin_people(now).await.map_err(failed)?;
        let before = owners(&mut work).await.map_err(failed)?;
        let update = sqlx::query("update users set disabled = $1 where id = $2 returning id");
        let update = update.bind(i64::from(disabled)).bind(id.to_string());
        update.fetch_one(&mut *work).await.map_err(failed)?;
        keep_an_owner(before, owners(&mut work).await.map_err(failed)?)?;
        work.commit().await.map_err(failed)
    }

    /// Gives a user another password, and ends its sessions.
    ///
    /// # Errors
    /// `NotFound`.
    pub async fn set_password(&self, id: Uuid, hash: &str) -> Result<()> {
        let done = async {
            let mut work = self.begin().await?;
            let update = sqlx::query("update users set password = $1 where id = $2 returning id");
            update.bind(hash).bind(id.to_string()).fetch_one(&mut *work).await?;
            let end = sqlx::query("delete from tokens where user_id = $1 and kind = 'session'");
            end.bind(id.to_string()).execute(&mut *work).await?;
            work.commit().await
        };
        done.await.map_err(|e| Error::sql(format!("set the password of the user {id}"), e))
    }

    /// Gives a user these roles and no others.
    ///
    /// # Errors
    /// `NotFound`; `Invalid` if nobody would be left who owns everything.
    pub async fn set_grants(&self, id: Uuid, grants: &[Grant], now: Timestamp) -> Result<()> {
        let context = format!("set the roles of the user {id}");
        let failed = |e| Error::sql(&context, e);
        let mut work = self.begin_people(now).await.map_err(failed)?;
        let before = owners(&mut work).await.map_err(failed)?;
        let there = sqlx::query("select id from users where id = $1").bind(id.to_string());
        there.fetch_one(&mut *work).await.map_err(failed)?;
        let clear = sqlx::query("delete from grants where user_id = $1").bind(id.to_string());
        clear.execute(&mut *work).await.map_err(failed)?;
        for grant in grants {
            insert_grant(grant).execute(&mut *work).await.map_err(failed)?;
        }
        keep_an_owner(before, owners(&mut work).await.map_err(failed)?)?;
        work.commit().await.map_err(failed)
    }

    /// Begins to change who owns what: one at a time, so that two who each take the other's role away do not both
    /// find that one is left.
    async fn begin_people(&self, now: Timestamp) -> sqlx::Result<Transaction<'static, Any>> {
        let mut work = self.begin().await?;
        let hold = "insert into subjects (subject, touched_at) values ('people', $1)
            on conflict (subject) do update set touched_at = excluded.touched_at";
        sqlx::query(hold).bind(micros(now)).execute(&mut *work).await?;
        Ok(work)
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
    pub async fn bearer(&self, hash: &str, now: Timestamp) -> Result<Option<(User, Token)>> {
        let failed = |e| Error::sql("look for the bearer of a token", e);
        let select = "select * from tokens where hash = $1 and expires_at > $2";
        let query = sqlx::query(select).bind(hash).bind(micros(now)).try_map(|row| token(&row));
        let Some(token) = query.fetch_optional(&self.pool).await.map_err(failed)? else { return Ok(None) };
        let query = sqlx::query("select * from users where id = $1 and disabled = 0");
        let query = query.bind(token.user.to_string()).try_map(|row| user(&row));
        let Some(user) = query.fetch_optional(&self.pool).await.map_err(failed)? else { return Ok(None) };
        if token.used.is_none_or(|used| used.duration_until(now) >= USE_NOTED) {
            let query = sqlx::query("update tokens set used_at = $1 where hash = $2");
            query.bind(micros(now)).bind(hash).execute(&self.pool).await.map_err(failed)?;
        }
        Ok(Some((user, token)))
    }

    /// Forgets tokens that are no longer good. Gives how many.
    pub async fn forget_tokens(&self, now: Timestamp) -> Result<u64> {
        let query = sqlx::query("delete from tokens where expires_at <= $1").bind(micros(now));
        let done = query.execute(&self.pool).await.map_err(|e| Error::sql("forget old tokens", e))?;
        Ok(done.rows_affected())
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
        let given = insert_grant(grant).execute(&self.pool).await;
        given.map(drop).map_err(|e| Error::sql("give a role", e))
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
        let query = query.bind(of.to_string()).try_map(|row| grant(&row));
        query.fetch_all(&self.pool).await.map_err(|e| Error::sql("list the roles", e))
    }
}
