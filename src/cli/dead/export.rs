//! `bridge dead export`: dead letters as JSON lines, page by page, however many there are.

use std::io::{self, BufWriter, Write as _};

use clap::Args;
use jiff::Timestamp;

use super::PipelineArgs;
use super::filter::FilterArgs;
use super::record::LetterRecord;
use crate::cli::CliError;
use crate::pipeline::run::new_runtime;
use crate::secret::mask;
use crate::store::letters::Cursor;
use crate::store::record::RowId;

/// Prints dead letters as JSON lines, the oldest first.
///
/// Secrets of the pipeline file are masked in requests, answers and messages. Events are printed as they came.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  bridge dead export pipeline.toml > letters.jsonl
  bridge dead export pipeline.toml --sink crm |
    jq -r .event.payload > again.jsonl
  bridge dead export pipeline.toml |
    jq -r '[.time, .node, .reason, .message] | @tsv'

Exit codes: 0 also when a filter matches nothing; 1 when there is no letter of a number that was \
given, or when one cannot be read.")]
pub struct ExportArgs {
    #[command(flatten)]
    pipeline: PipelineArgs,
    /// Only the letters of these numbers
    #[arg(value_name = "ID")]
    ids: Vec<RowId>,
    #[command(flatten)]
    filter: FilterArgs,
}

pub(super) fn run(args: &ExportArgs) -> Result<(), CliError> {
    let filter = args.filter.filter(&args.ids, Timestamp::now());
    let runtime = new_runtime().map_err(CliError::io("cannot start"))?;
    runtime.block_on(async {
        let mut letters = args.pipeline.letters(&filter).await?;
        let mut out = BufWriter::new(io::stdout().lock());
        let mut cursor = Cursor::default();
        let mut unreadable = 0;
        loop {
            let page = letters.page(&filter, &mut cursor).await?;
            if page.is_empty() {
                break;
            }
            for letter in &page.letters {
                let line = LetterRecord::line(letter, letters.pipeline()).map_err(io::Error::from);
                let line = line.map_err(CliError::io("cannot print"))?;
                writeln!(out, "{line}").map_err(CliError::io("cannot print"))?;
            }
            for (_, error) in &page.damaged {
                // Nobody is left to tell when standard error is closed.
                writeln!(anstream::stderr(), "error: {}", mask(&error.to_string())).ok();
                unreadable += 1;
            }
        }
        out.flush().map_err(CliError::io("cannot print"))?;
        if unreadable > 0 { Err(CliError::Unreadable(unreadable)) } else { Ok(()) }
    })
}
