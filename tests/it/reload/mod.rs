//! Live reloads of real `bridge run` processes, and many pipelines in one process.

mod files;
mod kafka;
mod many;
mod nodes;
mod tables;
mod under_load;

use std::path::Path;

use crate::delivery::Site;
use crate::support::{Bridge, wait_until};

/// What the log says when a pipeline has taken over a new version.
pub(crate) const APPLIED: &str = "goes on with the new version";

/// Writes a new version of the pipeline file and has it loaded by SIGHUP; returns when the log says `expected` once more.
pub(crate) async fn reload(site: &Site, bridge: &Bridge, config: &str, expected: &str) {
    let before = site.log_count(bridge, expected);
    std::fs::write(site.folder.path().join("pipeline.toml"), config).unwrap();
    bridge.signal(nix::sys::signal::Signal::SIGHUP);
    wait_until(expected, || site.log_count(bridge, expected) > before).await;
}

/// A pipeline from a file of its own in `folder` to `url`.
fn small_pipeline(folder: &Path, name: &str, url: &str) -> String {
    format!(
        "name = \"{name}\"\n[sources.input]\ntype = \"file\"\npaths = [\"{}/{name}.jsonl\"]\n\
         [sinks.out]\ntype = \"webhook\"\nfrom = [\"input\"]\nurl = \"{url}/{name}\"\n",
        folder.display()
    )
}

/// Shows a measurement to whoever runs the tests with `--nocapture`.
#[expect(clippy::print_stderr, reason = "it is meant to be seen")]
fn show(measured: &str) {
    eprintln!("{measured}");
}
