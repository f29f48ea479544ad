//! The server's half of the handshake.

use super::export::{Export, Exports};
use crate::address::{Reader, Writer};
use crate::wire::{
    BlockSizes, CONTEXT_ALLOCATION, ContextId, ContextQuery, ExportQuery, Greeting, Info, ListedExport,
    Malformed, OptionHead, OptionReplyHead, TEXT_BYTES_MAX, allocation_flag, greeting_flag, info, option,
    option_reply,
};
use block::ExtentKind;
use std::io::Result;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// The export's size, its flags and this many zeros end an EXPORT_NAME unless the client waived them.
const EXPORT_NAME_ZEROES: usize = 124;

/// What client and server agreed upon.
pub(super) struct Agreed {
    pub(super) export: Export,
    /// Replies come in chunks.
    pub(super) structured: bool,
    /// What block status is told in.
    pub(super) contexts: Vec<Context>,
}

/// A way to describe extents. A further one is a line in each function below.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Context {
    /// Data or zeros.
    Allocation,
}

impl Context {
    const ALL: [Context; 1] = [Context::Allocation];

    fn name(self) -> &'static str {
        match self {
            Context::Allocation => CONTEXT_ALLOCATION,
        }
    }

    /// Its number in the handshake and in every chunk of block status.
    pub(super) fn id(self) -> u32 {
        match self {
            Context::Allocation => 1,
        }
    }

    /// The flags of an extent.
    pub(super) fn flags(self, kind: ExtentKind) -> u32 {
        match (self, kind) {
            (Context::Allocation, ExtentKind::Zero) => allocation_flag::HOLE | allocation_flag::ZERO,
            (Context::Allocation, ExtentKind::Data | ExtentKind::Unchanged) => 0,
        }
    }
}

/// Negotiates. `None` if the client left politely or asked for what ends the session.
pub(super) async fn negotiate(
    reader: &mut Reader,
    writer: &mut Writer,
    exports: &Exports,
) -> Result<Option<Agreed>> {
    let offered = greeting_flag::FIXED_NEWSTYLE | greeting_flag::NO_ZEROES;
    writer.write_all(&Greeting { flags: offered }.encode()).await?;
    writer.flush().await?;
    let flags = reader.read_u32().await?;
    if flags & !u32::from(offered) != 0 {
        return Err(Malformed("unknown client flags").into());
    }
    let no_zeroes = flags & u32::from(greeting_flag::NO_ZEROES) != 0;
    let mut haggle = Haggle { writer, exports, structured: false, no_zeroes, contexts: None };
    loop {
        let mut head = [0; OptionHead::BYTES];
        reader.read_exact(&mut head).await?;
        let head = OptionHead::decode(&head)?;
        let mut data = vec![0; head.length as usize];
        reader.read_exact(&mut data).await?;
        let next = haggle.answer(head.option, &data).await?;
        haggle.writer.flush().await?;
        match next {
            Next::Option => {}
            Next::Transmission(name, export) => return Ok(Some(haggle.agreed(&name, export))),
            Next::End => return Ok(None),
        }
    }
}

/// What follows an option.
enum Next {
    /// Another one.
    Option,
    /// The client has its export, by this name.
    Transmission(String, Export),
    /// Nothing: the session is over.
    End,
}

/// What was negotiated so far.
struct Haggle<'a> {
    writer: &'a mut Writer,
    exports: &'a Exports,
    structured: bool,
    no_zeroes: bool,
    /// The export that contexts were chosen for, and they. They hold for that export only.
    contexts: Option<(String, Vec<Context>)>,
}

impl Haggle<'_> {
    async fn answer(&mut self, option: u32, data: &[u8]) -> Result<Next> {
        match option {
            option::EXPORT_NAME => return self.export_name(data).await,
            option::GO | option::INFO => return self.info(option, data).await,
            option::ABORT => {
                self.reply(option, option_reply::ACK, &[]).await?;
                return Ok(Next::End);
            }
            option::LIST if data.is_empty() => self.list().await?,
            option::STRUCTURED_REPLY if data.is_empty() => {
                self.structured = true;
                self.reply(option, option_reply::ACK, &[]).await?;
            }
            option::LIST | option::STRUCTURED_REPLY => {
                self.invalid(option, "the option takes no data").await?;
            }
            option::LIST_META_CONTEXT | option::SET_META_CONTEXT => {
                self.choose_contexts(option, data).await?;
            }
            _ => self.reply(option, option_reply::ERR_UNSUP, b"the option is not supported").await?,
        }
        Ok(Next::Option)
    }

    /// The oldest way to choose an export: it cannot be refused, only hung up on.
    async fn export_name(&mut self, data: &[u8]) -> Result<Next> {
        let name = String::from_utf8_lossy(data).into_owned();
        let Some(export) = self.exports.get(&name).cloned() else { return Ok(Next::End) };
        self.writer.write_u64(export.size()).await?;
        self.writer.write_u16(export.flags(self.structured)).await?;
        if !self.no_zeroes {
            self.writer.write_all(&[0; EXPORT_NAME_ZEROES]).await?;
        }
        Ok(Next::Transmission(name, export))
    }

    async fn info(&mut self, option: u32, data: &[u8]) -> Result<Next> {
        let query = match ExportQuery::decode(data) {
            Ok(query) => query,
            Err(e) => {
                self.invalid(option, e.0).await?;
                return Ok(Next::Option);
            }
        };
        let Some(export) = self.exports.get(&query.name).cloned() else {
            self.unknown(option).await?;
            return Ok(Next::Option);
        };
        let about = Info::Export { size: export.size(), flags: export.flags(self.structured) };
        self.reply(option, option_reply::INFO, &about.encode()).await?;
        if query.infos.contains(&info::BLOCK_SIZE) {
            let sizes = Info::BlockSize(BlockSizes::default());
            self.reply(option, option_reply::INFO, &sizes.encode()).await?;
        }
        self.reply(option, option_reply::ACK, &[]).await?;
        Ok(if option == option::GO { Next::Transmission(query.name, export) } else { Next::Option })
    }

    async fn list(&mut self) -> Result<()> {
        let exports = self.exports;
        for name in exports.names() {
            let listed = ListedExport { name: name.clone(), description: String::new() };
            self.reply(option::LIST, option_reply::SERVER, &listed.encode()).await?;
        }
        self.reply(option::LIST, option_reply::ACK, &[]).await
    }

    /// LIST_META_CONTEXT tells what matches (all, if nothing is asked for; a namespace's with `base:`),
    /// SET_META_CONTEXT takes exact names and replaces whatever was chosen before.
    async fn choose_contexts(&mut self, option: u32, data: &[u8]) -> Result<()> {
        let listing = option == option::LIST_META_CONTEXT;
        if !listing {
            self.contexts = None;
        }
        let query = match ContextQuery::decode(data) {
            Ok(query) if self.structured => query,
            Ok(_) => return self.invalid(option, "structured replies must be negotiated before").await,
            Err(e) => return self.invalid(option, e.0).await,
        };
        let Some(export) = self.exports.get(&query.name) else {
            return self.unknown(option).await;
        };
        let tells = export.tells_status();
        let asks_for = |context: Context, asked: &String| {
            asked == context.name()
                || (listing && asked.ends_with(':') && context.name().starts_with(asked.as_str()))
        };
        let matching: Vec<Context> = Context::ALL
            .into_iter()
            .filter(|context| {
                let all = listing && query.queries.is_empty();
                tells && (all || query.queries.iter().any(|asked| asks_for(*context, asked)))
            })
            .collect();
        for context in &matching {
            let told = ContextId { id: context.id(), name: context.name().to_owned() };
            self.reply(option, option_reply::META_CONTEXT, &told.encode()).await?;
        }
        if !listing {
            self.contexts = Some((query.name, matching));
        }
        self.reply(option, option_reply::ACK, &[]).await
    }

    fn agreed(self, chosen: &str, export: Export) -> Agreed {
        let contexts = self
            .contexts
            .filter(|(name, _)| *name == chosen)
            .map(|(_, contexts)| contexts)
            .unwrap_or_default();
        Agreed { export, structured: self.structured, contexts }
    }

    async fn invalid(&mut self, option: u32, why: &str) -> Result<()> {
        self.reply(option, option_reply::ERR_INVALID, why.as_bytes()).await
    }

    async fn unknown(&mut self, option: u32) -> Result<()> {
        self.reply(option, option_reply::ERR_UNKNOWN, b"there is no such export").await
    }

    async fn reply(&mut self, option: u32, kind: u32, data: &[u8]) -> Result<()> {
        debug_assert!(data.len() <= 2 * TEXT_BYTES_MAX as usize, "names are checked when they are given");
        let length = data.len() as u32;
        self.writer.write_all(&OptionReplyHead { option, kind, length }.encode()).await?;
        self.writer.write_all(data).await
    }
}
