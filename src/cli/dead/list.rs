//! `bridge dead list`: dead letters in a table, or as JSON lines.

use std::io::{self, IsTerminal as _, Write as _};

use clap::Args;
use jiff::Timestamp;
use serde_json::json;

use super::filter::FilterArgs;
use super::{OutputFormat, PipelineArgs};
use crate::cli::CliError;
use crate::cli::show::printable;
use crate::cli::table::Table;
use crate::pipeline::run::new_runtime;
use crate::secret::mask;
use crate::store::letters::LetterSummary;

/// Lists dead letters, the newest first.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  bridge dead list pipeline.toml
  bridge dead list pipeline.toml \\
    --sink crm --reason rejected --since 2h
  bridge dead list pipeline.toml --limit 99 --format json |
    jq -r .event_id")]
pub struct ListArgs {
    #[command(flatten)]
    pipeline: PipelineArgs,
    #[command(flatten)]
    filter: FilterArgs,
    /// List as many, at most
    #[arg(long, value_name = "N", default_value_t = 50)]
    limit: u32,
    /// The form of the output
    #[arg(long, value_enum, default_value_t)]
    format: OutputFormat,
}

pub(super) fn run(args: &ListArgs) -> Result<(), CliError> {
    let filter = args.filter.filter(&[], Timestamp::now());
    let runtime = new_runtime().map_err(CliError::io("cannot start"))?;
    let (count, newest) = runtime.block_on(async {
        let mut letters = args.pipeline.letters(&filter).await?;
        Ok::<_, CliError>((letters.count(&filter).await?, letters.newest(&filter, args.limit).await?))
    })?;
    let text = match args.format {
        OutputFormat::Json => newest.iter().map(json_line).collect(),
        OutputFormat::Text => table(&newest, count),
    };
    anstream::stdout().write_all(text.as_bytes()).map_err(CliError::io("cannot print"))
}

fn json_line(letter: &LetterSummary) -> String {
    let LetterSummary { id, time, node, reason, attempts, source, event_id, key, message } = letter;
    let line = json!({
        "id": id, "time": time, "node": node, "reason": reason, "attempts": attempts, "source": source,
        "event_id": event_id, "key": key, "message": mask(message),
    });
    format!("{line}\n")
}

fn table(newest: &[LetterSummary], count: u64) -> String {
    let mut table = Table::new(["ID", "TIME", "NODE", "REASON", "ATTEMPTS", "EVENT", "MESSAGE"]);
    for letter in newest {
        table.add([
            letter.id.to_string(),
            format!("{:.0}", letter.time),
            printable(&letter.node).into_owned(),
            printable(&letter.reason).into_owned(),
            letter.attempts.to_string(),
            printable(&letter.event_id).into_owned(),
            printable(&letter.message).into_owned(),
        ]);
    }
    let shown = newest.len() as u64;
    let (rows, noun) = (table.render(terminal_width()), if count == 1 { "dead letter" } else { "dead letters" });
    match count {
        0 => "no dead letters\n".to_owned(),
        _ if shown < count => format!("{rows}\n{count} {noun}; the newest {shown} are listed (--limit)\n"),
        _ => format!("{rows}\n{count} {noun}\n"),
    }
}

/// The width to cut lines to; `None` when the output is no terminal's, so that no program misses anything.
fn terminal_width() -> Option<usize> {
    if !io::stdout().is_terminal() {
        return None;
    }
    terminal_size::terminal_size().map(|(width, _)| usize::from(width.0))
}
