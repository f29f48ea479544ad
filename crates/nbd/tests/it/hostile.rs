//! Peers that break the protocol, or use its oldest parts. Messages are made by hand here, so that an
//! error in our codec cannot hide itself.

use crate::tools::{Folder, all_bytes, patiently, pattern};
use block::{BlockSource, ErrorKind, MemoryDisk};
use nbd::{Export, NbdDisk, Options, RunningServer, Server};
use std::sync::Arc;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream};

const OPTION_MAGIC: &[u8] = b"IHAVEOPT";
const GREETING: &[u8] = b"NBDMAGICIHAVEOPT\0\x03";
const REPLY_MAGIC: [u8; 8] = 0x0003_e889_0455_65a9_u64.to_be_bytes();

fn option(kind: u32, data: &[u8]) -> Vec<u8> {
    [OPTION_MAGIC, &kind.to_be_bytes(), &(data.len() as u32).to_be_bytes(), data].concat()
}

fn option_reply(option: u32, kind: u32, data: &[u8]) -> Vec<u8> {
    let words = [option, kind, data.len() as u32].map(u32::to_be_bytes);
    [&REPLY_MAGIC[..], words.as_flattened(), data].concat()
}

fn request(flags: u16, command: u16, offset: u64, length: u32) -> Vec<u8> {
    let mut bytes = 0x2560_9513_u32.to_be_bytes().to_vec();
    bytes.extend([flags, command].map(u16::to_be_bytes).as_flattened());
    bytes.extend([77, offset].map(u64::to_be_bytes).as_flattened());
    bytes.extend(length.to_be_bytes());
    bytes
}

async fn serve(folder: &Folder, disk: &Arc<MemoryDisk>) -> RunningServer {
    let server = Server::new()
        .export("disk", Export::writable(Arc::clone(disk)))
        .and_then(|server| server.export("fixed", Export::read_only(disk.clone())))
        .expect("exports");
    server.listen(&folder.socket()).await.expect("listen")
}

/// A client that has exchanged greetings.
async fn greeted(folder: &Folder, flags: u32) -> UnixStream {
    let mut stream = UnixStream::connect(folder.path("nbd.sock")).await.expect("connect");
    let mut greeting = [0; 18];
    patiently(stream.read_exact(&mut greeting)).await.expect("greeting");
    assert_eq!(greeting, GREETING);
    stream.write_all(&flags.to_be_bytes()).await.expect("flags");
    stream
}

async fn receive<const N: usize>(stream: &mut UnixStream) -> [u8; N] {
    let mut bytes = [0; N];
    patiently(stream.read_exact(&mut bytes)).await.expect("receive");
    bytes
}

/// A client in the transmission phase, by the oldest way and without structured replies.
async fn old_client(folder: &Folder, export: &str) -> UnixStream {
    let mut stream = greeted(folder, 3).await;
    stream.write_all(&option(1, export.as_bytes())).await.expect("export name");
    let _size_and_flags: [u8; 10] = receive(&mut stream).await;
    stream
}

/// Waits for the other side to hang up.
async fn hung_up(mut stream: UnixStream) {
    let mut rest = Vec::new();
    // Hanging up on bytes not read yet looks like a reset.
    let _ = patiently(stream.read_to_end(&mut rest)).await;
}

#[tokio::test]
async fn an_old_client_gets_124_zeros_and_simple_replies() {
    let folder = Folder::new();
    let disk = Arc::new(MemoryDisk::from(pattern(200_000)));
    let running = serve(&folder, &disk).await;
    let mut stream = greeted(&folder, 1).await;
    stream.write_all(&option(1, b"disk")).await.expect("export name");
    let head: [u8; 134] = receive(&mut stream).await;
    assert_eq!(head[..8], 200_000_u64.to_be_bytes());
    assert!(head[10..].iter().all(|byte| *byte == 0));

    stream.write_all(&request(0, 0, 50_000, 100_000)).await.expect("read");
    let reply: [u8; 16] = receive(&mut stream).await;
    assert_eq!(reply[..8], [0x67, 0x44, 0x66, 0x98, 0, 0, 0, 0]);
    let mut bytes = vec![0; 100_000];
    patiently(stream.read_exact(&mut bytes)).await.expect("data");
    assert!(bytes == disk.bytes()[50_000..150_000]);
    running.stop().await;
}

#[tokio::test]
async fn each_misuse_gets_its_own_error() {
    let folder = Folder::new();
    let disk = Arc::new(MemoryDisk::new(1000));
    let running = serve(&folder, &disk).await;
    const EPERM: u32 = 1;
    const EINVAL: u32 = 22;
    const ENOSPC: u32 = 28;
    let mut writable = old_client(&folder, "disk").await;
    let mut fixed = old_client(&folder, "fixed").await;
    let payload = |mut head: Vec<u8>, length: usize| {
        head.resize(head.len() + length, 0);
        head
    };
    for (bytes, expected) in [
        (request(0, 0, 999, 2), EINVAL),               // read past the end
        (request(0, 0, 0, 0), EINVAL),                 // read nothing
        (request(0, 0, u64::MAX, 2), EINVAL),          // read where addition overflows
        (request(0, 0, 0, u32::MAX), EINVAL),          // read 4 GiB
        (payload(request(0, 1, 990, 20), 20), ENOSPC), // write past the end
        (request(0, 6, 990, 20), ENOSPC),              // zero past the end
        (request(0, 4, 990, 20), EINVAL),              // trim past the end
        (request(1 << 9, 3, 0, 0), EINVAL),            // flush with an unknown flag
        (request(0, 99, 0, 0), EINVAL),                // unknown command
        (request(0, 7, 0, 10), EINVAL),                // block status without a context
        (request(1, 3, 0, 0), 0),                      // flush, with a flag that means nothing
        (request(0, 5, 0, 10), 0),                     // cache
        (payload(request(1, 1, 990, 10), 10), 0),      // write, through to the disk
    ] {
        writable.write_all(&bytes).await.expect("request");
        let reply: [u8; 16] = receive(&mut writable).await;
        assert_eq!(reply[4..8], expected.to_be_bytes(), "{:?}", &bytes[..28]);
        assert_eq!(reply[8..], 77_u64.to_be_bytes());
    }
    for bytes in [payload(request(0, 1, 0, 10), 10), request(0, 6, 0, 10), request(0, 4, 0, 10)] {
        fixed.write_all(&bytes).await.expect("request");
        let reply: [u8; 16] = receive(&mut fixed).await;
        assert_eq!(reply[4..8], EPERM.to_be_bytes());
    }
    running.stop().await;
}

#[tokio::test]
async fn options_out_of_place_are_answered_with_errors() {
    let folder = Folder::new();
    let running = serve(&folder, &Arc::new(MemoryDisk::new(1000))).await;
    let mut stream = greeted(&folder, 3).await;
    let query = [&4_u32.to_be_bytes()[..], b"disk", &0_u32.to_be_bytes()].concat();
    let missing = [&4_u32.to_be_bytes()[..], b"none", &0_u16.to_be_bytes()].concat();
    let lying = [&400_u32.to_be_bytes()[..], b"disk"].concat();
    for (kind, data, expected) in [
        (5, &b""[..], 1),          // STARTTLS: not supported
        (99, b"anything", 1),      // unknown: not supported
        (3, b"no data please", 3), // LIST with data: invalid
        (10, &query, 3),           // contexts before structured replies: invalid
        (7, &missing, 6),          // GO: unknown export
        (7, &lying, 3),            // GO: a name longer than the option
    ] {
        stream.write_all(&option(kind, data)).await.expect("option");
        let head: [u8; 20] = receive(&mut stream).await;
        assert_eq!(head[8..12], u32::to_be_bytes(kind));
        assert_eq!(head[12..16], (1_u32 << 31 | expected).to_be_bytes(), "option {kind}");
        let length = u32::from_be_bytes([head[16], head[17], head[18], head[19]]);
        let mut message = vec![0; length as usize];
        patiently(stream.read_exact(&mut message)).await.expect("message");
    }
    stream.write_all(&option(2, b"")).await.expect("abort");
    hung_up(stream).await;
    running.stop().await;
}

#[tokio::test]
async fn a_read_that_must_not_be_fragmented_is_one_chunk() {
    let folder = Folder::new();
    let bytes = [vec![1; 65_536], vec![0; 65_536], vec![2; 65_536], vec![0; 65_536]].concat();
    let running = serve(&folder, &Arc::new(MemoryDisk::from(bytes))).await;
    let mut stream = greeted(&folder, 3).await;
    stream.write_all(&option(8, b"")).await.expect("structured replies");
    let _ack: [u8; 20] = receive(&mut stream).await;
    stream.write_all(&option(1, b"disk")).await.expect("export name");
    let _size_and_flags: [u8; 10] = receive(&mut stream).await;
    const DATA: u16 = 1;
    const HOLE: u16 = 2;
    for (flags, offset, length, expected) in [
        (0, 0, 262_144, &[(DATA, 65_544), (HOLE, 12), (DATA, 65_544), (HOLE, 12)][..]),
        (1 << 2, 0, 262_144, &[(DATA, 262_152)]),
        (1 << 2, 65_536, 65_536, &[(HOLE, 12)]),
        (0, 65_000, 1000, &[(DATA, 1008)]), // too short for its hole to be worth a chunk
    ] {
        stream.write_all(&request(flags, 0, offset, length)).await.expect("read");
        for (number, (kind, content_bytes)) in expected.iter().enumerate() {
            let head: [u8; 20] = receive(&mut stream).await;
            assert_eq!(head[..4], [0x66, 0x8e, 0x33, 0xef]);
            let done = u16::from(number + 1 == expected.len());
            assert_eq!(head[4..8], [done, *kind].map(u16::to_be_bytes).concat());
            assert_eq!(head[16..], u32::to_be_bytes(*content_bytes));
            let mut content = vec![0; *content_bytes as usize];
            patiently(stream.read_exact(&mut content)).await.expect("content");
        }
    }
    running.stop().await;
}

#[tokio::test]
async fn garbage_ends_its_own_connection_only() {
    let folder = Folder::new();
    let disk = Arc::new(MemoryDisk::from(pattern(100_000)));
    let running = serve(&folder, &disk).await;
    let good = NbdDisk::connect(&folder.socket(), &Options::new("disk")).await.expect("connect");
    let garbage: Vec<u8> = (0..10_000_u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 13) as u8).collect();

    let mut stream = UnixStream::connect(folder.path("nbd.sock")).await.expect("connect");
    let _ = stream.write_all(&garbage).await;
    hung_up(stream).await;
    let mut stream = greeted(&folder, 3).await;
    let _ = stream.write_all(&garbage).await;
    hung_up(stream).await;
    let mut stream = greeted(&folder, 3).await;
    let huge = [OPTION_MAGIC, &7_u32.to_be_bytes(), &u32::MAX.to_be_bytes()].concat();
    stream.write_all(&huge).await.expect("huge option");
    hung_up(stream).await;
    let mut stream = old_client(&folder, "disk").await;
    let _ = stream.write_all(&garbage).await;
    hung_up(stream).await;
    let mut stream = old_client(&folder, "disk").await;
    stream.write_all(&request(0, 1, 0, u32::MAX)).await.expect("huge write");
    hung_up(stream).await;
    // In the middle of a request, of a payload, and without taking the replies asked for.
    drop(old_client(&folder, "disk").await);
    let mut stream = old_client(&folder, "disk").await;
    stream.write_all(&request(0, 1, 0, 500)[..20]).await.expect("half a request");
    drop(stream);
    let deaf = old_client(&folder, "disk").await;
    for _ in 0..200 {
        let _ = deaf.try_write(&request(0, 0, 0, 100_000));
    }

    assert!(all_bytes(&good).await == disk.bytes());
    good.close().await;
    patiently(running.stop()).await;
    drop(deaf);
}

#[tokio::test(start_paused = true)]
async fn a_silent_client_is_sent_away() {
    let folder = Folder::new();
    let running = serve(&folder, &Arc::new(MemoryDisk::new(1000))).await;
    // Time is paused and jumps ahead when nobody has anything to do: this waits no ten seconds.
    let stream = UnixStream::connect(folder.path("nbd.sock")).await.expect("connect");
    hung_up(stream).await;
    running.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_silent_server_is_unreachable() {
    let folder = Folder::new();
    let _listener = UnixListener::bind(folder.path("nbd.sock")).expect("bind");
    let error = NbdDisk::connect(&folder.socket(), &Options::new("disk")).await.err().expect("silent");
    assert_eq!(error.kind(), ErrorKind::Unreachable);
}

/// Plays a server: sends each message without caring what the client says, then keeps the connection.
async fn against(messages: &[Vec<u8>]) -> (Folder, block::Result<NbdDisk>) {
    let folder = Folder::new();
    let listener = UnixListener::bind(folder.path("nbd.sock")).expect("bind");
    let bytes = messages.concat();
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.expect("accept");
        let _ = stream.write_all(&bytes).await;
        // Takes in what the client says until it leaves.
        let _ = tokio::io::copy(&mut stream, &mut tokio::io::sink()).await;
    });
    let options = Options { allocation: false, ..Options::new("disk") };
    let disk = patiently(NbdDisk::connect(&folder.socket(), &options)).await;
    (folder, disk)
}

/// A handshake up to an export of 4096 bytes, then `messages`.
fn after_handshake(messages: &[u8]) -> Vec<Vec<u8>> {
    let export = [&0_u16.to_be_bytes()[..], &4096_u64.to_be_bytes(), &3_u16.to_be_bytes()].concat();
    vec![
        GREETING.to_vec(),
        option_reply(8, 1, &[]),
        option_reply(7, 3, &export),
        option_reply(7, 1, &[]),
        messages.to_vec(),
    ]
}

#[tokio::test]
async fn a_server_that_breaks_the_handshake_is_refused() {
    let oldstyle = [b"NBDMAGIC".to_vec(), vec![0, 0, 0x42, 2, 0x81, 0x86, 0x12, 0x53], vec![0; 136]];
    let unfixed = [b"NBDMAGICIHAVEOPT\0\0".to_vec()];
    let unrelated = [b"HTTP/1.1 400 Bad Request\r\n\r\n".to_vec()];
    let huge = [GREETING.to_vec(), REPLY_MAGIC.to_vec(), vec![0, 0, 0, 8, 0, 0, 0, 1, 255, 255, 255, 255]];
    let other = [GREETING.to_vec(), option_reply(3, 1, &[])];
    let sizeless = [GREETING.to_vec(), option_reply(8, 1, &[]), option_reply(7, 1, &[])];
    let cases: [&[Vec<u8>]; 6] = [&oldstyle, &unfixed, &unrelated, &huge, &other, &sizeless];
    for messages in cases {
        let (_folder, disk) = against(messages).await;
        assert_eq!(disk.err().expect("refused").kind(), ErrorKind::Io);
    }
}

#[tokio::test]
async fn a_server_that_lists_for_ever_is_refused() {
    let info = option_reply(7, 3, &[vec![0, 9], vec![0; 60_000]].concat());
    let messages = [GREETING.to_vec(), option_reply(8, 1, &[]), info.repeat(100)];
    let (_folder, disk) = against(&messages).await;
    assert_eq!(disk.err().expect("refused").kind(), ErrorKind::Io);
}

#[tokio::test]
async fn a_reply_to_nothing_ends_the_connection() {
    let reply = [&0x6744_6698_u32.to_be_bytes()[..], &[0; 4], &99_u64.to_be_bytes()].concat();
    let (_folder, disk) = against(&after_handshake(&reply)).await;
    let disk = disk.expect("connect");
    let error = patiently(disk.read(0, vec![0; 4096])).await.expect_err("broken");
    assert_eq!(error.kind(), ErrorKind::Unreachable);
    assert!(error.to_string().contains("did not send"), "{error}");
}
