//! A CD of a few small files, as ISO 9660 has it: what cloud-init reads a guest's first words from.
//!
//! | sector of 2 KiB | holds |
//! | --- | --- |
//! | 0 to 15 | zeros: the system's |
//! | 16, 17 | the volume's descriptor; the end of the descriptors |
//! | 18, 19 | the path table, in both orders of bytes |
//! | 20 | the root's entries |
//! | 21.. | the files, each from a sector's beginning |
//!
//! By ECMA-119. The names are in capitals and longer than its first level has them, as all systems read them:
//! Linux shows `META-DATA.;1` as `meta-data`.

const SECTOR_BYTES: usize = 2048;
const DESCRIPTOR: usize = 16;
const PATH_TABLE: usize = 18;
const ROOT: usize = 20;
const FILES: usize = 21;
/// The path table of a volume that has a root alone.
const PATH_TABLE_BYTES: usize = 10;

/// The image of a CD. Names are of letters, digits, `-` and `_`; there are few of them.
pub(super) fn image(label: &str, files: &[(&str, &[u8])]) -> Vec<u8> {
    let sectors_of = |bytes: &[u8]| bytes.len().div_ceil(SECTOR_BYTES).max(1);
    let places = files.iter().scan(FILES, |next, (_, bytes)| {
        let at = *next;
        *next += sectors_of(bytes);
        Some(at)
    });
    let places: Vec<usize> = places.collect();
    let sectors = FILES + files.iter().map(|(_, bytes)| sectors_of(bytes)).sum::<usize>();
    let mut cd = vec![0; sectors * SECTOR_BYTES];
    put(&mut cd, DESCRIPTOR, &descriptor(label, sectors));
    put(&mut cd, DESCRIPTOR + 1, b"\xffCD001\x01");
    put(&mut cd, PATH_TABLE, &path_table(u32::to_le_bytes, u16::to_le_bytes));
    put(&mut cd, PATH_TABLE + 1, &path_table(u32::to_be_bytes, u16::to_be_bytes));
    let mut root =
        [entry(b"\0", ROOT, SECTOR_BYTES, true), entry(b"\x01", ROOT, SECTOR_BYTES, true)].concat();
    for ((name, bytes), at) in files.iter().zip(&places) {
        let name = format!("{}.;1", name.to_ascii_uppercase());
        root.extend(entry(name.as_bytes(), *at, bytes.len(), false));
        put(&mut cd, *at, bytes);
    }
    assert!(root.len() <= SECTOR_BYTES, "a few files fit one sector");
    put(&mut cd, ROOT, &root);
    cd
}

fn put(cd: &mut [u8], sector: usize, bytes: &[u8]) {
    let at = sector * SECTOR_BYTES;
    cd[at..at + bytes.len()].copy_from_slice(bytes);
}

/// A number in both orders of bytes.
fn both32(number: usize) -> [u8; 8] {
    let number = u32::try_from(number).expect("a small CD");
    let mut bytes = [0; 8];
    bytes[..4].copy_from_slice(&number.to_le_bytes());
    bytes[4..].copy_from_slice(&number.to_be_bytes());
    bytes
}

fn both16(number: u16) -> [u8; 4] {
    let ([a, b], [c, d]) = (number.to_le_bytes(), number.to_be_bytes());
    [a, b, c, d]
}

fn padded(text: &str, length: usize) -> Vec<u8> {
    let mut bytes = text.as_bytes().to_vec();
    bytes.resize(length, b' ');
    bytes
}

fn descriptor(label: &str, sectors: usize) -> Vec<u8> {
    let mut bytes = b"\x01CD001\x01\0".to_vec();
    bytes.extend(padded("LINUX", 32));
    bytes.extend(padded(label, 32));
    bytes.extend([0; 8]);
    bytes.extend(both32(sectors));
    bytes.extend([0; 32]);
    bytes.extend(both16(1)); // of one disc
    bytes.extend(both16(1)); // the first
    bytes.extend(both16(SECTOR_BYTES as u16));
    bytes.extend(both32(PATH_TABLE_BYTES));
    bytes.extend((PATH_TABLE as u32).to_le_bytes());
    bytes.extend([0; 4]);
    bytes.extend((PATH_TABLE as u32 + 1).to_be_bytes());
    bytes.extend([0; 4]);
    bytes.extend(entry(b"\0", ROOT, SECTOR_BYTES, true));
    bytes.extend(padded("", 128 + 128 + 128 + 128 + 37 + 37 + 37));
    for _ in 0..4 {
        bytes.extend(b"0000000000000000\0"); // a time that is not told
    }
    bytes.extend([1, 0]);
    bytes
}

fn path_table(long: fn(u32) -> [u8; 4], short: fn(u16) -> [u8; 2]) -> Vec<u8> {
    let mut bytes = vec![1, 0];
    bytes.extend(long(ROOT as u32));
    bytes.extend(short(1));
    bytes.extend([0, 0]);
    bytes
}

/// An entry of a folder. Its time is the beginning of 1970: two CDs of the same words are the same.
fn entry(name: &[u8], sector: usize, length: usize, is_folder: bool) -> Vec<u8> {
    let mut bytes = vec![0, 0];
    bytes.extend(both32(sector));
    bytes.extend(both32(length));
    bytes.extend([70, 1, 1, 0, 0, 0, 0]);
    bytes.extend([if is_folder { 2 } else { 0 }, 0, 0]);
    bytes.extend(both16(1));
    bytes.push(name.len() as u8);
    bytes.extend(name);
    bytes.resize(bytes.len().next_multiple_of(2), 0);
    bytes[0] = bytes.len() as u8;
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;

    /// What reads the files is a guest: `tests/it/deploy.rs`.
    #[test]
    fn the_system_knows_it_by_its_label() {
        let folder = tempfile::tempdir().expect("tempdir");
        let cd = folder.path().join("seed.iso");
        let long = "x".repeat(5000);
        let files: [(&str, &[u8]); 3] =
            [("meta-data", b"a"), ("network-config", b""), ("user-data", long.as_bytes())];
        let bytes = image("cidata", &files);
        assert_eq!(bytes.len(), (FILES + 1 + 1 + 3) * SECTOR_BYTES);
        assert_eq!(&bytes[(FILES + 2) * SECTOR_BYTES..][..5000], long.as_bytes());
        std::fs::write(&cd, bytes).expect("written");
        let told = Command::new("blkid").args(["-p", "-o", "export"]).arg(&cd).output().expect("util-linux");
        let told = String::from_utf8_lossy(&told.stdout).into_owned();
        assert!(told.contains("LABEL=cidata") && told.contains("TYPE=iso9660"), "{told}");
    }
}
