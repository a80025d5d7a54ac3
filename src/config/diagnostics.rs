//! How faults and warnings are shown: message, `file:line:column`, the source line, a caret under the exact place, help.
//! For machines, each is a [`Finding`].
//!
//! Rendering only: what is wrong, others decide. Messages pass through [`secret::mask`], because they may quote values
//! that came from the environment or a file.

use std::collections::HashSet;
use std::fmt;
use std::io::IsTerminal;
use std::ops::Range;

use miette::{GraphicalReportHandler, GraphicalTheme, LabeledSpan, MietteError, MietteSpanContents, SourceCode};
use miette::{Severity, SourceSpan, SpanContents};

use super::finding::{self, Finding, Level};
use crate::problem::WarningCode;
use crate::secret;

/// Messages and help are wrapped at this many columns.
const WIDTH: usize = 100;

/// One fault of a pipeline file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// The bytes of the file at fault; `None` when the fault has no place in it.
    pub span: Option<Range<usize>>,
    /// What is wrong, in one sentence without a final stop.
    pub message: String,
    /// What to write instead.
    pub help: Option<String>,
}

/// Everything that is wrong with a pipeline file.
///
/// `Display` shows all of it in plain text; [`ConfigErrors::render`] offers colour.
#[derive(Clone)]
pub struct ConfigErrors {
    name: String,
    text: String,
    faults: Vec<Fault>,
}

/// How faults are drawn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReportStyle {
    /// ASCII without colour, for pipes, log files and tests.
    Plain,
    /// Box drawing characters and colour, for people.
    Colour,
}

impl ReportStyle {
    /// Colour when standard error is a terminal and `NO_COLOR` is unset or empty (see <https://no-color.org>).
    pub fn for_stderr() -> Self {
        let refused = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        if std::io::stderr().is_terminal() && !refused { Self::Colour } else { Self::Plain }
    }
}

impl ConfigErrors {
    /// Faults of the file (or whatever else bears the name) `name` with the content `text`. They are shown in the order of the file, each once: a value
    /// that several sinks take from the defaults is at fault in one place only.
    pub fn new(name: &str, text: &str, mut faults: Vec<Fault>) -> Self {
        let mut seen = HashSet::new();
        faults.retain(|fault| seen.insert((fault.span.clone(), fault.message.clone())));
        faults.sort_by_key(|fault| fault.span.as_ref().map(|span| span.start));
        Self { name: name.to_owned(), text: secret::blot_out_passwords(text), faults }
    }

    /// All of it in one line: the first fault with its line in the file, and how many there are.
    pub fn summary(&self) -> String {
        let Some(first) = self.faults.first() else { return String::new() };
        let line = |span: &Range<usize>| self.text.get(..span.start).map(|before| before.matches('\n').count() + 1);
        let place = first.span.as_ref().and_then(line).map(|line| format!("line {line}: ")).unwrap_or_default();
        let message = first.message.lines().next().unwrap_or_default();
        let more = match self.faults.len() - 1 {
            0 => String::new(),
            1 => " (and 1 more fault)".to_owned(),
            more => format!(" (and {more} more faults)"),
        };
        secret::mask(&format!("{place}{message}{more}")).into_owned()
    }

    /// The faults in the order of the file. There is at least one.
    pub fn faults(&self) -> &[Fault] {
        &self.faults
    }

    /// The file's name, as it was given.
    pub fn file(&self) -> &str {
        &self.name
    }

    /// The faults for machines, in the order of the file.
    pub fn findings(&self) -> Vec<Finding> {
        let finding = |fault| finding::new(Level::Error, finding::INVALID, &self.text, fault);
        self.faults.iter().map(finding).collect()
    }

    /// Draws all faults, with a blank line between them and a line break at the end.
    pub fn render(&self, style: ReportStyle) -> String {
        let shown = self.faults.iter().map(|fault| draw(&self.name, &self.text, Severity::Error, fault, style));
        shown.collect::<Vec<_>>().join("\n")
    }
}

/// What is worth a second style in a sound pipeline file.
#[derive(Clone)]
pub struct ConfigWarnings {
    name: String,
    text: String,
    warnings: Vec<(WarningCode, Fault)>,
}

impl ConfigWarnings {
    /// Warnings about the file `name` with the content `text`, shown as faults are.
    pub(super) fn new(name: &str, text: &str, mut warnings: Vec<(WarningCode, Fault)>) -> Self {
        let mut seen = HashSet::new();
        warnings.retain(|(_, fault)| seen.insert((fault.span.clone(), fault.message.clone())));
        warnings.sort_by_key(|(_, fault)| fault.span.as_ref().map(|span| span.start));
        Self { name: name.to_owned(), text: secret::blot_out_passwords(text), warnings }
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.warnings.is_empty()
    }

    /// The warnings for machines, in the order of the file.
    pub fn findings(&self) -> Vec<Finding> {
        let finding =
            |(code, fault): &(WarningCode, Fault)| finding::new(Level::Warning, code.as_str(), &self.text, fault);
        self.warnings.iter().map(finding).collect()
    }

    /// Draws all warnings, each with its code, with a blank line between them and a line break at the end.
    pub fn render(&self, style: ReportStyle) -> String {
        let shown = self.warnings.iter().map(|(code, fault)| {
            let message = format!("{} [{}]", fault.message, code.as_str());
            let fault = Fault { message, ..fault.clone() };
            draw(&self.name, &self.text, Severity::Warning, &fault, style)
        });
        shown.collect::<Vec<_>>().join("\n")
    }
}

impl fmt::Debug for ConfigWarnings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The text may hold literal secrets.
        f.debug_struct("ConfigWarnings").field("name", &self.name).finish_non_exhaustive()
    }
}

fn draw(name: &str, text: &str, severity: Severity, fault: &Fault, style: ReportStyle) -> String {
    let theme = match style {
        ReportStyle::Plain => GraphicalTheme::none(),
        ReportStyle::Colour => GraphicalTheme::unicode(),
    };
    let handler = GraphicalReportHandler::new_themed(theme).with_width(WIDTH);
    let mut drawn = String::new();
    match handler.render_report(&mut drawn, &Diagnostic::new(name, text, severity, fault)) {
        Ok(()) => drawn.trim_end().to_owned() + "\n",
        // Drawing is a courtesy; the message is not.
        Err(_) => format!("{}\n", secret::mask(&fault.message)),
    }
}

impl fmt::Display for ConfigErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.render(ReportStyle::Plain))
    }
}

impl fmt::Debug for ConfigErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The text may hold literal secrets.
        f.debug_struct("ConfigErrors").field("name", &self.name).field("faults", &self.faults).finish_non_exhaustive()
    }
}

impl std::error::Error for ConfigErrors {}

/// One fault as miette wants it.
#[derive(Debug)]
struct Diagnostic<'a> {
    severity: Severity,
    message: String,
    help: Option<String>,
    span: Option<Range<usize>>,
    source: OneLine<'a>,
}

impl<'a> Diagnostic<'a> {
    fn new(name: &'a str, text: &'a str, severity: Severity, fault: &Fault) -> Self {
        Self {
            severity,
            message: secret::mask(&fault.message).into_owned(),
            help: fault.help.as_deref().map(|help| secret::mask(help).into_owned()),
            span: fault.span.as_ref().and_then(|span| first_line(text, span)),
            source: OneLine { name, text },
        }
    }
}

impl fmt::Display for Diagnostic<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Diagnostic<'_> {}

impl miette::Diagnostic for Diagnostic<'_> {
    fn severity(&self) -> Option<Severity> {
        Some(self.severity)
    }

    fn help<'a>(&'a self) -> Option<Box<dyn fmt::Display + 'a>> {
        self.help.as_ref().map(|help| Box::new(help) as Box<dyn fmt::Display>)
    }

    fn source_code(&self) -> Option<&dyn SourceCode> {
        self.span.as_ref().map(|_| &self.source as &dyn SourceCode)
    }

    fn labels(&self) -> Option<Box<dyn Iterator<Item = LabeledSpan> + '_>> {
        let span = self.span.clone()?;
        Some(Box::new(std::iter::once(LabeledSpan::new_with_span(None, span))))
    }
}

/// A file of which only the line at fault is shown: lines around it may hold what is nobody's business, such as a
/// literal secret. Columns count characters.
#[derive(Debug)]
struct OneLine<'a> {
    name: &'a str,
    text: &'a str,
}

impl SourceCode for OneLine<'_> {
    fn read_span<'a>(
        &'a self,
        span: &SourceSpan,
        lines_before: usize,
        _lines_after: usize,
    ) -> Result<Box<dyn SpanContents<'a> + 'a>, MietteError> {
        let marked = span.offset()..span.offset() + span.len();
        let before = self.text.get(..marked.start).ok_or(MietteError::OutOfBounds)?;
        let after = self.text.get(marked.end..).ok_or(MietteError::OutOfBounds)?;
        let line_start = before.rfind('\n').map_or(0, |at| at + 1);
        // miette asks for the span without context to learn its column, and with context to show it.
        let shown = match lines_before {
            0 => marked,
            _ => line_start..marked.end + after.find('\n').map_or(after.len(), |at| at + 1),
        };
        let column = self.text[line_start..shown.start].chars().count();
        Ok(Box::new(MietteSpanContents::new_named(
            self.name.to_owned(),
            &self.text.as_bytes()[shown.clone()],
            shown.into(),
            before.matches('\n').count(),
            column,
            1,
        )))
    }
}

/// The part of a span on its first line: a caret under twenty lines of template points at nothing. Where the file ends
/// too early, its last character is marked, because there is no line behind it.
pub(super) fn first_line(text: &str, span: &Range<usize>) -> Option<Range<usize>> {
    let spanned = text.get(span.clone())?;
    if span.start == text.len() {
        let last = text.trim_end().char_indices().next_back();
        return Some(last.map_or(0..0, |(start, last)| start..start + last.len_utf8()));
    }
    let length = spanned.find(['\r', '\n']).unwrap_or(spanned.len());
    Some(span.start..span.start + length)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fault(span: Option<Range<usize>>, message: &str) -> Fault {
        Fault { span, message: message.into(), help: None }
    }

    #[test]
    fn faults_are_shown_once_and_in_the_order_of_the_file() {
        let faults = vec![fault(Some(4..5), "b"), fault(Some(0..1), "a"), fault(Some(4..5), "b"), fault(None, "c")];
        let errors = ConfigErrors::new("x.toml", "a=1\nb=2\n", faults);
        let messages: Vec<_> = errors.faults().iter().map(|fault| fault.message.as_str()).collect();
        assert_eq!(messages, ["c", "a", "b"]);
    }

    #[test]
    fn a_fault_shows_its_line_and_a_caret() {
        let errors = ConfigErrors::new("x.toml", "a = 1\nbb = 2\n", vec![fault(Some(6..8), "wrong")]);
        let expected = "  x wrong\n   ,-[x.toml:2:1]\n 2 | bb = 2\n   : ^^\n   `----\n";
        assert_eq!(errors.to_string(), expected);
    }

    #[test]
    fn an_empty_file_can_be_at_fault() {
        let errors = ConfigErrors::new("x.toml", "", vec![fault(Some(0..0), "empty")]);
        assert_eq!(errors.to_string(), "  x empty\n   ,-[x.toml:1:1]\n   `----\n");
    }

    #[test]
    fn only_the_first_line_of_a_span_is_marked() {
        assert_eq!(first_line("a = '''\nx\n'''", &(4..13)), Some(4..7));
        assert_eq!(first_line("a", &(0..9)), None);
        assert_eq!(first_line("a = é\n\n", &(8..8)), Some(4..6));
    }

    #[test]
    fn registered_secrets_are_masked_in_messages() {
        secret::register("hunter2-diagnostics");
        let errors = ConfigErrors::new("x.toml", "", vec![fault(None, "`hunter2-diagnostics` is not a size")]);
        assert!(!errors.to_string().contains("hunter2"), "{errors}");
    }
}
