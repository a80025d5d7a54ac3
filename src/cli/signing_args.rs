//! How requests are signed, on the command line: the keys of `[sinks.NAME.signing]` as flags of the same names.

use std::convert::Infallible;

use clap::Args;
use clap::builder::{PossibleValuesParser, TypedValueParser as _};
use strum::VariantNames as _;

use super::CliError;
use crate::problem::Problem;
use crate::secret::Secret;
use crate::sink::signing::{Encoding, HmacAlgorithm, SchemeName, SigningConfig};

/// How requests are signed.
#[derive(Debug, Args)]
#[command(next_help_heading = "Signatures")]
pub struct SigningArgs {
    /// Verify signatures with this secret, in the form that the scheme asks for; may be given several times, and commas
    /// separate several
    #[arg(
        long = "secret",
        value_name = "SECRET",
        env = "BRIDGE_LISTEN_SECRET",
        hide_env_values = true,
        value_delimiter = ',',
        value_parser = secret
    )]
    pub secrets: Vec<Secret>,

    /// How requests are signed; `standard-webhooks` if not given
    #[arg(long, value_name = "NAME", requires = "secrets", value_parser = scheme())]
    pub scheme: Option<SchemeName>,

    /// Of `custom`: the algorithm
    #[arg(long, value_name = "NAME", requires = "scheme", value_parser = algorithm())]
    pub algorithm: Option<HmacAlgorithm>,

    /// Of `custom`: what is signed, for example `{{timestamp}}.{{body}}`
    #[arg(long, value_name = "TEXT", requires = "scheme")]
    pub content: Option<String>,

    /// Of `custom`: the header with the signature
    #[arg(long, value_name = "NAME", requires = "scheme")]
    pub header: Option<String>,

    /// Of `custom`: the value of that header, for example `sha256={{signature}}`
    #[arg(long, value_name = "TEXT", requires = "scheme")]
    pub value: Option<String>,

    /// Of `custom`: how the signature is written
    #[arg(long, value_name = "NAME", requires = "scheme", value_parser = encoding())]
    pub encoding: Option<Encoding>,

    /// Of `custom`: what stands between the elements of a value that is a list
    #[arg(long, value_name = "TEXT", requires = "scheme")]
    pub separator: Option<String>,
}

impl SigningArgs {
    /// The configuration; `None` without a secret. An empty variable is as good as none.
    pub fn config(&self) -> Option<SigningConfig> {
        let config = SigningConfig {
            scheme: self.scheme.unwrap_or_default(),
            secrets: self.secrets.clone(),
            algorithm: self.algorithm,
            content: self.content.clone(),
            header: self.header.clone(),
            value: self.value.clone(),
            encoding: self.encoding,
            separator: self.separator.clone(),
        };
        let has_secret = config.present_secrets().next().is_some();
        has_secret.then_some(config)
    }
}

/// What is wrong with the flags.
pub(super) fn wrong_signing(problems: Vec<Problem>) -> CliError {
    CliError::Usage(problems.iter().map(describe).collect::<Vec<_>>().join("; "))
}

fn describe(problem: &Problem) -> String {
    let flag = match problem.path.first().map(String::as_str) {
        Some("secrets") | None => "secret",
        Some(key) => key,
    };
    match &problem.help {
        Some(help) => format!("--{flag}: {} ({help})", problem.message),
        None => format!("--{flag}: {}", problem.message),
    }
}

fn secret(text: &str) -> Result<Secret, Infallible> {
    Ok(Secret::new(text))
}

fn scheme() -> impl clap::builder::TypedValueParser<Value = SchemeName> {
    let names = PossibleValuesParser::new(SchemeName::all().map(SchemeName::name));
    names.map(|name| SchemeName::of_name(&name).unwrap_or_default())
}

fn algorithm() -> impl clap::builder::TypedValueParser<Value = HmacAlgorithm> {
    PossibleValuesParser::new(HmacAlgorithm::VARIANTS).try_map(|name| name.parse::<HmacAlgorithm>())
}

fn encoding() -> impl clap::builder::TypedValueParser<Value = Encoding> {
    PossibleValuesParser::new(Encoding::VARIANTS).try_map(|name| name.parse::<Encoding>())
}
