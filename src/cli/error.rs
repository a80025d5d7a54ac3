//! What a subcommand can fail with, and the exit code of each: the codes are documented in `bridge --help`.

use std::io::{self, Write as _};
use std::process::ExitCode;

use tracing::error;

use super::logging::LogFormat;
use crate::config::files::FilesError;
use crate::config::{ConfigErrors, ReportStyle};
use crate::pipeline::RunError;
use crate::secret::mask;
use crate::store::StoreError;
use crate::store::record::RowId;
use crate::supervisor::SupervisorError;

/// Why a subcommand failed.
#[derive(Debug, thiserror::Error)]
pub enum CliError {
    /// Pipeline files are wrong.
    #[error("{} of the pipeline files are wrong", .0.len())]
    Config(Vec<ConfigErrors>),
    /// Pipeline files are wrong; how, has been printed.
    #[error("{wrong} of {files} pipeline files {} wrong", if *wrong == 1 { "is" } else { "are" })]
    Faulty {
        /// Files with a fault.
        wrong: usize,
        /// All files.
        files: usize,
    },
    /// `check --deny-warnings` found some; which, has been printed.
    #[error("there are warnings ({0}), and --deny-warnings allows none")]
    Warnings(usize),
    /// The paths on the command line mean no pipeline files.
    #[error(transparent)]
    Files(#[from] FilesError),
    /// The run failed.
    #[error(transparent)]
    Run(#[from] RunError),
    /// `check --connect` could not reach something; what, has been printed.
    #[error("{0} of the pipeline's brokers, receivers and stores could not be reached")]
    Unreachable(usize),
    /// One or more of the pipelines of a run failed.
    #[error(transparent)]
    Supervisor(SupervisorError),
    /// The store cannot be used.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// There are no dead letters of these numbers.
    #[error("there is no dead letter {}; nothing was done, and `bridge dead list` shows which there are", numbers(.0))]
    NoSuchLetter(Vec<RowId>),
    /// The letters of these numbers are there, and not chosen by the other options.
    #[error("the other options leave out the dead letters of these numbers: {}; nothing was done", numbers(.0))]
    LeftOut(Vec<RowId>),
    /// Some letters are damaged; which, has been printed.
    #[error("{0} of the letters cannot be read and are left out")]
    Unreadable(u64),
    /// Not all letters of a replay could be delivered; why, has been printed or is in the letters.
    #[error("{0} of the letters are dead letters still or again; `bridge dead list` says why")]
    StillDead(u64),
    /// Tests in pipeline files failed; how, has been printed.
    #[error("{0} of the tests failed")]
    TestsFailed(usize),
    /// The expression or template of the command line is wrong.
    #[error("{0}")]
    Expression(ConfigErrors),
    /// What was given as an event is none.
    #[error("{0}")]
    NoEvent(String),
    /// The expression or template could not be evaluated for some events; why, has been printed.
    #[error("it could not be evaluated for {0} of the events")]
    NotEvaluated(usize),
    /// There is no folder for the state.
    #[error("there is no folder for the state: give one with --state-dir or BRIDGE_STATE_DIR")]
    NoStateDir,
    /// A running bridge is not healthy, or there is none.
    #[error("{0}")]
    Unhealthy(String),
    /// An argument has a value that only its subcommand could find wrong.
    #[error("{0}")]
    Usage(String),
    /// The operating system refused something.
    #[error("{what}: {error}")]
    Io {
        /// What could not be done.
        what: String,
        /// Why.
        error: io::Error,
    },
}

impl CliError {
    /// The operating system refused `what`.
    pub fn io(what: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        let what = what.into();
        move |error| Self::Io { what, error }
    }

    /// Reports the error on standard error, in the form of the logs, and gives the exit code.
    pub fn report(&self, form: LogFormat) -> ExitCode {
        if self.is_closed_pipe() {
            return ExitCode::SUCCESS;
        }
        match form {
            LogFormat::Text => self.print(),
            LogFormat::Json => self.log(),
        }
        ExitCode::from(self.exit_code())
    }

    /// True when whoever reads the output has had enough of it, as in `bridge dead export … | head`.
    fn is_closed_pipe(&self) -> bool {
        matches!(self, Self::Io { error, .. } if error.kind() == io::ErrorKind::BrokenPipe)
    }

    fn print(&self) {
        let text = match self {
            Self::Config(files) => {
                let look = ReportStyle::for_stderr();
                files.iter().map(|errors| errors.render(look)).collect::<Vec<_>>().join("\n")
            }
            Self::Expression(errors) => errors.render(ReportStyle::for_stderr()),
            other => format!("error: {}\n", mask(&other.to_string())),
        };
        // Nobody is left to tell when standard error is closed.
        io::stderr().write_all(text.as_bytes()).ok();
    }

    fn log(&self) {
        match self {
            Self::Config(files) => files.iter().for_each(|errors| error!("{errors}")),
            other => error!("{other}"),
        }
    }

    fn exit_code(&self) -> u8 {
        match self {
            Self::Run(_) | Self::Supervisor(_) | Self::Io { .. } | Self::Store(_) => 1,
            Self::NoSuchLetter(_) | Self::Unreadable(_) | Self::StillDead(_) | Self::Unhealthy(_) => 1,
            Self::TestsFailed(_) | Self::NoEvent(_) | Self::NotEvaluated(_) => 1,
            Self::LeftOut(_) | Self::NoStateDir | Self::Usage(_) | Self::Files(_) | Self::Expression(_) => 2,
            Self::Config(_) | Self::Faulty { .. } | Self::Warnings(_) => 3,
            Self::Unreachable(_) => 4,
        }
    }
}

fn numbers(ids: &[RowId]) -> String {
    ids.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

impl From<ConfigErrors> for CliError {
    fn from(errors: ConfigErrors) -> Self {
        Self::Config(vec![errors])
    }
}

impl From<SupervisorError> for CliError {
    fn from(error: SupervisorError) -> Self {
        match error {
            SupervisorError::Faulty(files) => Self::Config(files),
            SupervisorError::Run(error) => Self::Run(error),
            SupervisorError::Files(error) => Self::Files(error),
            error => Self::Supervisor(error),
        }
    }
}
