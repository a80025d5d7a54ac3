//! From a path to a compiled graph, with every fault of both stages in one report.

use std::path::{Path, PathBuf};

use clap::Args;

use super::CliError;
use crate::config::{self, ConfigErrors, Fingerprints, Parsed, PipelineConfig};
use crate::pipeline::compile::base_dir;
use crate::pipeline::warnings::written_out_secrets;
use crate::pipeline::{Declared, Environment, Graph, compile};
use crate::store::config::StoreSettings;
use crate::template::Options;

/// Where durable state is kept.
#[derive(Debug, Clone, Args)]
pub struct StateArgs {
    /// The folder for the state; each pipeline has a folder of its own in it, with its store unless `store.url` names
    /// another. Default: `bridge` in the XDG state folder (~/.local/state/bridge)
    #[arg(long, value_name = "DIR", env = "BRIDGE_STATE_DIR")]
    pub state_dir: Option<PathBuf>,
}

impl StateArgs {
    /// The folder of all pipelines.
    ///
    /// # Errors
    /// [`CliError::NoStateDir`] when none is given and there is no home folder.
    pub fn folder(&self) -> Result<PathBuf, CliError> {
        use etcetera::BaseStrategy as _;
        if let Some(folder) = &self.state_dir {
            return Ok(folder.clone());
        }
        let xdg = etcetera::base_strategy::Xdg::new().ok().and_then(|strategy| strategy.state_dir());
        Ok(xdg.ok_or(CliError::NoStateDir)?.join("bridge"))
    }
}

/// A pipeline file's graph, and the folder that belongs to the pipeline alone.
pub struct Compiled {
    /// The graph.
    pub graph: Graph,
    /// The pipeline's own state folder.
    pub state_dir: PathBuf,
    /// Where the store is; `None` with `store.url = "none"`.
    pub store: Option<StoreSettings>,
    /// What a reload compares.
    pub fingerprints: Fingerprints,
}

/// Loads and compiles a pipeline file. `change` may alter the config before it is compiled.
///
/// # Errors
/// All faults of the file, those of its text and those of its meaning.
pub fn load(
    path: &Path,
    state_root: &Path,
    once: bool,
    change: impl FnOnce(&mut PipelineConfig),
) -> Result<Compiled, ConfigErrors> {
    let mut parsed = config::load_lenient(path)?;
    change(&mut parsed.pipeline);
    compile_parsed(parsed, path, state_root, once)
}

/// Compiles what was read of a pipeline file.
///
/// # Errors
/// All faults of the file, those of its text and those of its meaning.
pub fn compile_parsed(
    mut parsed: Parsed,
    path: &Path,
    state_root: &Path,
    once: bool,
) -> Result<Compiled, ConfigErrors> {
    // No line of a report may show them.
    parsed.conceal(&written_out_secrets(&parsed));
    let state_dir = state_root.join(&parsed.pipeline.name);
    let environment = Environment { state_dir, base_dir: base_dir(path), once, rendering: Options::default() };
    compile_in(parsed, environment)
}

/// Compiles what was read of a pipeline file for its surroundings.
///
/// # Errors
/// All faults of the file, those of its text and those of its meaning.
pub fn compile_in(parsed: Parsed, environment: Environment) -> Result<Compiled, ConfigErrors> {
    let declared =
        Declared { nodes: &parsed.declared, sinks: &parsed.declared_sinks, templates: &parsed.declared_templates };
    match compile(&parsed.pipeline, declared, &environment) {
        Ok(graph) if parsed.faults.is_empty() => {
            let Parsed { pipeline, fingerprints, .. } = parsed;
            let Environment { state_dir, base_dir, .. } = environment;
            // Its faults have been found by the compilation.
            let store = StoreSettings::new(&pipeline.store, &pipeline.name, &state_dir, &base_dir);
            Ok(Compiled { graph, state_dir, store: store.ok().flatten(), fingerprints })
        }
        Ok(_) => Err(parsed.report(Vec::new())),
        Err(problems) => Err(parsed.report(problems)),
    }
}
