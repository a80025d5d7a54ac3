//! Many pipelines in one process: each file is a pipeline that starts, is reloaded, fails and ends by itself.
//!
//! [`run`] looks at the [`files`], starts what is sound, and looks again at every [`Trigger`]. A version of a file that is
//! faulty changes nothing. One that is sound goes to the running pipeline, which takes it over node by node; a
//! pipeline whose `[store]` or `[runtime]` differ is stopped in order and started anew. [`watch`] sees files change.
//!
//! [`leftovers`] says what a pipeline that has come to its end has left in its store.
//!
//! Small pipelines share worker threads. Nothing here touches an event, and nothing blocks a worker: files are read and
//! compiled on the thread that calls [`run`].

mod files;
mod leftovers;
mod pipelines;
pub mod watch;

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use tokio::sync::mpsc;
use tracing::{error, info, warn};

use crate::config::ConfigErrors;
use crate::config::files::FilesError;
use crate::health::Health;
use crate::pipeline::threads::new_runtime;
use crate::pipeline::{Changes, RunError};
use crate::service_manager;
use crate::shutdown::Shutdown;

use files::{Files, Found};
use pipelines::{Pipelines, Version};

/// What is to be run, and how.
#[derive(Debug, Clone)]
pub struct Options {
    /// Files and folders: a folder stands for the `*.toml` in it.
    pub paths: Vec<PathBuf>,
    /// The folder of all pipelines' state.
    pub state_root: PathBuf,
    /// Stop when every source has reached the end that it saw at the start.
    pub once: bool,
    /// What ends one pipeline by an error ends all, and a faulty file keeps all from starting.
    pub strict: bool,
    /// Go on when nothing runs any more: a changed file may start something.
    pub watch: bool,
}

/// Why the files are looked at again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trigger {
    /// Somebody asked for it (SIGHUP): all files are loaded, and what has failed is tried anew.
    Request,
    /// Files may have changed: those that did are loaded.
    Files,
}

/// Why a run did not end well.
#[derive(Debug, thiserror::Error)]
pub enum SupervisorError {
    /// Nobody knows which files are meant.
    #[error(transparent)]
    Files(#[from] FilesError),
    /// Pipeline files are wrong, and nothing runs.
    #[error("{} of the pipeline files are wrong", .0.len())]
    Faulty(Vec<ConfigErrors>),
    /// A pipeline has failed.
    #[error(transparent)]
    Run(#[from] RunError),
    /// Some of several pipelines have failed or never ran; why, is in the log.
    #[error("{0} of the pipelines failed or could not be started; the log says why")]
    Failed(usize),
    /// The operating system refuses what is needed.
    #[error("cannot start: {0}")]
    Start(io::Error),
}

/// Runs all pipelines until they have ended or the shutdown is over, noting in `health` how they are. Blocks.
///
/// # Errors
/// What kept it from starting, or what has failed and was not mended by a reload.
pub fn run(
    options: Options,
    health: Health,
    shutdown: &Shutdown,
    triggers: mpsc::UnboundedReceiver<Trigger>,
) -> Result<(), SupervisorError> {
    let runtime = new_runtime().map_err(SupervisorError::Start)?;
    let mut supervisor = Supervisor::new(options, health, shutdown.clone());
    let result = runtime.block_on(async {
        supervisor.start()?;
        supervisor.supervise(triggers).await
    });
    supervisor.pipelines.join();
    result
}

struct Supervisor {
    options: Options,
    health: Health,
    shutdown: Shutdown,
    files: Files,
    pipelines: Pipelines,
    /// What has gone wrong and was not mended since, by file.
    failures: BTreeMap<PathBuf, SupervisorError>,
}

/// What a look at the files means.
#[derive(Default)]
struct Plan {
    start: Vec<Version>,
    reload: Vec<(Version, Changes)>,
    faulty: Vec<(PathBuf, ConfigErrors)>,
    gone: Vec<PathBuf>,
}

impl Supervisor {
    fn new(options: Options, health: Health, shutdown: Shutdown) -> Self {
        let is_one_file = matches!(options.paths.as_slice(), [path] if !path.is_dir());
        let options = Options { strict: options.strict || is_one_file, ..options };
        let files = Files::new(options.paths.clone());
        let pipelines = Pipelines::new(health.clone(), shutdown.clone(), !is_one_file);
        Self { options, health, shutdown, files, pipelines, failures: BTreeMap::new() }
    }

    /// Starts all sound pipelines.
    fn start(&mut self) -> Result<(), SupervisorError> {
        let Plan { start, faulty, .. } = self.plan_reload(Trigger::Request)?;
        if !faulty.is_empty() && (self.options.strict || start.is_empty()) {
            return Err(SupervisorError::Faulty(faulty.into_iter().map(|(_, errors)| errors).collect()));
        }
        self.report_faulty(faulty);
        start.into_iter().for_each(|version| self.pipelines.add(version));
        self.start_waiting();
        service_manager::ready(&self.pipelines.summary());
        Ok(())
    }

    /// Looks after the pipelines until they have ended.
    async fn supervise(&mut self, mut triggers: mpsc::UnboundedReceiver<Trigger>) -> Result<(), SupervisorError> {
        loop {
            let is_ending = self.shutdown.deadline().is_some();
            if is_ending {
                // Also when the shutdown began while files were being looked at.
                self.pipelines.forget_waiting();
            }
            if self.pipelines.are_over() && (is_ending || !self.options.watch) {
                return self.conclude();
            }
            tokio::select! {
                Some((file, result)) = self.pipelines.next_end() => self.note_end(file, result),
                Some(trigger) = triggers.recv(), if !is_ending => self.handle_trigger(trigger),
                () = self.shutdown.begun(), if !is_ending => {}
            }
        }
    }

    /// Reloads, and tells the service manager of it when somebody asked for that.
    fn handle_trigger(&mut self, trigger: Trigger) {
        if trigger == Trigger::Files {
            return self.reload(trigger);
        }
        service_manager::reloading();
        self.reload(trigger);
        service_manager::ready(&self.pipelines.summary());
    }

    /// Looks at the files again and brings what has changed to the pipelines.
    fn reload(&mut self, trigger: Trigger) {
        let plan = match self.plan_reload(trigger) {
            Ok(plan) => plan,
            Err(error) => {
                count("invalid");
                error!("nothing is reloaded: {error}");
                self.pipelines.note_refused(None, &error);
                return;
            }
        };
        let Plan { start, reload, faulty, gone } = plan;
        if faulty.is_empty() && start.is_empty() && reload.is_empty() && gone.is_empty() {
            if trigger == Trigger::Request {
                count("applied");
                info!("nothing has changed");
            }
            return;
        }
        count(if faulty.is_empty() { "applied" } else { "invalid" });
        self.report_faulty(faulty);
        for file in gone {
            info!(file = %file.display(), "the pipeline file is gone");
            self.forget_failure(&file);
            self.pipelines.stop(&file);
        }
        for (version, changes) in reload {
            self.forget_failure(&version.file);
            self.pipelines.reload(version, changes);
        }
        for version in start {
            self.forget_failure(&version.file);
            self.pipelines.add(version);
        }
        self.start_waiting();
    }

    fn plan_reload(&mut self, trigger: Trigger) -> Result<Plan, FilesError> {
        let Found { sound, faulty, gone } = self.files.scan(trigger == Trigger::Files)?;
        let mut plan = Plan { faulty, gone, ..Plan::default() };
        for (file, parsed) in sound {
            self.pipelines.plan(&self.options, file, parsed, trigger, &mut plan);
        }
        Ok(plan)
    }

    fn report_faulty(&mut self, faulty: Vec<(PathBuf, ConfigErrors)>) {
        for (file, errors) in faulty {
            let shown = file.display();
            if self.pipelines.has(&file) {
                error!(file = %shown, "the new version of the pipeline file is wrong, and the one before goes on:\n{errors}");
                self.pipelines.note_refused(Some(&file), &errors.summary());
            } else {
                error!(file = %shown, "the pipeline file is wrong and is not run:\n{errors}");
                self.health
                    .pipeline(&shown.to_string())
                    .whole()
                    .stopped(format!("the file is wrong: {}", errors.summary()));
                self.failures.insert(file, SupervisorError::Faulty(vec![errors]));
            }
        }
    }

    /// A file that had failed is gone, or gets another try.
    fn forget_failure(&mut self, file: &Path) {
        self.failures.remove(file);
        self.health.remove_pipeline(&file.display().to_string());
    }

    /// Starts the pipelines whose name and file are free.
    fn start_waiting(&mut self) {
        if self.shutdown.deadline().is_some() {
            return self.pipelines.forget_waiting();
        }
        for (file, error) in self.pipelines.start_waiting() {
            self.fail(&file, error);
        }
        self.pipelines.tell_of_limit();
    }

    fn note_end(&mut self, file: PathBuf, result: Result<(), RunError>) {
        match result {
            Ok(()) => info!(file = %file.display(), "the pipeline has ended"),
            Err(error) => self.fail(&file, error),
        }
        self.start_waiting();
    }

    fn fail(&mut self, file: &Path, error: RunError) {
        error!(file = %file.display(), "the pipeline has failed: {error}");
        if self.options.strict {
            if self.shutdown.deadline().is_none() && !self.pipelines.are_over() {
                warn!("with --strict that ends the others, too");
            }
            self.shutdown.begin();
        }
        self.failures.insert(file.to_owned(), error.into());
    }

    fn conclude(&mut self) -> Result<(), SupervisorError> {
        let count = self.failures.len();
        match self.failures.pop_first() {
            None => Ok(()),
            Some((_, error)) if self.options.strict || count == 1 && self.files.len() == 1 => Err(error),
            Some(_) => Err(SupervisorError::Failed(count)),
        }
    }
}

fn count(result: &'static str) {
    metrics::counter!("bridge_reload_total", "result" => result).increment(1);
}
