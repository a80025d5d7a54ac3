//! Results of tests for people. Styles are always written; the caller's stream takes them out where they do not belong.

use std::fmt::Write as _;

use anstyle::{AnsiColor, Style};

use super::super::show::printable;
use super::{Count, Tested, TestedFile};
use crate::pipeline::walk::Decision;
use crate::testing::difference::Side;

const GOOD: Style = AnsiColor::Green.on_default();
const BAD: Style = AnsiColor::Red.on_default();
const FAINT: Style = Style::new().dimmed();

/// What is shown of one line of a difference, in characters: a body may be a single line of a mebibyte.
const LONGEST_LINE: usize = 2000;

/// All results.
pub(super) fn report(files: &[TestedFile], count: Count) -> String {
    let mut text = String::new();
    files.iter().for_each(|tested| file(&mut text, tested));
    let Count { passed, failed } = count;
    let style = if failed > 0 { BAD } else { GOOD };
    let tests = if passed + failed == 1 { "test" } else { "tests" };
    // Writing to a string does not fail.
    write!(text, "{style}{} {tests}: {passed} passed, {failed} failed{style:#}", passed + failed).ok();
    writeln!(text, "{}", if failed > 0 { " (-: expected, +: found)" } else { "" }).ok();
    text
}

fn file(text: &mut String, TestedFile { path, result }: &TestedFile) {
    let path = path.display();
    let Ok(pipeline) = result else {
        writeln!(text, "{path}: {BAD}not run, as the file is wrong{BAD:#}").ok();
        return;
    };
    if pipeline.declared.is_empty() {
        writeln!(text, "{path}: no tests").ok();
    }
    if pipeline.tests.is_empty() {
        return;
    }
    writeln!(text, "{path}").ok();
    pipeline.tests.iter().for_each(|tested| test(text, tested));
}

fn test(text: &mut String, tested: &Tested) {
    let name = printable(&tested.test.name);
    let findings = tested.findings();
    if findings.is_empty() {
        writeln!(text, "  {GOOD}ok{GOOD:#}    {name}").ok();
        return;
    }
    let line = tested.test.line;
    writeln!(text, "  {BAD}FAIL{BAD:#}  {name} {FAINT}(line {line}){FAINT:#}").ok();
    if let Some(way) = way(tested) {
        writeln!(text, "        {FAINT}{way}{FAINT:#}").ok();
    }
    for finding in &findings {
        writeln!(text, "        {}", printable(&finding.message)).ok();
        for line in &finding.lines {
            let (sign, style) = match line.side {
                Side::Expected => ('-', BAD),
                Side::Found => ('+', GOOD),
                Side::Both | Side::Hint => (' ', FAINT),
            };
            writeln!(text, "          {style}{sign} {}{style:#}", cut(&printable(&line.text))).ok();
        }
    }
}

/// What filters and transforms did: mostly the reason why something is not reached.
pub(super) fn way(tested: &Tested) -> Option<String> {
    let decisions = tested.course.decisions.iter();
    let decisions = decisions.map(|Decision { node, result }| format!("{} {result}", node.name()));
    let decisions = decisions.collect::<Vec<_>>().join(", ");
    (!decisions.is_empty()).then(|| format!("on the way: {decisions}"))
}

fn cut(line: &str) -> String {
    match line.char_indices().nth(LONGEST_LINE) {
        Some((end, _)) => format!("{}…", &line[..end]),
        None => line.to_owned(),
    }
}
