//! Messages of the handshake: greeting, options and the replies to them.

use super::input::{Input, Malformed};
use super::{MAGIC, OPTION_BYTES_MAX, OPTION_MAGIC, OPTION_REPLY_MAGIC};

/// The server's first message: magic, magic, flags.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Greeting {
    pub(crate) flags: u16,
}

impl Greeting {
    pub(crate) const BYTES: usize = 18;

    pub(crate) fn encode(self) -> Vec<u8> {
        [&MAGIC.to_be_bytes()[..], &OPTION_MAGIC.to_be_bytes(), &self.flags.to_be_bytes()].concat()
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, Malformed> {
        let mut input = Input::new(bytes);
        if input.u64()? != MAGIC {
            return Err(Malformed("this is not an NBD server"));
        }
        if input.u64()? != OPTION_MAGIC {
            return Err(Malformed("the server speaks only the oldstyle handshake"));
        }
        let flags = input.u16()?;
        input.finish()?;
        Ok(Self { flags })
    }
}

/// What stands before an option's data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct OptionHead {
    pub(crate) option: u32,
    pub(crate) length: u32,
}

impl OptionHead {
    pub(crate) const BYTES: usize = 16;

    pub(crate) fn encode(self) -> Vec<u8> {
        [&OPTION_MAGIC.to_be_bytes()[..], &self.option.to_be_bytes(), &self.length.to_be_bytes()].concat()
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, Malformed> {
        let mut input = Input::new(bytes);
        if input.u64()? != OPTION_MAGIC {
            return Err(Malformed("wrong magic before an option"));
        }
        let head = Self { option: input.u32()?, length: input.u32()? };
        input.finish()?;
        check_option_length(head.length)?;
        Ok(head)
    }
}

/// What stands before the data of a reply to an option.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct OptionReplyHead {
    pub(crate) option: u32,
    pub(crate) kind: u32,
    pub(crate) length: u32,
}

impl OptionReplyHead {
    pub(crate) const BYTES: usize = 20;

    pub(crate) fn encode(self) -> Vec<u8> {
        let words = [self.option, self.kind, self.length].map(u32::to_be_bytes);
        [&OPTION_REPLY_MAGIC.to_be_bytes()[..], words.as_flattened()].concat()
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, Malformed> {
        let mut input = Input::new(bytes);
        if input.u64()? != OPTION_REPLY_MAGIC {
            return Err(Malformed("wrong magic before a reply to an option"));
        }
        let head = Self { option: input.u32()?, kind: input.u32()?, length: input.u32()? };
        input.finish()?;
        check_option_length(head.length)?;
        Ok(head)
    }
}

fn check_option_length(length: u32) -> Result<(), Malformed> {
    if length > OPTION_BYTES_MAX { Err(Malformed("option longer than 64 KiB")) } else { Ok(()) }
}

/// Data of GO and INFO: which export, and what the client would like to know of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ExportQuery {
    pub(crate) name: String,
    pub(crate) infos: Vec<u16>,
}

impl ExportQuery {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        push_text(&mut bytes, &self.name);
        let count = u16::try_from(self.infos.len()).expect("we ask for a handful");
        bytes.extend(count.to_be_bytes());
        bytes.extend(self.infos.iter().flat_map(|info| info.to_be_bytes()));
        bytes
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, Malformed> {
        let mut input = Input::new(bytes);
        let length = input.u32()?;
        let name = input.text(length)?;
        let count = input.u16()?;
        let infos = (0..count).map(|_| input.u16()).collect::<Result<_, _>>()?;
        input.finish()?;
        Ok(Self { name, infos })
    }
}

/// Data of LIST_META_CONTEXT and SET_META_CONTEXT: which export, which contexts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ContextQuery {
    pub(crate) name: String,
    pub(crate) queries: Vec<String>,
}

impl ContextQuery {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        push_text(&mut bytes, &self.name);
        let count = u32::try_from(self.queries.len()).expect("we ask for a handful");
        bytes.extend(count.to_be_bytes());
        self.queries.iter().for_each(|query| push_text(&mut bytes, query));
        bytes
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, Malformed> {
        let mut input = Input::new(bytes);
        let length = input.u32()?;
        let name = input.text(length)?;
        let count = input.u32()?;
        // Grown one by one: the count is the peer's word, the bytes are what it really sent.
        let mut queries = Vec::new();
        for _ in 0..count {
            let length = input.u32()?;
            queries.push(input.text(length)?);
        }
        input.finish()?;
        Ok(Self { name, queries })
    }
}

/// Data of a META_CONTEXT reply: the context's name and the number extents will carry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ContextId {
    pub(crate) id: u32,
    pub(crate) name: String,
}

impl ContextId {
    pub(crate) fn encode(&self) -> Vec<u8> {
        [&self.id.to_be_bytes()[..], self.name.as_bytes()].concat()
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, Malformed> {
        let mut input = Input::new(bytes);
        Ok(Self { id: input.u32()?, name: input.rest_as_text()? })
    }
}

/// Data of a SERVER reply: the name of one export and words about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ListedExport {
    pub(crate) name: String,
    pub(crate) description: String,
}

impl ListedExport {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        push_text(&mut bytes, &self.name);
        bytes.extend(self.description.as_bytes());
        bytes
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, Malformed> {
        let mut input = Input::new(bytes);
        let length = input.u32()?;
        Ok(Self { name: input.text(length)?, description: input.rest_as_text()? })
    }
}

fn push_text(bytes: &mut Vec<u8>, text: &str) {
    let length = u32::try_from(text.len()).expect("names are checked when they are given");
    bytes.extend(length.to_be_bytes());
    bytes.extend(text.as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn messages_round_trip(
            name in "[^\0]{0,60}", other in "[^\0]{0,60}", word in any::<u32>(),
            length in 0..=OPTION_BYTES_MAX, shorts in prop::collection::vec(any::<u16>(), 0..9),
        ) {
            let flags = word as u16;
            let greeting = Greeting { flags };
            prop_assert_eq!(Greeting::decode(&greeting.encode()), Ok(greeting));
            let head = OptionHead { option: word, length };
            prop_assert_eq!(OptionHead::decode(&head.encode()), Ok(head));
            let head = OptionReplyHead { option: word, kind: !word, length };
            prop_assert_eq!(OptionReplyHead::decode(&head.encode()), Ok(head));
            let query = ExportQuery { name: name.clone(), infos: shorts };
            prop_assert_eq!(ExportQuery::decode(&query.encode()), Ok(query));
            let query = ContextQuery { name: name.clone(), queries: vec![other.clone(), name.clone()] };
            prop_assert_eq!(ContextQuery::decode(&query.encode()), Ok(query));
            let context = ContextId { id: word, name: name.clone() };
            prop_assert_eq!(ContextId::decode(&context.encode()), Ok(context));
            let listed = ListedExport { name, description: other };
            prop_assert_eq!(ListedExport::decode(&listed.encode()), Ok(listed));
        }

        #[test]
        fn random_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = Greeting::decode(&bytes);
            let _ = OptionHead::decode(&bytes);
            let _ = OptionReplyHead::decode(&bytes);
            let _ = ExportQuery::decode(&bytes);
            let _ = ContextQuery::decode(&bytes);
            let _ = ContextId::decode(&bytes);
            let _ = ListedExport::decode(&bytes);
        }
    }

    #[test]
    fn what_exceeds_a_limit_is_refused() {
        let long = OptionHead { option: 7, length: OPTION_BYTES_MAX + 1 };
        assert!(OptionHead::decode(&long.encode()).is_err());
        let name = ExportQuery { name: "x".repeat(4097), infos: vec![] };
        assert!(ExportQuery::decode(&name.encode()).is_err());
        let nul = ContextId { id: 1, name: "a\0b".into() };
        assert!(ContextId::decode(&nul.encode()).is_err());
    }
}
