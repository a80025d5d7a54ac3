//! How the bytes of a signature are written in a header.

use base64::Engine as _;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use schemars::JsonSchema;
use serde::Deserialize;
use strum::{EnumString, IntoStaticStr, VariantNames};

/// How the bytes of a signature are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema, EnumString, IntoStaticStr, VariantNames)]
#[serde(rename_all = "lowercase")]
#[strum(serialize_all = "lowercase")]
pub enum Encoding {
    /// Two lower-case hexadecimal digits for each byte.
    Hex,
    /// Base64 with padding (RFC 4648, 4).
    Base64,
    /// Base64 for URLs and file names, without padding (RFC 4648, 5).
    Base64url,
}

const LENIENT: GeneralPurposeConfig =
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);

/// Base64, read with or without padding, as secrets and signatures are found in the wild.
pub(super) const BASE64: GeneralPurpose = GeneralPurpose::new(&alphabet::STANDARD, LENIENT);

const BASE64_URL: GeneralPurpose = GeneralPurpose::new(&alphabet::URL_SAFE, LENIENT.with_encode_padding(false));

impl Encoding {
    /// Its name.
    pub fn name(self) -> &'static str {
        self.into()
    }

    /// Puts the encoded bytes behind a text.
    pub(super) fn encode_into(self, bytes: &[u8], text: &mut String) {
        match self {
            Self::Hex => text.extend(bytes.iter().flat_map(|byte| [hex_digit(byte >> 4), hex_digit(byte & 15)])),
            Self::Base64 => BASE64.encode_string(bytes, text),
            Self::Base64url => BASE64_URL.encode_string(bytes, text),
        }
    }

    /// The bytes of an encoded text; `None` when it is not in this encoding. Hexadecimal digits may be in upper case, and
    /// padding may be missing.
    pub(crate) fn decode(self, text: &str) -> Option<Vec<u8>> {
        match self {
            Self::Hex if text.is_ascii() && text.len().is_multiple_of(2) => {
                let pairs = (0..text.len()).step_by(2).map(|at| &text[at..at + 2]);
                // A sign is no digit.
                pairs.map(|pair| u8::from_str_radix(pair, 16).ok().filter(|_| !pair.starts_with('+'))).collect()
            }
            Self::Hex => None,
            Self::Base64 => BASE64.decode(text).ok(),
            Self::Base64url => BASE64_URL.decode(text).ok(),
        }
    }
}

fn hex_digit(half: u8) -> char {
    char::from_digit(half.into(), 16).unwrap_or('0')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn encode(encoding: Encoding, bytes: &[u8]) -> String {
        let mut text = String::new();
        encoding.encode_into(bytes, &mut text);
        text
    }

    #[test]
    fn bytes_are_written_as_each_encoding_asks() {
        let bytes = b"\x00\xfb\xff\xfe";
        assert_eq!(encode(Encoding::Hex, bytes), "00fbfffe");
        assert_eq!(encode(Encoding::Base64, bytes), "APv//g==");
        assert_eq!(encode(Encoding::Base64url, bytes), "APv__g");
    }

    #[test]
    fn what_is_not_encoded_is_not_read() {
        for text in ["0", "0g", "+1", "é0"] {
            assert_eq!(Encoding::Hex.decode(text), None, "{text}");
        }
        assert_eq!(Encoding::Base64.decode("APv__g"), None);
        assert_eq!(Encoding::Base64url.decode("APv//g"), None);
        assert_eq!(Encoding::Base64.decode("APv//g"), Some(b"\x00\xfb\xff\xfe".to_vec()), "padding may be missing");
        assert_eq!(Encoding::Hex.decode("00FB"), Some(vec![0, 0xfb]));
    }

    proptest! {
        #[test]
        fn what_was_encoded_is_read_again(bytes in proptest::collection::vec(any::<u8>(), 0..80)) {
            for encoding in [Encoding::Hex, Encoding::Base64, Encoding::Base64url] {
                prop_assert_eq!(encoding.decode(&encode(encoding, &bytes)), Some(bytes.clone()));
            }
        }
    }
}
