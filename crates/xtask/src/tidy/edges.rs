//! Which crate may use which: dependencies point one way.

use anyhow::{Context, Result};
use std::path::Path;

/// Per crate, what it may depend on. A new edge is a change of architecture: argue it in ARCHITECTURE.md.
const ALLOWED: &[(&str, &[&str])] = &[
    ("block", &[]),
    ("nbd", &["block"]),
    // The domain: knows nothing of ours, so that its rules can be read, tested and simulated alone.
    ("model", &[]),
    // The only SQL. It stores the domain's values and decides nothing.
    ("catalog", &["model"]),
    ("vault", &["block"]),
    ("hypervisor", &["block", "nbd"]),
    // Somebody's disks, and nothing of ours: what reads a stranger's file system is kept apart.
    ("files", &[]),
    // The only shapes on the wire: what people's programs, movers and the server mean the same by.
    ("api", &["model"]),
    // Somebody else's word for who somebody is. What follows from it is not its affair.
    ("oidc", &[]),
    // It asks a server for work as any program does, and knows nothing of how that is decided.
    ("mover", &["block", "nbd", "vault", "hypervisor", "model", "api", "files"]),
    // Every act by the domain's rules. Of vaults it makes, opens and lists; it never touches a disk's block.
    ("control", &["model", "catalog", "api", "vault", "oidc"]),
    ("server", &["model", "catalog", "api", "control"]),
    (
        "cli",
        &[
            "block",
            "nbd",
            "vault",
            "hypervisor",
            "mover",
            "files",
            "model",
            "api",
            "catalog",
            "control",
            "server",
            "oidc",
        ],
    ),
    // Development only. The harness uses nothing of the product, so that it cannot share its mistakes.
    ("testkit", &[]),
    ("sim", &["block", "vault"]),
    ("bench", &["block", "vault", "hypervisor", "files", "mover", "model", "catalog", "testkit"]),
    ("xtask", &["model", "testkit"]),
];

/// Every crate stands in the table, and depends on nothing else of ours than it says there.
pub(super) fn check(root: &Path) -> Result<Vec<String>> {
    let mut faults = Vec::new();
    for entry in std::fs::read_dir(root.join("crates")).context("list the crates")? {
        let folder = entry?.path();
        let name = folder.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        let manifest = std::fs::read_to_string(folder.join("Cargo.toml"))
            .with_context(|| format!("read the manifest of {name}"))?;
        let Some((_, allowed)) = ALLOWED.iter().find(|(one, _)| *one == name) else {
            faults.push(format!(
                "crates/{name}: not in the table of crates/xtask/src/tidy/edges.rs; add it there"
            ));
            continue;
        };
        for used in dependencies(&manifest) {
            let ours = ALLOWED.iter().any(|(one, _)| *one == used);
            if ours && !allowed.contains(&used) {
                faults.push(format!(
                    "crates/{name}: may not depend on {used} (crates/xtask/src/tidy/edges.rs)"
                ));
            }
        }
    }
    Ok(faults)
}

/// Names in `[dependencies]`; what only tests use does not count.
fn dependencies(manifest: &str) -> impl Iterator<Item = &str> {
    let section = manifest.lines().skip_while(|line| line.trim() != "[dependencies]").skip(1);
    section
        .take_while(|line| !line.starts_with('['))
        .filter_map(|line| line.split(['.', '=', ' ']).next())
        .filter(|name| !name.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_real_dependencies_count() {
        let manifest = "[package]\nname = \"x\"\n\n[dependencies]\nblock.workspace = true\nserde = \"1\"\n\n\
                        [dev-dependencies]\ntestkit.workspace = true\n";
        assert_eq!(dependencies(manifest).collect::<Vec<_>>(), ["block", "serde"]);
    }
}
