//! Policies tried and changed.

use super::scene::{code, detail, document, new_policy, on_both, pointers};
use api::{AutoProtect, Code, NewPolicy, VaultChange};
use control::Paging;
use model::Policy;
use model::policy::{Daily, Schedule};

on_both! {
    all_that_is_wrong_with_a_policy_is_told(scene) {
        let vault = scene.vault("main").await?.id;
        let mut wrong = new_policy("a\tb", 3);
        wrong.document.time_zone = "Nowhere/AtAll".into();
        wrong.document.schedule = Schedule::Daily { time: "25:00".into() };
        let found = pointers(scene.control.make_policy(&scene.me, vault, wrong).await);
        assert_eq!(found, ["/name", "/document/time_zone", "/document/schedule/time", "/document/vault/daily/keep_days"]);
        let mut document = document(7);
        document.snapshot_days = 9;
        assert_eq!(pointers(scene.control.preview(document)), ["/snapshot_days", "/vault/daily/keep_days"]);
        Ok(())
    }

    a_policy_belongs_to_its_vault(scene) {
        let (main, other) = (scene.vault("main").await?.id, scene.vault("other").await?.id);
        let policy = scene.policy(main, "daily", 30).await?;
        assert_eq!(scene.control.policy(main, policy).await?.name, "daily");
        assert_eq!(code(scene.control.policy(other, policy).await), Code::NotFound);
        let change = scene.control.change_policy(&scene.me, other, policy, new_policy("x", 30)).await;
        assert_eq!(code(change), Code::NotFound);
        assert_eq!(code(scene.control.remove_policy(&scene.me, other, policy).await), Code::NotFound);
        let again = scene.control.make_policy(&scene.me, main, new_policy("daily", 9)).await;
        assert_eq!(code(again), Code::Exists);
        scene.policy(other, "daily", 30).await?;
        assert_eq!(scene.control.policies(main, &Paging::default()).await?.items.len(), 1);
        Ok(())
    }

    a_shorter_policy_is_tried_before_it_takes_points_away(scene) {
        let (vault, policy, item) = scene.protected("db").await?;
        let places = [scene.point(&item, 20).await?, scene.point(&item, 10).await?, scene.point(&item, 1).await?];
        let shorter = new_policy("daily", 14);
        let found = scene.control.try_policy(vault, policy, shorter.clone()).await?;
        // The newest expires sooner too, by its date; nothing lets it go.
        assert_eq!((found.lost, found.shorter, found.longer, found.same), (1, 2, 0, 0));
        assert!(found.allowed && !found.cut);
        let lost = &found.items[0].points[0];
        assert_eq!((lost.point, lost.change.as_str(), lost.tier.as_str()), (places[0].point, "lost", "vault"));
        assert_eq!(lost.before, Some(scene.ago(-10)));
        let refused = scene.control.change_policy(&scene.me, vault, policy, shorter.clone()).await;
        assert!(detail(refused).contains("1 copies of points would be gone at once, and 2 would expire sooner"));
        assert_eq!(scene.control.policy(vault, policy).await?.revision, 1, "nothing was changed");
        let meant = NewPolicy { accept_loss: true, revision: Some(1), ..shorter };
        let changed = scene.control.change_policy(&scene.me, vault, policy, meant.clone()).await?;
        assert_eq!((changed.revision, changed.document), (2, meant.document.clone()));
        scene.control.tick_plans(scene.now()).await?;
        let order = scene.jobs(&item).await?.remove(0);
        assert_eq!(order.request["points"][0].as_str(), Some(places[0].point.to_string().as_str()), "{order:?}");
        assert_eq!(code(scene.control.change_policy(&scene.me, vault, policy, meant).await), Code::Changed);
        Ok(())
    }

    what_keeps_as_long_is_changed_without_asking(scene) {
        let (vault, policy, item) = scene.protected("db").await?;
        scene.point(&item, 20).await?;
        let mut other_time = new_policy("nightly", 30);
        other_time.document.schedule = Schedule::Daily { time: "23:00".into() };
        let changed = scene.control.change_policy(&scene.me, vault, policy, other_time).await?;
        assert_eq!(changed.name, "nightly");
        let longer = scene.control.try_policy(vault, policy, new_policy("nightly", 90)).await?;
        assert_eq!((longer.lost, longer.shorter, longer.longer), (0, 0, 1));
        scene.control.change_policy(&scene.me, vault, policy, new_policy("nightly", 90)).await?;
        Ok(())
    }

    an_immutable_vault_shortens_nothing(scene) {
        let (vault, policy, item) = scene.protected("db").await?;
        scene.point(&item, 10).await?;
        scene.point(&item, 1).await?;
        scene.immutable(vault).await?;
        let shorter = NewPolicy { accept_loss: true, ..new_policy("daily", 20) };
        let found = scene.control.try_policy(vault, policy, shorter.clone()).await?;
        assert!(!found.allowed && found.lost == 0 && found.shorter == 2, "{found:?}");
        assert_eq!(code(scene.control.change_policy(&scene.me, vault, policy, shorter).await), Code::Locked);
        scene.control.change_policy(&scene.me, vault, policy, new_policy("daily", 40)).await?;
        Ok(())
    }

    a_policy_that_something_needs_stays(scene) {
        let (vault, policy, _) = scene.protected("db").await?;
        assert_eq!(code(scene.control.remove_policy(&scene.me, vault, policy).await), Code::Conflict);
        let rule = scene.policy(vault, "rule", 7).await?;
        let mut settings = scene.control.vault(vault).await?.settings;
        settings.auto_protect.push(AutoProtect { name: Some("new*".into()), tag: None, policy: rule });
        let change = VaultChange { settings: Some(settings), ..VaultChange::default() };
        scene.control.change_vault(&scene.me, vault, change).await?;
        assert_eq!(code(scene.control.remove_policy(&scene.me, vault, rule).await), Code::Conflict);
        let free = scene.policy(vault, "free", 7).await?;
        scene.control.remove_policy(&scene.me, vault, free).await?;
        assert_eq!(code(scene.control.policy(vault, free).await), Code::NotFound);
        Ok(())
    }

    a_preview_shows_a_year(scene) {
        let preview = scene.control.preview(Policy::enhanced("Europe/Berlin"))?;
        assert_eq!(preview.points.len(), 6 * 365);
        let in_vault: Vec<_> = preview.points.iter().filter(|point| !point.classes.is_empty()).collect();
        let count = |class: &str| in_vault.iter().filter(|point| point.classes.iter().any(|one| one == class)).count();
        assert!((365..=366).contains(&in_vault.len()), "one a day: {}", in_vault.len());
        assert_eq!((count("weekly"), count("monthly"), count("yearly")), (52, 12, 1));
        let yearly = in_vault.iter().find(|point| point.classes.iter().any(|one| one == "yearly")).unwrap();
        assert_eq!(yearly.day.to_string(), "2027-01-03");
        assert!(preview.points.iter().all(|point| point.classes.is_empty() == point.expires.is_none()));
        let daily = scene.control.preview(document(30))?;
        assert_eq!(daily.points.len(), 365);
        assert!((30..=40).contains(&daily.points_at_most), "{}", daily.points_at_most);
        let mut longer = document(30);
        longer.vault.daily = Some(Daily { keep_days: 31 });
        assert_eq!(scene.control.preview(longer)?.points_at_most, daily.points_at_most + 1);
        Ok(())
    }
}
