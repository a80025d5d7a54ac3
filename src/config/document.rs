//! Where everything stands: the tree of a pipeline file with the place of every key and value in its text.
//!
//! It answers one question, which bytes a [`Problem`]'s path means, and knows nothing of what values are for.

use std::collections::HashSet;
use std::ops::Range;

use indexmap::IndexMap;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::diagnostics::{ConfigErrors, ConfigWarnings, Fault};
use crate::problem::{Problem, Warning};
use crate::secret;

/// A pipeline file's text and the places in it.
#[derive(Clone)]
pub(super) struct Document {
    name: String,
    text: String,
    root: Node,
}

/// One value of the file.
#[derive(Debug, Clone)]
struct Node {
    /// The key, or the whole value for an array's element.
    key: Range<usize>,
    /// The value; for a table written under a header, the header.
    value: Range<usize>,
    /// Where a string's first character stands, if its source text is its value.
    verbatim: Option<usize>,
    /// The values of a table or, by index, of an array.
    children: IndexMap<String, Node>,
    is_table: bool,
}

impl Document {
    /// Notes the places of `root`, which was parsed from `text`.
    pub(super) fn new(name: &str, text: &str, root: &DeTable<'_>) -> Self {
        let root =
            Node { key: 0..0, value: 0..0, verbatim: None, children: table_children(text, root), is_table: true };
        Self { name: name.to_owned(), text: text.to_owned(), root }
    }

    /// All faults, to be shown.
    pub(super) fn report(&self, faults: Vec<Fault>) -> ConfigErrors {
        ConfigErrors::new(&self.name, &self.text, faults)
    }

    /// The warnings, to be shown.
    pub(super) fn warnings(&self, warnings: Vec<Warning>) -> ConfigWarnings {
        let placed = warnings.into_iter().map(|Warning { code, problem }| {
            let span = Some(self.locate(&problem.path, problem.part));
            (code, Fault { span, message: problem.message, help: problem.help })
        });
        ConfigWarnings::new(&self.name, &self.text, placed.collect())
    }

    /// Blots the values at these paths out of the text; of a URL, only its password. Everything stays in its place.
    pub(super) fn conceal(&mut self, paths: &[Vec<String>]) {
        for path in paths {
            let place = self.locate(path, None);
            let source = self.text.get(place.clone()).unwrap_or_default();
            let mut blotted = secret::blot_out_passwords(source);
            if blotted == source {
                blotted = source.chars().map(blot).collect();
            }
            if blotted.len() == place.len() {
                self.text.replace_range(place, &blotted);
            }
        }
    }

    /// What stands in the text at a path.
    pub(super) fn written(&self, path: &[String]) -> &str {
        self.text.get(self.locate(path, None)).unwrap_or_default()
    }

    /// The whole value, as it stands in the text, of which a place is a part.
    pub(super) fn value_around(&self, place: &Range<usize>) -> &str {
        let mut around = place.clone();
        let mut nodes = vec![&self.root];
        while let Some(node) = nodes.pop() {
            if !node.is_table && node.value.start <= place.start && place.end <= node.value.end {
                around = node.value.clone();
            }
            nodes.extend(node.children.values());
        }
        self.text.get(around).unwrap_or_default()
    }

    /// The path of the value that stands at a place.
    pub(super) fn path_of(&self, place: &Range<usize>) -> Option<Vec<String>> {
        path_within(&self.root, place)
    }

    /// Whether the value at a path has no reference in it.
    pub(super) fn is_literal(&self, path: &[String]) -> bool {
        let source = self.written(path);
        !["${env:", "${var:", "${file:"].iter().any(|reference| source.contains(reference))
    }

    /// The problems with their paths replaced by their places. Those that only follow from `broken` values, which
    /// were reported and left out, are dropped.
    pub(super) fn faults(&self, problems: Vec<Problem>, broken: &HashSet<Range<usize>>) -> Vec<Fault> {
        let news = problems.into_iter().filter(|problem| !self.follows_from(broken, &problem.path));
        let faults = news.map(|problem| {
            let place = self.locate(&problem.path, problem.part);
            Fault { message: self.quote_no_secret(problem.message, &place), span: Some(place), help: problem.help }
        });
        faults.collect()
    }

    /// A message about a value with a reference such as `${env:NAME}` may quote a part of what the reference stands for,
    /// which no mask knows. Only what stands in the file is quoted.
    fn quote_no_secret(&self, message: String, place: &Range<usize>) -> String {
        let is_masked = |source: &str| source.contains("${env:") || source.contains("${file:");
        if !self.text.get(place.clone()).is_some_and(is_masked) {
            return message;
        }
        let pieces = message.split('`').enumerate().map(|(index, piece)| {
            let is_quoted = index % 2 == 1;
            if is_quoted && !self.text.contains(piece) { secret::MASK } else { piece }
        });
        pieces.collect::<Vec<_>>().join("`")
    }

    /// Whether the value at a path is broken, or an element of it, or one beside it in a table within a node: the rules
    /// of such a table, for example `retry`, are about all of its keys.
    fn follows_from(&self, broken: &HashSet<Range<usize>>, path: &[String]) -> bool {
        let mut node = &self.root;
        for (depth, key) in path.iter().enumerate() {
            let is_within_a_node = depth > 2;
            if is_within_a_node && node.children.values().any(|child| broken.contains(&child.value)) {
                return true;
            }
            match node.children.get(key) {
                Some(child) => node = child,
                None => return false,
            }
            let is_broken_array = !node.is_table && node.children.values().any(|child| broken.contains(&child.value));
            if is_broken_array || broken.contains(&node.value) {
                return true;
            }
        }
        false
    }

    /// The bytes that a path means: a table's key, or a value; the key of its nearest parent when there is none.
    fn locate(&self, path: &[String], part: Option<Range<usize>>) -> Range<usize> {
        let mut node = &self.root;
        for key in path {
            match node.children.get(key) {
                Some(child) => node = child,
                None => return node.key.clone(),
            }
        }
        if node.is_table {
            return node.key.clone();
        }
        part.and_then(|part| self.narrow(node, part)).unwrap_or_else(|| node.value.clone())
    }

    fn narrow(&self, node: &Node, part: Range<usize>) -> Option<Range<usize>> {
        let start = node.verbatim?;
        let span = start + part.start..start + part.end;
        (span.end <= node.value.end && self.text.get(span.clone()).is_some()).then_some(span)
    }
}

impl std::fmt::Debug for Document {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // The text may hold literal secrets.
        f.debug_struct("Document").field("name", &self.name).finish_non_exhaustive()
    }
}

/// Where the first character of a string value stands in the text, provided that the text between its quotes is the
/// value itself: no escape sequence, no line ending that TOML rewrites, nothing put in from the environment.
pub(super) fn verbatim_start(text: &str, span: Range<usize>, value: &str) -> Option<usize> {
    let source = text.get(span.clone())?;
    let opening = ["'''\r\n", "'''\n", "'''", "\"\"\"\r\n", "\"\"\"\n", "\"\"\"", "'", "\""]
        .into_iter()
        .find(|opening| source.starts_with(opening))?;
    let quotes = opening.trim_end();
    let content = source.get(opening.len()..)?.strip_suffix(quotes)?;
    (content == value).then_some(span.start + opening.len())
}

fn path_within(node: &Node, place: &Range<usize>) -> Option<Vec<String>> {
    node.children.iter().find_map(|(key, child)| {
        let inner = if child.value == *place && !child.is_table { Some(Vec::new()) } else { path_within(child, place) };
        inner.map(|path| [vec![key.clone()], path].concat())
    })
}

/// What stands for a character of a secret: as many bytes, so that everything stays in its place.
fn blot(character: char) -> String {
    match character {
        '"' | '\'' | '\n' | '\r' => character.to_string(),
        other => "*".repeat(other.len_utf8()),
    }
}

fn node(text: &str, key: Range<usize>, value: &Spanned<DeValue<'_>>) -> Node {
    let span = value.span();
    let (verbatim, children) = match value.get_ref() {
        DeValue::String(string) => (verbatim_start(text, span.clone(), string), IndexMap::new()),
        DeValue::Table(table) => (None, table_children(text, table)),
        DeValue::Array(array) => {
            let elements = array.iter().enumerate();
            (None, elements.map(|(index, value)| (index.to_string(), node(text, value.span(), value))).collect())
        }
        _ => (None, IndexMap::new()),
    };
    Node { key, value: span, verbatim, children, is_table: value.get_ref().is_table() }
}

fn table_children(text: &str, table: &DeTable<'_>) -> IndexMap<String, Node> {
    table.iter().map(|(key, value)| (key.get_ref().to_string(), node(text, key.span(), value))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "name = \"x\"\n[sinks.crm]\nurl = 'http://x/{{a}}'\nheaders = { A = \"\\u0041\" }\n\
                        from = [\"a\", \"bc\"]\nbody = '''\ntext'''\n";

    fn shown(path: &[&str], part: Option<Range<usize>>) -> String {
        let document = Document::new("x.toml", TEXT, DeTable::parse(TEXT).unwrap().get_ref());
        let path: Vec<String> = path.iter().map(|key| key.to_string()).collect();
        TEXT[document.locate(&path, part)].to_owned()
    }

    #[test]
    fn a_path_means_its_value() {
        assert_eq!(shown(&["sinks", "crm", "url"], None), "'http://x/{{a}}'");
        assert_eq!(shown(&["sinks", "crm", "from", "1"], None), "\"bc\"");
    }

    #[test]
    fn a_table_or_the_parent_of_a_missing_value_is_shown_by_its_key() {
        assert_eq!(shown(&["sinks", "crm"], None), "crm");
        assert_eq!(shown(&["sinks", "crm", "timeout"], None), "crm");
        assert_eq!(shown(&["sinks", "crm", "retry", "max"], None), "crm");
        assert_eq!(shown(&["sinks", "crm", "headers", "B"], None), "headers");
        assert_eq!(shown(&["runtime"], None), "");
    }

    #[test]
    fn a_problem_that_follows_from_a_fault_is_not_news() {
        let text = "[sinks.crm]\nurl = 'u'\nretry = { initial = 'x', factor = 2 }\n";
        let document = Document::new("x.toml", text, DeTable::parse(text).unwrap().get_ref());
        let initial = document.locate(&["sinks", "crm", "retry", "initial"].map(String::from), None);
        let broken = HashSet::from([initial]);
        let is_news = |path: &[&str]| !document.faults(vec![Problem::new(path.to_vec(), "wrong")], &broken).is_empty();
        assert!(!is_news(&["sinks", "crm", "retry", "factor"]));
        assert!(!is_news(&["sinks", "crm", "retry", "initial"]));
        assert!(is_news(&["sinks", "crm", "retry"]));
        assert!(is_news(&["sinks", "crm", "url"]));
    }

    #[test]
    fn what_is_concealed_leaves_the_rest_in_its_place() {
        let text = "a = 'sécret'\nb = [\"x\", \"two\"]\nc = 'amqp://u:pw@h'\n";
        let mut document = Document::new("x.toml", text, DeTable::parse(text).unwrap().get_ref());
        document.conceal(&[vec!["a".into()], vec!["b".into(), "1".into()], vec!["c".into()]]);
        assert_eq!(document.text, "a = '*******'\nb = [\"x\", \"***\"]\nc = 'amqp://u:**@h'\n");
    }

    #[test]
    fn a_part_is_narrowed_only_where_the_text_is_the_value() {
        assert_eq!(shown(&["sinks", "crm", "url"], Some(9..14)), "{{a}}");
        assert_eq!(shown(&["sinks", "crm", "body"], Some(1..3)), "ex");
        assert_eq!(shown(&["sinks", "crm", "headers", "A"], Some(0..1)), "\"\\u0041\"");
        assert_eq!(shown(&["sinks", "crm", "url"], Some(9..99)), "'http://x/{{a}}'");
    }
}
