//! Alerts that the engine raises and resolves: one open alert for each thing that is wrong.

use crate::{Control, Result};
use catalog::{Alert, Severity};
use uuid::Uuid;

/// What is wrong: the category of its alert.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Trouble {
    /// A machine's backup failed for good.
    BackupFailed,
    /// A slot of a machine had no run.
    BackupSkipped,
    /// A machine's last point is less consistent than the one before.
    ConsistencyFell,
    /// A restore failed.
    RestoreFailed,
    /// A point could not be read back.
    VerifyFailed,
    /// A point was tried out and is not good, or could not be tried out.
    DrillFailed,
    /// The same of a point's copy in a vault's second store.
    CopyDrillFailed,
    /// Points could not be deleted, or brought back.
    DeletionFailed,
    /// Space could not be given back.
    CollectFailed,
    /// A snapshot could not be made, or copied.
    SnapshotFailed,
    /// An image could not be made, or copied, or made into machines.
    ImageFailed,
    /// Jobs wait for a mover that is not there.
    MoverGone,
    /// Points could not be copied to a vault's second store.
    CopyFailed,
    /// Points have waited too long for their copy.
    CopyLags,
    /// A vault could not be put right from its second store.
    HealFailed,
    /// Points could not be moved to a vault's archive store.
    ArchiveFailed,
    /// A point could not be brought back from there.
    RehydrateFailed,
}

impl Trouble {
    fn word(self) -> &'static str {
        match self {
            Self::BackupFailed => "backup_failed",
            Self::BackupSkipped => "backup_skipped",
            Self::ConsistencyFell => "consistency_fell",
            Self::RestoreFailed => "restore_failed",
            Self::VerifyFailed => "verify_failed",
            Self::DrillFailed => "drill_failed",
            Self::CopyDrillFailed => "copy_drill_failed",
            Self::DeletionFailed => "deletion_failed",
            Self::CollectFailed => "collect_failed",
            Self::SnapshotFailed => "snapshot_failed",
            Self::ImageFailed => "image_failed",
            Self::MoverGone => "mover_gone",
            Self::CopyFailed => "copy_failed",
            Self::CopyLags => "copy_lags",
            Self::HealFailed => "heal_failed",
            Self::ArchiveFailed => "archive_failed",
            Self::RehydrateFailed => "rehydrate_failed",
        }
    }

    fn severity(self) -> Severity {
        match self {
            // What lies in the vault may be lost.
            Self::VerifyFailed | Self::DrillFailed | Self::CopyDrillFailed => Severity::Critical,
            Self::BackupFailed | Self::RestoreFailed | Self::MoverGone | Self::HealFailed => Severity::Error,
            Self::RehydrateFailed => Severity::Error,
            _ => Severity::Warning,
        }
    }
}

impl Control {
    /// Raises an alert on an item or a vault, unless it is open already.
    pub(crate) async fn raise(&self, trouble: Trouble, subject: &str, text: String) -> Result<()> {
        let alert = Alert {
            id: self.draw(),
            severity: trouble.severity(),
            category: trouble.word().to_owned(),
            subject: subject.to_owned(),
            text,
            raised: self.now(),
            resolved: None,
            acknowledged_by: None,
        };
        self.catalog.raise(&alert).await?;
        Ok(())
    }

    /// Raises an alert, or has the one that is open say what is so by now.
    pub(crate) async fn raise_anew(&self, trouble: Trouble, subject: &str, text: String) -> Result<()> {
        self.catalog.reword(trouble.word(), subject, &text).await?;
        self.raise(trouble, subject, text).await
    }

    /// Says that it is over.
    pub(crate) async fn resolve(&self, trouble: Trouble, subject: Uuid) -> Result<()> {
        self.catalog.resolve(trouble.word(), &subject.to_string(), self.now()).await?;
        Ok(())
    }
}
