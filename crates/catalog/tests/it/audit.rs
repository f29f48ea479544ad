//! The audit log's chain, and requests that come twice, and alerts.

use crate::scene::{at, on_both};
use catalog::{Alert, AuditEntry, AuditProof, Catalog, Repetition, Severity};
use uuid::Uuid;

fn entry(action: &str) -> AuditEntry {
    AuditEntry {
        ordinal: 0,
        at: at(1),
        actor: "alice".into(),
        action: action.into(),
        object: "vault one".into(),
        detail: "{}".into(),
        hash: String::new(),
    }
}

on_both! {
    many_write_the_log_at_once_and_its_chain_is_whole(catalog) {
        let writers: Vec<_> = (0..4).map(|writer| {
            let catalog = catalog.clone();
            tokio::spawn(async move {
                for number in 0..10 {
                    catalog.append_audit(entry(&format!("{writer}.{number}"))).await?;
                }
                Ok::<_, catalog::Error>(())
            })
        }).collect();
        for writer in writers {
            writer.await??;
        }
        let entries = catalog.audit(0, 100).await?;
        assert_eq!(entries.iter().map(|entry| entry.ordinal).collect::<Vec<_>>(), (1..=40).collect::<Vec<_>>());
        let head = entries[39].hash.clone();
        assert_eq!(catalog.check_audit().await?, AuditProof::Whole { entries: 40, head });
        assert_eq!(catalog.audit(38, 100).await?, entries[38..]);
        Ok(())
    }

    a_request_that_comes_twice_is_done_once(catalog) {
        let ask = |request: &'static str| catalog.begin_request("alice", "key", request, at(0));
        assert_eq!(ask("a").await?, Repetition::First);
        assert_eq!(ask("a").await?, Repetition::UnderWay { since: at(0) });
        assert_eq!(ask("b").await?, Repetition::Different);
        catalog.answer_request("alice", "key", "202").await?;
        assert_eq!(ask("a").await?, Repetition::Answered("202".into()));
        assert_eq!(ask("b").await?, Repetition::Different);
        assert_eq!(catalog.begin_request("bob", "key", "a", at(5)).await?, Repetition::First);
        assert_eq!(catalog.forget_requests(at(5)).await?, 1);
        assert_eq!(ask("a").await?, Repetition::First);
        Ok(())
    }

    one_alert_is_open_for_what_is_wrong(catalog) {
        let alert = |text: &str, seconds| Alert {
            id: Uuid::now_v7(),
            severity: Severity::Error,
            category: "backup failed".into(),
            subject: "db".into(),
            text: text.into(),
            raised: at(seconds),
            resolved: None,
            acknowledged_by: None,
        };
        let first = alert("first", 1);
        assert!(catalog.raise(&first).await?);
        assert!(!catalog.raise(&alert("again", 2)).await?);
        catalog.acknowledge(first.id, "alice").await?;
        assert!(catalog.resolve("backup failed", "db", at(3)).await?);
        assert!(!catalog.resolve("backup failed", "db", at(4)).await?);
        let second = alert("anew", 5);
        assert!(catalog.raise(&second).await?);
        assert_eq!(catalog.alerts(true, None, 10).await?.rows, std::slice::from_ref(&second));
        let page = catalog.alerts(false, None, 1).await?;
        assert_eq!(page.rows, [second]);
        let older = catalog.alerts(false, page.next.as_ref(), 1).await?;
        let known = Alert { resolved: Some(at(3)), acknowledged_by: Some("alice".into()), ..first };
        assert_eq!((older.rows, older.next), (vec![known], None));
        Ok(())
    }
}

/// Each way to falsify a log, by somebody who may write to the database.
#[tokio::test]
async fn a_falsified_log_is_noticed() -> anyhow::Result<()> {
    for (number, falsify) in [
        "update audit set actor = 'mallory' where ordinal = 3",
        "update audit set at = at + 1 where ordinal = 3",
        "update audit set detail = '{} ' where ordinal = 3",
        "update audit set action = action || 'v', object = 'ault one' where ordinal = 3",
        "delete from audit where ordinal = 3",
        "delete from audit where ordinal = 1",
        "update audit set ordinal = 9 where ordinal = 5",
    ]
    .into_iter()
    .enumerate()
    {
        let name = format!("falsified_{number}");
        let server = crate::scene::postgres(&name)?;
        let catalog = Catalog::open(&server).await?;
        for number in 0..5 {
            catalog.append_audit(entry(&number.to_string())).await?;
        }
        crate::scene::sql(&name, falsify)?;
        let proof = catalog.check_audit().await?;
        assert!(matches!(proof, AuditProof::Broken { .. }), "{falsify}: {proof:?}");
    }
    Ok(())
}
