//! Random reads over NBD: our server on a point, and qemu-nbd on the same disk as a local image.

use super::full::Scene;
use super::load::{Load, PAGE};
use crate::data::Random;
use crate::timed::median;
use crate::vault::table::{Figures, Row};
use anyhow::{Context, Result, bail};
use block::{BlockSource, ExtentKind, FileDisk};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// Working sets, in MiB: one that our server keeps inflated, and one that it does not.
const SETS_MIB: [u64; 2] = [192, 2048];
/// How long each is read.
const TIME: Duration = Duration::from_secs(5);
/// The figures are seconds for so many reads.
const READS: f64 = 100_000.0;
const START_LIMIT: Duration = Duration::from_secs(20);

/// A server that ends with us.
struct Server {
    process: Child,
    socket: PathBuf,
}

impl Server {
    fn start(command: &mut Command, socket: PathBuf) -> Result<Self> {
        let _ = std::fs::remove_file(&socket);
        let process = command.stdin(Stdio::null()).stdout(Stdio::null()).spawn();
        let server = Self { process: process.with_context(|| format!("start {command:?}"))?, socket };
        let began = Instant::now();
        while Load::connect(&server.socket).is_err() {
            if began.elapsed() > START_LIMIT {
                bail!("{command:?} does not listen");
            }
            std::thread::yield_now();
        }
        Ok(server)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

pub(super) fn measure(scene: &Scene<'_>) -> Result<Vec<Row>> {
    let socket = |name: &str| scene.place.folder.join(name);
    let mut ours = Command::new(std::env::current_exe()?);
    ours.args(["op", "serve"]).arg(&scene.vault).arg(socket("ours.sock"));
    let mut theirs = Command::new("qemu-nbd");
    theirs.args(["--read-only", "--persistent", "--format=qcow2", "--shared=16", "--socket"]);
    theirs.arg(socket("theirs.sock")).arg(&scene.qcow2);
    let ours = Server::start(&mut ours, socket("ours.sock"))?;
    let theirs = Server::start(&mut theirs, socket("theirs.sock"))?;
    let mut rows = Vec::new();
    for mib in SETS_MIB {
        let pages = pages(&scene.place.data.day, mib << 20)?;
        let work = format!("100,000 x 4 KiB of {mib} MiB");
        for server in [&ours, &theirs] {
            warm(server, &pages)?;
        }
        let mut rates = [Vec::new(), Vec::new()];
        for run in 0..scene.place.runs {
            for (index, (program, server)) in
                [("strongroom", &ours), ("qemu-nbd", &theirs)].iter().enumerate()
            {
                let rate = random(server, &pages, run as u64)?;
                rates[index].push(rate);
                Row::add(&mut rows, program, &work, Figures { seconds: READS / rate, ..Figures::default() });
            }
        }
        let [ours, theirs] = rates.map(median);
        println!(
            "4 KiB reads, 16 at a time, of {mib} MiB: {ours:.0}/s, qemu-nbd {theirs:.0}/s: {:.2}",
            ours / theirs
        );
    }
    Ok(rows)
}

/// Offsets of pages that hold data, the first so many bytes of them.
fn pages(image: &Path, bytes: u64) -> Result<Vec<u64>> {
    let disk = FileDisk::open(image)?;
    let runtime = tokio::runtime::Builder::new_current_thread().build()?;
    let extents = runtime.block_on(disk.extents(0, BlockSource::size(&disk)))?;
    let data = extents.into_iter().filter(|extent| extent.kind == ExtentKind::Data);
    let pages = data.flat_map(|extent| (extent.offset..extent.end() / PAGE * PAGE).step_by(PAGE as usize));
    Ok(pages.take((bytes / PAGE) as usize).collect())
}

/// Every page once, in order.
fn warm(server: &Server, pages: &[u64]) -> Result<()> {
    let mut order = pages.iter().copied();
    let mut load = Load::connect(&server.socket)?;
    let mut left = pages.len();
    while left > 0 {
        let rate = load.run(Duration::from_millis(200), || order.next().unwrap_or(pages[0]))?;
        left = left.saturating_sub((rate * 0.1).max(1.0) as usize).min(order.len());
    }
    Ok(())
}

fn random(server: &Server, pages: &[u64], seed: u64) -> Result<f64> {
    let mut random = Random(seed + 1);
    Load::connect(&server.socket)?.run(TIME, || pages[(random.next() % pages.len() as u64) as usize])
}
