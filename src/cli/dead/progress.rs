//! How a replay is going, on standard error: one line that changes on a terminal, a line now and then elsewhere.

use std::io::{self, IsTerminal as _, Write as _};
use std::time::{Duration, Instant};

/// The time between two lines when standard error is no terminal.
const INTERVAL: Duration = Duration::from_secs(5);

/// Clears the line, and leaves the cursor at its beginning: what is logged meanwhile goes over it.
const CLEAR: &str = "\r\x1b[2K";

/// A line of progress.
#[derive(Debug)]
pub(super) struct ProgressLine {
    is_terminal: bool,
    shown: Option<Instant>,
}

impl ProgressLine {
    /// Nothing is shown yet.
    pub(super) fn new() -> Self {
        Self { is_terminal: io::stderr().is_terminal(), shown: None }
    }

    /// Shows the state of things; `text` is one line.
    pub(super) fn show(&mut self, text: &str) {
        let mut stderr = io::stderr().lock();
        // A replay does not stop because nobody can be told how it goes.
        if self.is_terminal {
            write!(stderr, "{CLEAR}{text}\r").and_then(|()| stderr.flush()).ok();
        } else if self.shown.is_none_or(|shown| shown.elapsed() >= INTERVAL) {
            writeln!(stderr, "{text}").ok();
        } else {
            return;
        }
        self.shown = Some(Instant::now());
    }
}

impl Drop for ProgressLine {
    /// Takes the line away from a terminal: what comes next says how it ended.
    fn drop(&mut self) {
        if self.is_terminal && self.shown.is_some() {
            write!(io::stderr(), "{CLEAR}").ok();
        }
    }
}
