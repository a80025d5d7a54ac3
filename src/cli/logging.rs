//! Logs: to standard error, as text or JSON, with every secret masked.

use std::io::{self, Write};

use clap::{Args, ValueEnum};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

use crate::config::ReportStyle;
use crate::secret::mask;

/// What to log, and how.
#[derive(Debug, Args)]
pub struct LogArgs {
    /// Log more: every delivery and retry (-v), and the libraries too (-vv)
    #[arg(short, long, action = clap::ArgAction::Count, global = true)]
    pub verbose: u8,
    /// The form of the logs
    #[arg(long, value_enum, default_value_t, global = true, env = "BRIDGE_LOG_FORMAT")]
    pub log_format: LogFormat,
}

/// The form of the logs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub enum LogFormat {
    /// For people; coloured on a terminal unless NO_COLOR is set
    #[default]
    Text,
    /// One JSON object a line
    Json,
}

/// Starts logging. `RUST_LOG`, when set, goes before `-v`.
///
/// What libraries say for themselves is left out below `-vv`: they name no sink or source and repeat themselves with
/// every attempt, while the bridge says the same once, with the name. librdkafka speaks through the bridge's callbacks.
pub fn start(args: &LogArgs) {
    let directives = match args.verbose {
        0 => "off,librdkafka=warn,webhook_bridge=info",
        1 => "off,librdkafka=warn,webhook_bridge=debug",
        _ => "debug,webhook_bridge=trace",
    };
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(directives));
    let layer = tracing_subscriber::fmt::layer().with_writer(MaskingStderr).with_target(args.verbose > 1);
    let registry = tracing_subscriber::registry().with(filter);
    // Fails only when a logger is there already, as in tests: that one will do.
    match args.log_format {
        LogFormat::Text => {
            registry.with(layer.with_ansi(ReportStyle::for_stderr() == ReportStyle::Colour)).try_init().ok()
        }
        LogFormat::Json => registry.with(layer.json().flatten_event(true).with_ansi(false)).try_init().ok(),
    };
}

/// Standard error behind the mask: a secret in whatever a library puts into a message does not get out.
struct MaskingStderr;

impl MakeWriter<'_> for MaskingStderr {
    type Writer = Self;

    fn make_writer(&self) -> Self {
        Self
    }
}

impl Write for MaskingStderr {
    /// Takes a whole log line: `tracing-subscriber` formats a line before it writes it.
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        match std::str::from_utf8(line) {
            Ok(text) => io::stderr().write_all(mask(text).as_bytes())?,
            Err(_) => io::stderr().write_all(line)?,
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stderr().flush()
    }
}
