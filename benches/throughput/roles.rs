//! The processes that this binary starts itself as: the receiver, and the bare loop.
//!
//! A role is told by the first argument, so that both run alone in a process whose CPU time can be counted.

use std::cell::Cell;
use std::io::{self, BufRead as _, Write as _};
use std::rc::Rc;
use std::time::Duration;

use axum::http::StatusCode;
use bytes::Bytes;
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use reqwest::{Client, Url, redirect};
use serde::{Deserialize, Serialize};
use tokio::task::LocalSet;
use webhook_bridge::receiver::{Behaviour, Receiver};

use super::Result;
use super::pipelines::CONCURRENCY;

/// The argument that makes a process a receiver; then the delay of its answers in milliseconds, and their status.
///
/// It prints its URL. To every line on its standard input it prints the number of requests so far; it ends with its
/// standard input.
pub(crate) const RECEIVER: &str = "role:receiver";

/// The argument that makes a process a bare loop; then a [`BareLoop`] as JSON.
pub(crate) const BARE_LOOP: &str = "role:bare-loop";

/// What a bare loop sends.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct BareLoop {
    pub(crate) url: String,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: String,
    pub(crate) requests: usize,
}

/// Plays the role that the arguments ask for, if they ask for one.
pub(crate) fn of(arguments: &[String]) -> Option<Result<()>> {
    match arguments {
        [role, delay, status] if role == RECEIVER => Some(receiver(delay, status)),
        [role, what] if role == BARE_LOOP => Some(bare_loop(what)),
        _ => None,
    }
}

fn receiver(delay: &str, status: &str) -> Result<()> {
    let (delay, status) = (Duration::from_millis(delay.parse()?), StatusCode::from_bytes(status.as_bytes())?);
    let behaviour = Behaviour { delay, status, ..Behaviour::default() };
    // A thread of its own serves, so that this one can wait for its standard input.
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    let receiver = runtime.block_on(Receiver::bind("127.0.0.1:0", behaviour))?;
    println!("{}", receiver.url());
    for line in io::stdin().lock().lines() {
        line?;
        println!("{}", receiver.requests());
        io::stdout().flush()?;
    }
    Ok(())
}

/// The least that an HTTP client on the bridge's libraries does: the same client, and no bridge around it.
fn bare_loop(what: &str) -> Result<()> {
    let BareLoop { url, headers, body, requests } = serde_json::from_str(what)?;
    let url = Url::parse(&url)?;
    let body = Bytes::from(body);
    let mut header_map = HeaderMap::new();
    for (name, value) in &headers {
        header_map.insert(HeaderName::try_from(name)?, HeaderValue::try_from(value)?);
    }
    let client = client()?;
    let left = Rc::new(Cell::new(requests));
    let tasks = LocalSet::new();
    for _ in 0..CONCURRENCY {
        let (client, url, headers, body) = (client.clone(), url.clone(), header_map.clone(), body.clone());
        let left = Rc::clone(&left);
        tasks.spawn_local(async move {
            while left.get() > 0 {
                left.set(left.get() - 1);
                let request = client.post(url.clone()).headers(headers.clone()).body(body.clone());
                let answer = request.send().await.and_then(reqwest::Response::error_for_status);
                // A panic in a local task ends the process only at its join; the counts would tell as well.
                answer.expect("the receiver answers 200").bytes().await.expect("the answer has an end");
            }
        });
    }
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(tasks);
    Ok(())
}

/// A client with the options that the webhook sink has by default.
fn client() -> Result<Client> {
    // Fails only when a provider is installed already.
    rustls::crypto::ring::default_provider().install_default().ok();
    let client = Client::builder()
        .redirect(redirect::Policy::none())
        .retry(reqwest::retry::never())
        .connect_timeout(Duration::from_secs(5))
        .timeout(Duration::from_secs(15))
        .pool_max_idle_per_host(CONCURRENCY)
        .build()?;
    Ok(client)
}
