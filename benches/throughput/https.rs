//! CPU of a pipeline over HTTPS, beside the bare loop to the same nginx.

use std::path::Path;
use std::process::Command;
use std::time::Instant;

use super::Result;
use super::measure::{self, Usage};
use super::nginx::{self, ENDLESS, Nginx, Protocol};
use super::pipelines::{self, Shape};
use super::report::{Cost, Pair, Report};
use super::runs::{Bench, FILE_SOURCE, Folder, ONCE};

/// Measures each shape over HTTP/1.1 and HTTP/2.
pub(crate) fn cost(bench: &Bench, events: usize, repetitions: usize, report: &mut Report) -> Result<()> {
    let Some(program) = nginx::program() else {
        report.skip("HTTPS", "no nginx is installed");
        return Ok(());
    };
    let text = pipelines::events(events);
    for (protocol, name) in [(Protocol::Http1, "HTTP/1.1"), (Protocol::Http2, "HTTP/2")] {
        for shape in [Shape::Full, Shape::PassThrough] {
            let title = format!("{} over TLS, {name}, {events} events", shape.title());
            let mut pairs = Vec::new();
            for _ in 0..repetitions {
                let bridge = run(&program, protocol, events, |nginx| {
                    let folder = Folder::new(&text)?;
                    spawn(bench.bridge(&folder, &shape.pipeline(FILE_SOURCE, &nginx.url()), ONCE)?, nginx)
                })?;
                let bare = run(&program, protocol, events, |nginx| {
                    let request = bench.sample(shape)?;
                    spawn(bench.bare_loop(request, &nginx.url(), events)?, nginx)
                })?;
                pairs.push(Pair { bridge, bare });
                report.progress(&title, &pairs);
            }
            report.cost(shape, &title, &pairs);
        }
    }
    Ok(())
}

/// What sending so many requests to an nginx of its own costs.
fn run(
    program: &Path,
    protocol: Protocol,
    events: usize,
    sender: impl FnOnce(&Nginx) -> Result<Usage>,
) -> Result<Cost> {
    let nginx = Nginx::start(program, protocol, ENDLESS)?;
    let usage = sender(&nginx)?;
    let processed = nginx.end()?;
    if processed != events {
        return Err(format!("nginx got {processed} requests, not {events}").into());
    }
    Ok(Cost { usage, receiver: Usage::default(), webhooks: events })
}

fn spawn(mut command: Command, nginx: &Nginx) -> Result<Usage> {
    let started = Instant::now();
    measure::wait(command.env("SSL_CERT_FILE", nginx.certificate()).spawn()?, started)
}
