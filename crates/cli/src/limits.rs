//! Reads what a backup is limited to: rates and disks.

use hypervisor::DiskSelection;
use std::num::NonZeroU64;

/// Bytes in a second: a number with KiB, MiB or GiB, or KB, MB or GB, and `/s` or not.
pub(crate) fn rate(text: &str) -> Result<NonZeroU64, String> {
    let wrong = || format!("'{text}' is no rate; write it as 50MiB/s");
    let amount = text.trim().trim_end_matches("/s").trim_end();
    let digits = amount.find(|c: char| !c.is_ascii_digit()).unwrap_or(amount.len());
    let (number, unit) = amount.split_at(digits);
    let unit = match unit.trim() {
        "" | "B" => 1,
        "KB" => 1_000,
        "MB" => 1_000_000,
        "GB" => 1_000_000_000,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        _ => return Err(wrong()),
    };
    let bytes = number.parse::<u64>().ok().and_then(|number| number.checked_mul(unit));
    bytes.and_then(NonZeroU64::new).ok_or_else(wrong)
}

/// Which disks of a machine.
pub(crate) fn disks(text: &str) -> Result<DiskSelection, String> {
    let names = |list: &str| {
        let names: Vec<String> = list.split(',').map(|name| name.trim().to_owned()).collect();
        if names.iter().any(String::is_empty) { Err(format!("'{text}' names no disk")) } else { Ok(names) }
    };
    match text.split_once('=') {
        None if text == "all" => Ok(DiskSelection::All),
        None if text == "os-only" => Ok(DiskSelection::OsOnly),
        Some(("include", list)) => names(list).map(DiskSelection::Include),
        Some(("exclude", list)) => names(list).map(DiskSelection::Exclude),
        _ => Err("it is all, include=DISK,..., exclude=DISK,... or os-only".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_read_as_people_write_them() {
        let table = [
            ("50MiB/s", Some(50 << 20)),
            ("50 MB/s", Some(50_000_000)),
            ("1GiB", Some(1 << 30)),
            ("4096", Some(4096)),
            ("0", None),
            ("MiB/s", None),
            ("5 apples", None),
            ("99999999999GiB/s", None),
        ];
        for (text, bytes) in table {
            assert_eq!(rate(text).ok().map(NonZeroU64::get), bytes, "{text}");
        }
    }

    #[test]
    fn disks_are_named_or_meant() {
        let list = || vec!["a".to_owned(), "b".to_owned()];
        assert_eq!(disks("all"), Ok(DiskSelection::All));
        assert_eq!(disks("os-only"), Ok(DiskSelection::OsOnly));
        assert_eq!(disks("include=a,b"), Ok(DiskSelection::Include(list())));
        assert_eq!(disks("exclude=a, b"), Ok(DiskSelection::Exclude(list())));
        assert!(["include=", "include=a,,b", "none", "a"].iter().all(|text| disks(text).is_err()));
    }
}
