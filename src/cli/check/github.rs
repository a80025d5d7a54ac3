//! Findings as workflow commands of GitHub Actions, which shows them at their lines in a pull request.
//!
//! The form and its escapes are those of `@actions/core`:
//! <https://docs.github.com/en/actions/reference/workflows-and-actions/workflow-commands>.

use super::report::CheckedFile;
use crate::config::finding::{Finding, Level};

/// One line for each finding of a file.
pub(super) fn annotations(file: &CheckedFile) -> Vec<String> {
    file.findings().iter().map(|finding| annotation(&file.file, finding)).collect()
}

fn annotation(file: &str, finding: &Finding) -> String {
    let command = match finding.level {
        Level::Error => "error",
        Level::Warning => "warning",
    };
    let file = file.strip_prefix("./").unwrap_or(file);
    let mut properties = format!("file={}", escape_property(file));
    if let Some(place) = finding.place {
        properties += &format!(",line={},col={},endColumn={}", place.line, place.column, place.end_column);
    }
    properties += &format!(",title={}", escape_property(&format!("bridge check ({})", finding.code)));
    let help = finding.help.as_ref().map(|help| format!("\nhelp: {help}")).unwrap_or_default();
    format!("::{command} {properties}::{}", escape(&format!("{}{help}", finding.message)))
}

fn escape(text: &str) -> String {
    text.replace('%', "%25").replace('\r', "%0D").replace('\n', "%0A")
}

fn escape_property(text: &str) -> String {
    escape(text).replace(':', "%3A").replace(',', "%2C")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::finding::TextRange;

    #[test]
    fn what_would_end_a_command_or_a_property_is_escaped() {
        let finding = Finding {
            level: Level::Warning,
            code: "plain-http",
            message: "100%: a, b\r\nc".into(),
            help: Some("d".into()),
            place: Some(TextRange { line: 3, column: 5, end_column: 9 }),
        };
        let expected = "::warning file=a%3Ab%2Cc.toml,line=3,col=5,endColumn=9,title=bridge check (plain-http)\
                        ::100%25: a, b%0D%0Ac%0Ahelp: d";
        assert_eq!(annotation("./a:b,c.toml", &finding), expected);
        let nowhere = Finding { level: Level::Error, help: None, place: None, ..finding };
        assert!(annotation("a.toml", &nowhere).starts_with("::error file=a.toml,title="), "{nowhere:?}");
    }
}
