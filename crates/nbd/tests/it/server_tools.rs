//! Our server under the tools of QEMU and libnbd.

use crate::tools::{Folder, pattern, run, sparse_file, try_run};
use block::{BlockSource, ExtentKind, FileDisk, MemoryDisk};
use nbd::{Export, RunningServer, Server};
use std::sync::Arc;

/// Sizes that are not whole anything, and one that is.
const SIZES: [usize; 4] = [1 << 20, 1_000_001, 513, 1];

async fn serve(folder: &Folder, export: Export) -> RunningServer {
    let server = Server::new().export("disk", export).expect("export");
    server.listen(&folder.socket()).await.expect("listen")
}

async fn serve_file(folder: &Folder, bytes: &[u8]) -> RunningServer {
    sparse_file(&folder.path("source.raw"), bytes).await;
    let disk = FileDisk::open(&folder.path("source.raw")).expect("open");
    serve(folder, Export::read_only(Arc::new(disk))).await
}

#[tokio::test]
async fn nbdinfo_sees_what_the_export_can_do() {
    let folder = Folder::new();
    let server = Server::new()
        .export("read", Export::read_only(Arc::new(MemoryDisk::new(1_000_001))))
        .and_then(|server| server.export("write", Export::writable(Arc::new(MemoryDisk::new(4096)))))
        .expect("exports");
    let running = server.listen(&folder.socket()).await.expect("listen");

    let told = run("nbdinfo", &["--list", &folder.uri("")]).await;
    assert!(told.contains("export=\"read\"") && told.contains("export=\"write\""), "{told}");
    let told = run("nbdinfo", &[&folder.uri("read")]).await;
    for line in [
        "using structured packets",
        "export-size: 1000001",
        "is_read_only: true",
        "can_multi_conn: true",
        "can_df: true",
        "can_cache: true",
        "base:allocation",
        "block_size_minimum: 1\n",
        "block_size_maximum: 33554432",
    ] {
        assert!(told.contains(line), "{line} not in {told}");
    }
    let told = run("nbdinfo", &[&folder.uri("write")]).await;
    for line in
        ["is_read_only: false", "can_fua: true", "can_trim: true", "can_zero: true", "can_flush: true"]
    {
        assert!(told.contains(line), "{line} not in {told}");
    }
    let (ok, told) = try_run("nbdinfo", &[&folder.uri("missing")]).await;
    assert!(!ok && told.contains("No such file or directory"), "{told}");
    running.stop().await;
}

#[tokio::test]
async fn nbdinfo_maps_the_holes_of_the_source() {
    let folder = Folder::new();
    let running = serve_file(&folder, &pattern(3_000_001)).await;
    let disk = FileDisk::open(&folder.path("source.raw")).expect("open");
    let map = run("nbdinfo", &["--map", &folder.uri("disk")]).await;
    let told: Vec<(u64, u64, u64)> = map
        .lines()
        .map(|line| {
            let mut words = line.split_whitespace().map(|word| word.parse::<u64>());
            let mut number = || words.next().expect("three numbers").expect("number");
            (number(), number(), number())
        })
        .collect();
    let truth: Vec<(u64, u64, u64)> = disk
        .extents(0, 3_000_001)
        .await
        .expect("extents")
        .iter()
        .map(|e| (e.offset, e.length, if e.kind == ExtentKind::Zero { 3 } else { 0 }))
        .collect();
    assert!(truth.len() > 10, "the image has holes");
    assert_eq!(told, truth);
    running.stop().await;
}

#[tokio::test]
async fn nbdcopy_takes_the_same_bytes_out_and_in() {
    for size in SIZES {
        let (folder, bytes) = (Folder::new(), pattern(size));
        let running = serve_file(&folder, &bytes).await;
        run("nbdcopy", &[&folder.uri("disk"), &folder.arg("out.raw")]).await;
        assert!(std::fs::read(folder.path("out.raw")).expect("read") == bytes, "out, {size} bytes");
        run("nbdcopy", &["--synchronous", &folder.uri("disk"), &folder.arg("slow.raw")]).await;
        assert!(std::fs::read(folder.path("slow.raw")).expect("read") == bytes, "one by one, {size} bytes");
        running.stop().await;

        let target = Arc::new(MemoryDisk::from(vec![0xFF; size]));
        let running = serve(&folder, Export::writable(Arc::clone(&target))).await;
        run("nbdcopy", &["--flush", &folder.arg("out.raw"), &folder.uri("disk")]).await;
        assert!(target.bytes() == bytes, "in, {size} bytes");
        running.stop().await;
    }
}

#[tokio::test]
async fn qemu_img_converts_compares_and_maps() {
    let (folder, bytes) = (Folder::new(), pattern(2 << 20));
    let running = serve_file(&folder, &bytes).await;
    let uri = folder.uri("disk");
    run("qemu-img", &["convert", "-f", "raw", "-O", "qcow2", &uri, &folder.arg("out.qcow2")]).await;
    run("qemu-img", &["compare", "-f", "raw", "-F", "qcow2", &uri, &folder.arg("out.qcow2")]).await;
    let map = run("qemu-img", &["map", "-f", "raw", "--output=json", &uri]).await;
    assert!(map.contains("\"zero\": true") && map.contains("\"zero\": false"), "{map}");
    running.stop().await;

    let target = Arc::new(FileDisk::create(&folder.path("target.raw"), 2 << 20).expect("create"));
    let running = serve(&folder, Export::writable(target)).await;
    run("qemu-img", &["convert", "-n", "-f", "qcow2", "-O", "raw", &folder.arg("out.qcow2"), &uri]).await;
    running.stop().await;
    assert!(std::fs::read(folder.path("target.raw")).expect("read") == bytes);
}

#[tokio::test]
async fn qemu_img_reads_odd_sizes() {
    for size in [1_000_001, 513] {
        let (folder, bytes) = (Folder::new(), pattern(size));
        let running = serve_file(&folder, &bytes).await;
        run("qemu-img", &["convert", "-f", "raw", "-O", "raw", &folder.uri("disk"), &folder.arg("out.raw")])
            .await;
        let out = std::fs::read(folder.path("out.raw")).expect("read");
        assert!(out[..size] == bytes, "{size} bytes");
        assert!(out[size..].iter().all(|byte| *byte == 0) && out.len() < size + 512, "sectors are filled up");
        running.stop().await;
    }
}

#[tokio::test]
async fn qemu_io_writes_zeroes_discards_and_flushes() {
    let folder = Folder::new();
    let target = Arc::new(MemoryDisk::from(vec![9; 1 << 20]));
    let running = serve(&folder, Export::writable(Arc::clone(&target))).await;
    let commands = [
        "write -P 1 0 64k",
        "write -f -P 2 64k 64k",
        "write -z 128k 64k",
        "write -z -u 192k 64k",
        "discard 256k 64k",
        "flush",
        "read -P 1 0 64k",
        "read -P 2 64k 64k",
        "read -P 0 128k 192k",
        "read -P 9 320k 704k",
    ];
    let args: Vec<&str> = commands.iter().flat_map(|command| ["-c", *command]).collect();
    let uri = folder.uri("disk");
    let told = run("qemu-io", &[&["-f", "raw"], &args[..], &[&uri]].concat()).await;
    assert!(!told.contains("Pattern verification failed"), "{told}");
    let bytes = target.bytes();
    assert!(bytes[..65_536] == [1; 65_536] && bytes[327_680..] == [9; 720_896]);
    running.stop().await;
}

#[tokio::test]
async fn a_read_only_export_cannot_be_opened_for_writing() {
    let folder = Folder::new();
    let running = serve(&folder, Export::read_only(Arc::new(MemoryDisk::new(65_536)))).await;
    let (_, told) = try_run("qemu-io", &["-f", "raw", "-c", "write 0 512", &folder.uri("disk")]).await;
    assert!(told.contains("can't open device"), "{told}");
    running.stop().await;
}
