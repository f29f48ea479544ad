//! A tiny program for inside the guest: writes that can be checked from outside, and their latency.
//! Its commands are listed in [`USAGE`]. Standard library only: `testkit` compiles this one file statically.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::process::ExitCode;
use std::time::{Duration, Instant};

const USAGE: &str = "\
guest-probe seq A B [SECONDS]         write n to A, sync, n to B, sync, and so on: in any set of copies of
                                      one instant the counters are equal or A's is one ahead
guest-probe lat PATH BYTES SECONDS BS random writes of BS past the page cache; latencies as JSON
guest-probe fill PATH BYTES SEED      the file becomes BYTES of noise
guest-probe rndw PATH BYTES COUNT BS SEED  COUNT random writes of BS of noise";

/// A page: also what O_DIRECT wants buffers aligned to.
const PAGE: usize = 4096;
/// O_DIRECT of Linux on x86-64.
const O_DIRECT: i32 = 0o40_000;
/// Pages behind the counter that are written in turn, so that copies differ in more than one block.
const TRAIL_PAGES: u64 = 4096;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let done = match words.as_slice() {
        ["seq", a, b] => sequence(a, b, None),
        ["seq", a, b, seconds] => number(seconds).and_then(|seconds| sequence(a, b, Some(seconds))),
        ["lat", path, bytes, seconds, size] => [bytes, seconds, size]
            .map(|word| number(word))
            .into_iter()
            .collect::<io::Result<Vec<_>>>()
            .and_then(|n| latency(path, n[0], n[1], n[2])),
        ["fill", path, bytes, seed] => {
            number(bytes).and_then(|bytes| fill(path, bytes, &mut Noise::new(number(seed)?)))
        }
        ["rndw", path, rest @ ..] if rest.len() == 4 => rest
            .iter()
            .map(|word| number(word))
            .collect::<io::Result<Vec<_>>>()
            .and_then(|n| random_writes(path, n[0], n[1], n[2], &mut Noise::new(n[3]))),
        _ => Err(io::Error::other(USAGE)),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("guest-probe: {error}");
            ExitCode::FAILURE
        }
    }
}

fn number(word: &str) -> io::Result<u64> {
    word.parse().map_err(|_| io::Error::other(format!("`{word}` is not a number")))
}

/// The counter is the file's first eight bytes, little-endian.
fn sequence(a: &str, b: &str, seconds: Option<u64>) -> io::Result<()> {
    let (a, b) = (open(a)?, open(b)?);
    let mut counter = [0; 8];
    let read = a.read_at(&mut counter, 0)?;
    let mut n = if read == counter.len() { u64::from_le_bytes(counter) } else { 0 };
    let mut page = vec![0; PAGE];
    let start = Instant::now();
    while seconds.is_none_or(|seconds| start.elapsed() < Duration::from_secs(seconds)) {
        n += 1;
        page[..8].copy_from_slice(&n.to_le_bytes());
        // INVARIANT: n reaches B only after it is durable on A, and n + 1 reaches A only after that.
        a.write_all_at(&page, 0)?;
        a.sync_data()?;
        a.write_all_at(&page, PAGE as u64 * (1 + n % TRAIL_PAGES))?;
        b.write_all_at(&page, 0)?;
        b.sync_data()?;
    }
    println!("{n}");
    Ok(())
}

fn latency(path: &str, bytes: u64, seconds: u64, size: u64) -> io::Result<()> {
    let file = OpenOptions::new().write(true).create(true).custom_flags(O_DIRECT).open(path)?;
    let length = usize::try_from(size).map_err(io::Error::other)?;
    let mut noise = Noise::new(1);
    let mut buffer = vec![0; length + PAGE];
    let aligned = buffer.as_ptr().align_offset(PAGE);
    let buffer = &mut buffer[aligned..aligned + length];
    noise.bytes(buffer);
    let blocks = blocks(bytes, size)?;
    let mut micros = Vec::new();
    let start = Instant::now();
    while start.elapsed() < Duration::from_secs(seconds) {
        let offset = noise.next() % blocks * size;
        let before = Instant::now();
        file.write_all_at(buffer, offset)?;
        micros.push(before.elapsed().as_micros());
    }
    micros.sort_unstable();
    let percentile =
        |percent: usize| micros.get((micros.len() * percent / 100).min(micros.len().saturating_sub(1)));
    let [p50, p95, p99, max] = [50, 95, 99, 100].map(|percent| percentile(percent).copied().unwrap_or(0));
    println!("{{\"count\":{},\"p50\":{p50},\"p95\":{p95},\"p99\":{p99},\"max\":{max}}}", micros.len());
    Ok(())
}

fn fill(path: &str, bytes: u64, noise: &mut Noise) -> io::Result<()> {
    let file = open(path)?;
    let mut buffer = vec![0; 1 << 20];
    let mut offset = 0;
    while offset < bytes {
        noise.bytes(&mut buffer);
        let length = (bytes - offset).min(buffer.len() as u64);
        file.write_all_at(&buffer[..usize::try_from(length).map_err(io::Error::other)?], offset)?;
        offset += length;
    }
    file.set_len(bytes)?;
    file.sync_all()
}

fn random_writes(path: &str, bytes: u64, count: u64, size: u64, noise: &mut Noise) -> io::Result<()> {
    let file = open(path)?;
    let mut buffer = vec![0; usize::try_from(size).map_err(io::Error::other)?];
    let blocks = blocks(bytes, size)?;
    for _ in 0..count {
        noise.bytes(&mut buffer);
        file.write_all_at(&buffer, noise.next() % blocks * size)?;
    }
    file.sync_all()
}

fn open(path: &str) -> io::Result<File> {
    let options = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path);
    options.map_err(|error| io::Error::other(format!("cannot open {path}: {error}")))
}

fn blocks(bytes: u64, size: u64) -> io::Result<u64> {
    match bytes.checked_div(size) {
        Some(blocks) if blocks > 0 => Ok(blocks),
        _ => Err(io::Error::other(format!("{bytes} bytes hold no block of {size}"))),
    }
}

/// xorshift64: repeatable and incompressible, nothing more.
struct Noise(u64);

impl Noise {
    /// The odd constant spreads small seeds; the state must not be zero.
    fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1)
    }

    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn bytes(&mut self, buffer: &mut [u8]) {
        for chunk in buffer.chunks_mut(8) {
            let word = self.next().to_le_bytes();
            chunk.copy_from_slice(&word[..chunk.len()]);
        }
    }
}
