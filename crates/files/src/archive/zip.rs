//! Zip as a stream: each member's checksum and lengths stand behind it, and again in the directory at the end. All
//! numbers are the long ones (zip64), so that no file is too large.

use super::Stream;
use crate::{Kind, Metadata};
use crc::{CRC_32_ISO_HDLC, Crc, Digest, Table};
use std::io::{Result, Write};

const CRC: Crc<u32, Table<16>> = Crc::<u32, Table<16>>::new(&CRC_32_ISO_HDLC);
/// Names are UTF-8, and lengths follow.
const FLAGS: u16 = 0x0808;
const VERSION: u16 = 45;

pub(super) struct Zip<'w> {
    to: &'w mut dyn Write,
    at: u64,
    directory: Vec<u8>,
    count: u64,
    member: Option<Member>,
}

struct Member {
    name: Vec<u8>,
    mode: u32,
    moment: u32,
    start: u64,
    length: u64,
    sum: Digest<'static, u32, Table<16>>,
}

static SUM: Crc<u32, Table<16>> = CRC;

impl<'w> Zip<'w> {
    pub(super) fn new(to: &'w mut dyn Write) -> Self {
        Self { to, at: 0, directory: Vec::new(), count: 0, member: None }
    }

    fn put(&mut self, bytes: &[u8]) -> Result<()> {
        self.at += bytes.len() as u64;
        self.to.write_all(bytes)
    }
}

impl Stream for Zip<'_> {
    fn small(&mut self, name: &[u8], metadata: &Metadata, points: &[u8]) -> Result<()> {
        self.begin(name, metadata)?;
        self.bytes(points)?;
        self.end()
    }

    fn begin(&mut self, name: &[u8], metadata: &Metadata) -> Result<()> {
        // Long names are cut by no reader we know: they must fit the field.
        let name = String::from_utf8_lossy(name).into_owned().into_bytes();
        let kind = match metadata.kind {
            Kind::Folder => 0o040_000,
            Kind::Link => 0o120_000,
            _ => 0o100_000,
        };
        let (start, moment) = (self.at, moment(metadata));
        let mut head = b"PK\x03\x04".to_vec();
        head.extend(VERSION.to_le_bytes());
        head.extend(FLAGS.to_le_bytes());
        head.extend(0_u16.to_le_bytes());
        head.extend(moment.to_le_bytes());
        head.extend(0_u32.to_le_bytes());
        head.extend([0xff; 8]);
        head.extend((name.len() as u16).to_le_bytes());
        head.extend(20_u16.to_le_bytes());
        head.extend(&name);
        head.extend([1, 0, 16, 0]);
        head.extend([0; 16]);
        self.put(&head)?;
        let mode = kind | metadata.mode;
        self.member = Some(Member { name, mode, moment, start, length: 0, sum: SUM.digest() });
        Ok(())
    }

    fn bytes(&mut self, data: &[u8]) -> Result<()> {
        if let Some(member) = &mut self.member {
            member.sum.update(data);
            member.length += data.len() as u64;
        }
        self.put(data)
    }

    fn end(&mut self) -> Result<()> {
        let Some(member) = self.member.take() else { return Ok(()) };
        let sum = member.sum.finalize().to_le_bytes();
        let length = member.length.to_le_bytes();
        let mut tail = b"PK\x07\x08".to_vec();
        tail.extend(sum);
        tail.extend(length);
        tail.extend(length);
        self.put(&tail)?;
        let entry = &mut self.directory;
        entry.extend(b"PK\x01\x02");
        entry.extend((3 << 8 | VERSION).to_le_bytes()); // made by Unix
        entry.extend(VERSION.to_le_bytes());
        entry.extend(FLAGS.to_le_bytes());
        entry.extend(0_u16.to_le_bytes());
        entry.extend(member.moment.to_le_bytes());
        entry.extend(sum);
        entry.extend([0xff; 8]);
        entry.extend((member.name.len() as u16).to_le_bytes());
        entry.extend(28_u16.to_le_bytes());
        entry.extend([0; 6]);
        entry.extend((member.mode << 16).to_le_bytes());
        entry.extend([0xff; 4]);
        entry.extend(&member.name);
        entry.extend([1, 0, 24, 0]);
        entry.extend(length);
        entry.extend(length);
        entry.extend(member.start.to_le_bytes());
        self.count += 1;
        Ok(())
    }

    fn finish(&mut self) -> Result<()> {
        let (start, directory) = (self.at, std::mem::take(&mut self.directory));
        self.put(&directory)?;
        let end = self.at;
        let mut tail = b"PK\x06\x06".to_vec();
        tail.extend(44_u64.to_le_bytes());
        tail.extend((3 << 8 | VERSION).to_le_bytes());
        tail.extend(VERSION.to_le_bytes());
        tail.extend([0; 8]);
        tail.extend(self.count.to_le_bytes());
        tail.extend(self.count.to_le_bytes());
        tail.extend((directory.len() as u64).to_le_bytes());
        tail.extend(start.to_le_bytes());
        tail.extend(b"PK\x06\x07");
        tail.extend(0_u32.to_le_bytes());
        tail.extend(end.to_le_bytes());
        tail.extend(1_u32.to_le_bytes());
        tail.extend(b"PK\x05\x06");
        tail.extend([0; 4]);
        tail.extend([0xff; 12]);
        tail.extend([0; 2]);
        self.put(&tail)?;
        self.to.flush()
    }
}

/// Date and time as DOS had it, from 1980 to 2107, in steps of two seconds.
fn moment(metadata: &Metadata) -> u32 {
    const FROM: i64 = 315_532_800;
    const TO: i64 = 4_354_819_198;
    let seconds = metadata.modified.map_or(FROM, |time| time.seconds).clamp(FROM, TO);
    let (days, within) = (seconds.div_euclid(86_400), seconds.rem_euclid(86_400));
    // Howard Hinnant's count, backwards.
    let shifted = days + 719_468;
    let era = shifted.div_euclid(146_097);
    let of_era = shifted.rem_euclid(146_097);
    let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    let date = (year - 1980) << 9 | month << 5 | day;
    let time = ((within / 3600) << 11) | ((within / 60 % 60) << 5) | ((within % 60) / 2);
    (date << 16 | time) as u32
}
