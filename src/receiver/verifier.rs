//! Verifies signatures the way a receiver does, by any scheme, and says precisely why one is wrong.
//!
//! The rules are those of Standard Webhooks ("Verifying signatures") for all schemes, as far as their parts go: a
//! timestamp that is signed must be recent, and one right signature among several is enough.

use std::fmt;
use std::sync::Arc;

use axum::http::{HeaderMap, HeaderName};
use jiff::Timestamp;

use super::ReceivedRequest;
use super::reading::{Found, Reader};
use crate::problem::Problem;
use crate::sink::parts::{ID_HEADER, TIMESTAMP_HEADER};
use crate::sink::signing::{self, Field, Key, Scheme, Signed, SigningConfig};

/// How far the timestamp may be from the receiver's clock, in seconds: as in the libraries of Standard Webhooks, Stripe and
/// Slack.
const TOLERANCE: i64 = 5 * 60;

/// Verifies requests with any of several secrets.
#[derive(Clone)]
pub struct Verifier {
    scheme: Arc<Scheme>,
    reader: Reader,
    keys: Vec<Key>,
}

/// Why a request is not to be trusted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum VerifyError {
    /// The request lacks a header, or it is empty.
    #[error("the request has no `{0}`")]
    Missing(HeaderName),
    /// A header has bytes outside visible ASCII.
    #[error("`{0}` is not plain text")]
    NotText(HeaderName),
    /// Nothing in the header looks as the scheme writes it.
    #[error("`{header}` has no {what} of the form `{form}`")]
    OtherForm {
        /// The header.
        header: HeaderName,
        /// What is missing in it.
        what: &'static str,
        /// What the scheme writes.
        form: String,
    },
    /// The timestamp is not a whole number.
    #[error("the timestamp in `{0}` is not a number of seconds")]
    NotSeconds(HeaderName),
    /// The timestamp is too old; it may be a replay.
    #[error("the timestamp in `{0}` is {1} s in the past; at most 300 s are allowed")]
    TooOld(HeaderName, i64),
    /// The timestamp is too far ahead.
    #[error("the timestamp in `{0}` is {1} s in the future; at most 300 s are allowed")]
    TooNew(HeaderName, i64),
    /// No signature is in the scheme's encoding, or of the length that its algorithm gives.
    #[error(
        "the signature in `{header}` is not {length} bytes in {encoding}: the algorithm or the encoding is another"
    )]
    OtherEncoding {
        /// The header.
        header: HeaderName,
        /// The encoding's name.
        encoding: &'static str,
        /// How long a signature is, in bytes.
        length: usize,
    },
    /// None of the signatures is made with one of the secrets over what is signed, which is named.
    #[error("no signature matches: the secret is another, or {0} changed on the way")]
    Mismatch(String),
}

impl Verifier {
    /// Checks the scheme and the secrets, of which those for Ed25519 may be public keys. The secrets are registered with
    /// [`crate::secret::mask`].
    ///
    /// # Errors
    /// One problem for each value that cannot be used, or one for all secrets when none is left.
    pub fn new(signing: &SigningConfig) -> Result<Self, Vec<Problem>> {
        let keys = signing::keys(&signing.secrets, signing.key_form());
        let (scheme, keys) = match (Scheme::of(signing), keys) {
            (Ok(scheme), Ok(keys)) => (scheme, keys),
            (scheme, keys) => return Err(scheme.err().into_iter().chain(keys.err()).flatten().collect()),
        };
        let too_long = |_| vec![Problem::new(["value"], "`value` is too long to be read again")];
        let reader = Reader::new(&scheme).map_err(too_long)?;
        Ok(Self { scheme: Arc::new(scheme), reader, keys })
    }

    /// Whether one of the signatures was made with one of the secrets; where the timestamp is signed, within five minutes
    /// of the request's arrival. Signatures are compared in constant time.
    ///
    /// # Errors
    /// The first reason that was found not to trust the request.
    pub fn verify(&self, request: &ReceivedRequest) -> Result<(), VerifyError> {
        let value = text(&request.headers, &self.scheme.header)?;
        let found = self.reader.read(value);
        if found.signatures.is_empty() {
            return Err(self.other_form(Field::Signature));
        }
        let mut signed = Signed {
            method: request.method.as_str(),
            path: &request.path_and_query,
            id: "",
            timestamp: "",
            body: &request.body,
        };
        if self.scheme.content.names(Field::Id) {
            signed.id = self.field(Field::Id, &found, &request.headers)?.1;
        }
        if self.scheme.content.names(Field::Timestamp) {
            let (header, timestamp) = self.field(Field::Timestamp, &found, &request.headers)?;
            check_time(header, timestamp, request.at)?;
            signed.timestamp = timestamp;
        }
        self.verify_signatures(&found.signatures, &signed)
    }

    fn verify_signatures(&self, signatures: &[&str], signed: &Signed<'_>) -> Result<(), VerifyError> {
        let length = self.scheme.keys.signature_length();
        let decoded = signatures.iter().filter_map(|encoded| self.scheme.encoding.decode(encoded));
        let decoded: Vec<_> = decoded.filter(|signature| signature.len() == length).collect();
        if decoded.is_empty() {
            let (header, encoding) = (self.scheme.header.clone(), self.scheme.encoding.name());
            return Err(VerifyError::OtherEncoding { header, encoding, length });
        }
        let signables: Vec<_> = self.keys.iter().map(|key| key.over(self.scheme.content_of(signed))).collect();
        let is_right = |signature: &Vec<u8>| signables.iter().any(|signable| signable.matches(signature));
        if decoded.iter().any(is_right) { Ok(()) } else { Err(VerifyError::Mismatch(self.what_is_signed())) }
    }

    /// A field that is signed, and the header that it comes from: that of the signature, where that names it.
    fn field<'a>(
        &'a self,
        field: Field,
        found: &Found<'a>,
        headers: &'a HeaderMap,
    ) -> Result<(HeaderName, &'a str), VerifyError> {
        if self.scheme.elements.iter().any(|element| element.names(field)) {
            let text = found.fields.get(field.name()).ok_or_else(|| self.other_form(field))?;
            return Ok((self.scheme.header.clone(), text));
        }
        let header = match (field, &self.scheme.timestamp_header) {
            (Field::Timestamp, Some(header)) => header.clone(),
            (Field::Timestamp, None) => HeaderName::from_static(TIMESTAMP_HEADER),
            _ => HeaderName::from_static(ID_HEADER),
        };
        let value = text(headers, &header)?;
        Ok((header, value))
    }

    fn other_form(&self, field: Field) -> VerifyError {
        let element = self.scheme.elements.iter().find(|element| element.names(field));
        let form = element.map(|element| element.to_string().trim().to_owned()).unwrap_or_default();
        VerifyError::OtherForm { header: self.scheme.header.clone(), what: field.name(), form }
    }

    /// "the body was", or "the id, timestamp or body were".
    fn what_is_signed(&self) -> String {
        let fields: Vec<_> = self.scheme.content.fields().into_iter().map(Field::name).collect();
        match fields.as_slice() {
            [others @ .., last] if !others.is_empty() => format!("the {} or {last} were", others.join(", ")),
            fields => format!("the {} was", fields.join("")),
        }
    }
}

impl fmt::Debug for Verifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Verifier").field("secrets", &self.keys.len()).finish()
    }
}

fn text<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Result<&'a str, VerifyError> {
    let missing = || VerifyError::Missing(name.clone());
    let value = headers.get(name).filter(|value| !value.is_empty()).ok_or_else(missing)?;
    value.to_str().map_err(|_| VerifyError::NotText(name.clone()))
}

fn check_time(header: HeaderName, timestamp: &str, now: Timestamp) -> Result<(), VerifyError> {
    let Ok(sent) = timestamp.parse::<i64>() else { return Err(VerifyError::NotSeconds(header)) };
    let age = now.as_second().saturating_sub(sent);
    match age {
        _ if age > TOLERANCE => Err(VerifyError::TooOld(header, age)),
        _ if age < -TOLERANCE => Err(VerifyError::TooNew(header, age.saturating_neg())),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests;
