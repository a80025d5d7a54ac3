//! The pipeline file: TOML text becomes typed config, with every fault shown where it stands.
//!
//! The way through: [`parse_lenient`] parses the text into a tree that knows the place of every value (`document`),
//! puts environment variables and files in (`interpolate`), lets sinks start from `[defaults.webhook]` (`defaults`),
//! reads section by section (`read`): compares each table with the schema (`shape`), deserializes it into its struct
//! (`typed`) and applies the rules that span several keys (`check`). What tests say is in [`test_case`]. Secrets that are written out are blotted out of everything that is shown
//! (`secrets`). All faults are collected before anything is reported (`diagnostics`).
//! [`files`] says which files a command line means; `fingerprint` hashes what they say, for a reload to compare, and
//! `named_files` what `${file:…}` names.
//!
//! This module must not compile anything (templates, expressions, URLs) nor wire the graph: `pipeline::compile` does,
//! and hands its [`Problem`]s back to [`Parsed::report`] to have them shown with line and column.

mod check;
mod defaults;
mod diagnostics;
mod document;
pub mod files;
pub mod finding;
mod fingerprint;
mod foreign;
mod interpolate;
mod named_files;
mod presets;
mod read;
mod reference;
mod schema;
mod secrets;
mod shape;
pub mod test_case;
mod typed;
mod wording;

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::ops::Range;
use std::path::Path;

use indexmap::IndexMap;
use schemars::JsonSchema;
use serde::Deserialize;

use crate::delivery::DeliveryConfig;
use crate::delivery::policies::DeliveryPolicies;
use crate::filter::FilterConfig;
use crate::node::NodeKind;
use crate::problem::{Problem, Warning};
use crate::sink;
use crate::source::SourceConfig;
use crate::store::config::StoreConfig;
use crate::template::TemplateConfig;
use crate::transform::TransformConfig;
use crate::units::Period;

pub use diagnostics::{ConfigErrors, ConfigWarnings, Fault, ReportStyle};
use document::Document;
pub use fingerprint::{Fingerprint, Fingerprints, NodeFingerprint, Settings};
pub use interpolate::MaskedValue;
pub use named_files::NamedFiles;
pub use reference::reference;
pub use schema::{schema, schema_text};
use test_case::{Json, TestCase};

/// Where events come from, what is selected, and which webhooks they become: one file is one pipeline.
#[derive(Debug, Clone, Default, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct PipelineConfig {
    /// The pipeline's name: letters, digits, `_` and `-`. It names consumer groups and state folders, so a new name is
    /// a new beginning.
    #[schemars(extend("pattern" = schema::NAME_OR_REFERENCE))]
    #[schemars(example = &"orders")]
    pub name: String,
    /// Where events come from, by name.
    #[schemars(with = "BTreeMap<String, SourceConfig>")]
    #[schemars(extend("minProperties" = 1, "propertyNames" = schema::node_name()))]
    pub sources: IndexMap<String, SourceConfig>,
    /// Which events go on, by name.
    #[schemars(with = "Option<BTreeMap<String, FilterConfig>>", extend("propertyNames" = schema::node_name()))]
    pub filters: IndexMap<String, FilterConfig>,
    /// What becomes other events, by name.
    #[schemars(with = "Option<BTreeMap<String, TransformConfig>>", extend("propertyNames" = schema::node_name()))]
    pub transforms: IndexMap<String, TransformConfig>,
    /// Bodies that sinks refer to, by name.
    #[schemars(with = "Option<BTreeMap<String, TemplateConfig>>", extend("propertyNames" = schema::node_name()))]
    pub templates: IndexMap<String, TemplateConfig>,
    /// Tables that templates look rows up in, by name: `{{lookup (lookup tables.tenants data.tenant) "url"}}` with
    /// `[tables.tenants]` and `acme = { url = "…" }`. A row may hold any value. A row that is missing is an error, and the
    /// event is `unrenderable`, unless the template says what then:
    /// `{{#with (lookup tables.tenants data.tenant)}}{{url}}{{else}}…{{/with}}`, or `default` with another value. Within
    /// `{{#each}}` and `{{#with}}` the path is `@root.tables.tenants`. To programs they are `$tables`, where a missing row is
    /// null: `$tables.tenants[.data.tenant].url // "…"`.
    #[schemars(with = "Option<BTreeMap<String, BTreeMap<String, Json>>>", extend("propertyNames" = schema::node_name()))]
    #[schemars(extend("examples" = [{ "tenants": { "acme": { "url": "https://acme.example" } } }]))]
    pub tables: IndexMap<String, IndexMap<String, Json>>,
    /// Where events go, by name.
    #[schemars(with = "BTreeMap<String, SinkConfig>")]
    #[schemars(extend("minProperties" = 1, "propertyNames" = schema::node_name()))]
    pub sinks: IndexMap<String, SinkConfig>,
    /// Where durable state is kept.
    #[serde(default)]
    pub store: StoreConfig,
    /// How the process runs.
    #[serde(default)]
    pub runtime: RuntimeConfig,
    /// What must become of certain events: `bridge test` runs it. A pipeline runs without.
    #[serde(default)]
    #[schemars(with = "Option<Vec<TestCase>>", extend("examples" = [test_case::example()]))]
    pub tests: Vec<TestCase>,
}

/// A filter or a transform of the pipeline file, as the wiring sees it.
#[derive(Debug, Clone, Copy)]
pub struct StageConfig<'a> {
    /// Which of both.
    pub kind: NodeKind,
    /// Its name.
    pub name: &'a str,
    /// Whose events come in.
    pub from: &'a [String],
}

impl PipelineConfig {
    /// The filters, then the transforms.
    pub fn stages(&self) -> impl Iterator<Item = StageConfig<'_>> {
        let filters = self.filters.iter().map(|(name, filter)| (NodeKind::Filter, name, &filter.from));
        let transforms = self.transforms.iter().map(|(name, transform)| (NodeKind::Transform, name, &transform.from));
        filters.chain(transforms).map(|(kind, name, from)| StageConfig { kind, name, from })
    }

    /// Whether a source, a filter or a transform has this name.
    pub fn feeds_others(&self, name: &str) -> bool {
        self.sources.contains_key(name) || self.filters.contains_key(name) || self.transforms.contains_key(name)
    }
}

/// One sink of the pipeline file.
#[derive(Debug, Clone)]
pub struct SinkConfig {
    /// Keys that every sink has.
    pub delivery: DeliveryConfig,
    /// What their tables mean; `None` when one of them is at fault, which is reported.
    pub policies: Option<DeliveryPolicies>,
    /// Keys of its type.
    pub kind: sink::TypeConfig,
}

/// How the process runs.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RuntimeConfig {
    /// Threads that sources and sinks are spread over. One is enough for most: it has a core to itself.
    #[schemars(range(min = 1, max = 256))]
    #[serde(default = "default_workers")]
    pub workers: usize,
    /// The longest that deliveries under way may hold up a shutdown; what has not ended by then is delivered again
    /// after the next start.
    #[serde(default = "default_shutdown_timeout")]
    #[schemars(extend("x-minimum" = "0s", "x-maximum" = "1d"))]
    pub shutdown_timeout: Period,
}

impl Default for RuntimeConfig {
    fn default() -> Self {
        Self { workers: default_workers(), shutdown_timeout: default_shutdown_timeout() }
    }
}

/// A pipeline file without a fault, as far as types, units and ranges go.
#[derive(Debug, Clone)]
pub struct Loaded {
    /// What the file says.
    pub pipeline: PipelineConfig,
    /// What a reload compares.
    pub fingerprints: Fingerprints,
    masked: Vec<MaskedValue>,
    written_out_secrets: Vec<Vec<String>>,
    document: Document,
}

impl Loaded {
    /// Where secrets are written out in the file. Nothing that is shown of it has them.
    pub fn written_out_secrets(&self) -> &[Vec<String>] {
        &self.written_out_secrets
    }

    /// The values that are masked, each with the path of the string in which it stands.
    pub fn masked_values(&self) -> impl Iterator<Item = (Vec<String>, &MaskedValue)> {
        self.masked.iter().filter_map(|masked| Some((self.document.path_of(&masked.place)?, masked)))
    }

    /// What stands in the file at a path.
    pub fn written(&self, path: &[String]) -> &str {
        self.document.written(path)
    }

    /// Shows warnings where they stand in the file.
    pub fn warnings(&self, warnings: Vec<Warning>) -> ConfigWarnings {
        self.document.warnings(warnings)
    }
}

/// What could be read of a pipeline file, faulty or not, so that a later stage can look for more faults in one go.
#[derive(Debug)]
pub struct Parsed {
    /// The nodes that could be typed. A key at fault that a node can do without has its default here; a node that
    /// lacks more is left out. Nothing of it may run unless `faults` is empty.
    pub pipeline: PipelineConfig,
    /// The names of all sources, filters and transforms in the file, those left out of `pipeline` included: `from` may name
    /// them.
    pub declared: BTreeSet<String>,
    /// The names of all sinks in the file, those left out of `pipeline` included.
    pub declared_sinks: BTreeSet<String>,
    /// The names of all templates in the file, those left out of `pipeline` included.
    pub declared_templates: BTreeSet<String>,
    /// What a reload compares.
    pub fingerprints: Fingerprints,
    /// The files that `${file:…}` names.
    pub named_files: NamedFiles,
    /// What is wrong, in the order of discovery.
    pub faults: Vec<Fault>,
    /// The values that are masked.
    masked: Vec<MaskedValue>,
    /// Where secrets are written out. They are concealed in the document.
    written_out_secrets: Vec<Vec<String>>,
    document: Document,
    /// The places of the values at fault.
    broken: HashSet<Range<usize>>,
}

impl Parsed {
    /// The pipeline, or all of its faults.
    pub fn into_loaded(self) -> Result<Loaded, ConfigErrors> {
        if !self.faults.is_empty() {
            return Err(self.report(Vec::new()));
        }
        let Self { pipeline, fingerprints, masked, written_out_secrets, document, .. } = self;
        Ok(Loaded { pipeline, fingerprints, masked, written_out_secrets, document })
    }

    /// Adds faults that only others can see, for example a name that another file has already.
    pub fn refuse(&mut self, problems: impl IntoIterator<Item = Problem>) {
        let faults = self.document.faults(problems.into_iter().collect(), &self.broken);
        self.faults.extend(faults);
    }

    /// All faults, with those that a later stage found in what could be read. A problem that only follows from a value
    /// which is reported as faulty is left out.
    pub fn report(mut self, problems: Vec<Problem>) -> ConfigErrors {
        self.refuse(problems);
        self.document.report(self.faults)
    }
}

/// Reads a pipeline file, with the process's environment.
pub fn load(path: &Path) -> Result<Loaded, ConfigErrors> {
    load_lenient(path)?.into_loaded()
}

/// Reads what can be read of a pipeline file, with the process's environment. Fails only when there is no text.
pub fn load_lenient(path: &Path) -> Result<Parsed, ConfigErrors> {
    let (name, text) = read_text(path)?;
    Ok(parse_lenient(&name, &text, &|variable| std::env::var(variable).ok()))
}

/// Reads a pipeline file as it is written: `${…}` stands for itself, so that neither the environment nor any secret is
/// needed. It can be looked at, and must not run.
pub fn load_as_written(path: &Path) -> Result<Parsed, ConfigErrors> {
    let (name, text) = read_text(path)?;
    let mut parsed = read::parse(&name, &text, None);
    // A reference may be of the wrong type or no name, and what it stands for right.
    let Parsed { faults, document, .. } = &mut parsed;
    let stands_in_reference = |place: &Range<usize>| document.value_around(place).contains("${");
    faults.retain(|fault| !fault.span.as_ref().is_some_and(stands_in_reference));
    Ok(parsed)
}

/// A file's name as it is shown, and its content.
fn read_text(path: &Path) -> Result<(String, String), ConfigErrors> {
    let name = path.display().to_string();
    let unreadable = |error: &dyn std::fmt::Display| {
        let fault = Fault { span: None, message: format!("cannot read {name}: {error}"), help: None };
        ConfigErrors::new(&name, "", vec![fault])
    };
    let bytes = std::fs::read(path).map_err(|error| unreadable(&error))?;
    let text = String::from_utf8(bytes).map_err(|error| unreadable(&error.utf8_error()))?;
    Ok((name, text))
}

/// Reads a pipeline from `text`; `name` is shown in faults, `env` looks environment variables up.
pub fn parse(name: &str, text: &str, env: &dyn Fn(&str) -> Option<String>) -> Result<Loaded, ConfigErrors> {
    parse_lenient(name, text, env).into_loaded()
}

/// Reads what can be read of a pipeline from `text`.
pub fn parse_lenient(name: &str, text: &str, env: &dyn Fn(&str) -> Option<String>) -> Parsed {
    read::parse(name, text, Some(env))
}

fn default_workers() -> usize {
    1
}

fn default_shutdown_timeout() -> Period {
    Period::from_secs(25)
}
