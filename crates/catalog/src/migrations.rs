//! The tables' history: what each version of the program has changed, in order. What is here was applied somewhere, so it
//! is never edited; the next change is another file, and another line.
//!
//! The library's own macro would list the folder, at the cost of building both databases' drivers once more for the
//! compiler itself.

use sqlx::SqlSafeStr;
use sqlx::migrate::{Migration, MigrationType, Migrator};

/// A file's name without its ending, and what it holds.
macro_rules! files {
    ($($name:literal)*) => { [$(($name, include_str!(concat!("../migrations/", $name, ".sql")))),*] };
}

const FILES: [(&str, &str); 16] = files! {
    "0001_catalog"
    "0002_follow_later"
    "0003_single_sign_on"
    "0004_replacements"
    "0005_drills"
    "0008_restore_sets"
    "0010_copies"
    "0011_snapshots"
    "0013_notes"
    "0015_usage"
    "0016_archive"
    "0017_images"
    "0018_job_log"
    "0019_vault_keys"
    "0020_vault_notes"
    "0021_copy_drills"
};

/// Brings a database from any earlier state to what this program needs.
pub(crate) fn migrator() -> Migrator {
    Migrator::with_migrations(FILES.into_iter().map(|(name, sql)| migration(name, sql)).collect())
}

fn migration(name: &'static str, sql: &'static str) -> Migration {
    let (number, about) = name.split_once('_').expect("a number and a word");
    let version = number.parse().expect("a number");
    Migration::new(version, about.replace('_', " ").into(), MigrationType::Simple, sql.into_sql_str(), false)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    #[tokio::test]
    async fn every_file_of_the_folder_is_applied_as_the_library_would() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("migrations");
        let read = Migrator::new(folder).await.expect("the folder is read");
        let words = |migrator: &Migrator| -> Vec<_> {
            let all = migrator.iter();
            all.map(|one| (one.version, one.description.to_string(), one.checksum.to_vec())).collect()
        };
        assert_eq!(words(&migrator()), words(&read));
    }
}
