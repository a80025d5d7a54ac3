//! What the end-to-end tests share: a `bridge` process of their own, and waiting for conditions instead of for time.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

mod certificate;
mod nginx;
mod small_disk;
mod store;

pub(crate) use certificate::Certificate;
pub(crate) use nginx::{Nginx, NginxSetup};
pub(crate) use small_disk::SmallDisk;
pub(crate) use store::{Parked, lock_store, parked, rows, store_file};

/// How long a test waits for something that should happen soon. Generous: the machine may be busy.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// A running `bridge run`, killed when it is dropped. Its logs are in a file, shown when a wait for it fails.
pub(crate) struct Bridge {
    child: Child,
    log: PathBuf,
}

impl Bridge {
    /// Writes `config` to `folder/pipeline.toml` and runs it, with state below `folder/state` and debug logs.
    pub(crate) fn run(folder: &Path, config: &str) -> Self {
        Self::run_with(folder, config, &[], Stdio::null())
    }

    /// As [`run`](Self::run), with further arguments and a standard input.
    pub(crate) fn run_with(folder: &Path, config: &str, args: &[&str], stdin: Stdio) -> Self {
        Self::run_in(&[], folder, config, args, stdin)
    }

    /// As [`run_with`](Self::run_with), with these variables in its environment.
    pub(crate) fn run_in(variables: &[(&str, &str)], folder: &Path, config: &str, args: &[&str], stdin: Stdio) -> Self {
        let pipeline = folder.join("pipeline.toml");
        std::fs::write(&pipeline, config).unwrap();
        Self::spawn(variables, folder, args, &[&pipeline], stdin)
    }

    /// Runs these files and folders, with state below `folder/state` and debug logs.
    pub(crate) fn run_paths(folder: &Path, args: &[&str], paths: &[&Path]) -> Self {
        Self::spawn(&[], folder, args, paths, Stdio::null())
    }

    /// As [`run`](Self::run), in a process that may have so many files open.
    pub(crate) fn run_limited(limit: usize, folder: &Path, config: &str) -> Self {
        let pipeline = folder.join("pipeline.toml");
        std::fs::write(&pipeline, config).unwrap();
        Self::spawn_by(limited(limit), folder, &[], &[&pipeline], Stdio::null())
    }

    /// As [`run_limited`](Self::run_limited), with options and pipelines that are there.
    pub(crate) fn run_paths_limited(limit: usize, folder: &Path, args: &[&str], paths: &[&Path]) -> Self {
        Self::spawn_by(limited(limit), folder, args, paths, Stdio::null())
    }

    /// As [`run_limited`](Self::run_limited), with a pipe as its standard input.
    pub(crate) fn run_limited_piped(limit: usize, folder: &Path, config: &str) -> Self {
        let pipeline = folder.join("pipeline.toml");
        std::fs::write(&pipeline, config).unwrap();
        Self::spawn_by(limited(limit), folder, &[], &[&pipeline], Stdio::piped())
    }

    fn spawn(variables: &[(&str, &str)], folder: &Path, args: &[&str], paths: &[&Path], stdin: Stdio) -> Self {
        let mut bridge = command();
        bridge.envs(variables.iter().copied());
        Self::spawn_by(bridge, folder, args, paths, stdin)
    }

    fn spawn_by(mut bridge: Command, folder: &Path, args: &[&str], paths: &[&Path], stdin: Stdio) -> Self {
        let log = folder.join("bridge.log");
        let stderr = File::options().create(true).append(true).open(&log).unwrap();
        let child = bridge
            .args(["-v", "run", "--state-dir"])
            .arg(folder.join("state"))
            .args(args)
            .args(paths)
            .stdin(stdin)
            .stdout(Stdio::null())
            .stderr(stderr)
            .spawn()
            .unwrap();
        Self { child, log }
    }

    /// Everything logged so far, also by earlier processes in the same folder.
    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap()
    }

    /// The memory that the process has now (VmRSS), in KiB.
    pub(crate) fn resident_kib(&self) -> usize {
        self.status("VmRSS:")
    }

    /// The threads that the process has now.
    pub(crate) fn threads(&self) -> usize {
        self.status("Threads:")
    }

    /// The files that the process has open now.
    pub(crate) fn open_files(&self) -> usize {
        std::fs::read_dir(format!("/proc/{}/fd", self.child.id())).unwrap().count()
    }

    /// The number that the next file which the process opens will have.
    pub(crate) fn lowest_free_descriptor(&self) -> usize {
        let folder = PathBuf::from(format!("/proc/{}/fd", self.child.id()));
        (0..).find(|number: &usize| folder.join(number.to_string()).symlink_metadata().is_err()).unwrap()
    }

    /// Changes the process's limit of open files, which it does not notice before it opens one.
    pub(crate) fn limit_open_files(&self, open_files: usize) {
        let (process, limit) = (self.child.id().to_string(), format!("--nofile={open_files}:"));
        assert!(Command::new("prlimit").args(["--pid", &process, &limit]).status().unwrap().success());
    }

    fn status(&self, name: &str) -> usize {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status.lines().find(|line| line.starts_with(name)).unwrap();
        line.split_whitespace().nth(1).unwrap().parse().unwrap()
    }

    /// Sends a signal.
    pub(crate) fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(i32::try_from(self.child.id()).unwrap()), signal).unwrap();
    }

    /// Ends the process as a crash would (SIGKILL) and waits until it is gone.
    pub(crate) fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// The process's standard input, when it was started with a pipe.
    pub(crate) fn take_stdin(&mut self) -> std::process::ChildStdin {
        self.child.stdin.take().unwrap()
    }

    /// False once the process has ended.
    pub(crate) fn is_running(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }

    /// Waits for the process to end by itself.
    pub(crate) fn wait(mut self) -> ExitStatus {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            assert!(Instant::now() < deadline, "the bridge did not end:\n{}", self.log());
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// SIGTERM, then waits for the end.
    pub(crate) fn stop(self) -> ExitStatus {
        self.signal(Signal::SIGTERM);
        self.wait()
    }
}

impl Drop for Bridge {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

/// The `bridge` command, free of what the environment of the test run may say to it.
pub(crate) fn command() -> Command {
    free_of_surroundings(Command::new(env!("CARGO_BIN_EXE_bridge")))
}

/// As [`command`], for a process that may have so many files open: that is its soft and its hard limit.
pub(crate) fn limited(limit: usize) -> Command {
    // What libraries of the tests have open, and do not close when another program is started, does not count.
    let close_inherited = "for fd in /proc/self/fd/*; do fd=${fd##*/}; ((fd > 2)) && eval \"exec $fd>&-\"; done";
    let script = format!("{close_inherited}; ulimit -n {limit}; exec \"$0\" \"$@\"");
    let mut shell = Command::new("bash");
    shell.args(["-c", &script, env!("CARGO_BIN_EXE_bridge")]);
    free_of_surroundings(shell)
}

fn free_of_surroundings(mut command: Command) -> Command {
    for variable in ["RUST_LOG", "BRIDGE_STATE_DIR", "BRIDGE_LOG_FORMAT", "HTTP_PROXY", "http_proxy", "ALL_PROXY"] {
        command.env_remove(variable);
    }
    for variable in ["NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID"] {
        command.env_remove(variable);
    }
    // There can be only one at the default address, and tests run side by side.
    command.env("BRIDGE_ADMIN", "none");
    command
}

/// Waits until `condition` holds; fails with `what` when it does not within [`PATIENCE`].
pub(crate) async fn wait_until(what: &str, condition: impl FnMut() -> bool) {
    wait_until_within(PATIENCE, what, condition).await;
}

/// As [`wait_until`], with a patience of its own.
pub(crate) async fn wait_until_within(patience: Duration, what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + patience;
    while !condition() {
        assert!(Instant::now() < deadline, "waited in vain: {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// Runs `bridge` with these arguments to its end: its exit code, and what it wrote to standard output and error.
pub(crate) fn run_to_end(command: &mut Command) -> (i32, String, String) {
    let output = command.stdin(Stdio::null()).output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
}

/// The dead letters of the pipeline in `folder`, which may be running; none before it has run for the first time.
pub(crate) fn dead_letters(folder: &Path) -> Vec<Value> {
    let mut export = command();
    export.args(["dead", "export", "--state-dir"]).arg(folder.join("state")).arg(folder.join("pipeline.toml"));
    let (code, stdout, stderr) = run_to_end(&mut export);
    if stderr.contains("there is no store") {
        return Vec::new();
    }
    assert_eq!(code, 0, "{stderr}");
    stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}
