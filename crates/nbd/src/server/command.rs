//! Carrying out one request.

use super::handshake::Context;
use super::session::{Session, Spare};
use crate::wire::{ErrorChunk, REQUEST_BYTES_MAX, Request, STATUS_EXTENTS_MAX, command, command_flag, errno};
use block::{BlockSink, BlockSource, EXTENT_WINDOW, ErrorKind, Extent, ExtentKind, check_range, coalesce};

/// Holes in a read are told apart from this length on: a chunk of its own costs more than the bytes of
/// a shorter one, and it bounds the chunks of a reply to 16,384.
const HOLE_BYTES_MIN: u64 = 4 << 10;
/// Reads up to this length are not worth asking where the holes are.
const HOLE_READ_BYTES_MIN: u32 = 32 << 10;

/// What became of a request.
pub(super) type Outcome = Result<Done, ErrorChunk>;

/// What a request that succeeded is answered with.
pub(super) enum Done {
    /// Nothing more.
    Plain,
    /// The bytes of a read, in order.
    Pieces(Vec<Piece>),
    /// For each context: its number, and length and flags of the extents.
    Status(Vec<(u32, Vec<(u32, u32)>)>),
}

/// A part of a read.
pub(super) struct Piece {
    pub(super) offset: u64,
    pub(super) content: Content,
}

/// What lies in a part of a read.
pub(super) enum Content {
    Data(Vec<u8>),
    /// This many zeros.
    Hole(u32),
}

/// Carries out a request. `payload` is what came with a WRITE.
pub(super) async fn perform(session: &Session, request: Request, payload: Vec<u8>) -> Outcome {
    check_flags(&request)?;
    match request.command {
        command::READ => read(session, &request).await,
        command::BLOCK_STATUS => status(session, &request).await,
        command::CACHE => {
            // Nothing to prepare here: a source that gains from it may come to.
            check_inside(session, &request, errno::EINVAL)?;
            Ok(Done::Plain)
        }
        command::FLUSH => {
            if let Some(sink) = session.agreed.export.sink() {
                sink.flush().await.map_err(refusal)?;
            }
            Ok(Done::Plain)
        }
        command::WRITE | command::WRITE_ZEROES | command::TRIM => change(session, &request, payload).await,
        _ => Err(refuse(errno::EINVAL, "unknown command")),
    }
}

/// Flags that do not belong to a command may mean something we would fail to do.
fn check_flags(request: &Request) -> Result<(), ErrorChunk> {
    use command_flag::{DF, FUA, NO_HOLE, REQ_ONE};
    // FUA means nothing to a request that changes nothing, and is allowed everywhere.
    let known = FUA
        | match request.command {
            command::READ => DF,
            command::WRITE_ZEROES => NO_HOLE,
            command::BLOCK_STATUS => REQ_ONE,
            _ => 0,
        };
    if request.flags & !known == 0 { Ok(()) } else { Err(refuse(errno::EINVAL, "unknown flags")) }
}

fn check_inside(session: &Session, request: &Request, error: u32) -> Result<(), ErrorChunk> {
    let size = session.agreed.export.size();
    check_range(size, request.offset, request.length.into())
        .map_err(|_| refuse(error, "the range is empty or not inside the export"))
}

async fn read(session: &Session, request: &Request) -> Outcome {
    check_inside(session, request, errno::EINVAL)?;
    if request.length > REQUEST_BYTES_MAX {
        return Err(refuse(errno::EOVERFLOW, "read of more than 32 MiB"));
    }
    let source = session.agreed.export.source();
    let whole = Extent::new(request.offset, request.length.into(), ExtentKind::Data);
    let extents = if session.agreed.structured && request.length >= HOLE_READ_BYTES_MIN {
        let extents = source.extents(whole.offset, whole.length).await.map_err(refusal)?;
        let extents = coalesce(extents.into_iter().map(as_piece));
        // One piece was asked for: if there is any data, it is all of it.
        let in_one = request.flags & command_flag::DF != 0 && extents.len() > 1;
        if in_one { vec![whole] } else { extents }
    } else {
        vec![whole]
    };
    let mut pieces = Vec::with_capacity(extents.len());
    for extent in extents {
        pieces.push(read_piece(source, &session.spare, extent).await.map_err(refusal)?);
    }
    Ok(Done::Pieces(pieces))
}

/// What is not worth being a hole is data.
fn as_piece(extent: Extent) -> Extent {
    let is_hole = extent.kind == ExtentKind::Zero && extent.length >= HOLE_BYTES_MIN;
    Extent { kind: if is_hole { ExtentKind::Zero } else { ExtentKind::Data }, ..extent }
}

async fn read_piece(source: &dyn BlockSource, spare: &Spare, extent: Extent) -> block::Result<Piece> {
    let length = u32::try_from(extent.length).expect("extents lie within the 32 MiB asked for");
    let content = match extent.kind {
        ExtentKind::Zero => Content::Hole(length),
        _ => Content::Data(source.read(extent.offset, spare.take(length as usize)).await?),
    };
    Ok(Piece { offset: extent.offset, content })
}

async fn change(session: &Session, request: &Request, payload: Vec<u8>) -> Outcome {
    let Some(sink) = session.agreed.export.sink() else {
        return Err(refuse(errno::EPERM, "the export is read-only"));
    };
    // A write past the end is like one to a full disk; giving up space there is just wrong.
    let trimming = request.command == command::TRIM;
    check_inside(session, request, if trimming { errno::EINVAL } else { errno::ENOSPC })?;
    apply(sink, request, payload, &session.spare).await.map_err(refusal)?;
    Ok(Done::Plain)
}

async fn apply(
    sink: &dyn BlockSink,
    request: &Request,
    payload: Vec<u8>,
    spare: &Spare,
) -> block::Result<()> {
    if request.command == command::WRITE {
        spare.give(sink.write(request.offset, payload).await?);
    } else if request.flags & command_flag::NO_HOLE != 0 {
        write_zeros(sink, request, spare).await?;
    } else {
        sink.zero(request.offset, request.length.into()).await?;
    }
    if request.flags & command_flag::FUA != 0 {
        sink.flush().await?;
    }
    Ok(())
}

/// Zeros that keep their space, which a sink's `zero` may give up: written like any other bytes.
async fn write_zeros(sink: &dyn BlockSink, request: &Request, spare: &Spare) -> block::Result<()> {
    const STEP: u64 = 1 << 20;
    let (mut at, end) = (request.offset, request.offset + u64::from(request.length));
    let mut zeros = spare.take(STEP.min(end - at) as usize);
    zeros.fill(0);
    while at < end {
        zeros.truncate((end - at).min(STEP) as usize);
        let length = zeros.len() as u64;
        zeros = sink.write(at, zeros).await?;
        at += length;
    }
    spare.give(zeros);
    Ok(())
}

async fn status(session: &Session, request: &Request) -> Outcome {
    let agreed = &session.agreed;
    check_inside(session, request, errno::EINVAL)?;
    if agreed.contexts.is_empty() {
        return Err(refuse(errno::EINVAL, "no context was negotiated"));
    }
    // A reply may tell less than was asked: the client asks on.
    let length = u64::from(request.length).min(EXTENT_WINDOW);
    let extents = agreed.export.source().extents(request.offset, length).await.map_err(refusal)?;
    let one = request.flags & command_flag::REQ_ONE != 0;
    let most = if one { 1 } else { STATUS_EXTENTS_MAX };
    let told = agreed.contexts.iter().map(|context| (context.id(), runs(*context, &extents, most)));
    Ok(Done::Status(told.collect()))
}

/// The first `most` runs of equal flags among `extents`.
fn runs(context: Context, extents: &[Extent], most: usize) -> Vec<(u32, u32)> {
    let mut runs: Vec<(u32, u32)> = Vec::new();
    for extent in extents {
        let flags = context.flags(extent.kind);
        let length = u32::try_from(extent.length).expect("extents lie within the 1 GiB asked for");
        let count = runs.len();
        match runs.last_mut() {
            Some(last) if last.1 == flags => last.0 += length,
            _ if count == most => break,
            _ => runs.push((length, flags)),
        }
    }
    runs
}

fn refuse(error: u32, message: &str) -> ErrorChunk {
    ErrorChunk { error, message: message.to_owned() }
}

/// How a failed source or sink looks to a client.
#[expect(clippy::needless_pass_by_value, reason = "the end of an error, called through map_err")]
fn refusal(error: block::Error) -> ErrorChunk {
    let code = match error.kind() {
        ErrorKind::Invalid => errno::EINVAL,
        ErrorKind::NoSpace => errno::ENOSPC,
        ErrorKind::NotFound | ErrorKind::Corrupt | ErrorKind::Unreachable | ErrorKind::Io => errno::EIO,
    };
    refuse(code, &error.to_string().replace('\0', " "))
}
