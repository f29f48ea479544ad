//! base64, in which the guest agent carries bytes, and the web its keys.

const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

pub(crate) fn encode(bytes: &[u8]) -> String {
    let mut text = String::new();
    for group in bytes.chunks(3) {
        let bits = (0..3).fold(0, |bits, at| bits << 8 | u32::from(group.get(at).copied().unwrap_or(0)));
        for digit in 0..4 {
            let value = (bits >> (18 - 6 * digit)) & 63;
            text.push(if digit <= group.len() { char::from(DIGITS[value as usize]) } else { '=' });
        }
    }
    text
}

/// As tokens and keys of the web carry bytes.
pub(crate) fn encode_for_urls(bytes: &[u8]) -> String {
    encode(bytes).trim_end_matches('=').replace('+', "-").replace('/', "_")
}

/// `None` if it is not base64.
pub(crate) fn decode(text: &str) -> Option<Vec<u8>> {
    let digits = text.trim_end_matches('=').bytes();
    let values =
        digits.map(|byte| DIGITS.iter().position(|digit| *digit == byte)).collect::<Option<Vec<_>>>()?;
    let group = |values: &[usize]| {
        let bits = (0..4).fold(0, |bits, at| bits << 6 | values.get(at).copied().unwrap_or(0));
        [bits >> 16, bits >> 8, bits].map(|byte| (byte & 255) as u8).into_iter().take(values.len() * 6 / 8)
    };
    Some(values.chunks(4).flat_map(group).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_remainder_goes_there_and_back() {
        for (bytes, text) in [("", ""), ("M", "TQ=="), ("Ma", "TWE="), ("Man", "TWFu"), ("Many", "TWFueQ==")]
        {
            assert_eq!(encode(bytes.as_bytes()), text);
            assert_eq!(decode(text).unwrap(), bytes.as_bytes());
        }
        assert_eq!(decode("T?=="), None);
        assert_eq!(encode_for_urls(&[0xfb, 0xff]), "-_8");
    }
}
