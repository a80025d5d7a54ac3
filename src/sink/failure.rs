//! Why an attempt got no answer, and whether the receiver can have processed its request. It only reads errors; what
//! they mean, `verdict` says.

use std::error::Error;
use std::io;
use std::time::Duration;

use super::certificate;
use super::connections::{LARGEST_ANSWER_HEAD, MOST_ANSWER_HEADERS, NoHttp2};
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
    /// There is an answer that cannot be read, so that its status is not known.
    #[error("the answer cannot be read, so its status is not known: {0}")]
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
    } else if let Some(fault) = answer_fault(&error) {
        AttemptError::UnreadableAnswer(fault)
    } else if error.is_connect() {
        AttemptError::Connect(causes(&error).find_map(certificate::fault).unwrap_or_else(|| chain(&error)))
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

/// Why an answer cannot be read, if there is one.
fn answer_fault(error: &(dyn Error + 'static)) -> Option<String> {
    let most = format!("{} KiB", LARGEST_ANSWER_HEAD / 1024);
    causes(error).find_map(|cause| {
        if cause.downcast_ref::<hyper::Error>().is_some_and(hyper::Error::is_parse_too_large) {
            return Some(format!("its headers are too large (there may be {MOST_ANSWER_HEADERS} of {most} together)"));
        }
        let is_fault = cause.downcast_ref::<h2::Error>().is_some_and(is_fault_of_answer);
        is_fault.then(|| format!("its headers are too large (they may have {most} together), or are no valid HTTP/2"))
    })
}

/// The HTTP/2 library itself resets a stream with this reason when it cannot take the headers of the answer. It does not
/// tell those that are too large from those that are malformed.
fn is_fault_of_answer(error: &h2::Error) -> bool {
    error.is_library() && error.is_reset() && error.reason() == Some(h2::Reason::PROTOCOL_ERROR)
}

/// True when the receiver turned out not to speak HTTP/2 any more, before anything was sent.
pub(super) fn is_no_http2(error: &(dyn Error + 'static)) -> bool {
    causes(error).any(|cause| cause.is::<NoHttp2>())
}

/// An error and its causes. What an I/O error was made from is none of its causes to the standard library.
fn causes<'a>(error: &'a (dyn Error + 'static)) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    std::iter::successors(Some(error), |error: &&'a (dyn Error + 'static)| {
        let error = *error;
        match error.downcast_ref::<io::Error>().and_then(io::Error::get_ref) {
            Some(within) => Some(within),
            None => error.source(),
        }
    })
}
