//! What the handshake tells about an export.

use super::input::{Input, Malformed};
use super::{REQUEST_BYTES_MAX, info};

/// In what units an export may be read and written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct BlockSizes {
    /// Every offset and length must be a multiple of it.
    pub(crate) minimum: u32,
    /// Multiples of it are fast.
    pub(crate) preferred: u32,
    /// Most bytes of one request.
    pub(crate) maximum: u32,
}

impl Default for BlockSizes {
    /// What holds where a server says nothing.
    fn default() -> Self {
        Self { minimum: 1, preferred: 4096, maximum: REQUEST_BYTES_MAX }
    }
}

impl BlockSizes {
    /// The specification's bound on `minimum`.
    const MINIMUM_MAX: u32 = 64 << 10;

    fn checked(self) -> Result<Self, Malformed> {
        let sane = self.minimum.is_power_of_two()
            && self.minimum <= Self::MINIMUM_MAX
            && self.preferred >= self.minimum
            && self.maximum >= self.preferred
            && (self.maximum == u32::MAX || self.maximum.is_multiple_of(self.minimum));
        if sane { Ok(self) } else { Err(Malformed("impossible block sizes")) }
    }
}

/// Data of an INFO reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Info {
    /// Size in bytes and `export_flag`s.
    Export {
        size: u64,
        flags: u16,
    },
    BlockSize(BlockSizes),
    /// Something we did not ask for and may ignore.
    Other(u16),
}

impl Info {
    pub(crate) fn encode(self) -> Vec<u8> {
        match self {
            Info::Export { size, flags } => {
                [&info::EXPORT.to_be_bytes()[..], &size.to_be_bytes(), &flags.to_be_bytes()].concat()
            }
            Info::BlockSize(sizes) => {
                let words = [sizes.minimum, sizes.preferred, sizes.maximum].map(u32::to_be_bytes);
                [&info::BLOCK_SIZE.to_be_bytes()[..], words.as_flattened()].concat()
            }
            Info::Other(kind) => kind.to_be_bytes().to_vec(),
        }
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, Malformed> {
        let mut input = Input::new(bytes);
        let decoded = match input.u16()? {
            info::EXPORT => Info::Export { size: input.u64()?, flags: input.u16()? },
            info::BLOCK_SIZE => {
                let sizes =
                    BlockSizes { minimum: input.u32()?, preferred: input.u32()?, maximum: input.u32()? };
                Info::BlockSize(sizes.checked()?)
            }
            other => return Ok(Info::Other(other)),
        };
        input.finish()?;
        Ok(decoded)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn an_export_round_trips(size in any::<u64>(), flags in any::<u16>()) {
            let export = Info::Export { size, flags };
            prop_assert_eq!(Info::decode(&export.encode()), Ok(export));
        }

        #[test]
        fn random_bytes_never_panic(kind in 0u16..5, bytes in prop::collection::vec(any::<u8>(), 0..30)) {
            let _ = Info::decode(&bytes);
            let _ = Info::decode(&[&kind.to_be_bytes()[..], &bytes].concat());
        }
    }

    #[test]
    fn impossible_block_sizes_are_refused() {
        for (minimum, preferred, maximum) in
            [(0, 1, 1), (3, 3, 3), (1 << 17, 1 << 17, 1 << 17), (512, 1, 512)]
        {
            let sizes = Info::BlockSize(BlockSizes { minimum, preferred, maximum });
            assert!(Info::decode(&sizes.encode()).is_err(), "{sizes:?}");
        }
        let sizes = Info::BlockSize(BlockSizes { minimum: 512, preferred: 4096, maximum: u32::MAX });
        assert_eq!(Info::decode(&sizes.encode()), Ok(sizes));
    }
}
