//! Why an attempt got no answer, and whether the receiver can have processed its request. It only reads errors; what
//! follows from them is decided in `delivery`.

use std::error::Error;
use std::time::Duration;

use super::connections::NoHttp2;
use crate::descriptors::{is_caused_by_shortage, shortage};
use crate::secret::mask;

/// Why there was no answer. All of these may pass: none is permanent.
#[derive(Debug, thiserror::Error)]
pub enum AttemptError {
    /// No answer within the timeout.
    #[error("no answer within {}", humantime::format_duration(*.0))]
    Timeout(Duration),
    /// No connection.
    #[error("cannot connect: {0}")]
    Connect(String),
    /// The connection broke or the answer was not HTTP.
    #[error("the request failed: {0}")]
    Broken(String),
    /// The receiver says that it has not processed the request, or nothing of it was sent: this was no attempt.
    #[error("the receiver has not processed the request: {0}")]
    NotProcessed(String),
    /// This process could not open a connection, for which the receiver is not to blame: this was no attempt.
    #[error("{0}")]
    Shortage(String),
    /// There is an answer, but its headers are larger than is read, so that its status is not known.
    #[error("the answer's headers are too large to be read, so its status is not known: {0}")]
    UnreadableAnswer(String),
}

/// Why an attempt that was to end within `timeout` got no answer.
pub(super) fn classify(error: reqwest::Error, timeout: Duration) -> AttemptError {
    // The URL may hold a secret; which sink it was is known from the context.
    let error = error.without_url();
    if is_caused_by_shortage(&error) {
        AttemptError::Shortage(shortage())
    } else if is_unprocessed(&error) {
        AttemptError::NotProcessed(chain(&error))
    } else if is_too_large(&error) {
        AttemptError::UnreadableAnswer(chain(&error))
    } else if error.is_connect() {
        AttemptError::Connect(chain(&error))
    } else if error.is_timeout() {
        AttemptError::Timeout(timeout)
    } else {
        AttemptError::Broken(chain(&error))
    }
}

/// An error with its causes: reqwest's own message names none of them.
pub(super) fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    mask(&text).into_owned()
}

/// True when the receiver cannot have processed the request: it was dropped before its first byte, it came after the
/// last one that a GOAWAY covers (RFC 9113, 6.8), or it was refused (8.7).
fn is_unprocessed(error: &(dyn Error + 'static)) -> bool {
    causes(error).any(|cause| {
        let was_not_sent = cause.downcast_ref::<hyper::Error>().is_some_and(hyper::Error::is_canceled);
        was_not_sent || cause.is::<NoHttp2>() || cause.downcast_ref::<h2::Error>().is_some_and(is_refused)
    })
}

/// The HTTP/2 library gives a remote GOAWAY to those streams only that it does not cover; the others end by themselves or
/// with the connection.
fn is_refused(error: &h2::Error) -> bool {
    let is_reset = error.is_reset() && error.reason() == Some(h2::Reason::REFUSED_STREAM);
    error.is_remote() && (error.is_go_away() || is_reset)
}

fn is_too_large(error: &(dyn Error + 'static)) -> bool {
    causes(error).any(|cause| cause.downcast_ref::<hyper::Error>().is_some_and(hyper::Error::is_parse_too_large))
}

/// True when the receiver turned out not to speak HTTP/2 any more, before anything was sent.
pub(super) fn is_no_http2(error: &(dyn Error + 'static)) -> bool {
    causes(error).any(|cause| cause.is::<NoHttp2>())
}

fn causes<'a>(error: &'a (dyn Error + 'static)) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    std::iter::successors(Some(error), |error| (*error).source())
}
