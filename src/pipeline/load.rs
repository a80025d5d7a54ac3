//! From a path to a compiled graph, with every fault of both stages in one report.

use std::path::{Path, PathBuf};

use super::compile::{Compilation, base_dir, compile};
use super::trial::FrozenClock;
use super::{Declared, Environment, Graph};
use crate::config::{self, ConfigErrors, Loaded, Parsed, PipelineConfig};
use crate::problem::Warning;
use crate::store::Store;
use crate::store::config::StoreSettings;
use crate::template::Options;

/// A pipeline file without a fault: its graph, and what else follows from it. It is checked once, and this keeps what was
/// found.
pub struct Compiled {
    /// The graph.
    pub graph: Graph,
    /// The pipeline's own state folder.
    pub state_dir: PathBuf,
    /// Where the store is; `None` with `store.url = "none"`.
    pub store: Option<StoreSettings>,
    /// What the file says.
    pub file: Loaded,
    /// What is worth a second look in its templates.
    pub template_warnings: Vec<Warning>,
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
pub fn compile_parsed(parsed: Parsed, path: &Path, state_root: &Path, once: bool) -> Result<Compiled, ConfigErrors> {
    compile_parsed_on(parsed, path, state_root, once, None)
}

/// Compiles what was read of a pipeline file. With a store, the graph is for the running pipeline that has it open.
///
/// # Errors
/// All faults of the file, those of its text and those of its meaning.
pub fn compile_parsed_on(
    parsed: Parsed,
    path: &Path,
    state_root: &Path,
    once: bool,
    running_store: Option<&Store>,
) -> Result<Compiled, ConfigErrors> {
    let state_dir = state_root.join(&parsed.pipeline.name);
    let environment = Environment { state_dir, base_dir: base_dir(path), once, rendering: Options::default() };
    compile_for(parsed, environment, running_store)
}

/// Compiles what was read of a pipeline file for these surroundings.
///
/// # Errors
/// All faults of the file, those of its text and those of its meaning.
pub fn compile_in(parsed: Parsed, environment: Environment) -> Result<Compiled, ConfigErrors> {
    compile_for(parsed, environment, None)
}

/// Compiles what was read of a pipeline file for trials by this clock: nothing of them is kept.
///
/// # Errors
/// All faults of the file, those of its text and those of its meaning.
pub fn compile_for_trials(parsed: Parsed, path: &Path, clock: &FrozenClock) -> Result<Compiled, ConfigErrors> {
    // Any folder will do.
    let (state_dir, base_dir) = (PathBuf::new(), base_dir(path));
    compile_in(parsed, Environment { state_dir, base_dir, once: true, rendering: clock.options() })
}

fn compile_for(
    parsed: Parsed,
    environment: Environment,
    running_store: Option<&Store>,
) -> Result<Compiled, ConfigErrors> {
    let declared =
        Declared { nodes: &parsed.declared, sinks: &parsed.declared_sinks, templates: &parsed.declared_templates };
    match compile(&parsed.pipeline, declared, &environment, running_store) {
        Ok(Compilation { graph, store, warnings: template_warnings }) => {
            let file = parsed.into_loaded()?;
            Ok(Compiled { graph, state_dir: environment.state_dir, store, file, template_warnings })
        }
        Err(problems) => Err(parsed.report(problems)),
    }
}
