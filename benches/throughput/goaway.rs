//! Throughput over HTTP/2 when the receiver ends each connection after a few requests, beside the same receiver when it
//! does not. The receiver is nginx, which does so by default.

use std::path::Path;
use std::time::Instant;

use super::Result;
use super::measure::{self, Usage};
use super::nginx::{self, ENDLESS, Nginx, Protocol};
use super::pipelines::{self, Shape};
use super::report::Report;
use super::runs::{Bench, FILE_SOURCE, Folder, ONCE};

/// The requests after which the receiver ends a connection.
const FEW: usize = 100;

/// Compares the two, which take turns.
pub(crate) fn throughput(bench: &Bench, events: usize, repetitions: usize, report: &mut Report) -> Result<()> {
    let title = format!("HTTP/2, the receiver ends connections after {FEW} requests");
    let Some(program) = nginx::program() else {
        report.skip(&title, "no nginx is installed");
        return Ok(());
    };
    let text = pipelines::events(events);
    let (mut throughputs, mut cpu_times) = (Vec::new(), Vec::new());
    for number in 1..=repetitions {
        let endless = run(bench, &program, ENDLESS, &text, events)?;
        let few = run(bench, &program, FEW, &text, events)?;
        let ratio = endless.lasted.as_secs_f64() / few.lasted.as_secs_f64();
        println!("{title}, run {number}: {:.0} and {:.0} ms, ratio of throughput {ratio:.2}", ms(endless), ms(few));
        throughputs.push(ratio);
        cpu_times.push(few.cpu.as_secs_f64() / endless.cpu.as_secs_f64());
    }
    report.goaway(&title, &mut throughputs, &mut cpu_times);
    Ok(())
}

fn ms(usage: Usage) -> f64 {
    usage.lasted.as_secs_f64() * 1e3
}

fn run(bench: &Bench, program: &Path, keepalive_requests: usize, text: &str, events: usize) -> Result<Usage> {
    let nginx = Nginx::start(program, Protocol::Http2, keepalive_requests)?;
    let folder = Folder::new(text)?;
    let pipeline = Shape::PassThrough.pipeline(FILE_SOURCE, &nginx.url());
    let mut bridge = bench.bridge(&folder, &pipeline, ONCE)?;
    let started = Instant::now();
    let usage = measure::wait(bridge.env("SSL_CERT_FILE", nginx.certificate()).spawn()?, started)?;
    let processed = nginx.end()?;
    if processed == events { Ok(usage) } else { Err(format!("nginx got {processed} requests, not {events}").into()) }
}
