//! How a mover works on this host, within a server or on its own.

use anyhow::{Context, Result};
use clap::Args as ClapArgs;
use mover::work::Settings;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use uuid::Uuid;

#[derive(Debug, ClapArgs)]
pub(crate) struct WorkArgs {
    /// Where blocks that guests overwrite are kept during their backups; QEMUs of whatever user must be able to reach
    /// it.
    #[arg(
        long,
        value_name = "DIR",
        env = "STRONGROOM_SCRATCH",
        default_value = "/var/cache/strongroom/scratch"
    )]
    scratch: PathBuf,
    /// How many jobs it works on at once.
    #[arg(long, value_name = "NUMBER", default_value_t = 2, value_parser = clap::value_parser!(u16).range(1..=64))]
    jobs: u16,
}

impl WorkArgs {
    /// With everything else in a folder of its own.
    pub(super) fn settings(&self, folder: &Path) -> Result<Settings> {
        super::data::make(folder)?;
        // Others may pass through, and look at nothing: what is in it is given to each QEMU by itself.
        let made = std::fs::DirBuilder::new().recursive(true).mode(0o711).create(&self.scratch);
        made.with_context(|| format!("make the scratch folder {}", self.scratch.display()))?;
        let mut settings = Settings::below(folder.to_owned(), crate::commands::now, Uuid::now_v7);
        settings.scratch.clone_from(&self.scratch);
        settings.orders_at_once = self.jobs.into();
        let program = std::env::current_exe().context("find this program")?;
        settings.files_program =
            Some(::files::Program { path: program.clone(), arguments: vec!["files-worker".to_owned()] });
        settings.watchdog = Some((program, vec!["thaw-watchdog".into()]));
        Ok(settings)
    }
}
