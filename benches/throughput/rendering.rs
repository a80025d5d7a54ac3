//! A pipeline that renders by a template, beside the same pipeline that renders by a program in jq.

use std::time::Duration;

use super::Result;
use super::pipelines::{self, Shape};
use super::report::{Cost, Report};
use super::runs::{Bench, FILE_SOURCE, Folder};

/// Compares the two, which take turns.
pub(crate) fn compare(bench: &Bench, events: usize, repetitions: usize, report: &mut Report) -> Result<()> {
    let text = pipelines::events(events);
    let run = |shape: Shape| -> Result<Cost> {
        bench.run_of(&Folder::new(&text)?, |url| shape.pipeline(FILE_SOURCE, url), Duration::ZERO, events)
    };
    let mut ratios = Vec::new();
    for number in 1..=repetitions {
        let (template, program) = (run(Shape::Full)?.cpu(), run(Shape::Jq)?.cpu());
        println!("template and jq, run {number}: {template:.1} and {program:.1} µs CPU/webhook");
        ratios.push(program / template);
    }
    report.rendering(&mut ratios);
    Ok(())
}
