//! Our client against qemu-nbd.

use crate::tools::{Folder, QemuNbd, all_bytes, patiently, pattern, run, sparse_file};
use block::{BlockSink, BlockSource, CopyOptions, ErrorKind, Extent, ExtentKind, MemoryDisk};
use nbd::{NbdDisk, Options, list_contexts, list_exports};

const SIZE: usize = 8 << 20;

async fn open(folder: &Folder, options: &Options) -> NbdDisk {
    NbdDisk::connect(&folder.socket(), options).await.expect("connect")
}

#[tokio::test]
async fn a_raw_image_is_read_over_four_connections() {
    let (folder, bytes) = (Folder::new(), pattern(SIZE));
    sparse_file(&folder.path("a.raw"), &bytes).await;
    let image = folder.arg("a.raw");
    let server = QemuNbd::start(&folder, &["-r", "-f", "raw", "-e", "4", "-x", "a", &image]).await;
    assert_eq!(list_exports(&folder.socket()).await.expect("list"), ["a"]);

    let disk = open(&folder, &Options::new("a")).await;
    assert!(disk.is_read_only());
    assert_eq!((disk.connections(), BlockSource::size(&disk)), (4, SIZE as u64));
    let target = MemoryDisk::new(SIZE);
    let options = CopyOptions { sink_is_zero: true, ..CopyOptions::default() };
    let copied = patiently(block::copy(&disk, &target, options, &|_| ())).await.expect("copy");
    assert!(target.bytes() == bytes);
    assert!(copied.zero > 0, "holes are not read: {copied:?}");
    // From and to where no block begins.
    assert_eq!(disk.read(1_000_001, vec![0; 3]).await.expect("read"), bytes[1_000_001..1_000_004]);
    let refused = disk.write(0, vec![0; 512]).await.expect_err("read-only");
    assert_eq!(refused.kind(), ErrorKind::Invalid);
    disk.close().await;
    server.kill().await;
}

#[tokio::test]
async fn a_server_for_one_client_gets_one_connection() {
    let folder = Folder::new();
    sparse_file(&folder.path("a.raw"), &pattern(SIZE)).await;
    let server = QemuNbd::start(&folder, &["-r", "-f", "raw", "-e", "1", &folder.arg("a.raw")]).await;
    let disk = open(&folder, &Options::new("")).await;
    assert_eq!(disk.connections(), 1);
    disk.close().await;
    server.kill().await;
}

#[tokio::test]
async fn what_we_write_is_in_the_image() {
    for format in ["raw", "qcow2"] {
        let (folder, bytes) = (Folder::new(), pattern(SIZE));
        let image = folder.arg("image");
        run("qemu-img", &["create", "-f", format, &image, "8M"]).await;
        let server = QemuNbd::start(&folder, &["-f", format, "-e", "4", "--discard=unmap", &image]).await;
        let disk = open(&folder, &Options::new("")).await;
        let source = MemoryDisk::from(bytes.clone());
        patiently(block::copy(&source, &disk, CopyOptions::default(), &|_| ())).await.expect("copy");
        disk.write_durably(4096, vec![3; 8192]).await.expect("write durably");
        disk.zero(65_536, 65_536).await.expect("zero");
        disk.trim(SIZE as u64 - 65_536, 65_536).await.expect("trim");
        disk.flush().await.expect("flush");
        let mut expected = bytes;
        expected[4096..12_288].fill(3);
        expected[65_536..131_072].fill(0);
        let seen = all_bytes(&disk).await;
        assert!(seen[..SIZE - 65_536] == expected[..SIZE - 65_536], "{format}");
        disk.close().await;
        server.end().await;

        std::fs::write(folder.path("seen.raw"), seen).expect("write");
        run("qemu-img", &["compare", "-F", "raw", "-f", format, &image, &folder.arg("seen.raw")]).await;
    }
}

/// A qcow2 image full of data and one zeroed cluster, then a bitmap `since`, then a few writes.
async fn image_with_bitmap(folder: &Folder) -> String {
    let image = folder.arg("b.qcow2");
    run("qemu-img", &["create", "-f", "qcow2", &image, "8M"]).await;
    run("qemu-io", &["-f", "qcow2", "-c", "write -P 5 0 6M", &image]).await;
    run("qemu-img", &["bitmap", "--add", "-g", "64k", &image, "since"]).await;
    let changes = ["-c", "write -P 6 1M 128k", "-c", "write -z 2M 64k", "-c", "write -P 7 5M 1k"];
    run("qemu-io", &[&["-f", "qcow2"], &changes[..], &[&image]].concat()).await;
    // A bitmap that records cannot be exported read-only.
    run("qemu-img", &["bitmap", "--disable", &image, "since"]).await;
    image
}

/// Offset and length in KiB, and kind.
fn extents(told: &[(u64, u64, ExtentKind)]) -> Vec<Extent> {
    told.iter().map(|(offset, length, kind)| Extent::new(offset << 10, length << 10, *kind)).collect()
}

#[tokio::test]
async fn a_dirty_bitmap_tells_what_changed() {
    use ExtentKind::{Data, Unchanged, Zero};
    let folder = Folder::new();
    let image = image_with_bitmap(&folder).await;
    let args = ["-r", "-f", "qcow2", "-e", "4", "-B", "since", "-x", "b", &image];
    let server = QemuNbd::start(&folder, &args).await;
    let mut contexts = list_contexts(&folder.socket(), "b").await.expect("contexts");
    contexts.sort();
    assert_eq!(contexts, ["base:allocation", "qemu:dirty-bitmap:since"]);

    let both = Options { dirty_bitmap: Some("since".into()), ..Options::new("b") };
    let disk = open(&folder, &both).await;
    let expected = [
        (0, 1024, Unchanged),
        (1024, 128, Data),
        (1152, 896, Unchanged),
        (2048, 64, Zero),
        (2112, 3008, Unchanged),
        (5120, 64, Data),
        (5184, 3008, Unchanged),
    ];
    assert_eq!(disk.extents(0, SIZE as u64).await.expect("extents"), extents(&expected));
    // A part, from and to where nothing begins or ends.
    let part = disk.extents((1 << 20) + 1, (128 << 10) + 1).await.expect("extents");
    assert_eq!(
        part,
        [
            Extent::new((1 << 20) + 1, (128 << 10) - 1, Data),
            Extent::new((1 << 20) + (128 << 10), 2, Unchanged)
        ]
    );
    // Many at once take turns.
    let many = (0..20).map(|n| disk.extents(n << 18, 1 << 18));
    let many = patiently(futures_util::future::try_join_all(many)).await.expect("extents");
    assert!(many.iter().zip(0..).all(|(part, n)| part[0].offset == n << 18));
    disk.close().await;

    let only = Options { allocation: false, ..both };
    let disk = open(&folder, &only).await;
    let zeros = disk.extents(2 << 20, 64 << 10).await.expect("extents");
    assert_eq!(zeros, [Extent::new(2 << 20, 64 << 10, Data)], "without allocation zeros are data");
    disk.close().await;

    let neither = Options { allocation: false, ..Options::new("b") };
    let disk = open(&folder, &neither).await;
    let all = disk.extents(0, SIZE as u64).await.expect("extents");
    assert_eq!(all, [Extent::new(0, SIZE as u64, Data)]);
    disk.close().await;
    server.kill().await;
}

#[tokio::test]
async fn an_incremental_copy_brings_an_old_copy_up_to_date() {
    let folder = Folder::new();
    let image = image_with_bitmap(&folder).await;
    let server = QemuNbd::start(&folder, &["-r", "-f", "qcow2", "-e", "4", "-B", "since", &image]).await;
    let options = Options { dirty_bitmap: Some("since".into()), ..Options::new("") };
    let disk = open(&folder, &options).await;
    let mut old = vec![5; 6 << 20];
    old.resize(SIZE, 0);
    let copy = MemoryDisk::from(old);
    let copied = patiently(block::copy(&disk, &copy, CopyOptions::default(), &|_| ())).await.expect("copy");
    assert_eq!((copied.data, copied.zero), (192 << 10, 64 << 10));
    assert!(copy.bytes() == all_bytes(&disk).await);
    disk.close().await;
    server.kill().await;
}

#[tokio::test]
async fn what_is_missing_is_told_apart() {
    let folder = Folder::new();
    let absent = NbdDisk::connect(&folder.socket(), &Options::new("a")).await.err().expect("no server");
    assert_eq!(absent.kind(), ErrorKind::Unreachable);

    sparse_file(&folder.path("a.raw"), &pattern(SIZE)).await;
    let args = ["-r", "-f", "raw", "-x", "a", &folder.arg("a.raw")];
    let server = QemuNbd::start(&folder, &args).await;
    let export = NbdDisk::connect(&folder.socket(), &Options::new("b")).await.err().expect("no export");
    assert_eq!(export.kind(), ErrorKind::NotFound);
    let options = Options { dirty_bitmap: Some("since".into()), ..Options::new("a") };
    let bitmap = NbdDisk::connect(&folder.socket(), &options).await.err().expect("no bitmap");
    assert_eq!(bitmap.kind(), ErrorKind::NotFound);
    assert!(bitmap.to_string().contains("qemu:dirty-bitmap:since"), "{bitmap}");
    assert_eq!(
        list_contexts(&folder.socket(), "b").await.expect_err("no export").kind(),
        ErrorKind::NotFound
    );
    server.kill().await;
}

#[tokio::test]
async fn a_server_killed_under_way_fails_reads_instead_of_hanging_them() {
    let folder = Folder::new();
    sparse_file(&folder.path("a.raw"), &pattern(SIZE)).await;
    let server = QemuNbd::start(&folder, &["-r", "-f", "raw", "-e", "4", &folder.arg("a.raw")]).await;
    let disk = open(&folder, &Options::new("")).await;
    // Frozen, it surely has answered none of them when it dies.
    server.freeze().await;
    // More than are sent at once, so that some still wait for their turn.
    let reads = (0..200).map(|n| disk.read(n * 4096, vec![0; 4096]));
    let (answers, ()) = patiently(async {
        tokio::join!(futures_util::future::join_all(reads), async {
            tokio::task::yield_now().await;
            server.kill().await;
        })
    })
    .await;
    for answer in answers {
        assert_eq!(answer.expect_err("dead server").kind(), ErrorKind::Unreachable);
    }
    let after = disk.extents(0, 4096).await.expect_err("dead server");
    assert_eq!(after.kind(), ErrorKind::Unreachable);
    patiently(disk.close()).await;
}
