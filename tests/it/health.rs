//! What probes and the service manager hear of a real `bridge run`.

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::os::unix::net::UnixDatagram;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use axum::http::StatusCode;
use nix::sys::signal::Signal;
use serde_json::Value;
use webhook_bridge::receiver::{Behaviour, Reply};

use crate::delivery::{Site, numbered};
use crate::support::{Bridge, PATIENCE, command, run_to_end, wait_until};

/// An address on which nobody listens.
fn free_address() -> String {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string()
}

/// The status and the body that the admin port gives for a path; `None` when it does not answer.
fn ask(admin: &str, path: &str) -> Option<(u16, Value)> {
    let mut stream = TcpStream::connect(admin).ok()?;
    write!(stream, "GET {path} HTTP/1.1\r\nHost: bridge\r\nConnection: close\r\n\r\n").ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    let status = answer.split(' ').nth(1)?.parse().ok()?;
    let (_, body) = answer.split_once("\r\n\r\n")?;
    Some((status, serde_json::from_str(body).ok()?))
}

/// Waits until `/readyz` answers so, and returns its report.
async fn wait_for_readiness(admin: &str, what: &str, mut is_so: impl FnMut(u16, &Value) -> bool) -> Value {
    let mut found = Value::Null;
    wait_until(what, || {
        let Some((status, report)) = ask(admin, "/readyz") else { return false };
        let so = is_so(status, &report);
        found = report;
        so
    })
    .await;
    found
}

fn health(args: &[&str], admin: &str) -> (i32, String, String) {
    run_to_end(command().arg("health").args(args).env("BRIDGE_ADMIN", admin))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_source_that_is_not_connected_is_not_ready_but_alive() {
    let site = Site::start(Behaviour::default()).await;
    let (admin, broker) = (free_address(), free_address());
    let source =
        format!("[sources.input]\ntype = \"amqp\"\nuri = \"amqp://guest:hunter2-secret@{broker}\"\nqueue = \"q\"");
    let config = site.pipeline_of(&source, "");
    let bridge = Bridge::run_with(site.folder.path(), &config, &["--admin", &admin], Stdio::null());
    let report = wait_for_readiness(&admin, "the source has failed", |_, report| {
        report["pipelines"]["it"]["nodes"]["sources.input"]["state"] == "failing"
    })
    .await;
    assert_eq!(report["ready"], false);
    let reason = report["reasons"][0].as_str().unwrap();
    assert!(reason.starts_with("it: sources.input is failing for ") && reason.contains("not connected"), "{reason}");
    assert!(!report.to_string().contains("hunter2-secret"), "{report}");
    for ready in ["sinks.out", "store"] {
        assert_eq!(report["pipelines"]["it"]["nodes"][ready]["state"], "ready", "{report}");
    }
    assert_eq!(ask(&admin, "/readyz").unwrap().0, 503);
    let (status, report) = ask(&admin, "/healthz").unwrap();
    assert_eq!((status, &report["alive"]), (200, &Value::Bool(true)));

    assert_eq!(health(&[], &admin), (0, "alive: workers: 1\n".to_owned(), String::new()));
    let (code, stdout, stderr) = health(&["--ready"], &admin);
    assert_eq!((code, stdout.as_str()), (1, ""));
    assert!(stderr.starts_with("error: not ready: it: sources.input is failing for "), "{stderr}");
    assert!(bridge.stop().success());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_breaker_counts_against_readiness_once_it_is_open_beyond_its_bound() {
    let is_well = Arc::new(AtomicBool::new(false));
    let well = Arc::clone(&is_well);
    let site = Site::choosing(move |_| {
        let is_well = well.load(Ordering::Relaxed);
        Reply::status(if is_well { StatusCode::OK } else { StatusCode::BAD_GATEWAY })
    })
    .await;
    site.append(&numbered(1));
    let admin = free_address();
    let retry = "retry = { initial = \"10ms\", factor = 1, jitter = 0 }\n";
    let sink = |max_open: &str| {
        format!("{retry}breaker = {{ failures = 1, open_for = \"100ms\", max_open = \"{max_open}\" }}")
    };
    let run = |max_open| {
        Bridge::run_with(site.folder.path(), &site.file_pipeline(&sink(max_open)), &["--admin", &admin], Stdio::null())
    };
    let is_failing = |report: &Value| report["pipelines"]["it"]["nodes"]["sinks.out"]["state"] == "failing";

    let bridge = run("1h");
    let report = wait_for_readiness(&admin, "the breaker is open, which is tolerated", |status, report| {
        status == 200 && is_failing(report)
    })
    .await;
    assert_eq!(report["pipelines"]["it"]["nodes"]["sinks.out"]["tolerated_for_seconds"], 3600);
    assert!(bridge.stop().success());

    let bridge = run("300ms");
    let report = wait_for_readiness(&admin, "it is open beyond its bound", |status, report| {
        status == 503 && report["reasons"].to_string().contains("sinks.out")
    })
    .await;
    let reasons = report["reasons"].to_string();
    assert!(reasons.contains("it: sinks.out is failing") && reasons.contains("circuit breaker"), "{reasons}");
    assert_eq!(health(&[], &admin).0, 0, "a receiver that is down is no reason to kill the bridge");
    is_well.store(true, Ordering::Relaxed);
    wait_for_readiness(&admin, "it is ready again", |status, report| status == 200 && !is_failing(report)).await;
    assert_eq!(health(&["--ready"], &admin), (0, "ready: pipelines: 1\n".to_owned(), String::new()));
    assert!(bridge.stop().success());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_reload_is_said_and_leaves_the_bridge_ready() {
    let site = Site::start(Behaviour::default()).await;
    let admin = free_address();
    let config = site.file_pipeline("");
    let bridge = Bridge::run_with(site.folder.path(), &config, &["--admin", &admin], Stdio::null());
    wait_for_readiness(&admin, "it is ready", |status, _| status == 200).await;
    let file = site.folder.path().join("pipeline.toml");
    let applied = |report: &Value| report["pipelines"]["it"]["last_reload"]["applied"].clone();

    std::fs::write(&file, config.clone() + "[nonsense]\n").unwrap();
    bridge.signal(Signal::SIGHUP);
    let report = wait_for_readiness(&admin, "the reload is refused", |_, report| applied(report) == false).await;
    assert_eq!(report["ready"], true, "{report}");
    let detail = report["pipelines"]["it"]["last_reload"]["detail"].as_str().unwrap();
    assert!(detail.contains("nonsense"), "{detail}");

    std::fs::write(&file, config.replace("name = \"it\"", "name = \"it\" # better")).unwrap();
    bridge.signal(Signal::SIGHUP);
    wait_for_readiness(&admin, "the reload is applied", |status, report| status == 200 && applied(report) == true)
        .await;
    assert!(bridge.stop().success());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_is_wrong_is_not_ready_and_does_not_stop_the_others() {
    let site = Site::start(Behaviour::default()).await;
    let admin = free_address();
    let wrong = site.folder.path().join("wrong.toml");
    std::fs::write(&wrong, "name = \"wrong\"\nnonsense = 1\n").unwrap();
    let arguments = ["--admin", &admin, wrong.to_str().unwrap()];
    let bridge = Bridge::run_with(site.folder.path(), &site.file_pipeline(""), &arguments, Stdio::null());
    let report =
        wait_for_readiness(&admin, "the other runs", |_, report| report["pipelines"]["it"]["state"] == "ready").await;
    assert_eq!(report["ready"], false);
    let reasons = report["reasons"].to_string();
    assert!(
        reasons.contains("wrong.toml is stopped: the file is wrong") && reasons.contains("more faults"),
        "{reasons}"
    );
    assert!(report["reasons"].as_array().unwrap().iter().all(|reason| !reason.as_str().unwrap().contains('\n')));
    drop(bridge);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_admin_address_must_be_free_when_it_was_asked_for() {
    let site = Site::start(Behaviour::default()).await;
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let pipeline = site.folder.path().join("pipeline.toml");
    std::fs::write(&pipeline, site.pipeline("")).unwrap();
    let mut run = command();
    run.arg("run").arg("--state-dir").arg(site.folder.path()).arg("--admin").arg(&address).arg(&pipeline);
    let (code, _, stderr) = run_to_end(&mut run);
    assert_eq!(code, 1);
    assert!(stderr.contains("cannot listen on the admin address"), "{stderr}");

    // Taken by this test, unless by whoever has it now.
    let _default = TcpListener::bind("127.0.0.1:9180");
    let mut run = command();
    run.env_remove("BRIDGE_ADMIN").arg("run").arg("--state-dir").arg(site.folder.path()).arg(&pipeline);
    let (code, _, stderr) = run_to_end(&mut run);
    assert_eq!(code, 0, "{stderr}");
    assert!(stderr.contains("cannot listen on 127.0.0.1:9180") && stderr.contains("--admin"), "{stderr}");
}

/// A job that runs to its end, beside a bridge that is there to stay.
#[tokio::test(flavor = "multi_thread")]
async fn a_run_to_the_end_has_no_admin_port_unless_one_is_asked_for() {
    let site = Site::start(Behaviour::default()).await;
    let admin = free_address();
    let port = admin.split_once(':').unwrap().1;
    // All addresses of this machine.
    let all = format!(":{port}");
    let bridge = Bridge::run_with(site.folder.path(), &site.file_pipeline(""), &["--admin", &all], Stdio::null());
    wait_for_readiness(&admin, "it is ready", |status, _| status == 200).await;
    assert_eq!(health(&["--ready"], &all), (0, "ready: pipelines: 1\n".to_owned(), String::new()));

    let folder = tempfile::tempdir().unwrap();
    let pipeline = folder.path().join("pipeline.toml");
    std::fs::write(&pipeline, site.file_pipeline("").replace("name = \"it\"", "name = \"job\"")).unwrap();
    std::fs::write(folder.path().join("events.jsonl"), "{\"n\":1}\n").unwrap();
    let once = |admin: Option<&str>| {
        let mut once = command();
        once.env_remove("BRIDGE_ADMIN").args(["run", "--once", "--state-dir"]).arg(folder.path());
        admin.map(|admin| once.args(["--admin", admin]));
        run_to_end(once.arg(&pipeline))
    };
    // Taken by this test, unless by whoever has it now.
    let _default = TcpListener::bind("127.0.0.1:9180");
    let (code, _, log) = once(None);
    assert_eq!(code, 0, "{log}");
    assert!(!log.contains("cannot listen") && !log.contains("probes"), "{log}");
    assert_eq!(site.receiver.requests(), 1, "it has done its job");

    for taken in [all.as_str(), admin.as_str()] {
        let (code, _, log) = once(Some(taken));
        assert_eq!(code, 1, "{log}");
        let expected = [&format!("the admin address: {taken}: "), "--admin", "BRIDGE_ADMIN", "`none`"];
        assert!(expected.iter().all(|part| log.contains(*part)), "{log}");
    }
    let (code, _, log) = once(Some(&free_address()));
    assert!(code == 0 && log.contains("answering probes"), "{log}");
    assert!(bridge.stop().success());
}

#[test]
fn health_without_a_bridge_fails_with_a_line_that_says_so() {
    let admin = free_address();
    let (code, stdout, stderr) = health(&["--ready"], &admin);
    assert_eq!((code, stdout.as_str()), (1, ""));
    assert!(stderr.starts_with(&format!("error: no bridge answers at http://{admin}/readyz: ")), "{stderr}");
    let (code, _, stderr) = health(&[], "none");
    assert_eq!(code, 2, "{stderr}");
}

/// The next message of the service manager's socket that begins so.
fn next_message(socket: &UnixDatagram, beginning: &str) -> String {
    let deadline = Instant::now() + PATIENCE;
    let mut buffer = [0; 4096];
    while Instant::now() < deadline {
        let length = socket.recv(&mut buffer).unwrap();
        let message = std::str::from_utf8(&buffer[..length]).unwrap();
        if message.starts_with(beginning) {
            return message.to_owned();
        }
        assert!(message.starts_with("WATCHDOG=1"), "{message}");
    }
    panic!("the service manager was not told {beginning}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_service_manager_hears_of_start_reload_life_and_end() {
    let site = Site::start(Behaviour::default()).await;
    let path = site.folder.path().join("notify");
    let socket = UnixDatagram::bind(&path).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    let variables = [("NOTIFY_SOCKET", path.to_str().unwrap()), ("WATCHDOG_USEC", "200000")];
    let config = site.file_pipeline("");
    let bridge = Bridge::run_in(&variables, site.folder.path(), &config, &[], Stdio::null());
    assert_eq!(next_message(&socket, "READY=1"), "READY=1\nSTATUS=1 pipeline runs\n");
    next_message(&socket, "WATCHDOG=1");
    next_message(&socket, "WATCHDOG=1");
    bridge.signal(Signal::SIGHUP);
    let reloading = next_message(&socket, "RELOADING=1");
    let moment = reloading.trim().strip_prefix("RELOADING=1\nMONOTONIC_USEC=").unwrap();
    assert!(moment.parse::<u64>().unwrap() > 0);
    next_message(&socket, "READY=1");
    bridge.signal(Signal::SIGTERM);
    next_message(&socket, "STOPPING=1");
    assert!(bridge.wait().success());
}

/// Kubernetes kills what has not ended after 30 s: the defaults must fit into that, whatever hangs.
#[tokio::test(flavor = "multi_thread")]
async fn with_the_defaults_the_end_takes_less_than_30_seconds() {
    let site = Site::choosing(|_| Reply::Hang).await;
    site.append(&numbered(1));
    let bridge = Bridge::run(site.folder.path(), &site.file_pipeline("timeout = \"1h\""));
    wait_until("the request is under way", || site.receiver.requests() == 1).await;
    let told = Instant::now();
    assert!(bridge.stop().success());
    let lasted = told.elapsed();
    assert!(lasted >= Duration::from_secs(25) && lasted < Duration::from_secs(30), "the end took {lasted:?}");
}
