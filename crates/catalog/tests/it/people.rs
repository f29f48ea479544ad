//! Users, tokens and roles.

use crate::scene::{at, on_both, vault};
use catalog::{ErrorKind, Grant, Token, User};
use model::access::Role;
use uuid::Uuid;

fn user(name: &str) -> User {
    User {
        id: Uuid::now_v7(),
        name: name.into(),
        password: Some("$argon2id$...".into()),
        subject: None,
        disabled: false,
        created: at(0),
    }
}

fn token(user: &User, hash: &str) -> Token {
    Token {
        hash: hash.into(),
        user: user.id,
        name: "laptop".into(),
        kind: "session".into(),
        created: at(0),
        expires: at(100),
        used: None,
    }
}

on_both! {
    a_token_lets_its_bearer_in_until_it_ends_is_taken_away_or_its_user_is_shut_out(catalog) {
        let alice = user("alice");
        catalog.add_user(&alice).await?;
        assert_eq!(catalog.add_user(&user("alice")).await.unwrap_err().kind(), ErrorKind::Exists);
        catalog.add_token(&token(&alice, "h1")).await?;
        catalog.add_token(&token(&alice, "h2")).await?;
        assert_eq!(catalog.bearer("h1", at(99)).await?.as_ref(), Some(&alice));
        assert_eq!(catalog.bearer("h1", at(100)).await?, None);
        assert_eq!(catalog.bearer("h3", at(1)).await?, None);
        assert_eq!(catalog.tokens(alice.id).await?.iter().map(|token| token.used).collect::<Vec<_>>(), [Some(at(99)), None]);
        catalog.remove_token("h1").await?;
        assert_eq!(catalog.bearer("h1", at(1)).await?, None);
        catalog.disable_user(alice.id, true).await?;
        assert_eq!(catalog.bearer("h2", at(1)).await?, None);
        assert!(catalog.user_named("alice").await?.disabled);
        catalog.disable_user(alice.id, false).await?;
        assert!(catalog.bearer("h2", at(1)).await?.is_some());
        assert_eq!(catalog.user_named("bob").await.unwrap_err().kind(), ErrorKind::NotFound);
        Ok(())
    }

    roles_are_given_and_taken_away_for_a_vault_or_for_all(catalog) {
        let alice = user("alice");
        catalog.add_user(&alice).await?;
        let everywhere = Grant { user: alice.id, vault: None, role: Role::BackupReader };
        let one = Grant { user: alice.id, vault: Some(vault("v").id), role: Role::VaultOwner };
        for grant in [&everywhere, &one, &one] {
            catalog.grant(grant).await?;
        }
        assert_eq!(catalog.grants(alice.id).await?, [everywhere.clone(), one.clone()]);
        catalog.revoke(&everywhere).await?;
        assert_eq!(catalog.grants(alice.id).await?, [one]);
        Ok(())
    }
}
