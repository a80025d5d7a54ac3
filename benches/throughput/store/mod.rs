//! What the store costs: deliveries parked, brought back, and lying there.
//!
//! The real bridge parks and replays; large backlogs are made by multiplying, in SQL, a delivery that it has parked.

mod beside;
pub(crate) mod database;

use std::thread::sleep;
use std::time::{Duration, Instant};

use jiff::Timestamp;

use crate::Result;
use crate::measure;
use crate::pipelines::{self, CONCURRENCY, NAME, Shape};
use crate::report::Report;
use crate::runs::{Bench, Folder, ONCE};

pub(crate) use beside::dead_beside_healthy;
use database::{Database, Engine};

/// How long an attempt to park, or to bring back, may take in all.
const PATIENCE: Duration = Duration::from_secs(300);

/// Keys of a sink whose receiver fails: after the first attempt, everything is parked for an hour.
const PARKING: &str = "retry = { schedule = [\"1h\"], jitter = 0.0, park_after = \"1s\" }\n\
                       breaker = { failures = 1, open_for = \"1h\", max_open = \"1h\" }\n";

/// Deliveries parked per second, beside plain inserts of the same rows.
pub(crate) fn park(bench: &Bench, engine: &Engine, events: usize, report: &mut Report) -> Result<()> {
    let folder = Folder::new(&pipelines::events(events))?;
    let database = block_on(Database::create(engine, folder.path()))?;
    let started = Instant::now();
    park_all(bench, &folder, &database)?;
    let parked_per_second = events as f64 / started.elapsed().as_secs_f64();
    let parked = block_on(database.parked())?;
    if parked != events {
        return Err(format!("{parked} of {events} deliveries are parked").into());
    }
    let inserted_per_second = block_on(database.inserts_per_second(events))?;
    block_on(database.remove())?;
    report.parks(engine.title(), parked_per_second, inserted_per_second);
    Ok(())
}

/// Parked deliveries brought back, attempted and finished per second, beside the bare loop.
pub(crate) fn replay(bench: &Bench, engine: &Engine, deliveries: usize, report: &mut Report) -> Result<()> {
    let backlog = Backlog::new(bench, engine)?;
    let receiver = bench.receiver(Duration::ZERO, 200)?;
    block_on(backlog.database.multiply(deliveries, &receiver.url, now()))?;
    let started = Instant::now();
    let config = pipeline(&receiver.url, &backlog.database.url, "");
    let usage = measure::wait(bench.spawn_bridge(&backlog.folder, &config, ONCE)?, started)?;
    let replays_per_second = deliveries as f64 / usage.lasted.as_secs_f64();
    receiver.end(deliveries)?;
    backlog.end_empty()?;
    let bare = bench.bare_run(bench.sample(Shape::PassThrough)?, deliveries, Duration::ZERO)?;
    report.replays(engine.title(), replays_per_second, bare.per_second());
    Ok(())
}

/// Memory, and the time to the first delivery, with a large backlog: one that is not due, and one that is.
pub(crate) fn backlog(bench: &Bench, engine: &Engine, deliveries: usize, report: &mut Report) -> Result<()> {
    for (what, due) in [("due later", now() + 86_400_000), ("due now", now())] {
        let backlog = Backlog::new(bench, engine)?;
        let mut receiver = bench.receiver(Duration::ZERO, 200)?;
        block_on(backlog.database.multiply(deliveries, &receiver.url, due))?;
        backlog.folder.append(&pipelines::events(1))?;
        let config = pipeline(&receiver.url, &backlog.database.url, "");
        let started = Instant::now();
        let mut bridge = bench.spawn_bridge(&backlog.folder, &config, &[])?;
        receiver.wait_for(1, PATIENCE)?;
        let first_delivery = started.elapsed();
        // Long enough to be seen at work.
        sleep(Duration::from_secs(3));
        let peak_rss = measure::peak_rss_of(bridge.id()).unwrap_or_default();
        bridge.kill()?;
        bridge.wait()?;
        drop(receiver);
        block_on(backlog.database.remove())?;
        report.backlog(&format!("{}, {deliveries} parked, {what}", engine.title()), first_delivery, peak_rss);
    }
    Ok(())
}

/// A database with one parked delivery, which is to be multiplied, and the folder of a bridge that has read its events.
struct Backlog {
    folder: Folder,
    database: Database,
}

impl Backlog {
    fn new(bench: &Bench, engine: &Engine) -> Result<Self> {
        let folder = Folder::new(&pipelines::events(1))?;
        let database = block_on(Database::create(engine, folder.path()))?;
        park_all(bench, &folder, &database)?;
        Ok(Self { folder, database })
    }

    /// Removes the database, which must have nothing parked any more.
    fn end_empty(self) -> Result<()> {
        let parked = block_on(self.database.parked())?;
        block_on(self.database.remove())?;
        if parked == 0 { Ok(()) } else { Err(format!("{parked} deliveries were not brought back").into()) }
    }
}

/// Parks everything that the folder's file holds.
fn park_all(bench: &Bench, folder: &Folder, database: &Database) -> Result<()> {
    let receiver = bench.receiver(Duration::ZERO, 503)?;
    let config = pipeline(&receiver.url, &database.url, PARKING);
    measure::wait(bench.spawn_bridge(folder, &config, ONCE)?, Instant::now())?;
    Ok(())
}

/// From the folder's file to a receiver, as the lines are.
fn pipeline(receiver: &str, database: &str, sink: &str) -> String {
    format!(
        "name = \"{NAME}\"\n\n[store]\nurl = \"{database}\"\n\n\
         [sources.orders]\ntype = \"file\"\npaths = [\"events.jsonl\"]\n\n\
         [sinks.crm]\ntype = \"webhook\"\nfrom = [\"orders\"]\nurl = \"{receiver}\"\nconcurrency = {CONCURRENCY}\n{sink}"
    )
}

fn now() -> i64 {
    Timestamp::now().as_millisecond()
}

fn block_on<T>(future: impl Future<Output = Result<T>>) -> Result<T> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(future)
}
