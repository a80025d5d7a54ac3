//! Tests of a pipeline file: does an event become what its test says?
//!
//! What becomes of the event, [`trial`](crate::pipeline::trial) finds out. [`judge`] compares it with what is expected,
//! [`explain`] says in words where the two differ, with [`difference`] for texts and JSON, and [`update`] writes what was
//! found into the text of the file. Nothing here does I/O.

pub mod difference;
pub mod explain;
pub mod judge;
pub mod update;

/// A first attempt, for the tests of the parts.
#[cfg(test)]
fn attempt(
    sink: &str,
    url: &str,
    headers: reqwest::header::HeaderMap,
    body: &'static str,
) -> crate::pipeline::trial::Outcome {
    use crate::pipeline::trial::{FirstAttempt, Outcome};

    let (sink, url) = (sink.into(), url.parse().unwrap());
    Outcome::Delivery(Box::new(FirstAttempt { sink, method: "POST".into(), url, headers, body: body.into() }))
}
