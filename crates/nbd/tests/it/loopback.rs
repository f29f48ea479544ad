//! Our client against our server.

use crate::tools::{Folder, all_bytes, patiently, pattern};
use async_trait::async_trait;
use block::{BlockSink, BlockSource, CopyOptions, Error, ErrorKind, Extent, ExtentKind, MemoryDisk, Result};
use nbd::{Address, Export, NbdDisk, Options, RunningServer, Server, list_contexts, list_exports};
use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;
use tokio::sync::Semaphore;

async fn serve(folder: &Folder, exports: Vec<(&str, Export)>) -> RunningServer {
    let server = exports
        .into_iter()
        .try_fold(Server::new(), |server, (name, export)| server.export(name, export))
        .expect("exports");
    server.listen(&folder.socket()).await.expect("listen")
}

async fn open(folder: &Folder, export: &str) -> NbdDisk {
    patiently(NbdDisk::connect(&folder.socket(), &Options::new(export))).await.expect("connect")
}

/// A source whose reads wait until they are let through, one permit each.
struct Gate {
    permits: Semaphore,
    /// One permit for each read that has come as far as the gate.
    arrived: Semaphore,
}

impl Gate {
    fn new() -> Arc<Self> {
        Arc::new(Self { permits: Semaphore::new(0), arrived: Semaphore::new(0) })
    }

    /// Waits for a read to arrive that was not waited for yet.
    async fn arrival(&self) {
        patiently(self.arrived.acquire()).await.expect("open").forget();
    }
}

#[async_trait]
impl BlockSource for Gate {
    fn size(&self) -> u64 {
        1 << 20
    }

    async fn extents(&self, offset: u64, length: u64) -> Result<Vec<Extent>> {
        Ok(vec![Extent::new(offset, length, ExtentKind::Unchanged)])
    }

    async fn read(&self, offset: u64, mut buffer: Vec<u8>) -> Result<Vec<u8>> {
        self.arrived.add_permits(1);
        self.permits.acquire().await.expect("open").forget();
        buffer.fill((offset >> 12) as u8);
        Ok(buffer)
    }
}

/// A source that is damaged but for its first 4 KiB.
struct Damaged;

#[async_trait]
impl BlockSource for Damaged {
    fn size(&self) -> u64 {
        1 << 20
    }

    async fn extents(&self, offset: u64, length: u64) -> Result<Vec<Extent>> {
        Ok(vec![Extent::new(offset, length, ExtentKind::Data)])
    }

    async fn read(&self, offset: u64, mut buffer: Vec<u8>) -> Result<Vec<u8>> {
        if offset + buffer.len() as u64 <= 4096 {
            buffer.fill(3);
            Ok(buffer)
        } else {
            Err(Error::new(ErrorKind::Corrupt, "read chunk abc: hash differs"))
        }
    }
}

#[tokio::test]
async fn copies_in_and_out_equal_their_source() {
    for size in [5_000_001, 70 << 20, 1] {
        let (folder, bytes) = (Folder::new(), pattern(size));
        let target = Arc::new(MemoryDisk::from(vec![0xFF; size]));
        let running = serve(&folder, vec![("disk", Export::writable(Arc::clone(&target)))]).await;
        let disk = open(&folder, "disk").await;
        assert_eq!((disk.connections(), disk.is_read_only(), disk.block_bytes()), (4, false, 1));
        let source = MemoryDisk::from(bytes.clone());
        patiently(block::copy(&source, &disk, CopyOptions::default(), &|_| ())).await.expect("copy in");
        assert!(target.bytes() == bytes, "in, {size} bytes");
        let back = MemoryDisk::new(size);
        let options = CopyOptions { granularity: 4096, ..CopyOptions::default() };
        let copied = patiently(block::copy(&disk, &back, options, &|_| ())).await.expect("copy out");
        assert!(back.bytes() == bytes, "out, {size} bytes");
        assert!(size == 1 || copied.zero > 0, "{copied:?}");
        // One call larger than any request.
        assert!(all_bytes(&disk).await == bytes, "at once, {size} bytes");
        disk.close().await;
        running.stop().await;
    }
}

#[tokio::test]
async fn random_operations_agree_with_a_disk_in_memory() {
    const SIZE: u64 = 300_007;
    let folder = Folder::new();
    let remote = Arc::new(MemoryDisk::new(SIZE as usize));
    let running = serve(&folder, vec![("disk", Export::writable(Arc::clone(&remote)))]).await;
    let disk = open(&folder, "disk").await;
    let oracle = MemoryDisk::new(SIZE as usize);
    let mut state = 0x9E37_79B9_7F4A_7C15_u64;
    let mut random = move |below: u64| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) % below
    };
    for _ in 0..400 {
        let offset = random(SIZE);
        let length = 1 + random((SIZE - offset).min(80_000));
        match random(5) {
            0 => {
                let data = vec![random(256) as u8; length as usize];
                disk.write(offset, data.clone()).await.expect("write");
                oracle.write(offset, data).await.expect("write");
            }
            1 => {
                disk.zero(offset, length).await.expect("zero");
                oracle.zero(offset, length).await.expect("zero");
            }
            2 => {
                let told = disk.extents(offset, length).await.expect("extents");
                assert_eq!(told, oracle.extents(offset, length).await.expect("extents"));
            }
            _ => {
                let buffer = vec![0xEE; length as usize];
                let read = disk.read(offset, buffer.clone()).await.expect("read");
                assert!(read == oracle.read(offset, buffer).await.expect("read"), "{length} at {offset}");
            }
        }
    }
    assert!(remote.bytes() == oracle.bytes());
    disk.close().await;
    running.stop().await;
}

#[tokio::test]
async fn a_slow_client_does_not_hold_up_another() {
    let folder = Folder::new();
    let gate = Gate::new();
    let quick = Arc::new(MemoryDisk::from(pattern(100_000)));
    let exports =
        vec![("slow", Export::read_only(gate.clone())), ("quick", Export::read_only(quick.clone()))];
    let running = serve(&folder, exports).await;
    let (slow, other) = (open(&folder, "slow").await, open(&folder, "quick").await);
    let slow_reads = (0..100).map(|n| slow.read(n << 12, vec![0; 4096]));
    let quick_read = async {
        gate.arrival().await;
        let read = all_bytes(&other).await;
        gate.permits.add_permits(100);
        read
    };
    let (reads, quick_read) =
        patiently(async { tokio::join!(futures_util::future::join_all(slow_reads), quick_read) }).await;
    assert!(quick_read == quick.bytes());
    for (n, read) in reads.into_iter().enumerate() {
        assert!(read.expect("read") == [n as u8; 4096], "read {n}");
    }
    slow.close().await;
    other.close().await;
    running.stop().await;
}

#[tokio::test]
async fn a_caller_that_gives_up_disturbs_nobody() {
    let folder = Folder::new();
    let gate = Gate::new();
    let running = serve(&folder, vec![("slow", Export::read_only(gate.clone()))]).await;
    let options = Options { connections: 1, ..Options::new("slow") };
    let disk = NbdDisk::connect(&folder.socket(), &options).await.expect("connect");
    for _ in 0..3 {
        tokio::select! {
            _ = disk.read(0, vec![0; 8192]) => panic!("the gate is shut"),
            () = gate.arrival() => {}
        }
    }
    gate.permits.add_permits(4);
    assert_eq!(patiently(disk.read(12 << 12, vec![0; 100])).await.expect("read"), [12; 100]);
    disk.close().await;
    running.stop().await;
}

#[tokio::test]
async fn damage_is_an_error_and_the_connection_lives_on() {
    let folder = Folder::new();
    let running = serve(&folder, vec![("bad", Export::read_only(Arc::new(Damaged)))]).await;
    let disk = open(&folder, "bad").await;
    let error = disk.read(0, vec![0; 65_536]).await.expect_err("damaged");
    assert_eq!(error.kind(), ErrorKind::Io);
    assert!(error.to_string().contains("hash differs"), "{error}");
    assert!(disk.read(0, vec![0; 4096]).await.expect("read") == [3; 4096]);
    disk.close().await;
    running.stop().await;
}

#[tokio::test]
async fn requests_outside_the_disk_are_refused() {
    let folder = Folder::new();
    let writable = Export::writable(Arc::new(MemoryDisk::new(1000)));
    let running = serve(&folder, vec![("disk", writable)]).await;
    let disk = open(&folder, "disk").await;
    for error in [
        disk.read(999, vec![0; 2]).await.expect_err("past the end"),
        disk.read(0, vec![]).await.expect_err("empty"),
        disk.write(u64::MAX, vec![0; 2]).await.expect_err("overflow"),
        disk.zero(1000, 1).await.expect_err("past the end"),
        disk.extents(0, 1001).await.expect_err("past the end"),
    ] {
        assert_eq!(error.kind(), ErrorKind::Invalid);
    }
    disk.close().await;
    running.stop().await;
}

#[tokio::test]
async fn stopping_disconnects_and_removes_the_socket() {
    let folder = Folder::new();
    let running = serve(&folder, vec![("disk", Export::read_only(Arc::new(MemoryDisk::new(1000))))]).await;
    let socket = folder.path("nbd.sock");
    let mode = std::fs::metadata(&socket).expect("stat").permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let disk = open(&folder, "disk").await;
    patiently(running.stop()).await;
    assert!(!socket.exists());
    assert_eq!(disk.read(0, vec![0; 1]).await.expect_err("stopped").kind(), ErrorKind::Unreachable);
    patiently(disk.close()).await;
}

#[tokio::test]
async fn a_socket_left_by_a_crash_is_taken_over_and_a_live_one_is_not() {
    let folder = Folder::new();
    drop(std::os::unix::net::UnixListener::bind(folder.path("nbd.sock")).expect("bind"));
    let export = Export::read_only(Arc::new(MemoryDisk::new(1000)));
    let server = Server::new().export("disk", export.clone()).expect("export");
    let running = server.listen(&folder.socket()).await.expect("take over");
    let second = server.listen(&folder.socket()).await.err().expect("in use");
    assert_eq!(second.kind(), ErrorKind::Invalid);
    assert_eq!(BlockSource::size(&open(&folder, "disk").await), 1000);
    running.stop().await;

    std::fs::write(folder.path("nbd.sock"), "precious").expect("write");
    assert!(server.listen(&folder.socket()).await.is_err());
    assert_eq!(std::fs::read(folder.path("nbd.sock")).expect("read"), b"precious");
    let twice = server.export("disk", export).err().expect("taken");
    assert_eq!(twice.kind(), ErrorKind::Invalid);
}

#[tokio::test]
async fn a_server_tells_what_it_offers() {
    let folder = Folder::new();
    let export = Export::read_only(Arc::new(MemoryDisk::new(1000)));
    let running = serve(&folder, vec![("one", export.clone()), ("zwei", export)]).await;
    assert_eq!(list_exports(&folder.socket()).await.expect("list"), ["one", "zwei"]);
    assert_eq!(list_contexts(&folder.socket(), "one").await.expect("contexts"), ["base:allocation"]);
    let bitmap = Options { dirty_bitmap: Some("since".into()), ..Options::new("one") };
    for options in [bitmap, Options::new("three")] {
        let error = NbdDisk::connect(&folder.socket(), &options).await.err().expect("missing");
        assert_eq!(error.kind(), ErrorKind::NotFound);
    }
    running.stop().await;
}

#[tokio::test]
async fn tcp_works_alike() {
    let disk = Arc::new(MemoryDisk::from(pattern(3_000_001)));
    let server = Server::new().export("disk", Export::read_only(disk.clone())).expect("export");
    let running = server.listen(&Address::Tcp("127.0.0.1:0".into())).await.expect("listen");
    let remote = NbdDisk::connect(running.address(), &Options::new("disk")).await.expect("connect");
    assert!(all_bytes(&remote).await == disk.bytes());
    remote.close().await;
    running.stop().await;
}

#[tokio::test]
async fn a_server_stopped_under_way_ends_and_fails_the_read() {
    let folder = Folder::new();
    let gate = Gate::new();
    let running = serve(&folder, vec![("slow", Export::read_only(gate.clone()))]).await;
    let disk = open(&folder, "slow").await;
    let read = async {
        let error = disk.read(0, vec![0; 4096]).await.expect_err("stopped");
        // The client is told at once; stopping waits until the read has ended by itself.
        gate.permits.add_permits(1);
        error.kind()
    };
    let stop = async {
        gate.arrival().await;
        running.stop().await;
        assert_eq!(gate.permits.available_permits(), 0, "the read was carried out");
    };
    let (kind, ()) = patiently(async { tokio::join!(read, stop) }).await;
    assert_eq!(kind, ErrorKind::Unreachable);
}

#[tokio::test]
async fn an_export_that_tells_no_status_is_all_data_and_reads_the_same() {
    let folder = Folder::new();
    let disk = Arc::new(MemoryDisk::new(1 << 20));
    disk.write(4096, vec![7; 4096]).await.expect("write");
    let exports = vec![
        ("silent", Export::read_only(disk.clone()).without_status()),
        ("told", Export::read_only(disk.clone())),
    ];
    let server = serve(&folder, exports).await;
    let contexts = patiently(list_contexts(&folder.socket(), "silent")).await.expect("a list");
    assert!(contexts.is_empty(), "{contexts:?}");
    for (name, kind) in [("silent", ExtentKind::Data), ("told", ExtentKind::Zero)] {
        let remote = open(&folder, name).await;
        let extents = patiently(remote.extents(0, 1 << 20)).await.expect("extents");
        assert_eq!(extents.last().map(|last| last.kind), Some(kind), "{name}");
        // Large reads, too, which look for holes themselves.
        assert_eq!(all_bytes(&remote).await, disk.bytes());
    }
    server.stop().await;
}
