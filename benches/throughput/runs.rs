//! The measurements: which processes run, against what, and what comes of it.

use std::fs::File;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use tempfile::TempDir;
use webhook_bridge::receiver::{Behaviour, ReceivedRequest, Receiver};

use super::measure::{self, Usage};
use super::pipelines::{self, CONCURRENCY, Shape};
use super::report::{Cost, Pair, Report};
use super::roles::{BARE_LOOP, BareLoop, RECEIVER};
use super::{Result, kafka};

/// How long the slow receiver takes for an answer.
const LATENCY: Duration = Duration::from_millis(50);

/// A build of the bridge, and the binary that is the receiver and the bare loop.
pub(crate) struct Bench {
    bridge: PathBuf,
    own: PathBuf,
}

impl Bench {
    pub(crate) fn new(bridge: PathBuf) -> Result<Self> {
        Ok(Self { bridge, own: std::env::current_exe()? })
    }

    /// CPU and memory of a pipeline that reads a file, and of the bare loop that sends the same requests.
    pub(crate) fn cost(&self, shape: Shape, events: usize, repetitions: usize, report: &mut Report) -> Result<()> {
        let title = format!("{}, {events} events from a file", shape.title());
        let text = pipelines::events(events);
        let request = self.sample(shape)?;
        let mut pairs = Vec::new();
        for _ in 0..repetitions {
            let folder = Folder::new(&text)?;
            let bridge = self.bridge_run(&folder, shape, FILE_SOURCE, Duration::ZERO, events)?;
            let bare = self.bare_run(request.clone(), events, Duration::ZERO)?;
            pairs.push(Pair { bridge, bare });
            report.progress(&title, &pairs);
        }
        report.cost(shape, &title, &pairs);
        Ok(())
    }

    /// Throughput when the receiver, and not the machine, is the limit.
    pub(crate) fn slow_receiver(&self, events: usize, report: &mut Report) -> Result<()> {
        let folder = Folder::new(&pipelines::events(events))?;
        let bridge = self.bridge_run(&folder, Shape::PassThrough, FILE_SOURCE, LATENCY, events)?;
        let bare = self.bare_run(self.sample(Shape::PassThrough)?, events, LATENCY)?;
        let ideal = CONCURRENCY as f64 / LATENCY.as_secs_f64();
        report.slow_receiver(bridge.per_second() / ideal, bare.per_second() / ideal);
        Ok(())
    }

    /// From the start of the process to the first request at the receiver.
    pub(crate) fn first_delivery(&self, repetitions: usize, report: &mut Report) -> Result<()> {
        let mut times = Vec::new();
        for _ in 0..repetitions {
            let folder = Folder::new(&pipelines::events(1))?;
            let mut receiver = self.receiver(Duration::ZERO, 200)?;
            let pipeline = Shape::Full.pipeline(FILE_SOURCE, &receiver.url);
            let started = Instant::now();
            let bridge = self.spawn_bridge(&folder, &pipeline, ONCE)?;
            receiver.wait_for(1, Duration::from_secs(30))?;
            times.push(started.elapsed());
            measure::wait(bridge, started)?;
            receiver.end(1)?;
        }
        report.first_delivery(&mut times);
        Ok(())
    }

    /// A backlog that lies in Kafka when the bridge starts.
    pub(crate) fn kafka(&self, brokers: &str, events: usize, report: &mut Report) -> Result<()> {
        let topic = kafka::fill(brokers, events)?;
        for shape in [Shape::PassThrough, Shape::Full] {
            let source = kafka::source(brokers, &topic, shape);
            let bridge = self.bridge_run(&Folder::new("")?, shape, &source, Duration::ZERO, events)?;
            let bare = self.bare_run(self.sample(shape)?, events, Duration::ZERO)?;
            report.kafka(shape, events, Pair { bridge, bare });
        }
        kafka::delete(brokers, &topic)
    }

    fn bridge_run(&self, folder: &Folder, shape: Shape, source: &str, delay: Duration, events: usize) -> Result<Cost> {
        self.run_of(folder, |url| shape.pipeline(source, url), delay, events)
    }

    /// A run of the bridge that ends when so many events are delivered; the pipeline is told the receiver's URL.
    pub(crate) fn run_of(
        &self,
        folder: &Folder,
        pipeline: impl FnOnce(&str) -> String,
        delay: Duration,
        events: usize,
    ) -> Result<Cost> {
        let receiver = self.receiver(delay, 200)?;
        let pipeline = pipeline(&receiver.url);
        let started = Instant::now();
        let usage = measure::wait(self.spawn_bridge(folder, &pipeline, ONCE)?, started)?;
        Ok(Cost { usage, receiver: receiver.end(events)?, webhooks: events })
    }

    pub(crate) fn bare_run(&self, request: BareLoop, requests: usize, delay: Duration) -> Result<Cost> {
        let receiver = self.receiver(delay, 200)?;
        let started = Instant::now();
        let child = self.bare_loop(request, &receiver.url, requests)?.spawn()?;
        let usage = measure::wait(child, started)?;
        Ok(Cost { usage, receiver: receiver.end(requests)?, webhooks: requests })
    }

    /// The command of a bare loop that sends a request so many times.
    pub(crate) fn bare_loop(&self, request: BareLoop, url: &str, requests: usize) -> Result<Command> {
        let request = BareLoop { url: url.to_owned(), requests, ..request };
        let mut command = Command::new(&self.own);
        command.arg(BARE_LOOP).arg(serde_json::to_string(&request)?);
        Ok(command)
    }

    /// What the bridge sends for one event, headers and all: the bare loop sends just that.
    pub(crate) fn sample(&self, shape: Shape) -> Result<BareLoop> {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
        let (behaviour, mut recorded) = Behaviour::recording(1);
        let receiver = runtime.block_on(Receiver::bind("127.0.0.1:0", behaviour))?;
        let folder = Folder::new(&pipelines::events(1))?;
        let bridge = self.spawn_bridge(&folder, &shape.pipeline(FILE_SOURCE, &receiver.url()), ONCE)?;
        measure::wait(bridge, Instant::now())?;
        let ReceivedRequest { headers, body, .. } = recorded.try_recv()?;
        let set_by_client = ["host", "accept", "accept-encoding", "content-length"];
        let headers = headers.iter().filter(|(name, _)| !set_by_client.contains(&name.as_str()));
        let headers = headers.map(|(name, value)| Ok((name.to_string(), value.to_str()?.to_owned())));
        Ok(BareLoop {
            url: String::new(),
            headers: headers.collect::<Result<_>>()?,
            body: String::from_utf8(body.into())?,
            requests: 0,
        })
    }

    /// Starts `bridge run` with these further arguments.
    pub(crate) fn spawn_bridge(&self, folder: &Folder, pipeline: &str, args: &[&str]) -> Result<Child> {
        Ok(self.bridge(folder, pipeline, args)?.spawn()?)
    }

    /// The command that [`spawn_bridge`](Self::spawn_bridge) starts.
    pub(crate) fn bridge(&self, folder: &Folder, pipeline: &str, args: &[&str]) -> Result<Command> {
        let path = folder.path().join("pipeline.toml");
        std::fs::write(&path, pipeline)?;
        let mut command = Command::new(&self.bridge);
        for variable in ["RUST_LOG", "BRIDGE_LOG_FORMAT", "HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"] {
            command.env_remove(variable);
        }
        command.env("RUST_LOG", "warn").arg("run").args(args);
        command.arg("--state-dir").arg(folder.path().join("state"));
        command.arg(path).stdin(Stdio::null());
        Ok(command)
    }

    /// A receiver that takes so long for each answer, which is of this status.
    pub(crate) fn receiver(&self, delay: Duration, status: u16) -> Result<ReceiverProcess> {
        let mut command = Command::new(&self.own);
        command
            .args([RECEIVER, &delay.as_millis().to_string(), &status.to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped());
        let started = Instant::now();
        let mut child = command.spawn()?;
        let questions = child.stdin.take().ok_or("the receiver has no standard input")?;
        let mut answers = BufReader::new(child.stdout.take().ok_or("the receiver has no standard output")?);
        let mut url = String::new();
        answers.read_line(&mut url)?;
        Ok(ReceiverProcess { child, started, questions, answers, url: url.trim().to_owned() })
    }
}

/// Arguments of a run that ends when everything is delivered.
pub(crate) const ONCE: &[&str] = &["--once"];

/// The keys of a source that reads [`Folder`]'s events.
pub(crate) const FILE_SOURCE: &str = "type = \"file\"\npaths = [\"events.jsonl\"]";

/// A run's own folder: the events, the pipeline file and the state.
pub(crate) struct Folder(TempDir);

impl Folder {
    pub(crate) fn new(events: &str) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        std::fs::write(folder.path().join("events.jsonl"), events)?;
        Ok(Self(folder))
    }

    pub(crate) fn path(&self) -> &Path {
        self.0.path()
    }

    /// Adds events to the file.
    pub(crate) fn append(&self, events: &str) -> Result<()> {
        let mut file = File::options().append(true).open(self.path().join("events.jsonl"))?;
        Ok(file.write_all(events.as_bytes())?)
    }
}

/// A receiver in a process of its own.
pub(crate) struct ReceiverProcess {
    child: Child,
    started: Instant,
    questions: ChildStdin,
    answers: BufReader<ChildStdout>,
    pub(crate) url: String,
}

impl ReceiverProcess {
    /// How many requests it has got.
    fn count(&mut self) -> Result<usize> {
        writeln!(self.questions)?;
        let mut answer = String::new();
        self.answers.read_line(&mut answer)?;
        Ok(answer.trim().parse()?)
    }

    /// Waits until it has got so many.
    pub(crate) fn wait_for(&mut self, requests: usize, patience: Duration) -> Result<()> {
        let started = Instant::now();
        while self.count()? < requests {
            if started.elapsed() > patience {
                return Err(format!("the receiver did not get {requests} requests within {patience:?}").into());
            }
            sleep(Duration::from_millis(1));
        }
        Ok(())
    }

    /// Ends it. It must have got `expected` requests, no more and no fewer.
    pub(crate) fn end(mut self, expected: usize) -> Result<Usage> {
        let count = self.count()?;
        drop(self.questions);
        let usage = measure::wait(self.child, self.started)?;
        if count == expected {
            Ok(usage)
        } else {
            Err(format!("the receiver got {count} requests, not {expected}").into())
        }
    }
}
