//! The admin port: answers probes whether the process works (`/healthz`) and is ready (`/readyz`).
//!
//! It has a thread of its own, so that it answers when a worker is stuck, and never waits for one. What it shows is what
//! [`Health`] knows; it changes nothing, and no secret is shown. Its thread also speaks with the
//! [service manager](crate::service_manager).

mod address;

use std::io;
use std::net::TcpListener;
use std::thread;

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use serde::Serialize;
use tokio::time::Instant;
use tracing::error;

pub use address::{AdminAddress, DEFAULT_ADDRESS};

use crate::health::Health;
use crate::service_manager;
use crate::shutdown::Shutdown;

/// The path that says whether the process works: 200, or 503 when a worker is stuck.
pub const HEALTHZ: &str = "/healthz";

/// The path that says whether the process is ready: 200, or 503 with the reasons.
pub const READYZ: &str = "/readyz";

/// Answers on `listener`, if there is one, and feeds the service manager's watchdog, until the process ends.
///
/// # Errors
/// When the operating system refuses the thread or what its runtime needs.
pub fn start(listener: Option<TcpListener>, health: Health, shutdown: Shutdown) -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let listener = listener.map(|listener| {
        listener.set_nonblocking(true)?;
        let _entered = runtime.enter();
        tokio::net::TcpListener::from_std(listener)
    });
    let listener = listener.transpose()?;
    thread::Builder::new().name("admin".to_owned()).spawn(move || {
        runtime.block_on(async {
            let ending = async {
                shutdown.begun().await;
                health.end();
                service_manager::stopping();
            };
            tokio::join!(answer(listener, health.clone()), service_manager::feed_watchdog(&health), ending)
        });
    })?;
    Ok(())
}

async fn answer(listener: Option<tokio::net::TcpListener>, health: Health) {
    let Some(listener) = listener else { return };
    let router = Router::new()
        .route(HEALTHZ, get(healthz))
        .route(READYZ, get(readyz))
        .fallback(async || (StatusCode::NOT_FOUND, "there are /healthz and /readyz\n"))
        .with_state(health);
    if let Err(error) = axum::serve(listener, router).await {
        error!(%error, "the admin port has ended; deliveries go on");
    }
}

async fn healthz(State(health): State<Health>) -> impl IntoResponse {
    let liveness = health.liveness(Instant::now());
    as_json(liveness.alive, &liveness)
}

async fn readyz(State(health): State<Health>) -> impl IntoResponse {
    let readiness = health.readiness(Instant::now());
    as_json(readiness.ready, &readiness)
}

fn as_json(good: bool, report: &impl Serialize) -> Response {
    let status = if good { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    // Reports are made of texts, numbers and maps with text keys, which always can be written.
    let text = serde_json::to_string_pretty(report).unwrap_or_default() + "\n";
    (status, [(CONTENT_TYPE, "application/json")], text).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read as _, Write as _};
    use std::net::TcpStream;
    use std::time::Duration;

    fn ask(address: std::net::SocketAddr, path: &str) -> String {
        let mut stream = TcpStream::connect(address).unwrap();
        write!(stream, "GET {path} HTTP/1.1\r\nHost: bridge\r\nConnection: close\r\n\r\n").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    }

    #[test]
    fn it_answers_probes_until_the_end() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let (health, shutdown) = (Health::default(), Shutdown::new(Duration::from_secs(1)));
        start(Some(listener), health.clone(), shutdown.clone()).unwrap();
        let answer = ask(address, READYZ);
        assert!(answer.starts_with("HTTP/1.1 503") && answer.contains("no pipeline is loaded"), "{answer}");
        health.pipeline("orders").whole().ready();
        let answer = ask(address, READYZ);
        assert!(answer.starts_with("HTTP/1.1 200") && answer.contains("content-type: application/json"), "{answer}");
        assert!(ask(address, HEALTHZ).starts_with("HTTP/1.1 200"));
        assert!(ask(address, "/metrics").starts_with("HTTP/1.1 404"));
        let stuck = health.worker("orders", Instant::now() - Duration::from_secs(60));
        let answer = ask(address, HEALTHZ);
        assert!(answer.starts_with("HTTP/1.1 503") && answer.contains("\"orders\": 60"), "{answer}");
        drop(stuck);
        shutdown.begin();
        while !ask(address, READYZ).contains("about to end") {
            thread::yield_now();
        }
        assert!(ask(address, HEALTHZ).starts_with("HTTP/1.1 200"), "what ends is not to be killed before its time");
    }
}
