//! The protocol's numbers and our limits.

/// Most bytes one READ or WRITE moves: what the specification lets a client assume and every server
/// known to us accepts.
pub(crate) const REQUEST_BYTES_MAX: u32 = 32 << 20;
/// Most bytes of an option or of a reply to one. The largest honest one carries an export name and a
/// few context names, each at most `TEXT_BYTES_MAX`.
pub(crate) const OPTION_BYTES_MAX: u32 = 64 << 10;
/// Most bytes of any string, export names included: the specification's limit.
pub(crate) const TEXT_BYTES_MAX: u32 = 4096;
/// Most extents in one BLOCK_STATUS chunk (8 MiB of them). QEMU stops at 128 Ki, nbdkit at 1 Mi.
pub(crate) const STATUS_EXTENTS_MAX: usize = 1 << 20;
/// Requests under way on one connection. QEMU takes up no more of them at a time.
pub(crate) const REQUESTS_IN_FLIGHT_MAX: usize = 16;

/// First word of every server's greeting.
pub(crate) const MAGIC: u64 = 0x4e42_444d_4147_4943;
/// Second word of a newstyle greeting and first of every option.
pub(crate) const OPTION_MAGIC: u64 = 0x4948_4156_454f_5054;
/// First word of every reply to an option.
pub(crate) const OPTION_REPLY_MAGIC: u64 = 0x0003_e889_0455_65a9;
/// First word of a request.
pub(crate) const REQUEST_MAGIC: u32 = 0x2560_9513;
/// First word of a simple reply.
pub(crate) const SIMPLE_REPLY_MAGIC: u32 = 0x6744_6698;
/// First word of a chunk of a structured reply.
pub(crate) const CHUNK_MAGIC: u32 = 0x668e_33ef;

/// Flags of the greeting (server) and of its answer (client): they have the same values.
pub(crate) mod greeting_flag {
    pub(crate) const FIXED_NEWSTYLE: u16 = 1 << 0;
    pub(crate) const NO_ZEROES: u16 = 1 << 1;
}

/// What an export can do.
pub(crate) mod export_flag {
    pub(crate) const HAS_FLAGS: u16 = 1 << 0;
    pub(crate) const READ_ONLY: u16 = 1 << 1;
    pub(crate) const SEND_FLUSH: u16 = 1 << 2;
    pub(crate) const SEND_FUA: u16 = 1 << 3;
    pub(crate) const SEND_TRIM: u16 = 1 << 5;
    pub(crate) const SEND_WRITE_ZEROES: u16 = 1 << 6;
    pub(crate) const SEND_DF: u16 = 1 << 7;
    pub(crate) const CAN_MULTI_CONN: u16 = 1 << 8;
    pub(crate) const SEND_CACHE: u16 = 1 << 10;
}

/// What a client may ask for in the handshake.
pub(crate) mod option {
    pub(crate) const EXPORT_NAME: u32 = 1;
    pub(crate) const ABORT: u32 = 2;
    pub(crate) const LIST: u32 = 3;
    pub(crate) const INFO: u32 = 6;
    pub(crate) const GO: u32 = 7;
    pub(crate) const STRUCTURED_REPLY: u32 = 8;
    pub(crate) const LIST_META_CONTEXT: u32 = 9;
    pub(crate) const SET_META_CONTEXT: u32 = 10;
}

/// How a server answers an option.
pub(crate) mod option_reply {
    pub(crate) const ACK: u32 = 1;
    pub(crate) const SERVER: u32 = 2;
    pub(crate) const INFO: u32 = 3;
    pub(crate) const META_CONTEXT: u32 = 4;
    /// Set in every reply that is an error.
    pub(crate) const ERROR_BIT: u32 = 1 << 31;
    pub(crate) const ERR_UNSUP: u32 = ERROR_BIT | 1;
    pub(crate) const ERR_INVALID: u32 = ERROR_BIT | 3;
    pub(crate) const ERR_UNKNOWN: u32 = ERROR_BIT | 6;
    pub(crate) const ERR_SHUTDOWN: u32 = ERROR_BIT | 7;
}

/// Kinds of information about an export.
pub(crate) mod info {
    pub(crate) const EXPORT: u16 = 0;
    pub(crate) const BLOCK_SIZE: u16 = 3;
}

/// Kinds of request.
pub(crate) mod command {
    pub(crate) const READ: u16 = 0;
    pub(crate) const WRITE: u16 = 1;
    pub(crate) const DISC: u16 = 2;
    pub(crate) const FLUSH: u16 = 3;
    pub(crate) const TRIM: u16 = 4;
    pub(crate) const CACHE: u16 = 5;
    pub(crate) const WRITE_ZEROES: u16 = 6;
    pub(crate) const BLOCK_STATUS: u16 = 7;
}

/// Flags of a request.
pub(crate) mod command_flag {
    /// Answer only when the effect is durable.
    pub(crate) const FUA: u16 = 1 << 0;
    /// Zeros must keep their space.
    pub(crate) const NO_HOLE: u16 = 1 << 1;
    /// Answer a read in one piece.
    pub(crate) const DF: u16 = 1 << 2;
    /// Only the first extent, and not beyond the range asked for.
    pub(crate) const REQ_ONE: u16 = 1 << 3;
}

/// Kinds of chunk of a structured reply.
pub(crate) mod chunk {
    pub(crate) const NONE: u16 = 0;
    pub(crate) const OFFSET_DATA: u16 = 1;
    pub(crate) const OFFSET_HOLE: u16 = 2;
    pub(crate) const BLOCK_STATUS: u16 = 5;
    /// Set in every kind that is an error.
    pub(crate) const ERROR_BIT: u16 = 1 << 15;
    pub(crate) const ERROR: u16 = ERROR_BIT | 1;
    /// Flag of a chunk: it is the reply's last.
    pub(crate) const DONE: u16 = 1 << 0;
}

/// Bytes of an OFFSET_DATA chunk before its data: the offset.
pub(crate) const DATA_CHUNK_HEAD_BYTES: u32 = 8;

/// The context that says which ranges hold data.
pub(crate) const CONTEXT_ALLOCATION: &str = "base:allocation";
/// What QEMU puts before a dirty bitmap's name to make it a context.
pub(crate) const CONTEXT_BITMAP_PREFIX: &str = "qemu:dirty-bitmap:";

/// Flags of an extent in the context `base:allocation`.
pub(crate) mod allocation_flag {
    /// No space behind it. It does not follow that it reads as zeros.
    pub(crate) const HOLE: u32 = 1 << 0;
    /// Reads as zeros.
    pub(crate) const ZERO: u32 = 1 << 1;
}

/// Flag of an extent in a dirty bitmap's context: written since.
pub(crate) const BITMAP_DIRTY: u32 = 1 << 0;

/// Error numbers of replies.
pub(crate) mod errno {
    pub(crate) const EPERM: u32 = 1;
    pub(crate) const EIO: u32 = 5;
    pub(crate) const EINVAL: u32 = 22;
    pub(crate) const ENOSPC: u32 = 28;
    pub(crate) const EOVERFLOW: u32 = 75;
    pub(crate) const ENOTSUP: u32 = 95;
    pub(crate) const ESHUTDOWN: u32 = 108;
}
