//! Vaults made, changed and forgotten.

use super::scene::{code, detail, on_both, pointers};
use api::{AutoProtect, Code, NewVault, Stop, StopHow, VaultChange, VaultSettings};
use control::Paging;
use model::PolicyId;
use std::os::unix::fs::PermissionsExt;
use uuid::Uuid;
use vault::{KeyFile, RecoveryKey, Store};

fn settings(settings: VaultSettings) -> VaultChange {
    VaultChange { settings: Some(settings), ..VaultChange::default() }
}

on_both! {
    a_vault_is_made_with_a_key_that_is_private_and_one_to_write_down(scene) {
        let made = scene.control.make_vault(&scene.me, scene.new_vault("main")).await?;
        let path = scene.folder.path().join(format!("data/keys/{}.key", made.vault.id));
        assert_eq!(std::fs::metadata(&path)?.permissions().mode() & 0o777, 0o600);
        assert_eq!(std::fs::read_to_string(&path)?, made.key.unwrap());
        let store = Store::local(&scene.folder.path().join("main"))?;
        let opened = vault::Vault::open(store.clone(), &KeyFile::read(&path)?).await?;
        assert_eq!(opened.id().0, made.vault.id.0);
        let recovery = RecoveryKey::parse(&made.recovery_key.unwrap())?;
        vault::Vault::open(store, &recovery).await?;
        assert_eq!(scene.control.vault(made.vault.id).await?, made.vault);
        let seen = scene.control.vaults(|_| true, &Paging::default()).await?;
        assert_eq!(seen.items, [made.vault]);
        assert!(scene.control.vaults(|_| false, &Paging::default()).await?.items.is_empty());
        assert_eq!(scene.audited().await?, ["alice vault.create"]);
        Ok(())
    }

    all_that_is_wrong_with_a_new_vault_is_told(scene) {
        let rule = AutoProtect { name: Some(String::new()), tag: Some("a\nb".into()), policy: PolicyId(Uuid::nil()) };
        let wrong = NewVault {
            name: " ".into(),
            location: "somewhere".into(),
            settings: VaultSettings {
                archive: None,
                soft_delete_days: 13,
                snapshot_store: Some("s3://bucket".into()),
                transfer_mib_per_second: None,
                copy: None,
                keep_everything: false,
                auto_protect: vec![rule],
                immutable: false,
            },
            adopt: true,
            key: None,
        };
        let places = [
            "/name", "/location", "/settings/soft_delete_days", "/settings/snapshot_store",
            "/settings/auto_protect/0/name", "/settings/auto_protect/0/tag", "/settings/auto_protect/0/policy", "/key",
        ];
        assert_eq!(pointers(scene.control.make_vault(&scene.me, wrong).await), places);
        let not_there = NewVault { location: "/nowhere/at/all".into(), ..scene.new_vault("x") };
        assert_eq!(pointers(scene.control.make_vault(&scene.me, not_there).await), ["/location"]);
        let with_key = NewVault { key: Some("k".into()), ..scene.new_vault("x") };
        assert_eq!(pointers(scene.control.make_vault(&scene.me, with_key).await), ["/key"]);
        assert!(scene.control.vaults(|_| true, &Paging::default()).await?.items.is_empty());
        Ok(())
    }

    a_vault_needs_a_name_and_a_place_of_its_own(scene) {
        let main = scene.vault("main").await?;
        let same_name = NewVault { location: scene.new_vault("x").location, ..scene.new_vault("main") };
        assert_eq!(code(scene.control.make_vault(&scene.me, same_name).await), Code::Exists);
        let same_place = NewVault { name: "other".into(), ..scene.new_vault("main") };
        assert_eq!(code(scene.control.make_vault(&scene.me, same_place).await), Code::Conflict);
        std::fs::create_dir(scene.folder.path().join("full"))?;
        std::fs::write(scene.folder.path().join("full/letter"), "dear")?;
        assert_eq!(code(scene.control.make_vault(&scene.me, scene.new_vault("full")).await), Code::Conflict);
        let keys = std::fs::read_dir(scene.folder.path().join("data/keys"))?.flatten();
        let of_vaults = keys.filter(|entry| entry.file_name() != "ring.key").count();
        assert_eq!(of_vaults, 1, "keys of vaults that were not made are gone");
        let other = scene.vault("other").await?;
        let renamed = VaultChange { name: Some("main".into()), ..VaultChange::default() };
        assert_eq!(code(scene.control.change_vault(&scene.me, other.id, renamed).await), Code::Exists);
        assert_eq!(main.items, 0);
        Ok(())
    }

    a_vault_is_taken_in_with_its_own_key_only(scene) {
        let made = scene.control.make_vault(&scene.me, scene.new_vault("main")).await?;
        let other = scene.control.make_vault(&scene.me, scene.new_vault("other")).await?;
        scene.control.remove_vault(&scene.me, made.vault.id).await?;
        let wish = |key: &str| NewVault { adopt: true, key: Some(key.to_owned()), ..scene.new_vault("main") };
        for wrong in ["", "a letter", &other.key.unwrap()] {
            assert_eq!(pointers(scene.control.make_vault(&scene.me, wish(wrong)).await), ["/key"]);
        }
        let key = made.key.unwrap();
        let nothing = NewVault { location: scene.folder.path().display().to_string(), ..wish(&key) };
        assert_eq!(pointers(scene.control.make_vault(&scene.me, nothing).await), ["/location"]);
        // Twice is once: one that was half taken in is taken in again.
        for _ in 0..2 {
            let taken = scene.control.make_vault(&scene.me, wish(&key)).await?;
            assert_eq!((taken.vault.id, taken.key, taken.recovery_key), (made.vault.id, None, None));
            assert!(!taken.lost.is_empty(), "what is in no vault is told");
        }
        let path = scene.folder.path().join(format!("data/keys/{}.key", made.vault.id));
        assert_eq!(std::fs::read_to_string(path)?, key);
        assert_eq!(scene.control.vaults(|_| true, &Paging::default()).await?.items.len(), 2);
        Ok(())
    }

    settings_change_within_what_was_promised(scene) {
        let (vault, _, _) = scene.protected("db").await?;
        let before = scene.control.vault(vault).await?;
        let older = VaultChange { revision: Some(before.revision + 1), ..settings(before.settings.clone()) };
        assert_eq!(code(scene.control.change_vault(&scene.me, vault, older).await), Code::Changed);
        let more = VaultSettings { soft_delete_days: 60, snapshot_store: Some("/snapshots".into()), ..before.settings };
        let changed = scene.control.change_vault(&scene.me, vault, settings(more.clone())).await?;
        assert_eq!((changed.settings, changed.items), (more.clone(), 1));
        // What was deleted while it was 60 days stays for 60.
        let fewer = VaultSettings { soft_delete_days: 14, ..more.clone() };
        scene.control.change_vault(&scene.me, vault, settings(fewer.clone())).await?;
        assert_eq!(scene.control.catalog().promised(vault).await?, Some((60, scene.ago(-60))));
        let moved = VaultSettings { snapshot_store: Some("/elsewhere".into()), ..fewer.clone() };
        assert_eq!(code(scene.control.change_vault(&scene.me, vault, settings(moved)).await), Code::Conflict);
        scene.immutable(vault).await?;
        assert_eq!(code(scene.control.change_vault(&scene.me, vault, settings(fewer)).await), Code::Locked);
        Ok(())
    }

    a_vault_with_items_stays_deleted_ones_included(scene) {
        let (vault, _, item) = scene.protected("db").await?;
        scene.point(&item, 1).await?;
        assert_eq!(code(scene.control.remove_vault(&scene.me, vault).await), Code::Conflict);
        let delete = Stop { data: StopHow::Delete, keep: None, reason: None };
        scene.control.stop(&scene.me, vault, item.id, &delete).await?;
        assert!(detail(scene.control.remove_vault(&scene.me, vault).await).contains("has 1 machines"));
        let empty = scene.vault("empty").await?;
        let removed = scene.control.remove_vault(&scene.me, empty.id).await?;
        assert!(removed.note.contains(&empty.location), "{}", removed.note);
        assert_eq!(code(scene.control.vault(empty.id).await), Code::NotFound);
        let store = Store::local(&scene.folder.path().join("empty"))?;
        assert_eq!(vault::Vault::info_of(&store).await?.id.0, empty.id.0, "the data stay");
        assert!(scene.folder.path().join(format!("data/keys/{}.key", empty.id)).exists(), "and the key");
        Ok(())
    }

    lists_are_paged_within_limits(scene) {
        for name in ["a", "b", "c"] {
            scene.vault(name).await?;
        }
        let page = |limit, after| Paging { limit: Some(limit), after };
        let first = scene.control.vaults(|_| true, &page(2, None)).await?;
        let names: Vec<_> = first.items.iter().map(|vault| vault.name.as_str()).collect();
        assert_eq!(names, ["a", "b"]);
        let second = scene.control.vaults(|_| true, &page(2, first.next)).await?;
        assert_eq!((second.items[0].name.as_str(), second.next), ("c", None));
        for limit in [0, 1001] {
            assert_eq!(pointers(scene.control.vaults(|_| true, &page(limit, None)).await), ["limit"]);
        }
        for after in ["", "nothing", "a\u{0}~b"] {
            assert_eq!(pointers(scene.control.vaults(|_| true, &page(1, Some(after.into()))).await), ["after"]);
        }
        Ok(())
    }

    servers_of_one_catalog_have_the_keys_of_all(scene) {
        let made = scene.control.make_vault(&scene.me, scene.new_vault("main")).await?;
        let name = format!("data/keys/{}.key", made.vault.id);
        let second = super::scene::Scene::over(scene.control.catalog().clone())?;
        let ring = "data/keys/ring.key";
        let refused = second.control.tick_keys().await.unwrap_err();
        assert!(refused.to_string().contains("ring.key is not there"), "{refused}");
        assert!(!second.folder.path().join(ring).exists(), "another one would open nothing");
        std::fs::create_dir_all(second.folder.path().join("data/keys"))?;
        std::fs::write(second.folder.path().join(ring), "00".repeat(32))?;
        let refused = second.control.tick_keys().await.unwrap_err();
        assert!(refused.to_string().contains("another ring key"), "{refused}");
        let refused = second.control.make_vault(&second.me, second.new_vault("other")).await;
        assert!(detail(refused).contains("another ring key"), "before anything is made");
        assert!(!second.folder.path().join("other").exists());

        std::fs::copy(scene.folder.path().join(ring), second.folder.path().join(ring))?;
        second.control.tick_keys().await?;
        let text = |scene: &super::scene::Scene| std::fs::read_to_string(scene.folder.path().join(&name));
        assert_eq!(text(&second)?, made.key.clone().unwrap());
        let mode = std::fs::metadata(second.folder.path().join(&name))?.permissions().mode();
        assert_eq!(mode & 0o777, 0o600);

        // What one was told anew, the other takes over; and the other way round.
        let other = second.control.make_vault(&second.me, second.new_vault("other")).await?;
        scene.control.tick_keys().await?;
        let there = scene.folder.path().join(format!("data/keys/{}.key", other.vault.id));
        assert_eq!(std::fs::read_to_string(&there)?, other.key.unwrap());
        std::fs::write(second.folder.path().join(&name), "spoilt")?;
        second.control.tick_keys().await?;
        assert_eq!(text(&second)?, made.key.unwrap());
        Ok(())
    }
}
