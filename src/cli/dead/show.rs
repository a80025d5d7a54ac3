//! `bridge dead show`: all about one dead letter.

use std::fmt::Write as _;
use std::io::Write as _;

use clap::Args;
use serde_json::Value;

use super::record::{LetterRecord, masked_attempt, masked_request};
use super::{OutputFormat, PipelineArgs};
use crate::cli::CliError;
use crate::cli::show::{body, printable};
use crate::pipeline::run::new_runtime;
use crate::store::letters::LetterFilter;
use crate::store::record::{AttemptRecord, Letter, RequestRecord, RowId};

/// Shows all about one dead letter: the event, the request as it was sent, every attempt.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  bridge dead show pipeline.toml 17
  bridge dead show pipeline.toml 17 --format json |
    jq .request

Secrets of the pipeline file are masked. Of the attempts the last 20 are kept.")]
pub struct ShowArgs {
    #[command(flatten)]
    pipeline: PipelineArgs,
    /// The letter's number, from `bridge dead list`
    #[arg(value_name = "ID")]
    id: RowId,
    /// The form of the output
    #[arg(long, value_enum, default_value_t)]
    format: OutputFormat,
}

pub(super) fn run(args: &ShowArgs) -> Result<(), CliError> {
    let runtime = new_runtime().map_err(CliError::io("cannot start"))?;
    let (letter, pipeline) = runtime.block_on(async {
        let mut letters = args.pipeline.letters(&LetterFilter::default()).await?;
        Ok::<_, CliError>((letters.get(args.id).await?, letters.pipeline().to_owned()))
    })?;
    let Some(letter) = letter else {
        return Err(CliError::NoSuchLetter(vec![args.id]));
    };
    let cannot_print = || CliError::io("cannot print");
    let text = match args.format {
        OutputFormat::Json => LetterRecord::line(&letter, &pipeline)
            .map(|line| line + "\n")
            .map_err(|error| cannot_print()(error.into()))?
            .into_bytes(),
        OutputFormat::Text => text(&letter).map_err(cannot_print())?,
    };
    anstream::stdout().write_all(&text).map_err(cannot_print())
}

/// The letter over many lines, with everything masked that is secret.
fn text(letter: &Letter) -> std::io::Result<Vec<u8>> {
    let mut out = Vec::new();
    let id = letter.core.row.unwrap_or_default();
    writeln!(out, "dead letter {id}  {}  {}  {:.3}", letter.node, letter.reason.as_str(), letter.time)?;
    writeln!(out, "  {}", printable(&letter.message))?;
    event(&mut out, letter)?;
    match &letter.shown {
        Some(shown) => request(&mut out, &masked_request(shown), letter)?,
        None => writeln!(out, "\nRequest: none could be made")?,
    }
    if letter.first_request.is_some() {
        writeln!(
            out,
            "\nThe first attempts sent another request; `bridge dead replay {id} --as-sent` sends that again."
        )?;
    }
    attempts(&mut out, letter)?;
    Ok(out)
}

fn event(out: &mut Vec<u8>, letter: &Letter) -> std::io::Result<()> {
    writeln!(out, "\nEvent")?;
    if let Value::Object(envelope) = letter.core.event.envelope_around(Value::Null) {
        for (name, value) in envelope.iter().filter(|(name, _)| *name != "data") {
            let shown = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            writeln!(out, "  {name:8}  {}", printable(&shown))?;
        }
    }
    writeln!(out)?;
    match &letter.core.event.payload {
        Some(payload) => body(out, payload),
        None => writeln!(out, "  (no payload)"),
    }
}

fn request(out: &mut Vec<u8>, request: &RequestRecord, letter: &Letter) -> std::io::Result<()> {
    writeln!(out, "\nRequest")?;
    writeln!(out, "  {} {}", request.method, printable(&request.url))?;
    for (name, value) in &request.headers {
        let shown = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        writeln!(out, "  {name}: {}", printable(&shown))?;
    }
    writeln!(out)?;
    match (&request.body, &letter.request) {
        (Some(text), _) => body(out, text.as_bytes()),
        (None, Some(_)) => writeln!(out, "  (the payload, byte for byte)"),
        (None, None) => Ok(()),
    }
}

fn attempts(out: &mut Vec<u8>, letter: &Letter) -> std::io::Result<()> {
    let total = letter.core.attempts.total as usize;
    let records = &letter.core.attempts.records;
    writeln!(out, "\nAttempts: {total}")?;
    if records.len() < total && !records.is_empty() {
        writeln!(out, "  (the last {})", records.len())?;
    }
    for record in records {
        writeln!(out, "  {}", attempt(&masked_attempt(record)))?;
    }
    Ok(())
}

fn attempt(record: &AttemptRecord) -> String {
    let mut line = format!("{:.3}  {:>6} ms  ", record.time, record.latency_ms);
    match (record.status, &record.error) {
        (Some(status), _) => line.push_str(&status.to_string()),
        (None, Some(error)) => line.push_str(&printable(error)),
        (None, None) => line.push_str("no answer"),
    }
    for (name, value) in &record.headers {
        // Writing to a string does not fail.
        write!(line, "  {name}: {}", printable(value)).ok();
    }
    if !record.body_excerpt.is_empty() {
        // Writing to a string does not fail.
        write!(line, "  {}", printable(record.body_excerpt.trim())).ok();
    }
    line
}
