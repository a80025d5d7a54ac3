//! The limit of open files: what `check` and the log say of one that is low, that everything is delivered below it, and
//! that what is kept back is what the parts of the process really open.

use std::collections::{BTreeMap, HashSet};
use std::fs::File;
use std::io::Write as _;
use std::path::Path;
use std::process::Stdio;
use std::sync::Mutex;

use axum::http::StatusCode;
use serde_json::Value;
use webhook_bridge::descriptors::{AMQP, KAFKA, PIPELINE, PROCESS, WORKER};
use webhook_bridge::receiver::{ReceivedRequest, Reply};

use crate::amqp::broker::Broker;
use crate::delivery::Site;
use crate::end_to_end::topic::Topic;
use crate::support::{Bridge, limited, run_to_end, wait_until};

const FILES: u64 = 300;
const ROUNDS: u64 = 5;
const LIMIT: usize = 128;

/// Adds a line to each of the files.
fn append_to_all(folder: &Path, round: u64) {
    for file in 0..FILES {
        let mut log = File::options().create(true).append(true).open(folder.join(format!("{file}.log"))).unwrap();
        writeln!(log, "{{\"file\":{file},\"n\":{round}}}").unwrap();
    }
}

fn many_files(site: &Site, sink: &str) -> String {
    let source = "[sources.input]\ntype = \"file\"\npaths = [\"logs/*.log\"]\ncommit_interval = \"20ms\"";
    site.pipeline_of(source, sink)
}

/// The file and the number of a line.
fn place(request: &ReceivedRequest) -> (u64, u64) {
    let body: Value = serde_json::from_slice(&request.body).unwrap();
    (body["file"].as_u64().unwrap(), body["n"].as_u64().unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn many_files_that_grow_are_delivered_below_a_low_limit() {
    let failed_once = Mutex::new(HashSet::new());
    let mut site = Site::choosing(move |request| {
        let (file, n) = place(request);
        let status = match (file % 50, n) {
            (0, 2) => StatusCode::BAD_REQUEST,
            (1, 3) if failed_once.lock().unwrap().insert(file) => StatusCode::SERVICE_UNAVAILABLE,
            _ => StatusCode::OK,
        };
        Reply::status(status)
    })
    .await;
    let logs = site.folder.path().join("logs");
    std::fs::create_dir(&logs).unwrap();
    append_to_all(&logs, 1);
    let sink = "order_by = \"{{data.file}}\"\nretry = { schedule = [\"300ms\"], park_after = \"10ms\", jitter = 0 }";
    let bridge = Bridge::run_limited(LIMIT, site.folder.path(), &many_files(&site, sink));
    for round in 2..=ROUNDS {
        // Each round comes while the one before is being read.
        wait_until("a part is delivered", || site.receiver.requests() >= (round - 2) * FILES + FILES / 2).await;
        append_to_all(&logs, round);
    }
    // Of some files one line is rejected, of as many one line is sent twice.
    wait_until("all lines have been sent", || site.receiver.requests() >= ROUNDS * FILES + FILES / 50).await;
    assert!(bridge.open_files() <= LIMIT);
    let log = bridge.log();
    assert!(bridge.stop().success());

    let mut delivered: BTreeMap<u64, Vec<u64>> = BTreeMap::new();
    for request in site.received().iter().filter(|request| request.answered_status == Some(StatusCode::OK)) {
        let (file, n) = place(request);
        delivered.entry(file).or_default().push(n);
    }
    assert_eq!(delivered.len() as u64, FILES);
    for (file, numbers) in delivered {
        let expected: Vec<u64> = (1..=ROUNDS).filter(|n| file % 50 != 0 || *n != 2).collect();
        assert_eq!(numbers, expected, "the lines of file {file}");
    }
    assert_eq!(site.dead_letters().len() as u64, FILES / 50, "the store works");
    let told = log.lines().filter(|line| line.contains("limit of open files"));
    assert_eq!(told.count(), 1, "{log}");
    for blame in ["Too many open files", "os error 24", "cannot connect", "no file descriptor left"] {
        assert!(!log.contains(blame), "{blame}: {log}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn check_warns_of_a_limit_that_is_too_low() {
    let site = Site::start(Default::default()).await;
    let logs = site.folder.path().join("logs");
    std::fs::create_dir(&logs).unwrap();
    append_to_all(&logs, 1);
    let check = |config: &str, limit: usize, args: &[&str]| {
        let pipeline = site.folder.path().join("pipeline.toml");
        std::fs::write(&pipeline, config).unwrap();
        let mut check = limited(limit);
        check.args(["check", "--state-dir"]).arg(site.folder.path().join("state")).args(args).arg(pipeline);
        let (code, stdout, stderr) = run_to_end(&mut check);
        (code, stdout + &stderr)
    };
    let (few, many) = (many_files(&site, ""), many_files(&site, "concurrency = 500"));

    let (code, said) = check(&few, LIMIT, &["--deny-warnings"]);
    assert_eq!(code, 0, "without --connect no file is looked at: {said}");
    let (code, said) = check(&few, LIMIT, &["--deny-warnings", "--connect"]);
    assert_eq!(code, 3, "{said}");
    assert!(said.contains("[descriptor-limit]") && said.contains("paths = ["), "{said}");
    for part in ["300 to be read", "the limit of open files is 128", "ulimit -n ", "LimitNOFILE=", "--ulimit"] {
        let unwrapped = said.split_whitespace().collect::<Vec<_>>().join(" ").replace(" : ", " ");
        assert!(unwrapped.contains(part), "{part}: {said}");
    }
    let (code, said) = check(&few, 1024, &["--deny-warnings", "--connect"]);
    assert_eq!(code, 0, "{said}");
    let (code, said) = check(&many, LIMIT, &["--deny-warnings"]);
    assert!(code == 3 && said.contains("[descriptor-limit]") && said.contains("[sinks.out]"), "{said}");

    let bridge = Bridge::run_limited(LIMIT, site.folder.path(), &many);
    wait_until("all is delivered", || site.receiver.requests() >= FILES).await;
    let log = bridge.log();
    let told = log.lines().filter(|line| line.contains("500 connections to receivers"));
    assert_eq!(told.count(), 1, "{log}");
    assert!(bridge.stop().success());
}

/// How many files a bridge over these pipelines has open once all of them run.
async fn counted(pipelines: &[String]) -> usize {
    let folder = tempfile::tempdir().unwrap();
    let paths: Vec<_> = (0..pipelines.len()).map(|index| folder.path().join(format!("{index}.toml"))).collect();
    for (index, (path, pipeline)) in paths.iter().zip(pipelines).enumerate() {
        let sink = "[sinks.out]\ntype = \"webhook\"\nfrom = [\"input\"]\nurl = \"http://127.0.0.1:9/\"\n";
        std::fs::write(path, format!("name = \"it-{index}-{}\"\n{sink}{pipeline}", uuid::Uuid::new_v4())).unwrap();
    }
    let admin = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    let paths: Vec<&Path> = paths.iter().map(|path| path.as_path()).collect();
    let bridge = Bridge::run_paths_limited(1024, folder.path(), &["--watch", "--admin", &admin], &paths);
    let is_ready = || {
        let mut health = crate::support::command();
        health.args(["health", "--ready", "--admin", &admin]).stdout(Stdio::null()).stderr(Stdio::null());
        health.status().unwrap().success()
    };
    wait_until("all pipelines are ready", is_ready).await;
    let open = bridge.open_files();
    assert!(bridge.stop().success());
    open
}

/// How many descriptors are kept back for so many pipelines, without their brokers.
fn kept_back(pipelines: usize) -> usize {
    let workers = pipelines.min(std::thread::available_parallelism().unwrap().get());
    // As many threads of the stores as workers.
    PROCESS + 2 * workers * WORKER + pipelines * PIPELINE
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_kept_back_is_what_a_process_opens() {
    let files = "[sources.input]\ntype = \"file\"\npaths = [\"none.log\"]\n".to_owned();
    for pipelines in [1, 8] {
        let open = counted(&vec![files.clone(); pipelines]).await;
        assert!(open <= kept_back(pipelines), "{open} for {pipelines} pipelines");
        // A store at rest has three less than it may have.
        assert!(open + 12 + 5 * pipelines >= kept_back(pipelines), "{open} for {pipelines} pipelines: far too much");
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Kafka, RabbitMQ and PostgreSQL: make brokers-up"]
async fn what_is_kept_back_is_what_brokers_and_databases_take() {
    let topic = Topic::new(1).await;
    let queue = Broker::shared().queue().await.filled(0).await;
    let amqp =
        format!("[sources.input]\ntype = \"amqp\"\nuri = \"{}\"\nqueue = \"{}\"\n", queue.broker.url, queue.name);
    let postgres = format!("[store]\nurl = \"{}\"\n", std::env::var("POSTGRES_URL").unwrap());
    for (pipeline, source) in [(topic.source(""), KAFKA), (amqp.clone(), AMQP), (amqp + &postgres, AMQP)] {
        let open = counted(std::slice::from_ref(&pipeline)).await;
        assert!(open <= kept_back(1) + source, "{open}: {pipeline}");
    }
    queue.delete().await;
}
