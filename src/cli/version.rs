//! `bridge --version`: which build this is, and with `--verbose` what it is made of.

use std::io::Write as _;

use super::CliError;
use crate::pipeline::run::new_runtime;
use crate::source::kafka;
use crate::store::sqlite_version;

/// Prints the version, and with `verbose` what the binary was built for and the libraries in it that are not Rust.
///
/// # Errors
/// When it cannot be printed.
pub fn run(verbose: bool) -> Result<(), CliError> {
    let mut text = format!("bridge {}\n", env!("CARGO_PKG_VERSION"));
    if verbose {
        text += &build()?;
    }
    anstream::stdout().write_all(text.as_bytes()).map_err(CliError::io("cannot print"))
}

fn build() -> Result<String, CliError> {
    let profile = if cfg!(debug_assertions) { "debug" } else { "release" };
    let (arch, system) = (std::env::consts::ARCH, std::env::consts::OS);
    let runtime = new_runtime().map_err(CliError::io("cannot start"))?;
    let sqlite = runtime.block_on(sqlite_version());
    let librdkafka = kafka::library();
    let openssl = if cfg!(feature = "vendored") { "OpenSSL, built in" } else { "the system's OpenSSL" };
    Ok(format!(
        "build:       {profile}, {arch}, {system}\n\
         sources:     amqp, file, kafka, stdin\n\
         sinks:       webhook (HTTP/1.1, HTTP/2)\n\
         stores:      SQLite {sqlite}, PostgreSQL\n\
         TLS:         rustls with ring; for Kafka: {openssl}\n\
         librdkafka:  {librdkafka}\n"
    ))
}
