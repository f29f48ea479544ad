//! What is written is read again, changes do not overwrite one another, and what is referred to stays.

use crate::scene::{at, host, item, machine, on_both, point, policy, protected, vault};
use catalog::{Catalog, ErrorKind, ItemFilter};
use model::protection::{Keep, Protection};

on_both! {
    what_is_written_is_read_again(catalog) {
        let (vault, policy, item) = protected(&catalog, "db").await?;
        assert_eq!(catalog.vault(vault.id).await?, vault);
        assert_eq!(catalog.policy(policy.id).await?, policy);
        assert_eq!(catalog.item(item.id).await?, item);
        let host = host("hv1");
        catalog.add_host(&host).await?;
        let machine = machine(&host, "web");
        assert_eq!(catalog.see_machine(&machine).await?, machine.id);
        assert_eq!(catalog.machine(machine.id).await?, machine);
        assert_eq!(catalog.hosts().await?, [host]);
        Ok(())
    }

    a_name_is_taken_once(catalog) {
        let first = vault("one");
        catalog.add_vault(&first).await?;
        let again = catalog.add_vault(&vault("one")).await.unwrap_err();
        assert_eq!(again.kind(), ErrorKind::Exists);
        catalog.add_policy(&policy(&first, "daily")).await?;
        assert_eq!(catalog.add_policy(&policy(&first, "daily")).await.unwrap_err().kind(), ErrorKind::Exists);
        let other = vault("two");
        catalog.add_vault(&other).await?;
        catalog.add_policy(&policy(&other, "daily")).await?; // of another vault
        Ok(())
    }

    who_read_an_older_revision_cannot_write(catalog) {
        let (mut vault, mut policy, mut item) = protected(&catalog, "db").await?;
        vault.name = "renamed".into();
        assert_eq!(catalog.update_vault(&vault).await?, 2);
        assert_eq!(catalog.update_vault(&vault).await.unwrap_err().kind(), ErrorKind::Changed);
        policy.document.snapshot_days = 3;
        assert_eq!(catalog.update_policy(&policy).await?, 2);
        assert_eq!(catalog.update_policy(&policy).await.unwrap_err().kind(), ErrorKind::Changed);
        item.protection = Protection::Deleted { purge_at: at(100) };
        item.revision = catalog.update_item(&item).await?;
        assert_eq!(catalog.item(item.id).await?, item);
        item.revision = 1;
        assert_eq!(catalog.update_item(&item).await.unwrap_err().kind(), ErrorKind::Changed);
        Ok(())
    }

    what_is_referred_to_stays(catalog) {
        let (vault, policy, item) = protected(&catalog, "db").await?;
        catalog.put_point(&point(&item, at(10))).await?;
        assert_eq!(catalog.remove_vault(vault.id).await.unwrap_err().kind(), ErrorKind::Invalid);
        assert_eq!(catalog.policies(vault.id).await?.len(), 1, "a refused removal removes nothing");
        assert_eq!(catalog.remove_policy(policy.id).await.unwrap_err().kind(), ErrorKind::Invalid);
        assert_eq!(catalog.remove_item(item.id).await.unwrap_err().kind(), ErrorKind::Invalid);
        for point in catalog.points(item.id, None, 10).await?.rows {
            catalog.remove_point(point.point.id).await?;
        }
        catalog.remove_item(item.id).await?;
        catalog.remove_vault(vault.id).await?;
        assert_eq!(catalog.vault(vault.id).await.unwrap_err().kind(), ErrorKind::NotFound);
        assert_eq!(catalog.policy(policy.id).await.unwrap_err().kind(), ErrorKind::NotFound);
        Ok(())
    }

    a_machine_is_protected_by_one_vault_at_a_time(catalog) {
        let (_, _, mut first) = protected(&catalog, "db").await?;
        let (vault, policy) = (vault("other"), policy(&vault("x"), "p"));
        catalog.add_vault(&vault).await?;
        let policy = catalog::PolicyRow { vault: vault.id, ..policy };
        catalog.add_policy(&policy).await?;
        let second = catalog::Item { machine: first.machine, ..item(&vault, &policy, "db") };
        assert_eq!(catalog.add_item(&second).await.unwrap_err().kind(), ErrorKind::Exists);
        let kept = first.protection;
        first.protection = Protection::Stopped { keep: Keep::Forever {} };
        catalog.update_item(&first).await?;
        catalog.add_item(&second).await?;
        first = catalog.item(first.id).await?;
        first.protection = kept;
        assert_eq!(catalog.update_item(&first).await.unwrap_err().kind(), ErrorKind::Exists);
        Ok(())
    }

    a_machine_seen_again_keeps_its_id_and_its_tags(catalog) {
        let host = host("hv1");
        catalog.add_host(&host).await?;
        let first = machine(&host, "web");
        catalog.see_machine(&first).await?;
        catalog.tag_machine(first.id, &[("tier".to_owned(), "tin".to_owned())].into()).await?;
        let again = catalog::Machine { known_as: first.known_as.clone(), seen: at(99), ..machine(&host, "web2") };
        assert_eq!(catalog.see_machine(&again).await?, first.id);
        let found = catalog.machine(first.id).await?;
        assert_eq!((found.name.as_str(), found.seen, found.tags["tier"].as_str()), ("web2", at(99), "tin"));
        Ok(())
    }

    pages_neither_repeat_nor_leave_out(catalog) {
        let (vault, policy, _) = protected(&catalog, "m 0").await?;
        // Names repeat: the id decides then.
        for number in 1..25 {
            let name = format!("m {}", number / 3);
            catalog.add_item(&item(&vault, &policy, &name)).await?;
        }
        let mut seen = Vec::new();
        let mut place = None;
        loop {
            let page = catalog.items(&ItemFilter::default(), place.as_ref(), 4).await?;
            assert!(page.rows.len() <= 4);
            seen.extend(page.rows.iter().map(|item| (item.name.clone(), item.id)));
            // Rows that come before the place change nothing.
            catalog.add_item(&item(&vault, &policy, "a")).await?;
            place = page.next;
            if place.is_none() { break; }
        }
        let sorted = { let mut all = seen.clone(); all.sort_by_key(|(name, id)| (name.clone(), id.to_string())); all };
        assert_eq!(seen, sorted);
        assert_eq!(seen.len(), 25);
        let none = ItemFilter { state: Some("stopped".into()), vault: Some(vault.id), ..ItemFilter::default() };
        assert!(catalog.items(&none, None, 10).await?.rows.is_empty());
        let all = ItemFilter { state: Some("protected".into()), vault: Some(vault.id), policy: Some(policy.id), name: Some("?*".into()) };
        let found = catalog.items(&all, None, 1000).await?.rows.len() as u64;
        assert_eq!(catalog.items_by_state().await?, [("protected".to_owned(), found)]);
        Ok(())
    }
}

#[tokio::test]
async fn a_catalog_is_opened_again_with_all_it_had() -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("odd name %20?#.db");
    let first = Catalog::open_file(&path).await?;
    let vault = vault("one");
    first.add_vault(&vault).await?;
    first.close().await;
    assert!(path.exists());
    assert_eq!(Catalog::open_file(&path).await?.vaults().await?, [vault]);
    Ok(())
}

#[tokio::test]
async fn what_is_no_database_is_refused_in_words() {
    for (url, kind) in [
        ("mysql://x/y", ErrorKind::Invalid),
        ("", ErrorKind::Invalid),
        ("sqlite:///nowhere/at/all.db?mode=rwc", ErrorKind::Unavailable),
        ("postgres://nobody@localhost:1/x", ErrorKind::Unavailable),
    ] {
        assert_eq!(Catalog::open(url).await.unwrap_err().kind(), kind, "{url}");
    }
}
