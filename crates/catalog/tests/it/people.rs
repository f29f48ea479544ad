//! Users, tokens and roles.

use crate::scene::{at, on_both, vault};
use catalog::{ErrorKind, Grant, SignIn, Token, User};
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
        assert_eq!(catalog.bearer("h1", at(99)).await?, Some((alice.clone(), token(&alice, "h1"))));
        assert_eq!(catalog.bearer("h1", at(100)).await?, None);
        assert_eq!(catalog.bearer("h3", at(1)).await?, None);
        assert_eq!(catalog.tokens(alice.id).await?.iter().map(|token| token.used).collect::<Vec<_>>(), [Some(at(99)), None]);
        // Another use within the minute is not noted.
        assert!(catalog.bearer("h2", at(10)).await?.is_some() && catalog.bearer("h2", at(69)).await?.is_some());
        assert_eq!(catalog.tokens(alice.id).await?[1].used, Some(at(10)));
        assert!(catalog.bearer("h2", at(70)).await?.is_some());
        assert_eq!(catalog.tokens(alice.id).await?[1].used, Some(at(70)));
        catalog.remove_token("h1").await?;
        assert_eq!(catalog.bearer("h1", at(1)).await?, None);
        catalog.disable_user(alice.id, true, at(2)).await?;
        assert_eq!(catalog.bearer("h2", at(1)).await?, None);
        assert!(catalog.user_named("alice").await?.disabled);
        catalog.disable_user(alice.id, false, at(3)).await?;
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

    somebody_is_always_left_who_owns_everything(catalog) {
        let (alice, bob) = (user("alice"), user("bob"));
        catalog.add_first_user(&alice, "mover:").await?;
        assert_eq!(catalog.add_first_user(&bob, "mover:").await.unwrap_err().kind(), ErrorKind::Exists);
        catalog.add_user(&bob).await?;
        let owns = |user: &User| Grant { user: user.id, vault: None, role: Role::VaultOwner };
        assert_eq!(catalog.grants(alice.id).await?, [owns(&alice)]);
        let refused = [
            catalog.disable_user(alice.id, true, at(1)).await,
            catalog.set_grants(alice.id, &[], at(1)).await,
        ];
        for refused in refused {
            assert_eq!(refused.unwrap_err().kind(), ErrorKind::Invalid);
        }
        assert_eq!(catalog.grants(alice.id).await?, [owns(&alice)], "what was refused has changed nothing");
        catalog.set_grants(bob.id, &[owns(&bob)], at(2)).await?;
        // Both at once: one of them finds that nobody would be left.
        let (one, two) = tokio::join!(
            catalog.set_grants(alice.id, &[], at(3)),
            catalog.disable_user(bob.id, true, at(3)),
        );
        assert!(one.is_ok() != two.is_ok(), "{one:?} {two:?}");
        assert_eq!(catalog.set_grants(Uuid::now_v7(), &[], at(4)).await.unwrap_err().kind(), ErrorKind::NotFound);
        Ok(())
    }

    a_new_password_ends_the_sessions_and_leaves_the_tokens_of_services(catalog) {
        let alice = user("alice");
        catalog.add_user(&alice).await?;
        catalog.add_token(&token(&alice, "h1")).await?;
        catalog.add_token(&Token { kind: "token".into(), ..token(&alice, "h2") }).await?;
        catalog.set_password(alice.id, "new").await?;
        assert_eq!(catalog.user(alice.id).await?.password.as_deref(), Some("new"));
        assert!(catalog.bearer("h1", at(1)).await?.is_none() && catalog.bearer("h2", at(1)).await?.is_some());
        assert_eq!(catalog.forget_tokens(at(100)).await?, 1);
        assert!(catalog.tokens(alice.id).await?.is_empty());
        Ok(())
    }

    a_sign_in_is_finished_once_in_time_and_by_who_began_it(catalog) {
        let sign_in = |state: &str| SignIn {
            state_hash: state.into(),
            challenge: "c".into(),
            nonce: "n".into(),
            redirect: "http://127.0.0.1:1/".into(),
            expires: at(10),
        };
        for state in ["one", "two", "three"] {
            assert!(catalog.begin_sign_in(&sign_in(state), 3).await?);
        }
        assert!(!catalog.begin_sign_in(&sign_in("four"), 3).await?, "there are enough");
        assert_eq!(catalog.take_sign_in("one", "another", at(1)).await?, None);
        let (first, second) =
            tokio::join!(catalog.take_sign_in("one", "c", at(1)), catalog.take_sign_in("one", "c", at(1)));
        assert!([&first?, &second?].into_iter().flatten().eq([&sign_in("one")]), "one of them gets it");
        assert_eq!(catalog.take_sign_in("two", "c", at(10)).await?, None, "too late");
        assert_eq!(catalog.forget_sign_ins(at(9)).await?, 0);
        assert_eq!(catalog.forget_sign_ins(at(10)).await?, 2);
        Ok(())
    }

    a_subject_is_one_user(catalog) {
        let alice = User { subject: Some("https://id.example#1".into()), ..user("alice") };
        catalog.add_user(&alice).await?;
        let twin = User { subject: alice.subject.clone(), ..user("twin") };
        assert_eq!(catalog.add_user(&twin).await.unwrap_err().kind(), ErrorKind::Exists);
        assert_eq!(catalog.user_of_subject("https://id.example#1").await?, Some(alice));
        assert_eq!(catalog.user_of_subject("https://id.example#2").await?, None);
        Ok(())
    }

    users_are_listed_by_pages_with_their_roles_and_without_movers(catalog) {
        for name in ["carol", "mover:one", "alice", "bob"] {
            let user = user(name);
            catalog.add_user(&user).await?;
            catalog.grant(&Grant { user: user.id, vault: None, role: Role::BackupReader }).await?;
        }
        let page = catalog.users("mover:", None, 2).await?;
        let rest = catalog.users("mover:", page.next.as_ref(), 2).await?;
        let names = |page: &catalog::Page<(User, Vec<Grant>)>| {
            page.rows.iter().map(|(user, grants)| format!("{} {}", user.name, grants.len())).collect::<Vec<_>>()
        };
        assert_eq!((names(&page), names(&rest)), (vec!["alice 1".into(), "bob 1".into()], vec!["carol 1".into()]));
        assert!(rest.next.is_none());
        Ok(())
    }
}
