//! A thousand small pipelines in one process.

use std::fs;
use std::time::{Duration, Instant};

use webhook_bridge::receiver::Behaviour;

use super::{show, small_pipeline};
use crate::delivery::Site;
use crate::support::{Bridge, wait_until_within};

const PIPELINES: usize = 1000;

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a machine with time: it measures"]
async fn a_thousand_pipelines_start_in_one_process() {
    let site = Site::start(Behaviour::default()).await;
    let (root, folder) = (site.folder.path(), site.folder.path().join("pipelines"));
    fs::create_dir(&folder).unwrap();
    for number in 0..PIPELINES {
        let name = format!("p{number}");
        fs::write(root.join(format!("{name}.jsonl")), "{\"n\":1}\n").unwrap();
        let text = small_pipeline(root, &name, &site.receiver.url());
        fs::write(folder.join(format!("{name}.toml")), text).unwrap();
    }
    let began = Instant::now();
    let bridge = Bridge::run_paths(root, &[], &[&folder]);
    let patience = Duration::from_secs(300);
    wait_until_within(patience, "all run", || site.log_count(&bridge, ": running ") == PIPELINES).await;
    show(&format!("all {PIPELINES} run after {:?}", began.elapsed()));
    wait_until_within(patience, "all deliver", || site.receiver.requests() == PIPELINES as u64).await;
    show(&format!("all have delivered after {:?}; {} MiB", began.elapsed(), bridge.resident_kib() / 1024));
    show(&format!("threads: {}, open files: {}", bridge.threads(), bridge.open_files()));
    let began = Instant::now();
    assert!(bridge.stop().success());
    show(&format!("stopped after {:?}", began.elapsed()));
}
