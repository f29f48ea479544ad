//! Writes the list of the portal's files for `src/portal/mod.rs`: with optimisation each is a part of the program.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::{env, fs, io};

fn main() -> io::Result<()> {
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets it")).join("portal.rs");
    // Without optimisation they are read where they lie, so that building the portal does not build the server.
    if env::var_os("CARGO_CFG_DEBUG_ASSERTIONS").is_some() {
        println!("cargo::rerun-if-changed=build.rs");
        return fs::write(out, "&[]");
    }
    let root =
        PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").expect("cargo sets it")).join("../../portal/dist");
    // The folder is under version control, empty: whenever something is built into it, cargo sees that.
    println!("cargo::rerun-if-changed={}", root.display());
    let mut list = String::from("&[\n");
    for name in names(&root)? {
        let path = root.join(&name).canonicalize()?;
        writeln!(list, "    ({name:?}, include_bytes!({path:?}) as &[u8]),").expect("a string takes all");
    }
    list.push(']');
    fs::write(out, list)
}

/// What there is to be served, by names with `/`: the page, its assets, and each asset compressed.
fn names(root: &Path) -> io::Result<Vec<String>> {
    let mut names = Vec::new();
    for (folder, prefix) in [(root.to_owned(), ""), (root.join("assets"), "assets/")] {
        if !folder.is_dir() {
            continue;
        }
        for entry in fs::read_dir(folder)? {
            let entry = entry?;
            let name =
                entry.file_name().into_string().map_err(|_| io::Error::other("a name is not UTF-8"))?;
            if entry.file_type()?.is_file() && !name.starts_with('.') {
                names.push(format!("{prefix}{name}"));
            }
        }
    }
    names.sort();
    Ok(names)
}
