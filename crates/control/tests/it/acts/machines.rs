//! Hosts and the machines they tell of; those that come under protection by themselves.

use super::scene::{Scene, code, inventory, on_both, pointers, seen};
use api::work::{Inventory, SeenMachine};
use api::{AutoProtect, Code, MachineStanding, MachineState, NewHost, Stop, StopHow, Tags, VaultChange};
use control::{Paging, WhichMachines};
use model::{HostId, PolicyId, VaultId};

async fn names(scene: &Scene, which: WhichMachines) -> anyhow::Result<Vec<String>> {
    let page = scene.control.machines(&which, |_| true, &Paging::default()).await?;
    Ok(page.items.into_iter().map(|machine| machine.name).collect())
}

fn tags(pairs: &[(&str, &str)]) -> Tags {
    Tags { tags: pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect() }
}

async fn rules(
    scene: &Scene,
    vault: VaultId,
    rules: &[(Option<&str>, Option<&str>, PolicyId)],
) -> anyhow::Result<()> {
    let mut settings = scene.control.vault(vault).await?.settings;
    let rule = |(name, tag, policy): &(Option<&str>, Option<&str>, PolicyId)| AutoProtect {
        name: name.map(str::to_owned),
        tag: tag.map(str::to_owned),
        policy: *policy,
    };
    settings.auto_protect = rules.iter().map(rule).collect();
    let change = VaultChange { settings: Some(settings), ..VaultChange::default() };
    scene.control.change_vault(&scene.me, vault, change).await?;
    Ok(())
}

on_both! {
    what_a_host_tells_is_taken_in(scene) {
        let (host, ids) = scene.machines("hv1", &["db", "web"]).await?;
        let web = scene.control.machine(ids[1], |_| true).await?;
        assert_eq!((web.state, web.standing), (MachineState::Running, MachineStanding::Protectable));
        assert_eq!((web.disks[0].name.as_str(), web.seen), ("vda", scene.now()));
        scene.pass(1);
        let renamed = SeenMachine { name: "www".into(), state: MachineState::Stopped, ..seen("web") };
        let told = Inventory { host, machines: vec![seen("db"), renamed, seen("new"), seen("new")] };
        scene.control.take_inventory("server", told).await?;
        assert_eq!(names(&scene, WhichMachines::default()).await?, ["db", "new", "www"]);
        let www = scene.control.machine(ids[1], |_| true).await?;
        assert_eq!((www.name.as_str(), www.state, www.seen), ("www", MachineState::Stopped, scene.now()));
        assert_eq!(scene.control.machine(ids[0], |_| true).await?.seen, scene.now(), "seen, though nothing changed");
        let hosts = scene.control.hosts(&Paging::default()).await?.items;
        assert_eq!((hosts[0].name.as_str(), hosts[0].mover.as_str(), hosts[0].seen), ("hv1", "server", Some(scene.now())));
        Ok(())
    }

    a_machine_that_is_gone_stays_while_it_has_points(scene) {
        let (vault, _, item) = scene.protected("db").await?;
        let host = scene.control.machine(item.machine, |_| true).await?.host;
        scene.control.take_inventory("server", inventory(host, &["db", "web"])).await?;
        let seen_last = scene.now();
        scene.pass(1);
        scene.control.take_inventory("server", inventory(host, &[])).await?;
        assert_eq!(names(&scene, WhichMachines::default()).await?, ["db"]);
        let db = scene.control.machine(item.machine, |_| true).await?;
        assert_eq!((db.state, db.seen, db.vault), (MachineState::Unknown, seen_last, Some(vault)));
        assert!(db.obstacle.is_some() && db.standing == MachineStanding::Protected);
        scene.control.take_inventory("server", inventory(host, &["db"])).await?;
        let back = scene.control.machine(item.machine, |_| true).await?;
        assert_eq!((back.id, back.state, back.obstacle), (item.machine, MachineState::Running, None));
        Ok(())
    }

    items_are_called_as_their_machines_are(scene) {
        let (vault, _, item) = scene.protected("db").await?;
        let host = scene.control.machine(item.machine, |_| true).await?.host;
        let renamed = SeenMachine { name: "database".into(), ..seen("db") };
        scene.control.take_inventory("server", Inventory { host, machines: vec![renamed] }).await?;
        assert_eq!(scene.control.item(vault, item.id).await?.name, "database");
        Ok(())
    }

    a_mover_tells_of_its_own_hosts_alone_and_within_limits(scene) {
        let (host, _) = scene.machines("hv1", &[]).await?;
        let told = scene.control.take_inventory("other", inventory(host, &["db"])).await;
        assert_eq!(code(told), Code::NotFound);
        let nowhere = inventory(HostId(uuid::Uuid::nil()), &["db"]);
        assert_eq!(code(scene.control.take_inventory("server", nowhere).await), Code::NotFound);
        let many = Inventory { host, machines: vec![seen("db"); 10_001] };
        assert_eq!(pointers(scene.control.take_inventory("server", many).await), ["/machines"]);
        assert!(names(&scene, WhichMachines::default()).await?.is_empty());
        Ok(())
    }

    machines_are_found_by_what_is_known_of_them(scene) {
        let (vault, policy, db) = scene.protected("db1").await?;
        let (hv2, machines) = scene.machines("hv2", &["DB2", "web%1", "web_1"]).await?;
        let stuck = SeenMachine { obstacle: Some("no monitor".into()), ..seen("stuck") };
        let mut told = inventory(hv2, &["DB2", "web%1", "web_1"]);
        told.machines.push(stuck);
        scene.control.take_inventory("server", told).await?;
        let stopped = scene.protect(vault, policy, machines[1]).await?;
        let keep = Stop { data: StopHow::Keep, keep: None, reason: None };
        scene.control.stop(&scene.me, vault, stopped.id, &keep).await?;
        scene.control.tag_machine(&scene.me, machines[0], tags(&[("tier", "gold"), ("x,\"y\":", "z")]), |_| true).await?;
        scene.control.tag_machine(&scene.me, machines[2], tags(&[("tier", "tin")]), |_| true).await?;
        let named = |name: &str| WhichMachines { name: Some(name.into()), ..WhichMachines::default() };
        let tagged = |tag: &str| WhichMachines { tag: Some(tag.into()), ..WhichMachines::default() };
        let stand = |standing| WhichMachines { standing: Some(standing), ..WhichMachines::default() };
        for (which, expected) in [
            (named("db?"), vec!["DB2", "db1"]),
            (named("web%1"), vec!["web%1"]),
            (named("web?1"), vec!["web%1", "web_1"]),
            (named("*1"), vec!["db1", "web%1", "web_1"]),
            (tagged("tier"), vec!["DB2", "web_1"]),
            (tagged("tier=gold"), vec!["DB2"]),
            (tagged("tie"), vec![]),
            (tagged("y"), vec![]),
            (tagged("gold"), vec![]),
            (stand(MachineStanding::Protected), vec!["db1"]),
            (stand(MachineStanding::Stopped), vec!["web%1"]),
            (stand(MachineStanding::Unprotectable), vec!["stuck"]),
            (stand(MachineStanding::Protectable), vec!["DB2", "web_1"]),
            (WhichMachines { host: Some(hv2), ..named("*") }, vec!["DB2", "stuck", "web%1", "web_1"]),
        ] {
            let mut found = names(&scene, which.clone()).await?;
            found.sort();
            assert_eq!(found, expected, "{which:?}");
        }
        assert_eq!(pointers(scene.control.machines(&named(""), |_| true, &Paging::default()).await), ["name"]);
        // Who may not see a vault is not told of it.
        let hidden = scene.control.machine(db.machine, |_| false).await?;
        assert_eq!((hidden.standing, hidden.vault, hidden.item), (MachineStanding::Protected, None, None));
        Ok(())
    }

    a_host_stays_while_its_machines_are_protected(scene) {
        let (vault, _, item) = scene.protected("db").await?;
        let host = scene.control.machine(item.machine, |_| true).await?.host;
        assert_eq!(code(scene.control.remove_host(&scene.me, host).await), Code::Conflict);
        let keep = Stop { data: StopHow::Keep, keep: None, reason: None };
        scene.control.stop(&scene.me, vault, item.id, &keep).await?;
        scene.control.remove_host(&scene.me, host).await?;
        assert_eq!(scene.control.item(vault, item.id).await?.name, "db", "its points stay");
        assert_eq!(code(scene.control.machine(item.machine, |_| true).await), Code::NotFound);
        assert_eq!(code(scene.control.remove_host(&scene.me, host).await), Code::NotFound);
        Ok(())
    }

    all_that_is_wrong_with_a_host_or_tags_is_told(scene) {
        let wrong = NewHost { name: String::new(), address: "somewhere".into(), mover: Some("\u{7}".into()) };
        assert_eq!(pointers(scene.control.add_host(&scene.me, wrong).await), ["/name", "/mover", "/address"]);
        let (_, machines) = scene.machines("hv1", &["db"]).await?;
        let again = NewHost { name: "hv1".into(), address: "local".into(), mover: None };
        assert_eq!(code(scene.control.add_host(&scene.me, again).await), Code::Exists);
        let there = NewHost { name: "hv2".into(), address: "qemu+ssh://hv1/system".into(), mover: None };
        assert_eq!(code(scene.control.add_host(&scene.me, there).await), Code::Exists);
        let wrong = tags(&[("a=b", "x"), ("c", "\n"), (&"k".repeat(129), "")]);
        let found = pointers(scene.control.tag_machine(&scene.me, machines[0], wrong, |_| true).await);
        assert_eq!(found, ["/tags/a=b", "/tags/c", &format!("/tags/{}", "k".repeat(129))]);
        Ok(())
    }

    the_first_rule_that_fits_protects_what_nobody_named(scene) {
        let (host, machines) = scene.machines("hv1", &["db-1", "web-1", "test-1", "old"]).await?;
        let vault = scene.vault("main").await?.id;
        let (gold, tin) = (scene.policy(vault, "gold", 90).await?, scene.policy(vault, "tin", 7).await?);
        rules(&scene, vault, &[(Some("DB-*"), None, gold), (None, Some("tier=tin"), tin), (Some("db*"), None, tin)]).await?;
        scene.control.tag_machine(&scene.me, machines[1], tags(&[("tier", "tin")]), |_| true).await?;
        // Somebody wanted this one stopped.
        let old = scene.protect(vault, tin, machines[3]).await?;
        let keep = Stop { data: StopHow::Keep, keep: None, reason: None };
        scene.control.stop(&scene.me, vault, old.id, &keep).await?;
        let mut told = inventory(host, &["db-1", "web-1", "test-1", "old"]);
        told.machines.push(SeenMachine { obstacle: Some("no monitor".into()), ..seen("db-stuck") });
        for _ in 0..2 {
            scene.control.take_inventory("server", told.clone()).await?;
        }
        let items = scene.control.items(vault, &control::WhichItems::default(), &Paging::default()).await?.items;
        let found: Vec<_> = items.iter().map(|item| (item.name.as_str(), item.policy)).collect();
        assert_eq!(found, [("db-1", Some(gold)), ("old", None), ("web-1", Some(tin))]);
        let by_itself = scene.audited().await?.into_iter().filter(|act| act == "auto-protect item.protect").count();
        assert_eq!(by_itself, 2);
        Ok(())
    }
}
