//! Secrets become keys, once, and keys make signatures. Nothing here knows what is signed or where a signature goes.

use std::fmt;

use base64::Engine as _;
use ed25519_dalek::ed25519::signature::MultipartSigner as _;
use ed25519_dalek::{SigningKey, VerifyingKey};
use hmac::{Hmac, KeyInit as _, Mac};
use sha1::Sha1;
use sha2::{Sha256, Sha512};

use super::encoding::BASE64;
use crate::problem::Problem;
use crate::secret::{self, Secret};

/// The hash function of an HMAC.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Hash {
    Sha1,
    Sha256,
    Sha512,
}

/// What the secrets of a scheme are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum KeyForm {
    /// The text is the key of an HMAC.
    Text(Hash),
    /// `whsec_` and the key of an HMAC in base64.
    Whsec(Hash),
    /// `whsk_` and an Ed25519 key in base64.
    Ed25519,
}

impl KeyForm {
    /// How many bytes a signature has.
    pub(crate) fn signature_length(self) -> usize {
        match self {
            Self::Text(Hash::Sha1) | Self::Whsec(Hash::Sha1) => 20,
            Self::Text(Hash::Sha256) | Self::Whsec(Hash::Sha256) => 32,
            Self::Text(Hash::Sha512) | Self::Whsec(Hash::Sha512) | Self::Ed25519 => 64,
        }
    }

    /// How such a secret is written, for advice.
    fn written(self) -> &'static str {
        match self {
            Self::Text(_) => "any text of 16 characters or more, for example that of `openssl rand -hex 32`",
            Self::Whsec(_) => "`whsec_` and base64, for example `whsec_$(openssl rand -base64 32)`",
            Self::Ed25519 => "`whsk_` and the base64 of an Ed25519 key, for example `whsk_$(openssl rand -base64 32)`",
        }
    }
}

/// A secret that is ready to sign. An HMAC has already taken in its key: cloning it costs less than keying it anew for
/// every request.
#[derive(Clone)]
pub(crate) enum Key {
    Sha1(Hmac<Sha1>),
    Sha256(Hmac<Sha256>),
    Sha512(Hmac<Sha512>),
    Ed25519(Box<SigningKey>),
    /// The public half: it verifies, and cannot sign.
    Ed25519Public(Box<VerifyingKey>),
}

impl Key {
    /// Takes in what is signed.
    pub(crate) fn over<'a>(&'a self, content: impl Iterator<Item = &'a [u8]>) -> Signable<'a> {
        match self {
            Self::Sha1(mac) => Signable::Sha1(fed(mac, content)),
            Self::Sha256(mac) => Signable::Sha256(fed(mac, content)),
            Self::Sha512(mac) => Signable::Sha512(fed(mac, content)),
            Self::Ed25519(_) | Self::Ed25519Public(_) => Signable::Ed25519(self, content.collect()),
        }
    }

    /// Whether it can sign.
    pub(crate) fn is_private(&self) -> bool {
        !matches!(self, Self::Ed25519Public(_))
    }
}

/// A key with all that it signs.
pub(crate) enum Signable<'a> {
    Sha1(Hmac<Sha1>),
    Sha256(Hmac<Sha256>),
    Sha512(Hmac<Sha512>),
    Ed25519(&'a Key, Vec<&'a [u8]>),
}

impl Signable<'_> {
    /// The signature.
    pub(crate) fn sign(self) -> Signature {
        match self {
            Self::Sha1(mac) => Signature::new(&mac.finalize().into_bytes()),
            Self::Sha256(mac) => Signature::new(&mac.finalize().into_bytes()),
            Self::Sha512(mac) => Signature::new(&mac.finalize().into_bytes()),
            Self::Ed25519(Key::Ed25519(key), content) => Signature::new(&key.multipart_sign(&content).to_bytes()),
            // A signer refuses keys that are not private.
            Self::Ed25519(..) => Signature::new(&[]),
        }
    }

    /// Whether a signature is right. An HMAC is compared in constant time; Ed25519 knows no secret here.
    pub(crate) fn matches(&self, signature: &[u8]) -> bool {
        match self {
            Self::Sha1(mac) => mac.clone().verify_slice(signature).is_ok(),
            Self::Sha256(mac) => mac.clone().verify_slice(signature).is_ok(),
            Self::Sha512(mac) => mac.clone().verify_slice(signature).is_ok(),
            Self::Ed25519(key, content) => {
                let public = match key {
                    Key::Ed25519(key) => key.verifying_key(),
                    Key::Ed25519Public(key) => **key,
                    _ => return false,
                };
                let signature = ed25519_dalek::Signature::from_slice(signature);
                signature.is_ok_and(|signature| public.verify_strict(&content.concat(), &signature).is_ok())
            }
        }
    }
}

/// The bytes of a signature, 64 at most.
pub(crate) struct Signature {
    bytes: [u8; 64],
    length: usize,
}

impl Signature {
    fn new(bytes: &[u8]) -> Self {
        let mut signature = Self { bytes: [0; 64], length: bytes.len().min(64) };
        signature.bytes[..signature.length].copy_from_slice(&bytes[..signature.length]);
        signature
    }

    pub(crate) fn as_bytes(&self) -> &[u8] {
        &self.bytes[..self.length]
    }
}

fn fed<'a, M: Mac + Clone>(mac: &M, content: impl Iterator<Item = &'a [u8]>) -> M {
    content.fold(mac.clone(), |mac, piece| mac.chain_update(piece))
}

/// The keys of all secrets that are not empty; problems are named `secrets` and the index. The secrets are registered with
/// [`secret::mask`].
pub(crate) fn keys(secrets: &[Secret], form: KeyForm) -> Result<Vec<Key>, Vec<Problem>> {
    let (mut keys, mut problems) = (Vec::new(), Vec::new());
    for (index, secret) in present(secrets) {
        match key(secret, form) {
            Ok(key) => keys.push(key),
            Err(error) => problems.push(problem(index, &error, error.help(form))),
        }
    }
    if keys.is_empty() && problems.is_empty() {
        let problem = Problem::new(["secrets"], "no secret is left to sign with: every one is empty");
        problems.push(problem.with_help(format!("give at least one: {}", form.written())));
    }
    if problems.is_empty() { Ok(keys) } else { Err(problems) }
}

/// The keys of all secrets that are not empty, none of which may be a public key.
pub(super) fn private_keys(secrets: &[Secret], form: KeyForm) -> Result<Vec<Key>, Vec<Problem>> {
    let keys = keys(secrets, form)?;
    let public = keys.iter().zip(present(secrets)).filter(|(key, _)| !key.is_private());
    let problems: Vec<_> = public
        .map(|(_, (index, _))| {
            let help = "give the private key, `whsk_` and base64; the public one, `whpk_`, is for receivers";
            problem(index, &"the secret is a public key, which cannot sign", help.to_owned())
        })
        .collect();
    if problems.is_empty() { Ok(keys) } else { Err(problems) }
}

/// The secrets that are not empty, with their index. One that was read from a file often ends in a line break.
pub(super) fn present(secrets: &[Secret]) -> impl Iterator<Item = (usize, &str)> {
    let trimmed = secrets.iter().map(|secret| secret.expose().trim()).enumerate();
    trimmed.filter(|(_, secret)| !secret.is_empty())
}

fn problem(index: usize, message: &dyn fmt::Display, help: String) -> Problem {
    Problem::new(["secrets".to_owned(), index.to_string()], message).with_help(help)
}

const SYMMETRIC: &str = "whsec_";
const PRIVATE: &str = "whsk_";
const PUBLIC: &str = "whpk_";

/// Shorter secrets, in bytes, are refused. Standard Webhooks asks producers to make 24 to 64 bytes, but its reference
/// libraries take any length and receivers with a secret of 16 bytes exist; below that, guessing comes into reach.
const SHORTEST_SECRET: usize = 16;

/// Why a secret cannot be used. The texts show no part of it.
#[derive(Debug, PartialEq, thiserror::Error)]
enum SecretError {
    #[error("the secret is an Ed25519 key, and the scheme signs by HMAC")]
    Asymmetric,
    #[error("the secret is one for HMAC, and the scheme signs by Ed25519")]
    Symmetric,
    #[error("the secret is not base64")]
    NotBase64,
    #[error("the secret has only {0} bytes, which can be guessed")]
    TooShort(usize),
    #[error("the secret has {0} bytes, and an Ed25519 key 32, or 64 with its public half")]
    WrongLength(usize),
    #[error("the two halves of the secret are no Ed25519 key pair")]
    NoPair,
    #[error("the secret is no Ed25519 public key")]
    NoPublicKey,
}

impl SecretError {
    fn help(&self, form: KeyForm) -> String {
        match self {
            Self::Asymmetric => format!("use {}, or `scheme = \"standard-webhooks-ed25519\"`", form.written()),
            Self::Symmetric => format!("use {}, or `scheme = \"standard-webhooks\"`", form.written()),
            Self::NotBase64 | Self::TooShort(_) | Self::WrongLength(_) => format!("use {}", form.written()),
            Self::NoPair => "give the 64 bytes as they were made, or the first 32 alone".to_owned(),
            Self::NoPublicKey => "give it as it was made, `whpk_` and the base64 of 32 bytes".to_owned(),
        }
    }
}

fn key(text: &str, form: KeyForm) -> Result<Key, SecretError> {
    secret::register(text);
    let (hash, bytes) = match form {
        KeyForm::Ed25519 => return ed25519(text),
        _ if text.starts_with(PRIVATE) || text.starts_with(PUBLIC) => return Err(SecretError::Asymmetric),
        KeyForm::Text(hash) => (hash, text.as_bytes().to_vec()),
        // As the reference libraries do: the prefix may be missing.
        KeyForm::Whsec(hash) => (hash, base64(text.strip_prefix(SYMMETRIC).unwrap_or(text))?),
    };
    if bytes.len() < SHORTEST_SECRET {
        return Err(SecretError::TooShort(bytes.len()));
    }
    const ANY_LENGTH: &str = "HMAC takes keys of any length";
    Ok(match hash {
        Hash::Sha1 => Key::Sha1(Hmac::new_from_slice(&bytes).expect(ANY_LENGTH)),
        Hash::Sha256 => Key::Sha256(Hmac::new_from_slice(&bytes).expect(ANY_LENGTH)),
        Hash::Sha512 => Key::Sha512(Hmac::new_from_slice(&bytes).expect(ANY_LENGTH)),
    })
}

/// An Ed25519 key: its 32 bytes alone (RFC 8032, 5.1.5), or with the public half behind them, as many libraries keep it.
fn ed25519(text: &str) -> Result<Key, SecretError> {
    if text.starts_with(SYMMETRIC) {
        return Err(SecretError::Symmetric);
    }
    if let Some(public) = text.strip_prefix(PUBLIC) {
        let bytes = base64(public)?.try_into().map_err(|_| SecretError::NoPublicKey)?;
        let public = VerifyingKey::from_bytes(&bytes).ok().filter(|key| !key.is_weak());
        return Ok(Key::Ed25519Public(Box::new(public.ok_or(SecretError::NoPublicKey)?)));
    }
    let bytes = base64(text.strip_prefix(PRIVATE).unwrap_or(text))?;
    if let Ok(pair) = <[u8; 64]>::try_from(bytes.as_slice()) {
        let key = SigningKey::from_keypair_bytes(&pair).map_err(|_| SecretError::NoPair)?;
        return Ok(Key::Ed25519(Box::new(key)));
    }
    let alone = <[u8; 32]>::try_from(bytes.as_slice()).map_err(|_| SecretError::WrongLength(bytes.len()))?;
    Ok(Key::Ed25519(Box::new(SigningKey::from_bytes(&alone))))
}

/// The bytes of a secret, all forms of which are registered with [`secret::mask`].
fn base64(encoded: &str) -> Result<Vec<u8>, SecretError> {
    secret::register(encoded);
    let bytes = BASE64.decode(encoded).map_err(|_| SecretError::NotBase64)?;
    if let Ok(decoded) = std::str::from_utf8(&bytes) {
        secret::register(decoded);
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    const WHSEC: KeyForm = KeyForm::Whsec(Hash::Sha256);
    const TEXT: KeyForm = KeyForm::Text(Hash::Sha256);
    /// From the tests of Svix, whose key pairs the specification describes.
    const PAIR: &str = "whsk_6Xb/dCcHpPea21PS1N9VY/NZW723CEc77N4rJCubMbfVKIDij2HKpMKkioLlX0dRqSKJp4AJ6p9lMicMFs6Kvg==";
    const PUBLIC_KEY: &str = "whpk_1SiA4o9hyqTCpIqC5V9HUakiiaeACeqfZTInDBbOir4=";

    fn secrets(secrets: &[&str]) -> Vec<Secret> {
        secrets.iter().map(|secret| Secret::new(*secret)).collect()
    }

    fn signature(secret: &str, form: KeyForm) -> Vec<u8> {
        let keys = keys(&secrets(&[secret]), form).unwrap_or_else(|problems| panic!("{problems:?}"));
        keys[0].over([&b"content"[..]].into_iter()).sign().as_bytes().to_vec()
    }

    fn problems(with: &[&str], form: KeyForm) -> Vec<String> {
        private_keys(&secrets(with), form).err().unwrap().iter().map(ToString::to_string).collect()
    }

    #[test]
    fn padding_prefix_and_line_break_change_no_secret() {
        let whsec = signature("whsec_MDEyMzQ1Njc4OWFiY2RlZmc=", WHSEC);
        for same in ["whsec_MDEyMzQ1Njc4OWFiY2RlZmc", "MDEyMzQ1Njc4OWFiY2RlZmc=\n"] {
            assert_eq!(signature(same, WHSEC), whsec, "{same}");
        }
        assert_eq!(signature("0123456789abcdefg\n", TEXT), whsec, "the key is the same");
        assert_ne!(signature("whsec_MDEyMzQ1Njc4OWFiY2RlZmc=", TEXT), whsec, "as text, the prefix is a part of it");
    }

    #[test]
    fn a_key_pair_may_lack_its_public_half() {
        let alone = "whsk_6Xb/dCcHpPea21PS1N9VY/NZW723CEc77N4rJCubMbc=";
        assert_eq!(signature(alone, KeyForm::Ed25519), signature(PAIR, KeyForm::Ed25519));
        let public = keys(&secrets(&[PUBLIC_KEY]), KeyForm::Ed25519).unwrap();
        let content = [&b"con"[..], b"tent"];
        assert!(public[0].over(content.into_iter()).matches(&signature(PAIR, KeyForm::Ed25519)));
        assert!(!public[0].over(content.into_iter()).matches(&[0; 64]));
        assert!(!public[0].over([&b"other"[..]].into_iter()).matches(&signature(PAIR, KeyForm::Ed25519)));
    }

    #[test]
    fn signatures_have_the_length_that_their_form_says() {
        for hash in [Hash::Sha1, Hash::Sha256, Hash::Sha512] {
            let form = KeyForm::Text(hash);
            assert_eq!(signature("0123456789abcdef", form).len(), form.signature_length(), "{hash:?}");
        }
        assert_eq!(signature(PAIR, KeyForm::Ed25519).len(), KeyForm::Ed25519.signature_length());
    }

    #[test]
    fn every_unusable_secret_is_reported_at_its_place() {
        let asymmetric = "the secret is an Ed25519 key, and the scheme signs by HMAC";
        assert_eq!(
            problems(&["whsec_not base64!", "", PAIR, "whsec_c2hvcnQ="], WHSEC),
            [
                "secrets.0: the secret is not base64".to_owned(),
                format!("secrets.2: {asymmetric}"),
                "secrets.3: the secret has only 5 bytes, which can be guessed".to_owned(),
            ]
        );
        assert_eq!(
            problems(&["hunter2", PUBLIC_KEY], TEXT),
            ["secrets.0: the secret has only 7 bytes, which can be guessed".into(), format!("secrets.1: {asymmetric}")]
        );
        for form in [WHSEC, TEXT, KeyForm::Ed25519] {
            assert_eq!(problems(&["", " "], form), ["secrets: no secret is left to sign with: every one is empty"]);
            assert_eq!(problems(&[], form).len(), 1);
        }
    }

    #[test]
    fn every_unusable_key_pair_is_reported_at_its_place() {
        let no_pair = PAIR.replace("Kvg==", "Kvw==");
        assert_eq!(
            problems(
                &["whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "whsk_c2hvcnQ=", &no_pair, "whpk_c2hvcnQ="],
                KeyForm::Ed25519
            ),
            [
                "secrets.0: the secret is one for HMAC, and the scheme signs by Ed25519",
                "secrets.1: the secret has 5 bytes, and an Ed25519 key 32, or 64 with its public half",
                "secrets.2: the two halves of the secret are no Ed25519 key pair",
                "secrets.3: the secret is no Ed25519 public key",
            ]
        );
        let public = "secrets.2: the secret is a public key, which cannot sign";
        assert_eq!(problems(&[PAIR, "", PUBLIC_KEY], KeyForm::Ed25519), [public]);
    }

    #[test]
    fn no_form_of_a_secret_shows() {
        signature("whsec_aHVudGVyMi1odW50ZXIyLWh1bnRlcjI=", WHSEC);
        signature("hunter3-hunter3-hunter3", TEXT);
        signature("whsk_aHVudGVyNC1odW50ZXI0LWh1bnRlcjQtaHVudGVyNCE=", KeyForm::Ed25519);
        let log = "k=aHVudGVyMi1odW50ZXIyLWh1bnRlcjI= d=hunter2-hunter2-hunter2 t=hunter3-hunter3-hunter3 \
                   e=aHVudGVyNC1odW50ZXI0LWh1bnRlcjQtaHVudGVyNCE=";
        assert_eq!(secret::mask(log), "k=*** d=*** t=*** e=***");
    }
}
