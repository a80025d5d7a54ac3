//! Sinks: what is sent, how one attempt is made, and how it is signed.
//!
//! [`request`] renders an event into method, URL, headers and body, the latter by its [`encoding`]. [`webhook`] makes an attempt of
//! it: it puts the [`parts`] together, lets the signer of [`signing`] add its headers, and sends it once; [`failure`] says
//! why there was no answer. `answer` reads one, and what an attempt has brought is put into a [`verdict`], by the table of
//! [`responses`].
//! When to send, and what follows from a verdict, is decided in `delivery`: this module must not wait or retry.

mod answer;
mod certificate;
mod checks;
pub mod config;
mod connection_use;
mod connections;
pub mod encoding;
pub mod expression;
pub mod failure;
mod lookup;
pub mod loopback;
mod method;
pub mod pairs;
pub mod parts;
pub mod presets;
pub mod rendering;
pub mod request;
pub mod responses;
#[cfg(test)]
mod round_trip_tests;
mod shelf;
pub mod signing;
mod tls;
mod url_template;
pub mod verdict;
pub mod webhook;

pub use config::TypeConfig;
