//! Limits hold over all servers, and what waits goes in the order it became due.

use super::mover::{FakeMover, FakeVault};
use super::scene::{Scene, WIDE, at, minutes, on_both};
use model::Policy;
use model::schedule::Limits;
use std::collections::BTreeMap;

on_both! {
    no_host_store_or_server_carries_more_than_it_may(catalog) {
        let limits = Limits { per_host: 2, per_store: 5, overall: 4 };
        let scene = Scene::new(catalog, Policy::standard("UTC", "02:00"), at("2026-11-20T12:00:00Z")).await?;
        let mut host_of = BTreeMap::new();
        for host in 0..3 {
            let id = scene.host("server").await?;
            for number in 0..4 {
                let name = format!("{host}-{number}");
                scene.protect(id, &name).await?;
                host_of.insert(name, host);
            }
        }
        scene.go_to(at("2026-11-21T04:00:00Z")).await?;
        let servers = [scene.server(&scene.catalog, limits), scene.server(&scene.catalog, limits)];
        let vault = FakeVault::default();
        let mut done = Vec::new();
        while done.len() < 12 {
            // As many movers as can be ask both servers at once.
            let asks = (0..12).map(|number| {
                let (server, mover) = (servers[number % 2].clone(), FakeMover::new("server", &vault));
                tokio::spawn(async move { anyhow::Ok(mover.claim(&server).await?.map(|order| (mover, order))) })
            });
            let mut begun = Vec::new();
            for ask in asks.collect::<Vec<_>>() {
                begun.extend(ask.await??);
            }
            assert!((1..=4).contains(&begun.len()), "{} at once", begun.len());
            let mut per_host = BTreeMap::<i32, usize>::new();
            for (mover, order) in begun {
                let name = scene.control.job(order.job).await?.name;
                *per_host.entry(host_of[&name]).or_default() += 1;
                assert!(per_host[&host_of[&name]] <= 2, "{per_host:?}");
                mover.carry_out(&servers[0], &order).await?;
                done.push(name);
            }
        }
        done.sort();
        done.dedup();
        assert_eq!(done.len(), 12);
        Ok(())
    }

    what_waits_goes_in_the_order_it_became_due(catalog) {
        let scene = Scene::new(catalog, Policy::standard("UTC", "02:00"), at("2026-11-20T12:00:00Z")).await?;
        let host = scene.host("server").await?;
        let mut expected = Vec::new();
        for number in 0..8 {
            let item = scene.protect(host, &format!("vm {number}")).await?;
            expected.push((scene.start(&item, "2026-11-21T02:00:00Z"), item.name));
        }
        expected.sort();
        scene.go_to(at("2026-11-21T04:00:00Z")).await?;
        let server = scene.server(&scene.catalog, Limits { overall: 1, ..WIDE });
        let mut order = Vec::new();
        for job in FakeMover::new("server", &FakeVault::default()).work(&server).await? {
            order.push(server.job(job).await?.name);
        }
        assert_eq!(order, expected.into_iter().map(|(_, name)| name).collect::<Vec<_>>());
        Ok(())
    }

    a_forecast_says_when_the_night_is_over(catalog) {
        let scene = Scene::new(catalog, Policy::standard("UTC", "02:00"), at("2026-11-20T12:00:00Z")).await?;
        let host = scene.host("server").await?;
        for number in 0..3 {
            scene.protect(host, &format!("vm {number}")).await?;
        }
        // One at a time, and nobody knows yet how long they take: a quarter of an hour is assumed.
        let one_by_one = scene.server(&scene.catalog, Limits { overall: 1, ..WIDE });
        let forecast = one_by_one.forecast(None, None).await?;
        assert_eq!((forecast.runs.len(), forecast.peak), (3, 1));
        for pair in forecast.runs.windows(2) {
            assert!(pair[0].end <= pair[1].start, "{forecast:?}");
        }
        assert_eq!(forecast.ends, Some(forecast.runs[2].end));
        assert!(forecast.runs.iter().all(|run| run.end.duration_since(run.start) == minutes(15)));
        assert!(one_by_one.forecast(None, Some(&[])).await?.runs.is_empty(), "who sees no vault sees no run");
        assert!(one_by_one.forecast(Some(scene.hand.now()), None).await.is_err());
        let overview = scene.control.overview(None).await?;
        assert_eq!((overview.items.get("awaits_first"), overview.unprotected), (Some(&3), 0));
        assert!(scene.control.overview(Some(&[])).await?.items.is_empty());
        Ok(())
    }
}
