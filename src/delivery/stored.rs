//! A delivery as the store keeps it, and back. It must not decide when that happens.

use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use reqwest::{Method, Url};

use jiff::Timestamp;
use tokio::time::Instant;

use super::Delivery;
use crate::ack::Ack;
use crate::sink::request::Request;
use crate::store::record::{StoredDelivery, StoredRequest};

/// What the store keeps of a delivery that waits until `due`, and the ack that settles when it is kept.
pub fn to_stored(delivery: Delivery, due: Timestamp) -> (StoredDelivery, Option<Ack>) {
    let stored = StoredDelivery { request: stored_request(&delivery.request), core: delivery.core, due };
    (stored, delivery.ack)
}

/// What came out of the store and cannot be sent.
pub struct Unusable {
    /// The delivery.
    pub stored: StoredDelivery,
    /// The ack that came with it.
    pub ack: Option<Ack>,
    /// Why, in a sentence.
    pub message: String,
}

/// A delivery out of the store, or one that the store gives back with its ack.
///
/// # Errors
/// When the stored request cannot be sent; it was sound when it was written, so the store has been tampered with.
pub fn from_stored(stored: StoredDelivery, ack: Option<Ack>, since: Instant) -> Result<Delivery, Box<Unusable>> {
    match request(&stored.request) {
        Ok(request) => Ok(Delivery::new(stored.core, request, ack, since)),
        Err(message) => Err(Box::new(Unusable { stored, ack, message })),
    }
}

/// What stands before the method of a request among its headers, as in HTTP/2 (RFC 9113, 8.3.1): no header has this name.
const METHOD: &str = ":method";

/// What the store keeps of a request.
pub fn stored_request(request: &Request) -> StoredRequest {
    let method = request.method.iter().map(|method| (METHOD.to_owned(), method.as_str().as_bytes().to_vec()));
    let headers = request.headers.iter().map(|(name, value)| (name.to_string(), value.as_bytes().to_vec()));
    StoredRequest { url: request.url.to_string(), headers: method.chain(headers).collect(), body: request.body.clone() }
}

fn request(stored: &StoredRequest) -> Result<Request, String> {
    let url = Url::parse(&stored.url).map_err(|error| format!("the stored URL cannot be used: {error}"))?;
    let mut method = None;
    let mut headers = HeaderMap::with_capacity(stored.headers.len());
    for (name, value) in &stored.headers {
        let unusable = || format!("the stored header {name} cannot be used");
        if name == METHOD {
            method = Some(Method::from_bytes(value).map_err(|_| unusable())?);
            continue;
        }
        let header = HeaderName::try_from(name).map_err(|_| unusable())?;
        headers.append(header, HeaderValue::from_bytes(value).map_err(|_| unusable())?);
    }
    Ok(Request { method, url, headers, body: stored.body.clone() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_comes_back_with_its_method() {
        for method in [None, Some(Method::DELETE)] {
            let headers = HeaderMap::from_iter([(HeaderName::from_static("x-a"), HeaderValue::from_static("1"))]);
            let url = Url::parse("https://h/p?q=1").unwrap();
            let sent = Request { method: method.clone(), url, headers, body: "b".into() };
            let back = request(&stored_request(&sent)).unwrap();
            assert_eq!((back.method, back.url, back.headers), (method, sent.url, sent.headers));
        }
    }
}
