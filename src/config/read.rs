//! From the tree of a file to typed config, section by section and node by node.
//!
//! Nothing here stops at a fault: a node that cannot be read is left out, and the next one is read.

mod names;

use std::collections::{BTreeSet, HashSet};
use std::ops::Range;

use indexmap::IndexMap;
use schemars::JsonSchema;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::diagnostics::Fault;
use super::document::Document;
use super::interpolate::{self, Env};
use super::schema::{self, AS_WRITTEN, STRICT, WEBHOOK_DEFAULTS};
use super::shape::{Findings, Subject, keys, line_of, missing_key, table_name, unknown_key};
use super::test_case::{self, Nodes, TestCase};
use super::{Fingerprints, NamedFiles, Parsed, PipelineConfig, SinkConfig, check, defaults, presets, secrets, wording};
use crate::delivery::DeliveryConfig;
use crate::delivery::policies::DeliveryPolicies;
use crate::node::NodeKind;
use crate::problem::Problem;
use crate::sink;
use crate::source::{self, CommonConfig, SourceConfig};
use crate::template::TemplateConfig;
use crate::transform::TransformConfig;

use names::node_names;

/// The nodes that `from` may name.
const FEEDING: [NodeKind; 3] = [NodeKind::Source, NodeKind::Filter, NodeKind::Transform];

/// Reads what can be read of `text`. Without `env`, references stay as they are written.
pub(super) fn parse(name: &str, text: &str, env: Option<Env<'_>>) -> Parsed {
    let (root, errors) = DeTable::parse_recoverable(text);
    let mut root = root.into_inner();
    if !errors.is_empty() {
        // What a parser recovers after a syntax error is a guess; judging it would bury the one real fault.
        return Parsed {
            pipeline: PipelineConfig::default(),
            declared: BTreeSet::new(),
            declared_sinks: BTreeSet::new(),
            declared_templates: BTreeSet::new(),
            fingerprints: Fingerprints::default(),
            faults: syntax_faults(text, &errors),
            broken: HashSet::new(),
            document: Document::new(name, text, &DeTable::new()),
            named_files: NamedFiles::default(),
            masked: Vec::new(),
            written_out_secrets: Vec::new(),
        };
    }
    let interpolated = env.map(|env| interpolate::interpolate(text, &mut root, env)).unwrap_or_default();
    presets::apply(&mut root);
    defaults::apply(&mut root);
    // Those that the defaults name.
    presets::apply(&mut root);
    let mut document = Document::new(name, text, &root);
    let interpolate::Interpolated { faults, broken, replaced, masked, files: named_files } = interpolated;
    let findings = Findings { text, faults, broken, replaced, ..Findings::default() };
    let mut reader = Reader { document: &document, findings };
    let pipeline = reader.pipeline(&root);
    let fingerprints = Fingerprints::of(&reader.findings.in_parts(&root));
    let Findings { faults, broken, .. } = reader.findings;
    let written_out_secrets: Vec<_> =
        secrets::paths(&pipeline).into_iter().filter(|path| document.is_literal(path)).collect();
    document.conceal(&written_out_secrets);
    Parsed {
        pipeline,
        declared: FEEDING.into_iter().flat_map(|kind| node_names(&root, kind.section())).collect(),
        declared_sinks: node_names(&root, "sinks").collect(),
        declared_templates: node_names(&root, "templates").collect(),
        fingerprints,
        faults,
        broken,
        document,
        named_files,
        masked,
        written_out_secrets,
    }
}

/// One fault per line: what follows a syntax error on its line is mostly its consequence.
fn syntax_faults(text: &str, errors: &[toml::de::Error]) -> Vec<Fault> {
    let mut lines = HashSet::new();
    let faults = errors.iter().filter_map(|error| {
        let span = error.span().unwrap_or(text.len()..text.len());
        let line = text.as_bytes().iter().take(span.start).filter(|byte| **byte == b'\n').count();
        lines.insert(line).then(|| Fault { span: Some(span), message: error.message().to_owned(), help: None })
    });
    faults.collect()
}

struct Reader<'a> {
    document: &'a Document,
    findings: Findings<'a>,
}

impl Reader<'_> {
    fn pipeline(&mut self, root: &DeTable<'_>) -> PipelineConfig {
        self.top_level_keys(root);
        self.defaults(root);
        let mut pipeline = PipelineConfig {
            name: self.name(root).unwrap_or_default(),
            sources: self.nodes(root, "sources", Self::source),
            filters: self.nodes(root, "filters", Self::plain),
            transforms: self.nodes(root, "transforms", Self::transform),
            templates: self.nodes(root, "templates", Self::template),
            tables: self.nodes(root, "tables", Self::plain),
            sinks: self.nodes(root, "sinks", Self::sink),
            store: self.settings(root, "store").unwrap_or_default(),
            runtime: self.settings(root, "runtime").unwrap_or_default(),
            tests: Vec::new(),
        };
        pipeline.tests = self.tests(root, &pipeline.sources);
        self.names_used_twice(root);
        self.require_a_node(root, "sources", "source");
        self.require_a_node(root, "sinks", "sink");
        pipeline
    }

    fn top_level_keys(&mut self, root: &DeTable<'_>) {
        let known = keys(&AS_WRITTEN);
        for (key, value) in root {
            let name = key.get_ref().as_ref();
            if !known.contains(&name) {
                self.findings.faults.push(unknown_key(&[name], key.span(), value.get_ref(), &AS_WRITTEN));
            }
        }
    }

    fn name(&mut self, root: &DeTable<'_>) -> Option<String> {
        let Some(value) = root.get("name") else {
            let description = STRICT["properties"]["name"]["description"].as_str();
            self.findings.faults.push(missing_key(&[], 0..0, "name", description));
            return None;
        };
        let name = self.string(value, None)?;
        self.require_a_name(name, value.span());
        Some(name.to_owned())
    }

    /// `[defaults.webhook]` by itself, so that its faults show even where every sink overrides them.
    fn defaults(&mut self, root: &DeTable<'_>) {
        let Some(section) = root.get("defaults").and_then(|value| self.table(value)) else {
            return;
        };
        for (key, value) in section {
            let name = key.get_ref().as_ref();
            if name != "webhook" {
                self.findings.faults.push(unknown_key(
                    &["defaults", name],
                    key.span(),
                    value.get_ref(),
                    &AS_WRITTEN["properties"]["defaults"],
                ));
            } else if let Some(table) = self.table(value) {
                let (own, table) = split(table, |key| defaults::IS_OWN.contains(&key));
                for (key, value) in &own {
                    let message = format!("`{}` cannot have a default", key.get_ref());
                    self.findings.faults.push(Fault { span: Some(key.span()), message, help: None });
                    self.findings.broken.insert(value.span());
                }
                let path = vec!["defaults", "webhook"];
                self.webhook_defaults(&Subject { path, key: key.span(), place: value.span(), table: &table });
            }
        }
    }

    fn webhook_defaults(&mut self, subject: &Subject<'_, '_>) {
        self.findings.check_table(subject, &WEBHOOK_DEFAULTS);
        // A default need not be complete: what it lacks, each sink must have, and is asked for there.
        let incomplete = self.findings.incomplete.clone();
        self.findings.incomplete.insert(subject.place.clone());
        self.findings.incomplete.extend(subject.table.values().map(Spanned::span));
        self.typed_parts::<DeliveryConfig, sink::TypeConfig>(subject, "webhook");
        self.findings.incomplete = incomplete;
    }

    /// Reads a table that is no node.
    fn settings<T: DeserializeOwned>(&mut self, root: &DeTable<'_>, name: &'static str) -> Option<T> {
        let (key, value) = root.get_key_value(name)?;
        let table = self.table(value)?;
        let subject = Subject { path: vec![name], key: key.span(), place: value.span(), table };
        self.findings.check_table(&subject, &STRICT["properties"][name]);
        self.findings.typed(&subject.place, table, None)
    }

    /// Reads the nodes of a section with `read`, leaving out those that cannot be typed.
    fn nodes<T>(
        &mut self,
        root: &DeTable<'_>,
        section: &str,
        read: impl Fn(&mut Self, &Subject<'_, '_>) -> Option<T>,
    ) -> IndexMap<String, T> {
        let mut nodes = IndexMap::new();
        let Some(table) = root.get(section).and_then(|value| self.table(value)) else {
            return nodes;
        };
        for (key, value) in table {
            let name = key.get_ref().as_ref();
            self.require_a_name(name, key.span());
            let Some(table) = self.table(value) else {
                continue;
            };
            let subject = Subject { path: vec![section, name], key: key.span(), place: value.span(), table };
            if let Some(node) = read(self, &subject) {
                nodes.insert(name.to_owned(), node);
            }
        }
        nodes
    }

    /// `[[tests]]`, without those that cannot be typed.
    fn tests(&mut self, root: &DeTable<'_>, typed_sources: &IndexMap<String, SourceConfig>) -> Vec<TestCase> {
        let Some((key, value)) = root.get_key_value("tests") else { return Vec::new() };
        self.findings.check_value(vec!["tests"], key.span(), value, &STRICT["properties"]["tests"]);
        let names = |section| node_names(root, section).collect();
        let nodes = Nodes {
            sources: names("sources"),
            filters: names("filters"),
            transforms: names("transforms"),
            sinks: names("sinks"),
            typed_sources,
        };
        let mut tests: Vec<TestCase> = Vec::new();
        for (index, element) in value.get_ref().as_array().into_iter().flatten().enumerate() {
            let Some(mut test) = self.test(element) else { continue };
            test.line = self.line_of(element.span());
            let mut problems = test_case::check(&test, &nodes);
            if let Some(first) = tests.iter().find(|first| first.name == test.name) {
                let message = format!("the test on line {} has the same name", first.line);
                problems.push(Problem::new(["name"], message));
            }
            let index = index.to_string();
            let problems = problems.into_iter().map(|problem| problem.under(["tests", &index]));
            let faults = self.document.faults(problems.collect(), &self.findings.broken);
            self.findings.faults.extend(faults);
            tests.push(test);
        }
        tests
    }

    fn test(&mut self, element: &Spanned<DeValue<'_>>) -> Option<TestCase> {
        if self.findings.broken.contains(&element.span()) {
            return None;
        }
        self.findings.typed(&element.span(), element.get_ref().as_table()?, None)
    }

    /// The line that a place begins on, from 1.
    fn line_of(&self, place: Range<usize>) -> usize {
        line_of(self.findings.text, place.start)
    }

    /// A node without a type.
    fn plain<T: DeserializeOwned>(&mut self, subject: &Subject<'_, '_>) -> Option<T> {
        self.findings.check_table(subject, &section_schema(subject)["additionalProperties"]);
        self.findings.typed(&subject.place, subject.table, None)
    }

    fn template(&mut self, subject: &Subject<'_, '_>) -> Option<TemplateConfig> {
        let config = self.plain(subject)?;
        self.require_one_of(subject, ["body", "jq"], "The template, or `jq` with a program in its place.");
        self.add_problems(subject, check::template(&config));
        Some(config)
    }

    fn transform(&mut self, subject: &Subject<'_, '_>) -> Option<TransformConfig> {
        let config = self.plain(subject)?;
        self.require_one_of(subject, ["jq", "parse"], "A program, or `parse` for lines of text in its place.");
        self.add_problems(subject, check::transform(&config));
        Some(config)
    }

    /// Refuses a node that has neither key; the first is the one that is asked for.
    fn require_one_of(&mut self, subject: &Subject<'_, '_>, keys: [&str; 2], description: &str) {
        if !keys.iter().any(|key| subject.table.contains_key(*key)) {
            let [wanted, _] = keys;
            self.findings.faults.push(missing_key(&subject.path, subject.key.clone(), wanted, Some(description)));
        }
    }

    fn source(&mut self, subject: &Subject<'_, '_>) -> Option<SourceConfig> {
        let (common, kind) = self.tagged::<CommonConfig, source::TypeConfig>(subject)?;
        let config = SourceConfig { common, kind, meta_beside: Vec::new() };
        self.add_problems(subject, check::source(&config));
        Some(config)
    }

    fn sink(&mut self, subject: &Subject<'_, '_>) -> Option<SinkConfig> {
        let (delivery, kind) = self.tagged::<DeliveryConfig, sink::TypeConfig>(subject)?;
        let policies = DeliveryPolicies::new(&delivery).map_err(|problems| self.add_problems(subject, problems)).ok();
        self.add_problems(subject, check::sink(&kind));
        Some(SinkConfig { delivery, policies, kind })
    }

    fn add_problems(&mut self, subject: &Subject<'_, '_>, problems: Vec<Problem>) {
        let problems = problems.into_iter().map(|problem| problem.under(subject.path.iter().copied()));
        let faults = self.document.faults(problems.collect(), &self.findings.broken);
        self.findings.faults.extend(faults);
    }

    /// A node whose keys belong to two structs: that of its section, and that of its type.
    fn tagged<Common: DeserializeOwned + JsonSchema + 'static, Kind: DeserializeOwned>(
        &mut self,
        subject: &Subject<'_, '_>,
    ) -> Option<(Common, Kind)> {
        let kind = self.node_type(subject)?;
        let schema = schema::node_type(section_schema(subject), kind)?;
        self.findings.check_table(subject, schema);
        self.typed_parts(subject, kind)
    }

    fn typed_parts<Common: DeserializeOwned + JsonSchema + 'static, Kind: DeserializeOwned>(
        &mut self,
        subject: &Subject<'_, '_>,
        kind: &str,
    ) -> Option<(Common, Kind)> {
        let common_keys = schema::keys_of::<Common>();
        let (common, mut own) = split(subject.table, |key| common_keys.iter().any(|common| common == key));
        own.remove("type");
        let common = self.findings.typed(&subject.place, &common, None);
        let own = self.findings.typed(&subject.place, &own, Some(kind));
        Some((common?, own?))
    }

    /// The word that `type` holds, if there is such a type.
    fn node_type<'t>(&mut self, subject: &Subject<'t, '_>) -> Option<&'t str> {
        let known: Vec<&str> = schema::node_types(section_schema(subject)).map(|(name, _)| name).collect();
        let Some(value) = subject.table.get("type") else {
            let message = format!("{} lacks the key `type`", table_name(&subject.path));
            let help = Some(wording::suggestion("", &known));
            self.findings.faults.push(Fault { span: Some(subject.key.clone()), message, help });
            return None;
        };
        let name = self.string(value, Some(wording::suggestion("", &known)))?;
        if !known.contains(&name) {
            let section = subject.path.first().map_or("", |section| section.trim_end_matches('s'));
            let name = self.findings.as_written(&value.span()).unwrap_or(name);
            let message = format!("there is no {section} type `{name}`");
            self.findings.reject(value.span(), message, Some(wording::suggestion(name, &known)));
            return None;
        }
        Some(name)
    }

    /// The value as a string; anything else is a fault.
    fn string<'t>(&mut self, value: &'t Spanned<DeValue<'_>>, help: Option<String>) -> Option<&'t str> {
        if self.findings.broken.contains(&value.span()) {
            return None;
        }
        if let Some(message) = wording::wrong_type(value.get_ref(), &json!({ "type": "string" })) {
            self.findings.reject(value.span(), message, help);
        }
        value.get_ref().as_str()
    }

    /// The value as a table; anything else is a fault.
    fn table<'t, 'i>(&mut self, value: &'t Spanned<DeValue<'i>>) -> Option<&'t DeTable<'i>> {
        if self.findings.broken.contains(&value.span()) {
            return None;
        }
        if let Some(message) = wording::wrong_type(value.get_ref(), &json!({ "type": "object" })) {
            let is_header = self.findings.text.get(value.span()).is_some_and(|text| text.starts_with("[["));
            let help = is_header.then(|| "write the header in single brackets".to_owned());
            self.findings.reject(value.span(), message, help);
        }
        value.get_ref().as_table()
    }
}

fn section_schema(subject: &Subject<'_, '_>) -> &'static Value {
    &STRICT["properties"][subject.path.first().copied().unwrap_or_default()]
}

/// The entries whose key passes, and the others.
fn split<'i>(table: &DeTable<'i>, passes: impl Fn(&str) -> bool) -> (DeTable<'i>, DeTable<'i>) {
    table.clone().into_iter().partition(|(key, _)| passes(key.get_ref()))
}
