//! `${env:NAME}`, `${var:NAME}` (both with `:-default`) and `${file:/path}` in string values.
//!
//! They are replaced after TOML is parsed and before values are typed, so that a secret can never change the
//! structure of the file. Where they stand is kept (`Replaced`), so that no template or expression takes them for its own.
//! Keys are left alone. `$${` stands for a literal `${`. What comes from the environment by
//! `${env:…}`, or from a file, is registered as a secret; what comes by `${var:…}` is not, nor is a default, which stands in
//! the pipeline file itself.

use std::collections::{HashMap, HashSet};
use std::ops::Range;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::NamedFiles;
use super::diagnostics::Fault;
use super::document::verbatim_start;
use crate::event::ENVELOPE;
use crate::secret;

/// Looks an environment variable up.
pub(super) type Env<'a> = &'a dyn Fn(&str) -> Option<String>;

/// Where, by the place of a string in the file, the values stand that were put into it.
pub(super) type Replaced = HashMap<Range<usize>, Vec<Range<usize>>>;

/// A value that is masked wherever it is printed, and the string in which it stands.
#[derive(Clone)]
pub struct MaskedValue {
    /// The place of the string in the file.
    pub(super) place: Range<usize>,
    /// The reference as it is written, such as `${env:NAME}`.
    pub reference: String,
    /// The text before it.
    pub before: String,
    /// What it stands for.
    pub value: String,
    /// The text behind it.
    pub after: String,
}

impl std::fmt::Debug for MaskedValue {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("MaskedValue").field("reference", &self.reference).finish_non_exhaustive()
    }
}

/// What was found while values were put in.
#[derive(Debug, Default)]
pub(super) struct Interpolated {
    /// References that lead nowhere.
    pub faults: Vec<Fault>,
    /// The places of the values with such a reference.
    pub broken: HashSet<Range<usize>>,
    /// The places of the strings that were replaced.
    pub replaced: Replaced,
    /// The values that are masked.
    pub masked: Vec<MaskedValue>,
    /// The files that references name, those that cannot be read included.
    pub files: NamedFiles,
}

/// Replaces the references in all string values of `table`, which was parsed from `text`.
pub(super) fn interpolate(text: &str, table: &mut DeTable<'_>, env: Env<'_>) -> Interpolated {
    let mut found = Interpolated::default();
    interpolate_table(text, table, env, &mut found);
    found
}

fn interpolate_table(text: &str, table: &mut DeTable<'_>, env: Env<'_>, found: &mut Interpolated) {
    for (_, value) in table.iter_mut() {
        interpolate_value(text, value, env, found);
    }
}

fn interpolate_value(text: &str, value: &mut Spanned<DeValue<'_>>, env: Env<'_>, found: &mut Interpolated) {
    let span = value.span();
    match value.get_mut() {
        DeValue::String(string) if string.contains("${") => {
            let mut expanded = expand(string, env);
            found.files.extend(std::mem::take(&mut expanded.files));
            if !expanded.faults.is_empty() {
                let start = verbatim_start(text, span.clone(), string);
                found.faults.extend(expanded.faults.into_iter().map(|fault| fault.at(start, &span)));
                found.broken.insert(span);
                return;
            }
            found.masked.extend(expanded.masked_values(&span));
            found.replaced.insert(span, expanded.values);
            *string = expanded.text.into();
        }
        DeValue::Table(table) => interpolate_table(text, table, env, found),
        DeValue::Array(array) => array.iter_mut().for_each(|value| interpolate_value(text, value, env, found)),
        _ => {}
    }
}

/// A string with its references replaced, except those at fault.
#[derive(Debug, Default)]
struct Expanded {
    text: String,
    /// Where in the text the values stand.
    values: Vec<Range<usize>>,
    /// Which of them are masked, with their references.
    masked: Vec<(Range<usize>, String)>,
    faults: Vec<PartFault>,
    files: NamedFiles,
}

impl Expanded {
    fn push_value(&mut self, value: &Resolved, reference: &str) {
        let start = self.text.len();
        let (Resolved::Masked(text) | Resolved::Plain(text)) = value;
        self.text.push_str(text);
        self.values.push(start..self.text.len());
        if let Resolved::Masked(_) = value {
            self.masked.push((start..self.text.len(), reference.to_owned()));
        }
    }

    fn masked_values(&self, place: &Range<usize>) -> impl Iterator<Item = MaskedValue> {
        self.masked.iter().map(|(value, reference)| MaskedValue {
            place: place.clone(),
            reference: reference.clone(),
            before: self.text.get(..value.start).unwrap_or_default().to_owned(),
            value: self.text.get(value.clone()).unwrap_or_default().to_owned(),
            after: self.text.get(value.end..).unwrap_or_default().to_owned(),
        })
    }
}

/// A fault within a string.
#[derive(Debug, PartialEq, Eq)]
struct PartFault {
    part: Range<usize>,
    message: String,
    help: String,
}

impl PartFault {
    /// The fault's place in the file, when the string's first character stands at `start`.
    fn at(self, start: Option<usize>, whole: &Range<usize>) -> Fault {
        let span = start.map_or(whole.clone(), |start| start + self.part.start..start + self.part.end);
        Fault { span: Some(span), message: self.message, help: Some(self.help) }
    }
}

fn expand(value: &str, env: Env<'_>) -> Expanded {
    let mut expanded = Expanded::default();
    let mut rest = 0;
    while let Some(found) = value[rest..].find("${") {
        let start = rest + found;
        if let Some(before) = value[rest..start].strip_suffix('$') {
            expanded.text.push_str(before);
            expanded.text.push_str("${");
            rest = start + 2;
            continue;
        }
        expanded.text.push_str(&value[rest..start]);
        let end = value[start..].find('}').map_or(value.len(), |length| start + length + 1);
        match resolve(&value[start..end], env, &mut expanded.files) {
            Ok(resolved) => expanded.push_value(&resolved, &value[start..end]),
            Err((message, help)) => expanded.faults.push(PartFault { part: start..end, message, help }),
        }
        rest = end;
    }
    expanded.text.push_str(&value[rest..]);
    expanded
}

/// What a reference stands for.
#[derive(Debug)]
enum Resolved {
    /// It is registered as a secret.
    Masked(String),
    Plain(String),
}

/// What was probably meant by what is no reference.
fn likely_meaning(reference: &str) -> String {
    let content = reference.trim_start_matches("${").trim_end_matches('}').trim();
    let first = content.split(['.', '[']).next().unwrap_or_default();
    let is_name = !content.is_empty() && content.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
    match () {
        () if ENVELOPE.contains(&first) => format!(
            "a value of the event is written `{{{{{content}}}}}` in a template and `$.{content}` in an expression; a \
             literal `${{` is written `$${{`"
        ),
        () if is_name => format!("write `${{env:{content}}}`; a literal `${{` is written `$${{`"),
        () => "a literal `${` is written `$${`".to_owned(),
    }
}

/// What a reference such as `${env:NAME}` stands for, or a message and what to write instead.
fn resolve(reference: &str, env: Env<'_>, files: &mut NamedFiles) -> Result<Resolved, (String, String)> {
    let malformed = || {
        (
            format!(
                "`{reference}` is neither `${{env:NAME}}`, `${{env:NAME:-default}}`, `${{var:NAME}}` nor `${{file:/path}}`"
            ),
            likely_meaning(reference),
        )
    };
    let content = reference.strip_prefix("${").and_then(|rest| rest.strip_suffix('}')).ok_or_else(malformed)?;
    if let Some(path) = content.strip_prefix("file:").filter(|path| !path.is_empty()) {
        return read_file(path, files);
    }
    let (kind, variable) = content.split_once(':').ok_or_else(malformed)?;
    let bring = match kind {
        "env" => registered,
        "var" => Resolved::Plain,
        _ => return Err(malformed()),
    };
    let (name, default) = match variable.split_once(":-") {
        Some((name, default)) => (name, Some(default)),
        None => (variable, None),
    };
    if name.is_empty() || !name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_') {
        return Err(malformed());
    }
    match (env(name), default) {
        // As in a shell, the default of `:-` also stands in for an empty value.
        (Some(value), None) => Ok(bring(value)),
        (Some(value), Some(_)) if !value.is_empty() => Ok(bring(value)),
        (_, Some(default)) => Ok(Resolved::Plain(default.to_owned())),
        (None, None) => Err((
            format!("the environment variable `{name}` is not set"),
            format!("set it, or give a default: `${{{kind}:{name}:-default}}`"),
        )),
    }
}

fn read_file(path: &str, files: &mut NamedFiles) -> Result<Resolved, (String, String)> {
    let mut text = files
        .read(path)
        .map_err(|error| (format!("cannot read `{path}`: {error}"), "the file must exist and be UTF-8 text".into()))?;
    // Editors and `echo` end a file with a line break that is no part of the secret.
    if text.ends_with('\n') {
        text.pop();
        if text.ends_with('\r') {
            text.pop();
        }
    }
    Ok(registered(text))
}

fn registered(value: String) -> Resolved {
    secret::register(&value);
    Resolved::Masked(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn env(name: &str) -> Option<String> {
        match name {
            "HOST" => Some("example.com".into()),
            "EMPTY" => Some(String::new()),
            _ => None,
        }
    }

    fn expanded(value: &str) -> String {
        let expanded = expand(value, &env);
        assert_eq!(expanded.faults, [], "{value}");
        expanded.text
    }

    fn fault(value: &str) -> (Range<usize>, String) {
        let mut faults = expand(value, &env).faults;
        assert_eq!(faults.len(), 1, "{value}");
        let fault = faults.remove(0);
        (fault.part, fault.message)
    }

    #[test]
    fn variables_and_defaults_are_put_in() {
        assert_eq!(expanded("https://${env:HOST}/x"), "https://example.com/x");
        assert_eq!(expanded("${env:HOST}${env:HOST}"), "example.comexample.com");
        assert_eq!(expanded("${env:NONE:-a:-b}"), "a:-b");
        assert_eq!(expanded("${env:EMPTY:-b}"), "b");
        assert_eq!(expanded("[${env:EMPTY}]"), "[]");
        assert_eq!(expanded("${env:NONE:-}"), "");
    }

    #[test]
    fn a_variable_that_is_no_secret_is_not_masked() {
        let env = |name: &str| (name == "REGION").then(|| "region-of-no-secret".to_owned());
        let found = expand("${var:REGION}/${var:NONE:-x}", &env);
        assert_eq!((found.text.as_str(), found.masked.len()), ("region-of-no-secret/x", 0));
        assert_eq!(secret::mask("region-of-no-secret"), "region-of-no-secret");
        let found = expand("<${env:REGION}>", &env).masked_values(&(0..1)).next().unwrap();
        assert_eq!(
            (found.before.as_str(), found.value.as_str(), found.after.as_str()),
            ("<", "region-of-no-secret", ">")
        );
        assert!(!format!("{found:?}").contains("region-of"));
    }

    #[test]
    fn a_doubled_dollar_is_a_literal_one() {
        assert_eq!(expanded("$${env:HOST} costs $5 {x}"), "${env:HOST} costs $5 {x}");
    }

    #[test]
    fn a_files_last_line_break_is_no_part_of_its_value() {
        let folder = tempfile::tempdir().unwrap();
        for (content, value) in [("s3cret-a", "s3cret-a"), ("s3cret-b\n", "s3cret-b"), ("s3\n\r\n", "s3\n")] {
            let path = folder.path().join("secret");
            std::fs::write(&path, content).unwrap();
            assert_eq!(expanded(&format!("${{file:{}}}", path.display())), value);
        }
        assert_eq!(secret::mask("<s3cret-a>"), "<***>");
    }

    #[test]
    fn a_default_is_no_secret() {
        assert_eq!(expanded("${env:NONE:-plain-default-value}"), "plain-default-value");
        assert_eq!(secret::mask("plain-default-value"), "plain-default-value");
    }

    #[test]
    fn references_that_lead_nowhere_are_faults() {
        assert_eq!(fault("a${env:NONE}b"), (1..12, "the environment variable `NONE` is not set".into()));
        assert!(fault("${file:/no/such/file}").1.starts_with("cannot read `/no/such/file`"));
        for malformed in ["${HOME}", "${env:}", "${env:A-B}", "${file:}", "${env:HOST", "${", "${env:A B:-c}"] {
            assert!(fault(malformed).1.contains("is neither"), "{malformed}");
        }
        for (reference, help) in [
            ("${data.id}", "`{{data.id}}`"),
            ("${HOME}", "`${env:HOME}`"),
            ("${x.y}", "a literal"),
            ("${", "a literal"),
        ] {
            assert!(likely_meaning(reference).contains(help), "{reference}");
        }
        assert_eq!(expand("${env:A} ${env:B}", &env).faults.len(), 2);
    }
}
