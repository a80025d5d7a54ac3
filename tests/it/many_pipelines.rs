//! Many pipelines in one process: what they take of threads and files, and that what rests wakes up.

use std::fs::{self, File};
use std::io::Write as _;
use std::path::Path;
use std::time::{Duration, Instant};

use axum::http::StatusCode;
use webhook_bridge::receiver::{Behaviour, ReceivedRequest, Reply};

use crate::delivery::Site;
use crate::support::{Bridge, command, run_to_end, wait_until};

const PIPELINES: usize = 100;

/// On a machine of few cores: there is a worker and a thread of the stores for each.
const MOST_THREADS: usize = 64;

/// The database, its lock, and that of the state folder.
const FILES_AT_REST: usize = 3;

fn append(folder: &Path, name: &str, line: &str) {
    let path = folder.join(format!("{name}.jsonl"));
    let mut file = File::options().create(true).append(true).open(path).unwrap();
    writeln!(file, "{line}").unwrap();
}

fn pipeline(folder: &Path, name: &str, url: &str) -> String {
    format!(
        "name = \"{name}\"\n[sources.input]\ntype = \"file\"\npaths = [\"{}/{name}.jsonl\"]\n\
         [sinks.out]\ntype = \"webhook\"\nfrom = [\"input\"]\nurl = \"{url}/{name}\"\n",
        folder.display()
    )
}

/// How many files the state folders of all pipelines have.
fn state_files(root: &Path) -> usize {
    let folders = fs::read_dir(root.join("state")).unwrap();
    folders.map(|folder| fs::read_dir(folder.unwrap().path()).unwrap().count()).sum()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_pipelines_take_few_threads_and_rest_when_there_is_nothing_to_do() {
    let mut site = Site::start(Behaviour::default()).await;
    let (root, folder) = (site.folder.path().to_owned(), site.folder.path().join("pipelines"));
    fs::create_dir(&folder).unwrap();
    for number in 0..PIPELINES {
        let name = format!("p{number}");
        append(&root, &name, "{\"n\":1}");
        fs::write(folder.join(format!("{name}.toml")), pipeline(&root, &name, &site.receiver.url())).unwrap();
    }
    let mut most_threads = 0;
    let bridge = Bridge::run_paths(&root, &[], &[&folder]);
    wait_until("all are delivered, and all stores are at rest", || {
        most_threads = most_threads.max(bridge.threads());
        let delivered = site.receiver.requests() == PIPELINES as u64;
        delivered && state_files(&root) == PIPELINES * FILES_AT_REST
    })
    .await;
    assert!(most_threads <= MOST_THREADS, "{most_threads} threads");

    // What rests goes on, keeps its position, and rests again.
    for number in (0..PIPELINES).step_by(10) {
        append(&root, &format!("p{number}"), "{\"n\":2}");
    }
    let all = (PIPELINES + PIPELINES / 10) as u64;
    wait_until("the new lines are delivered", || site.receiver.requests() == all).await;
    let rests = || state_files(&root) == PIPELINES * FILES_AT_REST;
    wait_until("a store is open", || !rests()).await;
    wait_until("all stores are at rest again", rests).await;
    bridge.kill();

    // A crash at rest: nothing is read twice, as all positions are in the files.
    append(&root, "p5", "{\"n\":3}");
    let bridge = Bridge::run_paths(&root, &[], &[&folder]);
    wait_until("only the new line is delivered", || site.receiver.requests() == all + 1).await;
    assert!(bridge.stop().success());
    let requests = site.received();
    assert_eq!(requests.len() as u64, all + 1);
    assert_eq!(&*requests.last().unwrap().body, b"{\"n\":3}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_command_line_changes_wakes_a_store_at_rest() {
    let answer = |request: &ReceivedRequest| {
        Reply::status(if request.number == 1 { StatusCode::BAD_REQUEST } else { StatusCode::OK })
    };
    let site = Site::choosing(answer).await;
    let root = site.folder.path();
    append(root, "events", "{\"n\":1}");
    let bridge = Bridge::run(root, &site.file_pipeline(""));
    let rests = || state_files(root) == FILES_AT_REST;
    wait_until("the letter is kept and the store is at rest", || site.receiver.requests() == 1 && rests()).await;
    let mut replay = command();
    replay.args(["dead", "replay", "--all", "--state-dir"]).arg(root.join("state")).arg(root.join("pipeline.toml"));
    let replayed = Instant::now();
    let (code, _, stderr) = run_to_end(&mut replay);
    assert_eq!(code, 0, "{stderr}");
    wait_until("the letter is sent again", || site.receiver.requests() == 2).await;
    assert!(replayed.elapsed() < Duration::from_secs(20), "it was not told");
    wait_until("the store is at rest again", rests).await;
    assert!(bridge.stop().success());
}
