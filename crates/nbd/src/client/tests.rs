//! A hostile server against the receiving half: whatever it sends, nothing panics, nothing outside a
//! request's range changes, and an answered read is the one the chunks told.

use super::connection::{Connection, Pending};
use super::coverage::Coverage;
use super::handshake::Contexts;
use super::replies::{Answer, Replies, Target, Wanted};
use crate::address::{Reader, Writer};
use crate::wire::{HoleChunk, ReplyHead, Request, chunk, command};
use block::ErrorKind;
use proptest::prelude::*;
use std::io::Cursor;
use tokio::io::{AsyncWriteExt, BufReader, BufWriter, duplex, split};
use tokio::sync::{mpsc, oneshot};

/// The read all chunks below belong to: bytes 16..48 of a buffer of 64, from the disk's byte 1000.
const COOKIE: u64 = 7;
const OFFSET: u64 = 1000;
const UNTOUCHED: u8 = 0xAA;

fn a_read(answer: oneshot::Sender<block::Result<Answer>>) -> Pending {
    let target =
        Target { buffer: vec![UNTOUCHED; 64], range: 16..48, offset: OFFSET, covered: Coverage::default() };
    Pending::for_test(COOKIE, Wanted::Bytes(target), answer)
}

/// What the caller of the read gets, if the server sends `bytes` and then hangs up.
fn answer_to(bytes: Vec<u8>) -> Option<block::Result<Vec<u8>>> {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(async {
        let (register, registered) = mpsc::channel(1);
        let (answer, mut answered) = oneshot::channel();
        assert!(register.send(a_read(answer)).await.is_ok());
        let reader: Reader = BufReader::with_capacity(32, Box::new(Cursor::new(bytes)));
        let mut replies = Replies::new(reader, registered, Contexts::default());
        assert!(replies.receive().await.is_err(), "the stream ends");
        answered.try_recv().ok().map(|answer| {
            answer.map(|answer| match answer {
                Answer::Bytes(bytes) => bytes,
                Answer::Done | Answer::Status(_) => panic!("not an answer to a read"),
            })
        })
    })
}

fn chunk_bytes(last: bool, kind: u16, content: &[u8]) -> Vec<u8> {
    let flags = if last { chunk::DONE } else { 0 };
    let head = ReplyHead::Chunk { flags, kind, cookie: COOKIE, length: content.len() as u32 };
    [head.encode(), content.to_vec()].concat()
}

fn data_chunk(last: bool, offset: u64, data: &[u8]) -> Vec<u8> {
    chunk_bytes(last, chunk::OFFSET_DATA, &[&offset.to_be_bytes()[..], data].concat())
}

fn hole_chunk(last: bool, offset: u64, length: u32) -> Vec<u8> {
    chunk_bytes(last, chunk::OFFSET_HOLE, &HoleChunk { offset, length }.encode())
}

proptest! {
    #[test]
    fn random_chunks_fill_the_range_or_fail(
        chunks in prop::collection::vec((any::<bool>(), 990u64..1040, 0u32..36, 0u8..6), 0..6),
    ) {
        let mut bytes = Vec::new();
        for (hole, offset, length, last) in &chunks {
            let last = *last == 0;
            bytes.extend(match hole {
                true => hole_chunk(last, *offset, *length),
                false => data_chunk(last, *offset, &vec![1; *length as usize]),
            });
        }
        if let Some(Ok(buffer)) = answer_to(bytes) {
            prop_assert!(buffer[..16].iter().chain(&buffer[48..]).all(|byte| *byte == UNTOUCHED));
            prop_assert!(buffer[16..48].iter().all(|byte| *byte != UNTOUCHED), "{buffer:?}");
        }
    }

    #[test]
    fn random_bytes_never_panic(
        prefix in 0usize..4, kind in 0u16..8, bytes in prop::collection::vec(any::<u8>(), 0..100),
    ) {
        let begin = [vec![], 0x6744_6698u32.to_be_bytes().to_vec(), 0x668e_33efu32.to_be_bytes().to_vec(),
            chunk_bytes(false, kind, &bytes)];
        let _ = answer_to([begin[prefix].clone(), bytes].concat());
    }
}

#[test]
fn chunks_in_any_order_make_a_read() {
    let bytes =
        [data_chunk(false, 1020, &[2; 12]), hole_chunk(false, 1010, 10), data_chunk(true, 1000, &[1; 10])];
    let buffer = answer_to(bytes.concat()).unwrap().unwrap();
    let expected = [[UNTOUCHED; 16].to_vec(), vec![1; 10], vec![0; 10], vec![2; 12], vec![UNTOUCHED; 16]];
    assert_eq!(buffer, expected.concat());
}

#[test]
fn a_read_answered_in_part_fails_and_only_it() {
    let error = answer_to(data_chunk(true, 1000, &[1; 31])).unwrap().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Io);
}

#[test]
fn a_chunk_outside_the_range_ends_the_connection() {
    for bytes in [
        data_chunk(true, 999, &[1; 32]),
        data_chunk(true, 1001, &[1; 32]),
        hole_chunk(true, 1000, 33),
        hole_chunk(true, u64::MAX, 1),
        [hole_chunk(false, 1000, 20), hole_chunk(true, 1019, 13)].concat(),
    ] {
        assert!(answer_to(bytes).is_none());
    }
}

#[test]
fn an_error_after_data_fails_the_read() {
    let error = chunk_bytes(true, chunk::ERROR, &[0, 0, 0, 28, 0, 2, b'n', b'o']);
    let error = answer_to([data_chunk(false, 1000, &[1; 32]), error].concat()).unwrap().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NoSpace);
    assert!(error.to_string().ends_with("no"), "{error}");
}

#[tokio::test]
async fn when_the_server_goes_all_who_wait_are_told() {
    let (ours, mut theirs) = duplex(1 << 10);
    let (reader, writer) = split(ours);
    let (reader, writer): (Reader, Writer) =
        (BufReader::new(Box::new(reader)), BufWriter::new(Box::new(writer)));
    let connection = Connection::start(reader, writer, Contexts::default());
    let flush = Request { flags: 0, command: command::FLUSH, cookie: 0, offset: 0, length: 0 };
    let (first, second, ()) = tokio::join!(
        connection.call(flush, Wanted::Done, None),
        connection.call(flush, Wanted::Done, None),
        async { theirs.shutdown().await.unwrap() }
    );
    for answer in [first, second, connection.call(flush, Wanted::Done, None).await] {
        assert_eq!(answer.err().unwrap().kind(), ErrorKind::Unreachable);
    }
    connection.close().await;
}
