//! What the machine itself can do with the same bytes.

use super::table::{Figures, Row};
use super::{Place, drop_caches};
use crate::timed::{sh, timed};
use anyhow::Result;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

/// Bytes a thread takes at a time.
const PIECE: usize = 1 << 20;
const CHUNK: usize = 64 << 10;

/// The limit of a work, if it has one, from a cold cache.
pub(super) fn measure(place: &Place<'_>, work: &str, rows: &mut Vec<Row>) -> Result<()> {
    let data = place.data;
    let out = place.folder.join("limit.raw");
    drop_caches()?;
    let (program, seconds) = match work {
        "full" => ("limit: zstd -1, all cores", each_chunk(&data.used, compress)?),
        "day, read all" => ("limit: read and hash", each_chunk(&data.day, hash)?),
        "noise" => ("limit: cp + hash", copy(&data.noise, &out)? + each_chunk(&data.noise, hash)?),
        "restore" => ("limit: qemu-img convert", convert(&data.day, &out)?),
        _ => return Ok(()),
    };
    Row::add(rows, program, work, Figures { seconds, ..Figures::default() });
    sh(&format!("rm -f {}", out.display()))
}

fn copy(from: &Path, to: &Path) -> Result<f64> {
    let begun = Instant::now();
    sh(&format!("cp --sparse=auto {} {to}; sync {to}", from.display(), to = to.display()))?;
    Ok(begun.elapsed().as_secs_f64())
}

fn convert(from: &Path, to: &Path) -> Result<f64> {
    let mut command = Command::new("qemu-img");
    command.args(["convert", "-f", "raw", "-O", "raw"]).arg(from).arg(to);
    timed(&mut command).map(|(seconds, _)| seconds)
}

fn compress(chunk: &[u8], out: &mut Vec<u8>) {
    thread_local! {
        static ZSTD: std::cell::RefCell<zstd::bulk::Compressor<'static>> =
            std::cell::RefCell::new(zstd::bulk::Compressor::new(1).expect("level 1 exists"));
    }
    out.resize(zstd::zstd_safe::compress_bound(chunk.len()), 0);
    ZSTD.with_borrow_mut(|zstd| zstd.compress_to_buffer(chunk, out)).expect("the buffer is large enough");
}

fn hash(chunk: &[u8], _: &mut Vec<u8>) {
    std::hint::black_box(blake3::keyed_hash(&[7; 32], chunk));
}

/// Reads what is not a hole and does `work` with every chunk that is not zero, on all cores.
fn each_chunk(path: &Path, work: fn(&[u8], &mut Vec<u8>)) -> Result<f64> {
    let begun = Instant::now();
    let file = File::open(path)?;
    let size = file.metadata()?.len();
    let next = AtomicU64::new(0);
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let one = || -> std::io::Result<()> {
        let (mut buffer, mut out) = (vec![0; PIECE], Vec::new());
        loop {
            let offset = next.fetch_add(PIECE as u64, Ordering::Relaxed);
            if offset >= size {
                return Ok(());
            }
            let data = rustix::fs::seek(File::open(path)?, rustix::fs::SeekFrom::Data(offset));
            if data.is_ok_and(|data| data < offset + PIECE as u64) {
                let length = (size - offset).min(PIECE as u64) as usize;
                file.read_exact_at(&mut buffer[..length], offset)?;
                for chunk in
                    buffer[..length].chunks(CHUNK).filter(|chunk| chunk.iter().any(|&byte| byte != 0))
                {
                    work(chunk, &mut out);
                }
            }
        }
    };
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..cores).map(|_| scope.spawn(one)).collect();
        threads.into_iter().try_for_each(|thread| thread.join().expect("does not panic"))
    })?;
    Ok(begun.elapsed().as_secs_f64())
}
