//! Digests of text, for what a receiver compares: they are no signatures of requests, which `sink::signing` makes.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::{Digest as _, Sha256};

/// How the bytes of a digest are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Encoding {
    /// Two lower-case hexadecimal digits for each byte.
    #[default]
    Hex,
    /// Base64 with padding (RFC 4648, 4).
    Base64,
}

impl Encoding {
    /// The encoding of a name.
    pub(crate) fn of_name(name: &str) -> Option<Self> {
        match name {
            "hex" => Some(Self::Hex),
            "base64" => Some(Self::Base64),
            _ => None,
        }
    }

    fn encode(self, bytes: &[u8]) -> String {
        match self {
            Self::Hex => bytes.iter().map(|byte| format!("{byte:02x}")).collect(),
            Self::Base64 => BASE64.encode(bytes),
        }
    }
}

/// SHA-256 of a text's UTF-8.
pub(crate) fn sha256(text: &str, encoding: Encoding) -> String {
    encoding.encode(&Sha256::digest(text))
}

/// HMAC-SHA256 of a text's UTF-8, keyed with that of another.
pub(crate) fn hmac_sha256(text: &str, key: &str, encoding: Encoding) -> String {
    // A key of any length is taken (RFC 2104, 2), so that there is no other case.
    match Hmac::<Sha256>::new_from_slice(key.as_bytes()) {
        Ok(mac) => encoding.encode(&mac.chain_update(text).finalize().into_bytes()),
        Err(_) => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digests_are_those_of_the_published_examples() {
        // FIPS 180-2, B.1, and RFC 4231, 4.3.
        let abc = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(sha256("abc", Encoding::Hex), abc);
        assert_eq!(sha256("", Encoding::Base64), "47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=");
        let mac = "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843";
        assert_eq!(hmac_sha256("what do ya want for nothing?", "Jefe", Encoding::Hex), mac);
    }
}
