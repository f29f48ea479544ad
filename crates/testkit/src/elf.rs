//! As much of ELF as it takes to see what a program or a kernel module needs. Little-endian, 64 bits.

use anyhow::{Context, Result, bail};
use std::path::Path;

/// Tag of a needed library in `.dynamic`.
const DT_NEEDED: u64 = 1;

/// The libraries a program or library asks for, by name; none if it is static.
pub(crate) fn needed_libraries(file: &Path) -> Result<Vec<String>> {
    let data = std::fs::read(file).with_context(|| format!("cannot read {}", file.display()))?;
    let context = || format!("cannot read the libraries of {}", file.display());
    let Some(dynamic) = section(&data, ".dynamic").with_context(context)? else { return Ok(Vec::new()) };
    let strings = section(&data, ".dynstr").with_context(context)?.with_context(context)?;
    let entries = dynamic.chunks_exact(16).map(|entry| (word(entry, 0, 8), word(entry, 8, 8)));
    let names = entries.filter(|(tag, _)| *tag == Some(DT_NEEDED)).map(|(_, at)| string(strings, at));
    names.map(|name| name.with_context(context)).collect()
}

/// The modules a kernel module depends on, by name.
pub(crate) fn needed_modules(file: &Path) -> Result<Vec<String>> {
    let data = std::fs::read(file).with_context(|| format!("cannot read {}", file.display()))?;
    let context = || format!("cannot read the dependencies of {}", file.display());
    let information = section(&data, ".modinfo").with_context(context)?.with_context(context)?;
    let lines = information.split(|byte| *byte == 0).filter_map(|line| std::str::from_utf8(line).ok());
    let names = lines.filter_map(|line| line.strip_prefix("depends=")).flat_map(|names| names.split(','));
    Ok(names.filter(|name| !name.is_empty()).map(str::to_string).collect())
}

/// The bytes of a section. Offsets: e_shoff 40, e_shentsize 58, e_shnum 60, e_shstrndx 62 in the file's
/// head; sh_name 0, sh_offset 24, sh_size 32 in a section's.
fn section<'a>(data: &'a [u8], name: &str) -> Result<Option<&'a [u8]>> {
    if !data.starts_with(b"\x7fELF\x02\x01") {
        bail!("not an ELF file of 64 bits, little-endian (a compressed module?)");
    }
    let head = |at, bytes| word(data, at, bytes).context("the file is cut short");
    let (table, size) = (head(40, 8)?, head(58, 2)?);
    let (count, names) = (head(60, 2)?, head(62, 2)?);
    let content = |index: u64| {
        let at = usize::try_from(table + index * size).ok()?;
        let start = usize::try_from(word(data, at + 24, 8)?).ok()?;
        let length = usize::try_from(word(data, at + 32, 8)?).ok()?;
        Some((word(data, at, 4)?, data.get(start..start + length).unwrap_or_default()))
    };
    let (_, strings) = content(names).context("the section names lie outside the file")?;
    for index in 0..count {
        let (at, bytes) = content(index).context("a section lies outside the file")?;
        if string(strings, Some(at)).is_some_and(|found| found == name) {
            return Ok(Some(bytes));
        }
    }
    Ok(None)
}

fn word(data: &[u8], at: usize, bytes: usize) -> Option<u64> {
    let field = data.get(at..at + bytes)?;
    Some(field.iter().rev().fold(0, |value, byte| (value << 8) | u64::from(*byte)))
}

fn string(table: &[u8], at: Option<u64>) -> Option<String> {
    let bytes = table.get(usize::try_from(at?).ok()?..)?;
    let text = bytes.split(|byte| *byte == 0).next()?;
    String::from_utf8(text.to_vec()).ok()
}
