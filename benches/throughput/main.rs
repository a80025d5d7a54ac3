//! What a webhook costs in the bridge, beside the least that it can cost: the same requests from a bare reqwest loop.
//!
//! `cargo bench` measures processes from outside: this binary starts the real `bridge` on generated events, and itself
//! again (see [`roles`]) as the receiver and as the bare loop. Machines differ and are noisy, so bridge and bare loop
//! take turns, and what counts is the median of their ratios. A missed aim is printed and fails nothing; a webhook
//! that is missing or too many fails the run.
//!
//! `cargo bench -- --quick` only shows that it works; `--only` measures one part. The parts of the store are measured on
//! SQLite, and on PostgreSQL too where POSTGRES_URL names a server on which databases may be made.

#![allow(clippy::print_stdout, reason = "a benchmark's results are its output")]

mod fan_out;
mod goaway;
mod https;
mod kafka;
mod measure;
mod nginx;
mod pipelines;
mod rendering;
mod report;
mod roles;
mod runs;
mod store;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, ValueEnum};

use pipelines::Shape;
use report::Report;
use runs::Bench;
use store::database::Engine;

/// Whatever goes wrong ends the benchmark; nobody handles it.
type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

#[derive(Parser)]
struct Args {
    /// Few events: shows that everything works, measures nothing
    #[arg(long)]
    quick: bool,
    /// Measure only these parts
    #[arg(long, value_enum)]
    only: Vec<Part>,
    /// Measure this build of the bridge
    #[arg(long, value_name = "FILE", default_value = env!("CARGO_BIN_EXE_bridge"))]
    bridge: PathBuf,
    /// Given by `cargo bench`
    #[arg(long, hide = true)]
    bench: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Part {
    /// File, filter, template, signature
    Full,
    /// A file's lines as they are
    Pass,
    /// A template, and a program in jq that makes the same body
    Jq,
    /// The first two over TLS, with HTTP/1.1 and HTTP/2, if nginx is installed
    Https,
    /// One sink, and many that each take some of the events
    Sinks,
    /// A receiver that takes 50 ms
    Slow,
    /// HTTP/2 to a receiver that ends connections after 100 requests, if nginx is installed
    Goaway,
    /// From process start to the first delivery
    Start,
    /// A backlog in Kafka, if KAFKA_BOOTSTRAP says where
    Kafka,
    /// Deliveries parked
    Park,
    /// Parked deliveries brought back
    Replay,
    /// Memory, and time to the first delivery, with a large backlog
    Backlog,
    /// A dead sink beside a healthy one
    Beside,
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let result = match roles::of(&arguments) {
        Some(role) => role,
        None => measure_all(&Args::parse()),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            println!("failed: {error}");
            ExitCode::FAILURE
        }
    }
}

fn measure_all(args: &Args) -> Result<()> {
    let bench = Bench::new(args.bridge.clone())?;
    let (events, repetitions) = if args.quick { (2_000, 1) } else { (100_000, 5) };
    let mut report = Report::default();
    for part in Part::value_variants().iter().filter(|part| args.only.is_empty() || args.only.contains(part)) {
        match part {
            Part::Full => bench.cost(Shape::Full, events, repetitions, &mut report)?,
            Part::Pass => bench.cost(Shape::PassThrough, events, repetitions, &mut report)?,
            Part::Jq => rendering::compare(&bench, events, repetitions, &mut report)?,
            Part::Https => https::cost(&bench, events, repetitions, &mut report)?,
            Part::Sinks => fan_out::measure(&bench, events, repetitions, &mut report)?,
            Part::Slow => bench.slow_receiver(if args.quick { 640 } else { 12_800 }, &mut report)?,
            Part::Goaway => {
                let (events, repetitions) = if args.quick { (2_000, 1) } else { (20_000, 9) };
                goaway::throughput(&bench, events, repetitions, &mut report)?;
            }
            Part::Start => bench.first_delivery(if args.quick { 3 } else { 10 }, &mut report)?,
            Part::Kafka => match std::env::var("KAFKA_BOOTSTRAP") {
                Ok(brokers) => bench.kafka(&brokers, if args.quick { 10_000 } else { 500_000 }, &mut report)?,
                Err(_) => report.skip("Kafka backlog", "no broker: KAFKA_BOOTSTRAP is not set"),
            },
            Part::Park | Part::Replay | Part::Backlog | Part::Beside => {
                measure_store(&bench, *part, args.quick, &mut report)?;
            }
        }
    }
    report.print();
    Ok(())
}

fn measure_store(bench: &Bench, part: Part, quick: bool, report: &mut Report) -> Result<()> {
    let or_quick = |amount: usize| if quick { 2_000 } else { amount };
    for engine in Engine::available() {
        match part {
            Part::Park => store::park(bench, &engine, or_quick(200_000), report)?,
            Part::Replay => store::replay(bench, &engine, or_quick(100_000), report)?,
            Part::Backlog => store::backlog(bench, &engine, or_quick(1_000_000), report)?,
            Part::Beside => {
                let repetitions = if quick { 1 } else { 4 };
                let amounts = (or_quick(50_000), or_quick(100_000), repetitions);
                store::dead_beside_healthy(bench, &engine, amounts, report)?;
            }
            Part::Full
            | Part::Jq
            | Part::Pass
            | Part::Https
            | Part::Sinks
            | Part::Slow
            | Part::Goaway
            | Part::Start
            | Part::Kafka => {}
        }
    }
    Ok(())
}
