//! Reading numbers and strings off the front of received bytes.

use super::TEXT_BYTES_MAX;
use std::fmt;

/// The peer sent something the protocol does not allow, or more than our limits do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Malformed(pub(crate) &'static str);

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the peer broke the protocol: {}", self.0)
    }
}

impl std::error::Error for Malformed {}

impl From<Malformed> for std::io::Error {
    fn from(malformed: Malformed) -> Self {
        std::io::Error::new(std::io::ErrorKind::InvalidData, malformed)
    }
}

/// Received bytes not yet looked at.
pub(crate) struct Input<'a> {
    rest: &'a [u8],
}

impl<'a> Input<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    pub(crate) fn u16(&mut self) -> Result<u16, Malformed> {
        self.array().map(u16::from_be_bytes)
    }

    pub(crate) fn u32(&mut self) -> Result<u32, Malformed> {
        self.array().map(u32::from_be_bytes)
    }

    pub(crate) fn u64(&mut self) -> Result<u64, Malformed> {
        self.array().map(u64::from_be_bytes)
    }

    /// A string of `length` bytes, within the protocol's rules for strings.
    pub(crate) fn text(&mut self, length: u32) -> Result<String, Malformed> {
        if length > TEXT_BYTES_MAX {
            return Err(Malformed("string longer than 4096 bytes"));
        }
        let bytes = self.take(length as usize)?;
        let text = std::str::from_utf8(bytes).map_err(|_| Malformed("string is not UTF-8"))?;
        if text.contains('\0') {
            return Err(Malformed("string contains NUL"));
        }
        Ok(text.to_owned())
    }

    /// A string that takes up all that is left.
    pub(crate) fn rest_as_text(mut self) -> Result<String, Malformed> {
        let length =
            u32::try_from(self.rest.len()).map_err(|_| Malformed("string longer than 4096 bytes"))?;
        self.text(length)
    }

    /// How much is left.
    pub(crate) fn remaining(&self) -> usize {
        self.rest.len()
    }

    /// Nothing may be left.
    pub(crate) fn finish(self) -> Result<(), Malformed> {
        if self.rest.is_empty() { Ok(()) } else { Err(Malformed("message longer than its content")) }
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Malformed> {
        Ok(self.take(N)?.try_into().expect("take gives N bytes"))
    }

    fn take(&mut self, length: usize) -> Result<&'a [u8], Malformed> {
        let (taken, rest) = self.rest.split_at_checked(length).ok_or(Malformed("message too short"))?;
        self.rest = rest;
        Ok(taken)
    }
}
