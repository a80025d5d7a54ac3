//! Where the state of pipelines is kept, for all subcommands that load one.

use std::path::PathBuf;

use clap::Args;

use super::CliError;

pub use crate::pipeline::load::{Compiled, compile_for_trials, compile_parsed, load};

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
