//! What an event costs when many sinks each take some of the events: a pipeline with a filter and a sink for each tenant,
//! beside the same with one tenant.

use std::time::Duration;

use super::Result;
use super::pipelines;
use super::report::Report;
use super::runs::{Bench, FILE_SOURCE, Folder};

/// The numbers of sinks that are compared with one.
const SINKS: [usize; 2] = [50, 1000];

/// The CPU time of an event, without that of the start: of 1,000 sinks this is a good part of the whole.
pub(crate) fn measure(bench: &Bench, events: usize, repetitions: usize, report: &mut Report) -> Result<()> {
    let mut ratios = SINKS.map(|_| Vec::new());
    let mut costs = SINKS.map(|_| Vec::new());
    for run in 1..=repetitions {
        let one = cpu_of_event(bench, 1, events)?;
        for (index, sinks) in SINKS.into_iter().enumerate() {
            let many = cpu_of_event(bench, sinks, events)?;
            println!(
                "{sinks} sinks, run {run}: {many:.1} µs CPU/event; one sink: {one:.1} µs; ratio {:.2}",
                many / one
            );
            ratios[index].push(many / one);
            costs[index].push(many);
        }
    }
    for (index, sinks) in SINKS.into_iter().enumerate() {
        report.sinks(sinks, &mut ratios[index], &mut costs[index]);
    }
    Ok(())
}

/// In microseconds: what so many events cost beyond one for each sink.
fn cpu_of_event(bench: &Bench, sinks: usize, events: usize) -> Result<f64> {
    let start = cpu(bench, sinks, sinks)?;
    let all = cpu(bench, sinks, sinks + events)?;
    Ok(all.saturating_sub(start).as_secs_f64() * 1e6 / events as f64)
}

fn cpu(bench: &Bench, sinks: usize, events: usize) -> Result<Duration> {
    let folder = Folder::new(&pipelines::events_of_tenants(sinks, events))?;
    let pipeline = |url: &str| pipelines::by_tenant(sinks, FILE_SOURCE, url);
    Ok(bench.run_of(&folder, pipeline, Duration::ZERO, events)?.usage.cpu)
}
