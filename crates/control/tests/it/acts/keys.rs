//! The keys of a vault: shown, and its data key made new.

use super::scene::{code, detail, on_both};
use api::{Code, VaultKeys};
use model::VaultId;
use uuid::Uuid;
use vault::{Holders, RecoveryKey, Store};

fn kinds(keys: &VaultKeys) -> Vec<(&str, bool)> {
    keys.holders.iter().map(|holder| (holder.kind.as_str(), holder.is_servers)).collect()
}

on_both! {
    a_new_data_key_is_one_more_and_all_holders_stay(scene) {
        let made = scene.control.make_vault(&scene.me, scene.new_vault("main")).await?;
        let before = scene.control.vault_keys(made.vault.id).await?;
        assert_eq!(kinds(&before), [("key-file", true), ("recovery-key", false)]);
        assert_eq!((before.keyring, before.epoch, before.epochs), (1, Some(1), Some(1)));
        assert!(before.holders.iter().all(|holder| holder.added == scene.now()));

        let after = scene.control.rotate_vault_key(&scene.me, made.vault.id).await?;
        let expected = VaultKeys { keyring: 2, epoch: Some(2), epochs: Some(2), ..before };
        assert_eq!(after, expected);
        assert_eq!(scene.control.vault_keys(made.vault.id).await?, after);
        let store = Store::local(&scene.folder.path().join("main"))?;
        vault::Vault::open(store, &RecoveryKey::parse(&made.recovery_key.unwrap())?).await?;
        assert_eq!(scene.audited().await?, ["alice vault.create", "alice vault.rotate_key"]);
        Ok(())
    }

    a_vault_out_of_reach_is_told_as_such(scene) {
        let vault = scene.vault("main").await?;
        let place = scene.folder.path().join("main");
        std::fs::rename(&place, scene.folder.path().join("elsewhere"))?;
        assert_eq!(code(scene.control.vault_keys(vault.id).await), Code::Unavailable);
        assert_eq!(code(scene.control.rotate_vault_key(&scene.me, vault.id).await), Code::Unavailable);
        let told = detail(scene.control.vault_keys(vault.id).await);
        assert!(told.contains("does not reach the vault main") && told.contains(&vault.location), "{told}");
        assert!(!told.contains(": /location"), "the request has no such field: {told}");
        // Something else is there now.
        std::fs::create_dir(&place)?;
        assert_eq!(code(scene.control.vault_keys(vault.id).await), Code::Unavailable);
        let nothing = VaultId(Uuid::nil());
        assert_eq!(code(scene.control.vault_keys(nothing).await), Code::NotFound);
        assert_eq!(scene.audited().await?, ["alice vault.create"]);
        Ok(())
    }

    a_server_whose_key_was_removed_still_tells_who_opens_the_vault(scene) {
        let made = scene.control.make_vault(&scene.me, scene.new_vault("main")).await?;
        let recovery = RecoveryKey::parse(&made.recovery_key.unwrap())?;
        let store = Store::local(&scene.folder.path().join("main"))?;
        let mut holders = Holders::open(store, &recovery).await?;
        let servers = holders.holders().find(|holder| holder.provider == "key-file").unwrap().id;
        let plan = holders.plan_removal(servers, None).await?;
        holders.remove(&plan).await?;

        let keys = scene.control.vault_keys(made.vault.id).await?;
        assert_eq!(kinds(&keys), [("recovery-key", false)]);
        assert_eq!((keys.keyring, keys.epoch, keys.epochs), (2, None, None));
        let refused = scene.control.rotate_vault_key(&scene.me, made.vault.id).await;
        assert_eq!(code(refused.clone()), Code::Conflict);
        assert!(detail(refused).contains("the server's key does not open the vault main"));
        Ok(())
    }
}
