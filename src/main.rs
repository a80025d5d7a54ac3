//! The `bridge` command: everything is in the library, this only parses, calls and exits.

use std::process::ExitCode;

use webhook_bridge::cli::logging::LogArgs;
use webhook_bridge::cli::{self, Cli, CliError, Command};

/// An event costs some dozens of short-lived allocations, which this allocator makes cheaper than the system's.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let (command, log) = Cli::parse_or_exit();
    cli::logging::start(&log);
    let Some(command) = command else { return exit(cli::version::run(log.verbose > 0), &log) };
    let result = match command {
        Command::Run(args) => cli::run::run(&args),
        Command::Check(args) => cli::check::run(&args, log.log_format),
        Command::Diff(args) => cli::diff::run(&args),
        Command::Graph(args) => cli::graph::run(&args),
        Command::Test(args) => cli::test::run(&args),
        Command::Eval(args) => cli::eval::run(&args),
        Command::Dev(args) => cli::dev::run(&args),
        Command::Listen(args) => cli::listen::run(&args),
        Command::Dead(args) => cli::dead::run(&args),
        Command::Sinks(args) => cli::sinks::run(&args),
        Command::Health(args) => cli::health::run(&args),
        Command::Presets(args) => cli::presets::run(&args),
        Command::Schema(args) => cli::schema::run(&args),
        Command::Completions(args) => cli::completions::run(&args),
    };
    exit(result, &log)
}

fn exit(result: Result<(), CliError>, log: &LogArgs) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => error.report(log.log_format),
    }
}
