//! Messages of the transmission phase: requests, replies and the chunks of structured replies.

use super::input::{Input, Malformed};
use super::{CHUNK_MAGIC, REQUEST_MAGIC, SIMPLE_REPLY_MAGIC, STATUS_EXTENTS_MAX, TEXT_BYTES_MAX};

/// What a client asks. A WRITE is followed by `length` bytes of payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Request {
    pub(crate) flags: u16,
    pub(crate) command: u16,
    /// The client's number for it, repeated in every reply.
    pub(crate) cookie: u64,
    pub(crate) offset: u64,
    pub(crate) length: u32,
}

impl Request {
    pub(crate) const BYTES: usize = 28;

    pub(crate) fn encode(&self) -> [u8; Self::BYTES] {
        let mut bytes = [0; Self::BYTES];
        bytes[0..4].copy_from_slice(&REQUEST_MAGIC.to_be_bytes());
        bytes[4..6].copy_from_slice(&self.flags.to_be_bytes());
        bytes[6..8].copy_from_slice(&self.command.to_be_bytes());
        bytes[8..16].copy_from_slice(&self.cookie.to_be_bytes());
        bytes[16..24].copy_from_slice(&self.offset.to_be_bytes());
        bytes[24..28].copy_from_slice(&self.length.to_be_bytes());
        bytes
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, Malformed> {
        let mut input = Input::new(bytes);
        if input.u32()? != REQUEST_MAGIC {
            return Err(Malformed("wrong magic before a request"));
        }
        let (flags, command) = (input.u16()?, input.u16()?);
        let request =
            Self { flags, command, cookie: input.u64()?, offset: input.u64()?, length: input.u32()? };
        input.finish()?;
        Ok(request)
    }
}

/// What every message of a server begins with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ReplyHead {
    /// The whole reply, but for the bytes of a successful READ that follow.
    Simple { error: u32, cookie: u64 },
    /// One chunk of a structured reply; `length` bytes of it follow.
    Chunk { flags: u16, kind: u16, cookie: u64, length: u32 },
}

impl ReplyHead {
    /// Bytes of the magic that tells the two apart.
    pub(crate) const MAGIC_BYTES: usize = 4;
    /// Bytes of the longer of the two.
    pub(crate) const BYTES_MAX: usize = 20;

    /// Bytes of the head that begins with `magic`, the magic included.
    pub(crate) fn bytes(magic: [u8; Self::MAGIC_BYTES]) -> Result<usize, Malformed> {
        match u32::from_be_bytes(magic) {
            SIMPLE_REPLY_MAGIC => Ok(16),
            CHUNK_MAGIC => Ok(20),
            _ => Err(Malformed("wrong magic before a reply")),
        }
    }

    pub(crate) fn encode(self) -> Vec<u8> {
        match self {
            ReplyHead::Simple { error, cookie } => {
                let words = [SIMPLE_REPLY_MAGIC, error].map(u32::to_be_bytes);
                [words.as_flattened(), &cookie.to_be_bytes()].concat()
            }
            ReplyHead::Chunk { flags, kind, cookie, length } => {
                let mut bytes = CHUNK_MAGIC.to_be_bytes().to_vec();
                bytes.extend([flags, kind].map(u16::to_be_bytes).as_flattened());
                bytes.extend(cookie.to_be_bytes());
                bytes.extend(length.to_be_bytes());
                bytes
            }
        }
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, Malformed> {
        let mut input = Input::new(bytes);
        let head = match input.u32()? {
            SIMPLE_REPLY_MAGIC => ReplyHead::Simple { error: input.u32()?, cookie: input.u64()? },
            CHUNK_MAGIC => ReplyHead::Chunk {
                flags: input.u16()?,
                kind: input.u16()?,
                cookie: input.u64()?,
                length: input.u32()?,
            },
            _ => return Err(Malformed("wrong magic before a reply")),
        };
        input.finish()?;
        Ok(head)
    }
}

/// Content of an error chunk; an ERROR_OFFSET's offset, after the message, is not used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ErrorChunk {
    pub(crate) error: u32,
    pub(crate) message: String,
}

impl ErrorChunk {
    /// Number, length of message, message, offset.
    pub(crate) const BYTES_MAX: u32 = 4 + 2 + TEXT_BYTES_MAX + 8;

    pub(crate) fn encode(&self) -> Vec<u8> {
        let end = self.message.floor_char_boundary(TEXT_BYTES_MAX as usize);
        let message = &self.message.as_bytes()[..end];
        let length = u16::try_from(message.len()).expect("at most 4096");
        [&self.error.to_be_bytes()[..], &length.to_be_bytes(), message].concat()
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, Malformed> {
        let mut input = Input::new(bytes);
        let error = input.u32()?;
        if error == 0 {
            return Err(Malformed("error chunk without an error"));
        }
        let length = input.u16()?;
        Ok(Self { error, message: input.text(length.into())? })
    }
}

/// Content of an OFFSET_HOLE chunk: a part of a read that is zeros.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct HoleChunk {
    pub(crate) offset: u64,
    pub(crate) length: u32,
}

impl HoleChunk {
    pub(crate) const BYTES: u32 = 12;

    pub(crate) fn encode(self) -> Vec<u8> {
        [&self.offset.to_be_bytes()[..], &self.length.to_be_bytes()].concat()
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, Malformed> {
        let mut input = Input::new(bytes);
        let hole = Self { offset: input.u64()?, length: input.u32()? };
        input.finish()?;
        Ok(hole)
    }
}

/// Content of a BLOCK_STATUS chunk: consecutive extents in one context, from the request's offset.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct StatusChunk {
    /// The number the context got in the handshake.
    pub(crate) context: u32,
    /// Length and flags of each.
    pub(crate) extents: Vec<(u32, u32)>,
}

impl StatusChunk {
    pub(crate) const BYTES_MAX: u32 = 4 + 8 * STATUS_EXTENTS_MAX as u32;

    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(4 + 8 * self.extents.len());
        bytes.extend(self.context.to_be_bytes());
        for (length, flags) in &self.extents {
            bytes.extend([*length, *flags].map(u32::to_be_bytes).as_flattened());
        }
        bytes
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, Malformed> {
        let mut input = Input::new(bytes);
        let context = input.u32()?;
        if input.remaining() == 0 || !input.remaining().is_multiple_of(8) {
            return Err(Malformed("block status without whole extents"));
        }
        let mut extents = Vec::with_capacity(input.remaining() / 8);
        while input.remaining() > 0 {
            let (length, flags) = (input.u32()?, input.u32()?);
            if length == 0 {
                return Err(Malformed("empty extent"));
            }
            extents.push((length, flags));
        }
        Ok(Self { context, extents })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn messages_round_trip(
            flags in any::<u16>(), command in any::<u16>(), cookie in any::<u64>(), offset in any::<u64>(),
            length in any::<u32>(), message in "[^\0]{0,60}",
            extents in prop::collection::vec((1..u32::MAX, any::<u32>()), 1..20),
        ) {
            let request = Request { flags, command, cookie, offset, length };
            prop_assert_eq!(Request::decode(&request.encode()), Ok(request));
            let simple = ReplyHead::Simple { error: length, cookie };
            let chunk = ReplyHead::Chunk { flags, kind: command, cookie, length };
            for head in [simple, chunk] {
                let bytes = head.encode();
                prop_assert_eq!(ReplyHead::decode(&bytes), Ok(head));
                prop_assert_eq!(ReplyHead::bytes(bytes[..4].try_into().unwrap()), Ok(bytes.len()));
            }
            let error = ErrorChunk { error: length.max(1), message };
            prop_assert_eq!(ErrorChunk::decode(&error.encode()), Ok(error));
            let hole = HoleChunk { offset, length };
            prop_assert_eq!(HoleChunk::decode(&hole.encode()), Ok(hole));
            let status = StatusChunk { context: length, extents };
            prop_assert_eq!(StatusChunk::decode(&status.encode()), Ok(status));
        }

        #[test]
        fn random_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = Request::decode(&bytes);
            let _ = ReplyHead::decode(&bytes);
            let _ = ErrorChunk::decode(&bytes);
            let _ = HoleChunk::decode(&bytes);
            let _ = StatusChunk::decode(&bytes);
        }
    }

    #[test]
    fn an_endless_error_message_is_cut_between_characters() {
        let chunk = ErrorChunk { error: 5, message: "ä".repeat(5000) };
        let cut = ErrorChunk::decode(&chunk.encode()).unwrap();
        assert_eq!(cut.message, "ä".repeat(2048));
    }
}
