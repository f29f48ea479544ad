//! Sign-ins that somebody has begun elsewhere: at the provider of single sign-on.

use crate::row::{instant, micros, text};
use crate::{Catalog, Error, Result, User};
use jiff::Timestamp;
use sqlx::any::AnyRow;

/// A sign-in that was begun. Nothing in it is secret: whoever finishes it must know what its hashes are of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignIn {
    /// SHA-256 of the state that comes back, in hex.
    pub state_hash: String,
    /// Of the verifier of who began it.
    pub challenge: String,
    /// What the provider's answer must hold.
    pub nonce: String,
    /// Where the browser is sent back to.
    pub redirect: String,
    /// Until when it can be finished.
    pub expires: Timestamp,
}

fn sign_in(row: &AnyRow) -> sqlx::Result<SignIn> {
    Ok(SignIn {
        state_hash: text(row, "state_hash")?,
        challenge: text(row, "challenge")?,
        nonce: text(row, "nonce")?,
        redirect: text(row, "redirect")?,
        expires: instant(row, "expires_at")?,
    })
}

impl Catalog {
    /// Keeps a sign-in, unless there are `most` already.
    pub async fn begin_sign_in(&self, new: &SignIn, most: u32) -> Result<bool> {
        let insert = "insert into sign_ins (state_hash, challenge, nonce, redirect, expires_at)
            select $1, $2, $3, $4, $5 where (select count(*) from sign_ins) < $6";
        let query = sqlx::query(insert).bind(&new.state_hash).bind(&new.challenge).bind(&new.nonce);
        let query = query.bind(&new.redirect).bind(micros(new.expires)).bind(i64::from(most));
        let added = query.execute(&self.pool).await.map_err(|e| Error::sql("keep a sign-in", e))?;
        Ok(added.rows_affected() == 1)
    }

    /// Takes a sign-in out, for whoever knows its state and its verifier; none: it is not there, or no longer. Of two
    /// who ask at once one gets it. Who does not know the verifier takes it from nobody.
    pub async fn take_sign_in(
        &self,
        state_hash: &str,
        challenge: &str,
        now: Timestamp,
    ) -> Result<Option<SignIn>> {
        let delete = "delete from sign_ins where state_hash = $1 and challenge = $2 and expires_at > $3
            returning state_hash, challenge, nonce, redirect, expires_at";
        let query = sqlx::query(delete).bind(state_hash).bind(challenge).bind(micros(now));
        let taken = query.try_map(|row| sign_in(&row)).fetch_optional(&self.pool).await;
        taken.map_err(|e| Error::sql("take a sign-in", e))
    }

    /// Forgets sign-ins that nobody finished in time. Gives how many.
    pub async fn forget_sign_ins(&self, now: Timestamp) -> Result<u64> {
        let query = sqlx::query("delete from sign_ins where expires_at <= $1").bind(micros(now));
        let done = query.execute(&self.pool).await.map_err(|e| Error::sql("forget old sign-ins", e))?;
        Ok(done.rows_affected())
    }

    /// The user who is this to the single sign-on.
    pub async fn user_of_subject(&self, subject: &str) -> Result<Option<User>> {
        let query = sqlx::query("select * from users where subject = $1").bind(subject);
        let found = query.try_map(|row| crate::people::user(&row)).fetch_optional(&self.pool).await;
        found.map_err(|e| Error::sql("find the user of a single sign-on", e))
    }
}
