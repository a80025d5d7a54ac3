//! Long pauses that a receiver asks for: shown, remembered, bounded, and ended by a person, in either store.

use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::Stdio;

use serde_json::Value;
use tempfile::TempDir;

use super::{Site, answer, numbered, numbers};
use crate::support::{Bridge, command, run_to_end, wait_until};

/// A receiver that answers its first request with an absurd `Retry-After`, an epoch, and all others with 200, and the
/// `[store]` table of a pipeline that delivers to it.
struct Scene {
    site: Site,
    name: String,
    store: String,
}

impl Scene {
    async fn sqlite() -> Self {
        Self::new("").await
    }

    async fn postgres() -> Self {
        let url = std::env::var("POSTGRES_URL").expect("POSTGRES_URL names a database: tests/brokers/postgres.sh env");
        Self::new(&format!("[store]\nurl = \"{url}\"\n")).await
    }

    async fn new(store: &str) -> Self {
        let asked = std::sync::atomic::AtomicBool::new(false);
        let site = Site::choosing(move |_| match asked.swap(true, std::sync::atomic::Ordering::Relaxed) {
            false => answer(429, &[("retry-after", "1795833600")], ""),
            true => answer(200, &[], ""),
        });
        Self { site: site.await, name: format!("pauses-{}", uuid::Uuid::new_v4()), store: store.to_owned() }
    }

    /// From the file `events.jsonl` beside the pipeline to the receiver.
    fn config(&self, sink: &str) -> String {
        self.site.file_pipeline(sink).replace("name = \"it\"", &format!("name = \"{}\"", self.name)) + &self.store
    }

    fn sinks(&self, args: &[&str]) -> (i32, String, String) {
        sinks(self.site.folder.path(), args)
    }

    /// What `sinks list` says of the sink; nothing before there is a store.
    fn listed(&self) -> Value {
        let (_, json, _) = self.sinks(&["list", "--format", "json"]);
        json.lines().next().map(|line| serde_json::from_str(line).unwrap()).unwrap_or_default()
    }

    fn parked(&self) -> i64 {
        self.listed()["parked"].as_i64().unwrap_or_default()
    }
}

fn sinks(folder: &Path, args: &[&str]) -> (i32, String, String) {
    let mut sinks = command();
    sinks.arg("sinks").arg(args[0]).arg("--state-dir").arg(folder.join("state"));
    run_to_end(sinks.arg(folder.join("pipeline.toml")).args(&args[1..]))
}

fn readyz(admin: &str) -> Option<String> {
    use std::io::{Read as _, Write as _};
    let mut stream = TcpStream::connect(admin).ok()?;
    write!(stream, "GET /readyz HTTP/1.1\r\nHost: bridge\r\nConnection: close\r\n\r\n").ok()?;
    let mut text = String::new();
    stream.read_to_string(&mut text).ok()?;
    Some(text)
}

fn free_address() -> String {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_long_pause_is_shown_outlives_a_restart_and_is_ended_by_a_person() {
    shown_remembered_and_ended(Scene::sqlite().await).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs PostgreSQL: make brokers-up"]
async fn a_long_pause_in_a_shared_store_is_shown_outlives_a_restart_and_is_ended_by_a_person() {
    shown_remembered_and_ended(Scene::postgres().await).await;
}

async fn shown_remembered_and_ended(mut scene: Scene) {
    let admin = free_address();
    let config = scene.config("retry = { max_elapsed = \"10m\" }");
    scene.site.append(&numbered(1));
    let folder = scene.site.folder.path().to_owned();
    let run = || Bridge::run_with(&folder, &config, &["--admin", &admin], Stdio::null());
    let bridge = run();
    wait_until("the delivery is parked", || scene.parked() == 1).await;
    assert!(bridge.log().contains("WARN") && bridge.log().contains(" sinks resume PIPELINE out` ends it"));
    wait_until("readyz says it", || readyz(&admin).is_some_and(|text| text.contains("paused until "))).await;
    assert!(readyz(&admin).unwrap().starts_with("HTTP/1.1 200"), "a receiver that asks for a pause works");
    let (code, listed, _) = scene.sinks(&["list"]);
    assert!(code == 0 && listed.contains("paused until 20") && listed.contains("(Retry-After)"), "{listed}");
    let until: jiff::Timestamp = scene.listed()["paused"][0]["until"].as_str().unwrap().parse().unwrap();
    assert!(until.duration_since(jiff::Timestamp::now()).as_secs() <= 3600, "the pause is bounded: {until}");
    assert!(bridge.stop().success());

    let bridge = run();
    wait_until("it is still paused", || scene.site.log_count(&bridge, "there are no attempts until then") == 2).await;
    scene.site.append(&["{\"n\":2}"]);
    wait_until("what comes is parked", || scene.parked() == 2).await;
    let (code, said, _) = scene.sinks(&["resume", "out"]);
    assert!(code == 0 && said.contains("is no longer paused; 2 deliveries are due now"), "{said}");
    wait_until("both are delivered", || scene.site.receiver.requests() == 3).await;
    wait_until("readyz says nothing any more", || readyz(&admin).is_some_and(|text| !text.contains("paused"))).await;
    assert!(bridge.stop().success());
    assert_eq!(scene.listed()["dead_letters"], 0, "{}", scene.listed());
    let mut delivered = numbers(&scene.site.received());
    delivered.sort_unstable();
    assert_eq!(delivered, [1, 1, 2]);
    assert!(scene.sinks(&["resume", "out"]).1.contains("was not paused"));
    assert_eq!(scene.sinks(&["resume", "other"]).0, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_absurd_pause_is_cut_to_the_bound() {
    let mut scene = Scene::sqlite().await;
    scene.site.deliver("retry = { max_retry_after = \"1s\" }", &numbered(1));
    assert_eq!(numbers(&scene.site.received()), [1, 1]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_keyed_pause_is_shown_with_its_bucket() {
    shown_with_its_bucket(Scene::sqlite().await).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs PostgreSQL: make brokers-up"]
async fn a_keyed_pause_in_a_shared_store_is_shown_with_its_bucket() {
    shown_with_its_bucket(Scene::postgres().await).await;
}

async fn shown_with_its_bucket(scene: Scene) {
    scene.site.append(&numbered(1));
    let limit = "rate_limit = { requests = 100, per = \"1s\", key = \"tenant-{{data.n}}\" }";
    let bridge = Bridge::run(scene.site.folder.path(), &scene.config(limit));
    wait_until("the delivery is parked", || scene.parked() == 1).await;
    let (_, listed, _) = scene.sinks(&["list"]);
    assert!(listed.contains("bucket tenant-1 paused until "), "{listed}");
    assert!(bridge.stop().success());
}

/// A second bridge of the same pipeline, with a folder and an input of its own.
struct Replica {
    folder: TempDir,
    bridge: Bridge,
}

impl Replica {
    fn run(config: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let config = config.replace("[sources.input]", "[sources.other]").replace("[\"input\"]", "[\"other\"]");
        Self { bridge: Bridge::run(folder.path(), &config), folder }
    }

    fn says(&self, text: &str) -> bool {
        self.bridge.log().contains(text)
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs PostgreSQL: make brokers-up"]
async fn all_replicas_keep_a_pause_that_one_was_asked_for_and_all_hear_of_its_end() {
    let mut scene = Scene::postgres().await;
    let config = scene.config("");
    scene.site.append(&numbered(1));
    let bridge = Bridge::run(scene.site.folder.path(), &config);
    wait_until("the delivery is parked", || scene.parked() == 1).await;
    let replica = Replica::run(&config);
    wait_until("the other replica keeps the pause", || replica.says("there are no attempts until then")).await;
    std::fs::write(replica.folder.path().join("events.jsonl"), "{\"n\":2}\n").unwrap();
    wait_until("what comes to it is parked", || scene.parked() == 2).await;
    assert_eq!(scene.site.receiver.requests(), 1);

    let (code, said, _) = sinks(replica.folder.path(), &["resume", "out"]);
    assert!(code == 0 && said.contains("2 deliveries are due now"), "{said}");
    let ended = "the pause was ended; attempts go on";
    wait_until("both replicas hear of it", || replica.says(ended) && bridge.log().contains(ended)).await;
    std::fs::write(replica.folder.path().join("events.jsonl"), "{\"n\":2}\n{\"n\":3}\n").unwrap();
    scene.site.append(&["{\"n\":4}"]);
    wait_until("all is delivered", || scene.site.receiver.requests() == 5).await;
    assert!(bridge.stop().success() && replica.bridge.stop().success());
    let mut delivered = numbers(&scene.site.received());
    delivered.sort_unstable();
    assert_eq!(delivered, [1, 1, 2, 3, 4]);
}
