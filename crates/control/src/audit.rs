//! What was done, and what somebody should know.

use crate::people::Asker;
use crate::{Control, Error, Result};
use api::{Alert, AuditChain, AuditEntry, Page, Severity};
use catalog::AuditProof;
use model::VaultId;
use model::access::Action;
use serde_json::{Value, json};
use uuid::Uuid;

impl Control {
    /// A page of the audit log, oldest first.
    ///
    /// # Errors
    /// `Invalid` if `after` is no place in it.
    pub async fn audit_log(&self, after: Option<&str>, limit: u32) -> Result<Page<AuditEntry>> {
        let place = after.map_or(Ok(0), str::parse);
        let place = place.map_err(|_| Error::invalid("after", "as `next` of an earlier page said"))?;
        let mut entries = self.catalog.audit(place, limit.saturating_add(1)).await?;
        let more = entries.len() > limit as usize;
        entries.truncate(limit as usize);
        let next = entries.last().filter(|_| more).map(|entry| entry.ordinal.to_string());
        Ok(Page { items: entries.into_iter().map(entry).collect(), next })
    }

    /// Whether the audit log is whole. Reads all of it.
    pub async fn audit_chain(&self) -> Result<AuditChain> {
        Ok(match self.catalog.check_audit().await? {
            AuditProof::Whole { entries, head } => {
                AuditChain { whole: true, entries, head: Some(head).filter(|head| !head.is_empty()) }
            }
            AuditProof::Broken { ordinal } => AuditChain { whole: false, entries: ordinal - 1, head: None },
        })
    }

    /// A page of the alerts that the caller may see, newest first; all, or the open ones. It may hold fewer than asked for
    /// and yet not be the last.
    ///
    /// # Errors
    /// `Invalid` if `after` is no place in them.
    pub async fn alerts(
        &self,
        by: &Asker,
        open: bool,
        after: Option<&str>,
        limit: u32,
    ) -> Result<Page<Alert>> {
        let place = after.map(str::parse).transpose();
        let place = place
            .map_err(|_: catalog::Error| Error::invalid("after", "as `next` of an earlier page said"))?;
        let page = self.catalog.alerts(open, place.as_ref(), limit).await?;
        let mut items = Vec::new();
        for row in page.rows {
            if by.may(Action::View, self.vault_of_alert(&row).await?) {
                items.push(alert(row));
            }
        }
        Ok(Page { items, next: page.next.map(|next| next.to_string()) })
    }

    /// Somebody who may work with what an alert is about has taken note of it.
    ///
    /// # Errors
    /// `NotFound`, also when the caller may not see it; `Forbidden`.
    pub async fn acknowledge_alert(&self, by: &Asker, id: Uuid) -> Result<Alert> {
        let nothing = || Error::not_found(format!("alert {id}"));
        let mut row = self.catalog.alert(id).await.map_err(|error| match error.kind() {
            catalog::ErrorKind::NotFound => nothing(),
            _ => error.into(),
        })?;
        let vault = self.vault_of_alert(&row).await?;
        if !by.may(Action::View, vault) {
            return Err(nothing());
        }
        by.needs(Action::BackUp, vault)?;
        self.audit(&by.actor, "alert.acknowledge", &id.to_string(), &json!({ "text": row.text })).await?;
        self.catalog.acknowledge(id, &by.actor.0).await?;
        row.acknowledged_by = Some(by.actor.0.clone());
        Ok(alert(row))
    }

    /// The vault that an alert concerns: its subject is a vault, or an item in one. None: it concerns all.
    async fn vault_of_alert(&self, alert: &catalog::Alert) -> Result<Option<VaultId>> {
        let Ok(subject) = alert.subject.parse::<Uuid>() else { return Ok(None) };
        match self.catalog.item(subject).await {
            Ok(item) => Ok(Some(item.vault)),
            // Not an item: if it is no vault either, only who may everywhere has a role there.
            Err(error) if error.kind() == catalog::ErrorKind::NotFound => Ok(Some(VaultId(subject))),
            Err(error) => Err(error.into()),
        }
    }
}

fn entry(entry: catalog::AuditEntry) -> AuditEntry {
    AuditEntry {
        ordinal: entry.ordinal,
        at: entry.at,
        actor: entry.actor,
        action: entry.action,
        object: entry.object,
        // Whoever tampers with the log need not keep to JSON; it is shown as it stands.
        detail: serde_json::from_str(&entry.detail).unwrap_or(Value::String(entry.detail)),
        hash: entry.hash,
    }
}

fn alert(alert: catalog::Alert) -> Alert {
    Alert {
        id: alert.id,
        severity: match alert.severity {
            catalog::Severity::Critical => Severity::Critical,
            catalog::Severity::Error => Severity::Error,
            catalog::Severity::Warning => Severity::Warning,
            catalog::Severity::Informational => Severity::Informational,
        },
        category: alert.category,
        subject: alert.subject,
        text: alert.text,
        raised: alert.raised,
        resolved: alert.resolved,
        acknowledged_by: alert.acknowledged_by,
    }
}
