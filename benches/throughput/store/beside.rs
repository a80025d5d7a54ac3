//! A dead sink beside a healthy one: what the dead one, with a backlog, costs the healthy one.

use std::time::{Duration, Instant};

use super::database::{Database, Engine};
use super::{PATIENCE, block_on, now, park_all};
use crate::Result;
use crate::measure;
use crate::pipelines::{self, CONCURRENCY, NAME};
use crate::report::Report;
use crate::runs::{Bench, Folder};

/// Where the events of the dead sink come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Feed {
    /// Nothing new comes: it has but its backlog, which is due.
    BacklogOnly,
    /// It gets every event that the healthy one gets, too.
    SameSource,
}

/// What the healthy sink had of a run.
#[derive(Debug, Clone, Copy)]
struct Healthy {
    /// Its webhooks, from the first to the last.
    per_second: f64,
    /// CPU time of the whole process, from its start.
    cpu: Duration,
}

/// The healthy sink's throughput with the dead one, as a share of that without it; and the CPU time of the bridge, which
/// tells more where other work on the machine makes the throughput vary.
pub(crate) fn dead_beside_healthy(
    bench: &Bench,
    engine: &Engine,
    (events, backlog, repetitions): (usize, usize, usize),
    report: &mut Report,
) -> Result<()> {
    // At full speed the machine is the limit, so that all that the dead sink does is seen. A sink that gets every event
    // does take its share of a machine; whether it holds up the other is seen when the receiver is the limit.
    // Either takes long enough to even out what else the machine does.
    let cases = [
        (Feed::BacklogOnly, Duration::ZERO, events * 6, "dead sink has its backlog"),
        (Feed::SameSource, Duration::from_millis(20), events, "dead sink gets every event too, receiver takes 20 ms"),
    ];
    for (feed, delay, events, what) in cases {
        let (mut throughputs, mut cpu_times) = (Vec::new(), Vec::new());
        for repetition in 0..repetitions {
            let measured = |dead| healthy_sink(bench, engine, events, delay, dead);
            let dead = Some((feed, backlog));
            // A machine gets faster or slower with time: each of the two comes first as often as second.
            let (with, without) = if repetition % 2 == 0 {
                let without = measured(None)?;
                (measured(dead)?, without)
            } else {
                (measured(dead)?, measured(None)?)
            };
            println!("{what}: {:.0} webhooks/s with it, {:.0} without", with.per_second, without.per_second);
            println!("{what}: {:?} of CPU with it, {:?} without", with.cpu, without.cpu);
            throughputs.push(with.per_second / without.per_second);
            cpu_times.push(with.cpu.as_secs_f64() / without.cpu.as_secs_f64());
        }
        let what = format!("{}, {backlog} parked, {what}", engine.title());
        report.beside(&what, &mut throughputs, &mut cpu_times);
    }
    Ok(())
}

/// A run with the healthy sink, beside a dead one if there is one.
fn healthy_sink(
    bench: &Bench,
    engine: &Engine,
    events: usize,
    delay: Duration,
    dead: Option<(Feed, usize)>,
) -> Result<Healthy> {
    let folder = Folder::new(&pipelines::events(1))?;
    let database = block_on(Database::create(engine, folder.path()))?;
    park_all(bench, &folder, &database)?;
    let dead_receiver = bench.receiver(Duration::ZERO, 503)?;
    let backlog = dead.map_or(1, |(_, backlog)| backlog);
    block_on(database.multiply(backlog, &dead_receiver.url, now()))?;
    folder.append(&pipelines::events(events))?;
    std::fs::write(folder.path().join("nothing.jsonl"), "")?;
    let mut healthy = bench.receiver(delay, 200)?;
    let dead_sink = dead.map(|(feed, _)| dead_sink(feed, &dead_receiver.url)).unwrap_or_default();
    let config = format!(
        "name = \"{NAME}\"\n\n[store]\nurl = \"{}\"\n\n\
         [sources.orders]\ntype = \"file\"\npaths = [\"events.jsonl\"]\n\n\
         [sources.nothing]\ntype = \"file\"\npaths = [\"nothing.jsonl\"]\n\n{dead_sink}\
         [sinks.healthy]\ntype = \"webhook\"\nfrom = [{}]\nurl = \"{}\"\nconcurrency = {CONCURRENCY}\n",
        database.url,
        match dead {
            Some((Feed::BacklogOnly, _)) => "\"orders\"",
            // A source that nobody listens to is an error.
            _ => "\"orders\", \"nothing\"",
        },
        healthy.url,
    );
    let mut bridge = bench.spawn_bridge(&folder, &config, &[])?;
    healthy.wait_for(1, PATIENCE)?;
    let started = Instant::now();
    healthy.wait_for(events, PATIENCE)?;
    let lasted = started.elapsed();
    let before = measure::cpu_of_children()?;
    bridge.kill()?;
    bridge.wait()?;
    let cpu = measure::cpu_of_children()? - before;
    drop((healthy, dead_receiver));
    block_on(database.remove())?;
    Ok(Healthy { per_second: events as f64 / lasted.as_secs_f64(), cpu })
}

/// A sink of the same name as the one that has parked the backlog.
fn dead_sink(feed: Feed, receiver: &str) -> String {
    let from = match feed {
        Feed::BacklogOnly => "nothing",
        Feed::SameSource => "orders",
    };
    format!("[sinks.crm]\ntype = \"webhook\"\nfrom = [\"{from}\"]\nurl = \"{receiver}\"\n\n")
}
