//! `bridge health`: asks a running bridge by its admin port how it is, as probes of containers do.

use std::io::Write as _;
use std::time::Duration;

use clap::Args;
use serde_json::Value;

use super::CliError;
use crate::admin::{AdminAddress, HEALTHZ, READYZ};
use crate::pipeline::run::new_runtime;

/// Asks a running bridge whether it works, or whether it is ready.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  # 0: the process works; 1: it does not, or there is none
  bridge health
  # 0: sources are connected, receivers answer
  # 1: not so, and why
  bridge health --ready
  # of a bridge that was started with --admin 127.0.0.1:9181
  bridge health --admin 127.0.0.1:9181

For more, `curl -s 127.0.0.1:9180/readyz` shows every node of every pipeline.")]
pub struct HealthArgs {
    /// Ask whether it is ready, and not only whether it works
    #[arg(long)]
    pub ready: bool,
    /// The admin address of the bridge, as given to `bridge run`. Default: 127.0.0.1:9180
    #[arg(long, value_name = "ADDR", env = "BRIDGE_ADMIN")]
    pub admin: Option<AdminAddress>,
}

/// An answer takes milliseconds; a probe has seconds.
const TIMEOUT: Duration = Duration::from_secs(4);

/// Runs the subcommand.
///
/// # Errors
/// A bridge that is not healthy, or does not answer.
pub fn run(args: &HealthArgs) -> Result<(), CliError> {
    let address = args.admin.clone().unwrap_or_default();
    let reached = address.reach().map_err(CliError::io("--admin: cannot find the address"))?;
    let Some(reached) = reached else {
        return Err(CliError::Usage("--admin is `none`: then there is nobody to ask".to_owned()));
    };
    let path = if args.ready { READYZ } else { HEALTHZ };
    let runtime = new_runtime().map_err(CliError::io("cannot start"))?;
    let url = format!("http://{reached}{path}");
    let (is_good, report) = runtime
        .block_on(ask(&url))
        .map_err(|error| CliError::Unhealthy(format!("no bridge answers at {url}: {}", cause(&error))))?;
    let line = if args.ready { ready_line(&report) } else { alive_line(&report) };
    if !is_good {
        return Err(CliError::Unhealthy(line));
    }
    writeln!(anstream::stdout(), "{line}").map_err(CliError::io("cannot print"))
}

async fn ask(url: &str) -> reqwest::Result<(bool, Value)> {
    // Fails only when a provider is installed already. No TLS is spoken here, but the client will not be built without.
    rustls::crypto::ring::default_provider().install_default().ok();
    let client = reqwest::Client::builder().no_proxy().http1_only().tls_certs_only([]).timeout(TIMEOUT).build()?;
    let answer = client.get(url).send().await?;
    let is_good = answer.status().is_success();
    let text = answer.text().await?;
    Ok((is_good, serde_json::from_str(&text).unwrap_or_default()))
}

fn alive_line(report: &Value) -> String {
    if report["alive"] == true {
        return format!("alive: workers: {}", report["workers"]);
    }
    format!("not alive: these workers are stuck, with seconds: {}", report["stuck_workers"])
}

fn ready_line(report: &Value) -> String {
    let pipelines = report["pipelines"].as_object();
    if report["ready"] == true {
        return format!("ready: pipelines: {}", pipelines.map_or(0, serde_json::Map::len));
    }
    let reasons = report["reasons"].as_array().into_iter().flatten().filter_map(Value::as_str);
    format!("not ready: {}", reasons.collect::<Vec<_>>().join("; "))
}

/// The innermost cause: what is around it only repeats the URL.
fn cause(error: &reqwest::Error) -> String {
    let mut cause: &dyn std::error::Error = error;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    cause.to_string()
}
