//! The client's half of the handshake.

use super::Options;
use crate::address::{Address, Reader, Writer, connect};
use crate::wire::{
    BlockSizes, CONTEXT_ALLOCATION, CONTEXT_BITMAP_PREFIX, ContextId, ContextQuery, ExportQuery, Greeting,
    Info, Malformed, OptionHead, OptionReplyHead, export_flag, greeting_flag, info, option, option_reply,
};
use block::{Error, ErrorKind, Result};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// Connecting and negotiating takes at most this long. A healthy server needs milliseconds; ten seconds
/// leave room for one that is being started or starved.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);

/// What client and server agreed upon.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Agreed {
    pub(super) size: u64,
    /// `export_flag`s.
    pub(super) flags: u16,
    pub(super) blocks: BlockSizes,
    /// The numbers of the contexts that block status will be told in.
    pub(super) contexts: Contexts,
}

/// The contexts agreed upon, by number.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Contexts {
    pub(super) allocation: Option<u32>,
    pub(super) bitmap: Option<u32>,
}

/// Connects and agrees on an export.
pub(super) async fn open(address: &Address, options: &Options) -> Result<(Reader, Writer, Agreed)> {
    let context = format!("open export '{}' at {address}", options.export);
    in_time(&context, async {
        let mut haggle = Haggle::start(address, &context).await?;
        let structured = haggle.ask(option::STRUCTURED_REPLY, &[]).await?.is_ok();
        let contexts = haggle.contexts(options, structured).await?;
        let agreed = haggle.go(&options.export, contexts).await?;
        Ok((haggle.reader, haggle.writer, agreed))
    })
    .await
}

/// Runs a handshake within its time.
pub(super) async fn in_time<T>(context: &str, handshake: impl Future<Output = Result<T>>) -> Result<T> {
    tokio::time::timeout(HANDSHAKE_TIMEOUT, handshake).await.unwrap_or_else(|_| {
        Err(Error::new(ErrorKind::Unreachable, format!("{context}: the server did not answer in time")))
    })
}

/// A connection on which options are being negotiated.
pub(super) struct Haggle<'a> {
    reader: Reader,
    writer: Writer,
    /// Verb and object, for errors.
    context: &'a str,
}

/// A server's refusal of an option: the reply's kind and the words that came with it.
#[derive(Debug)]
pub(super) struct Refusal {
    kind: u32,
    message: String,
}

impl<'a> Haggle<'a> {
    /// Connects and exchanges greetings.
    pub(super) async fn start(address: &Address, context: &'a str) -> Result<Self> {
        // Whatever the reason, here it means that no server answers: a missing socket file is not a
        // missing export, and only the latter is `NotFound`.
        let unreachable = |e| Error::caused(ErrorKind::Unreachable, context, e);
        let (reader, writer) = connect(address).await.map_err(unreachable)?;
        let mut haggle = Self { reader, writer, context };
        haggle.greet().await.map_err(|e| haggle.failed(e))?;
        Ok(haggle)
    }

    async fn greet(&mut self) -> std::io::Result<()> {
        let mut bytes = [0; Greeting::BYTES];
        self.reader.read_exact(&mut bytes).await?;
        let greeting = Greeting::decode(&bytes)?;
        if greeting.flags & greeting_flag::FIXED_NEWSTYLE == 0 {
            return Err(Malformed("the server does not speak fixed newstyle").into());
        }
        let flags = greeting.flags & (greeting_flag::FIXED_NEWSTYLE | greeting_flag::NO_ZEROES);
        self.writer.write_u32(flags.into()).await?;
        self.writer.flush().await
    }

    /// Sends an option and gathers all replies up to the final one: `Ok` with them if that is an ACK.
    pub(super) async fn ask(
        &mut self,
        option: u32,
        data: &[u8],
    ) -> Result<std::result::Result<Vec<(u32, Vec<u8>)>, Refusal>> {
        self.exchange(option, data).await.map_err(|e| self.failed(e))
    }

    async fn exchange(
        &mut self,
        option: u32,
        data: &[u8],
    ) -> std::io::Result<std::result::Result<Vec<(u32, Vec<u8>)>, Refusal>> {
        /// All replies to one option together, heads included: names of 10,000 exports and more.
        const REPLIES_BYTES_MAX: usize = 4 << 20;
        let length = u32::try_from(data.len()).expect("names are checked when they are given");
        self.writer.write_all(&OptionHead { option, length }.encode()).await?;
        self.writer.write_all(data).await?;
        self.writer.flush().await?;
        let mut replies = Vec::new();
        let mut bytes = 0;
        while bytes < REPLIES_BYTES_MAX {
            let (kind, data) = self.receive(option).await?;
            bytes += OptionReplyHead::BYTES + data.len();
            if kind & option_reply::ERROR_BIT != 0 {
                let message = String::from_utf8_lossy(&data).into_owned();
                return Ok(Err(Refusal { kind, message }));
            }
            if kind == option_reply::ACK {
                return Ok(Ok(replies));
            }
            replies.push((kind, data));
        }
        Err(Malformed("more replies to one option than can be meant").into())
    }

    async fn receive(&mut self, option: u32) -> std::io::Result<(u32, Vec<u8>)> {
        let mut bytes = [0; OptionReplyHead::BYTES];
        self.reader.read_exact(&mut bytes).await?;
        let head = OptionReplyHead::decode(&bytes)?;
        if head.option != option {
            return Err(Malformed("reply to an option we did not send").into());
        }
        let mut data = vec![0; head.length as usize];
        self.reader.read_exact(&mut data).await?;
        Ok((head.kind, data))
    }

    /// Agrees on what block status will tell. Allocation is a help and may be missing; a bitmap may not.
    async fn contexts(&mut self, options: &Options, structured: bool) -> Result<Contexts> {
        let bitmap = options.dirty_bitmap.as_ref().map(|name| format!("{CONTEXT_BITMAP_PREFIX}{name}"));
        let allocation = options.allocation.then(|| CONTEXT_ALLOCATION.to_owned());
        let queries: Vec<String> = allocation.into_iter().chain(bitmap.clone()).collect();
        let mut contexts = Contexts::default();
        if structured && !queries.is_empty() {
            let query = ContextQuery { name: options.export.clone(), queries };
            for context in self.context_ids(option::SET_META_CONTEXT, &query).await? {
                if Some(&context.name) == bitmap.as_ref() {
                    contexts.bitmap = Some(context.id);
                } else if context.name == CONTEXT_ALLOCATION {
                    contexts.allocation = Some(context.id);
                }
            }
        }
        if let (Some(name), None) = (bitmap, contexts.bitmap) {
            let context = format!("{}: the export has no context '{name}'", self.context);
            return Err(Error::new(ErrorKind::NotFound, context));
        }
        Ok(contexts)
    }

    /// Sends one of the two context options. A server that knows no contexts has none to offer.
    pub(super) async fn context_ids(&mut self, option: u32, query: &ContextQuery) -> Result<Vec<ContextId>> {
        match self.ask(option, &query.encode()).await? {
            Ok(replies) => replies
                .iter()
                .filter(|(kind, _)| *kind == option_reply::META_CONTEXT)
                .map(|(_, data)| ContextId::decode(data).map_err(|e| self.failed(e.into())))
                .collect(),
            Err(refusal) if refusal.kind == option_reply::ERR_UNSUP => Ok(Vec::new()),
            Err(refusal) => Err(self.refused(&refusal)),
        }
    }

    async fn go(&mut self, export: &str, contexts: Contexts) -> Result<Agreed> {
        let query = ExportQuery { name: export.to_owned(), infos: vec![info::BLOCK_SIZE] };
        let replies =
            self.ask(option::GO, &query.encode()).await?.map_err(|refusal| self.refused(&refusal))?;
        let mut blocks = BlockSizes::default();
        let mut found = None;
        for (_, data) in replies.iter().filter(|(kind, _)| *kind == option_reply::INFO) {
            match Info::decode(data).map_err(|e| self.failed(e.into()))? {
                Info::Export { size, flags } => found = Some((size, flags)),
                Info::BlockSize(sizes) => blocks = sizes,
                Info::Other(_) => {}
            }
        }
        let Some((size, flags)) = found else {
            return Err(self.failed(Malformed("the export's size is missing").into()));
        };
        // The bytes behind the last whole block could not be read, and to leave them out silently would
        // be to lose them.
        if flags & export_flag::HAS_FLAGS == 0 || !size.is_multiple_of(blocks.minimum.into()) {
            return Err(self.failed(Malformed("impossible size or flags of the export").into()));
        }
        Ok(Agreed { size, flags, blocks, contexts })
    }

    /// Leaves politely. The server's answer, if any, no longer matters.
    pub(super) async fn abort(mut self) {
        let _ = self.ask(option::ABORT, &[]).await;
    }

    fn failed(&self, error: std::io::Error) -> Error {
        Error::io(self.context, error)
    }

    pub(super) fn refused(&self, refusal: &Refusal) -> Error {
        let kind = match refusal.kind {
            option_reply::ERR_UNKNOWN => ErrorKind::NotFound,
            option_reply::ERR_SHUTDOWN => ErrorKind::Unreachable,
            _ => ErrorKind::Io,
        };
        let code = refusal.kind & !option_reply::ERROR_BIT;
        Error::new(
            kind,
            format!("{}: refused by the server with error {code}: {}", self.context, refusal.message),
        )
    }
}
