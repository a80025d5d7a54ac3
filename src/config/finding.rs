//! A fault or a warning as machines want it: with a level, a code, and a place in lines and columns.

use serde::Serialize;

use super::diagnostics::{Fault, first_line};
use crate::secret;

/// One thing to be said about a pipeline file. No secret is in it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// How bad it is.
    pub level: Level,
    /// What kind of thing it is: [`INVALID`], or the name of a [`WarningCode`](crate::problem::WarningCode).
    pub code: &'static str,
    /// What is the matter, in one sentence without a final stop.
    pub message: String,
    /// What to write instead.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub help: Option<String>,
    /// Where it is; `None` when it is about the file as a whole.
    #[serde(flatten)]
    pub place: Option<TextRange>,
}

/// How bad a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// The file cannot be used.
    Error,
    /// The file can be used, and is probably not meant so.
    Warning,
}

/// A part of a line. Lines and columns are counted from 1, columns in characters (Unicode code points).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct TextRange {
    /// The line.
    pub line: usize,
    /// The first column.
    pub column: usize,
    /// The column behind the last one.
    pub end_column: usize,
}

/// The code of every fault.
pub const INVALID: &str = "invalid";

/// Makes a finding of a fault of the file with the content `text`.
pub(super) fn new(level: Level, code: &'static str, text: &str, fault: &Fault) -> Finding {
    Finding {
        level,
        code,
        message: secret::mask(&fault.message).into_owned(),
        help: fault.help.as_deref().map(|help| secret::mask(help).into_owned()),
        place: fault.span.as_ref().and_then(|span| place(text, first_line(text, span)?)),
    }
}

fn place(text: &str, span: std::ops::Range<usize>) -> Option<TextRange> {
    let before = text.get(..span.start)?;
    let line_start = before.rfind('\n').map_or(0, |at| at + 1);
    let column = 1 + text.get(line_start..span.start)?.chars().count();
    let end_column = column + text.get(span)?.chars().count();
    Some(TextRange { line: 1 + before.matches('\n').count(), column, end_column })
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "a = 'é'\r\nb = '''\nx'''";

    #[test]
    fn places_are_counted_from_one_in_characters() {
        assert_eq!(place(TEXT, 0..1), Some(TextRange { line: 1, column: 1, end_column: 2 }));
        assert_eq!(place(TEXT, 4..8), Some(TextRange { line: 1, column: 5, end_column: 8 }));
        assert_eq!(place("", 0..0), Some(TextRange { line: 1, column: 1, end_column: 1 }));
    }

    #[test]
    fn what_spans_several_lines_is_shown_by_its_first() {
        let fault = Fault { span: Some(14..22), message: "m".into(), help: None };
        let finding = new(Level::Warning, "code", TEXT, &fault);
        assert_eq!(finding.place, Some(TextRange { line: 2, column: 5, end_column: 8 }));
    }
}
