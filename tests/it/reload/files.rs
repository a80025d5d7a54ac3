//! How files are replaced: by editors, by Kubernetes, in pieces; and what becomes of files that come, go and are wrong.

use std::fs;
use std::os::unix::fs::symlink;

use nix::sys::signal::Signal;
use webhook_bridge::receiver::Behaviour;

use super::{APPLIED, small_pipeline};
use crate::delivery::{Site, header, number};
use crate::support::{Bridge, command, run_to_end, wait_until};

/// A version of the pipeline `it` that says its number in each request.
fn version(site: &Site, number: usize) -> String {
    let keys = format!("headers = {{ X-Version = \"{number}\" }}\n");
    let config = site.file_pipeline(&keys);
    config.replace("paths = [\"events", &format!("paths = [\"{}/events", site.folder.path().display()))
}

/// Appends an event and waits until it is delivered by a version.
async fn delivered_by(site: &mut Site, bridge: &Bridge, n: usize, version: usize) {
    let before = site.receiver.requests();
    site.append(&[format!("{{\"n\":{n}}}")]);
    wait_until("the event arrives", || site.receiver.requests() > before).await;
    let requests = site.received();
    let request = requests.last().unwrap();
    assert_eq!(
        (number(request), header(request, "x-version")),
        (n as u64, version.to_string().as_str()),
        "{}",
        bridge.log()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_config_map_is_followed_when_its_link_is_swapped() {
    let mut site = Site::start(Behaviour::default()).await;
    let mount = site.folder.path().join("mount");
    fs::create_dir(&mount).unwrap();
    let swap = |number: usize, text: &str| {
        let folder = format!("..2026_01_0{number}");
        fs::create_dir(mount.join(&folder)).unwrap();
        fs::write(mount.join(&folder).join("it.toml"), text).unwrap();
        symlink(&folder, mount.join("..data_tmp")).unwrap();
        fs::rename(mount.join("..data_tmp"), mount.join("..data")).unwrap();
        if number > 1 {
            fs::remove_dir_all(mount.join(format!("..2026_01_0{}", number - 1))).unwrap();
        }
    };
    swap(1, &version(&site, 1));
    symlink("..data/it.toml", mount.join("it.toml")).unwrap();
    let bridge = Bridge::run_paths(site.folder.path(), &["--watch"], &[&mount]);
    delivered_by(&mut site, &bridge, 1, 1).await;
    for number in 2..=4 {
        swap(number, &version(&site, number));
        wait_until("the new version runs", || site.log_count(&bridge, APPLIED) == number - 1).await;
        delivered_by(&mut site, &bridge, number, number).await;
    }
    swap(5, "name = 'it'\n[sinks");
    wait_until("the fault is told", || site.log_count(&bridge, "the one before goes on") == 1).await;
    delivered_by(&mut site, &bridge, 5, 4).await;
    assert!(bridge.stop().success());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rotated_secret_is_taken_up() {
    let mut site = Site::start(Behaviour::default()).await;
    let secret = site.folder.path().join("secret");
    fs::write(&secret, "first-secret\n").unwrap();
    let file = site.folder.path().join("it.toml");
    let text = version(&site, 0).replace("\"0\"", &format!("\"${{file:{}}}\"", secret.display()));
    fs::write(&file, text).unwrap();
    let bridge = Bridge::run_paths(site.folder.path(), &["--watch"], &[&file]);
    for (number, value) in [(1, "first-secret"), (2, "second-secret")] {
        fs::write(&secret, format!("{value}\n")).unwrap();
        wait_until("the secret is in use", || site.log_count(&bridge, APPLIED) == number - 1).await;
        site.append(&[format!("{{\"n\":{number}}}")]);
        wait_until("the event arrives", || site.receiver.requests() == number as u64).await;
        let requests = site.received();
        assert_eq!(header(requests.last().unwrap(), "x-version"), value);
    }
    assert!(!bridge.log().contains("-secret"), "{}", bridge.log());
    assert!(bridge.stop().success());
}

#[tokio::test(flavor = "multi_thread")]
async fn editors_may_rename_and_write_in_pieces() {
    let mut site = Site::start(Behaviour::default()).await;
    let file = site.folder.path().join("it.toml");
    fs::write(&file, version(&site, 1)).unwrap();
    let bridge = Bridge::run_paths(site.folder.path(), &["--watch"], &[&file]);
    delivered_by(&mut site, &bridge, 1, 1).await;

    // As vim: the old file is moved away, a new one is written in its place.
    fs::rename(&file, site.folder.path().join("it.toml~")).unwrap();
    fs::write(&file, version(&site, 2)).unwrap();
    wait_until("the renamed file is read", || site.log_count(&bridge, APPLIED) == 1).await;
    delivered_by(&mut site, &bridge, 2, 2).await;

    // As most others: a new file is renamed over the old one.
    let new = site.folder.path().join(".it.toml.new");
    fs::write(&new, version(&site, 3)).unwrap();
    fs::rename(&new, &file).unwrap();
    wait_until("the new file is read", || site.log_count(&bridge, APPLIED) == 2).await;
    delivered_by(&mut site, &bridge, 3, 3).await;

    // A writer that pauses in the middle: the half is found wrong and changes nothing.
    let text = version(&site, 4);
    let half = text.find("url =").unwrap() + 7;
    fs::write(&file, &text[..half]).unwrap();
    wait_until("the half is read", || site.log_count(&bridge, "the one before goes on") == 1).await;
    delivered_by(&mut site, &bridge, 4, 3).await;
    fs::write(&file, &text).unwrap();
    wait_until("the whole is read", || site.log_count(&bridge, APPLIED) == 3).await;
    delivered_by(&mut site, &bridge, 5, 4).await;
    assert!(bridge.stop().success());
}

#[tokio::test(flavor = "multi_thread")]
async fn files_of_a_folder_come_and_go() {
    let mut site = Site::start(Behaviour::default()).await;
    let (root, folder) = (site.folder.path().to_owned(), site.folder.path().join("pipelines"));
    fs::create_dir(&folder).unwrap();
    let write = |name: &str| {
        fs::write(root.join(format!("{name}.jsonl")), "{\"n\":1}\n").unwrap();
        let text = small_pipeline(&root, name, &site.receiver.url());
        fs::write(folder.join(format!("{name}.toml")), text).unwrap();
    };
    write("one");
    let bridge = Bridge::run_paths(&root, &[], &[&folder]);
    wait_until("the first delivers", || site.receiver.requests() == 1).await;
    write("two");
    bridge.signal(Signal::SIGHUP);
    wait_until("the second delivers", || site.receiver.requests() == 2).await;
    fs::remove_file(folder.join("one.toml")).unwrap();
    bridge.signal(Signal::SIGHUP);
    wait_until("the first ends", || site.log_count(&bridge, "the pipeline has ended") == 1).await;

    // A file that is renamed is one that goes and one that comes: the name is free only when the old one has ended.
    fs::rename(folder.join("two.toml"), folder.join("three.toml")).unwrap();
    bridge.signal(Signal::SIGHUP);
    wait_until("the second ends", || site.log_count(&bridge, "the pipeline has ended") == 2).await;
    let append = |line: &str| {
        let text = fs::read_to_string(root.join("two.jsonl")).unwrap();
        fs::write(root.join("two.jsonl"), text + line).unwrap();
    };
    append("{\"n\":2}\n");
    wait_until("it goes on where it was", || site.receiver.requests() == 3).await;
    assert!(bridge.stop().success());
    let paths: Vec<_> = site.received().into_iter().map(|request| request.path_and_query).collect();
    assert_eq!(paths, ["/one", "/two", "/two"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_pipeline_stands_beside_a_healthy_one() {
    let site = Site::start(Behaviour::default()).await;
    let (root, folder) = (site.folder.path(), site.folder.path().join("pipelines"));
    fs::create_dir(&folder).unwrap();
    let write = |file: &str, text: String| fs::write(folder.join(file), text).unwrap();
    write("healthy.toml", small_pipeline(root, "healthy", &site.receiver.url()));
    write(
        "dying.toml",
        small_pipeline(root, "dying", &site.receiver.url()) + "[store]\nurl = \"sqlite:/dev/null/x\"\n",
    );
    write("wrong.toml", "name = 'wrong'\n".to_owned());
    let bridge = Bridge::run_paths(root, &[], &[&folder]);
    wait_until("one dies", || site.log_count(&bridge, "the pipeline has failed") == 1).await;
    fs::write(root.join("healthy.jsonl"), "{\"n\":1}\n").unwrap();
    wait_until("the healthy one delivers", || site.receiver.requests() == 1).await;
    assert!(bridge.log().contains("wrong.toml") && bridge.log().contains("is not run"), "{}", bridge.log());

    // What is mended is started, also what has failed.
    write("dying.toml", small_pipeline(root, "dying", &site.receiver.url()));
    write("wrong.toml", small_pipeline(root, "wrong", &site.receiver.url()));
    bridge.signal(Signal::SIGHUP);
    for (number, name) in ["dying", "wrong"].into_iter().enumerate() {
        fs::write(root.join(format!("{name}.jsonl")), "{\"n\":1}\n").unwrap();
        wait_until("it delivers too", || site.receiver.requests() == number as u64 + 2).await;
    }
    assert!(bridge.stop().success());
}

#[test]
fn what_is_not_mended_is_told_at_the_end_and_strict_starts_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let write = |file: &str, text: &str| fs::write(folder.path().join(file), text).unwrap();
    write("a.toml", &small_pipeline(folder.path(), "a", "http://127.0.0.1:9"));
    write("b.toml", "name = 'b'");
    let run = |args: &[&str]| {
        let mut run = command();
        run.args(["run", "--once", "--state-dir"]).arg(folder.path().join("state")).args(args).arg(folder.path());
        run_to_end(&mut run)
    };
    fs::write(folder.path().join("a.jsonl"), "").unwrap();
    let (code, _, stderr) = run(&[]);
    assert_eq!(code, 1, "{stderr}");
    assert!(stderr.contains("1 of the pipelines failed or could not be started"), "{stderr}");
    let (code, _, stderr) = run(&["--strict"]);
    assert_eq!(code, 3, "{stderr}");
    assert!(!stderr.contains("running"), "{stderr}");

    write("b.toml", &small_pipeline(folder.path(), "a", "http://127.0.0.1:9"));
    let (code, _, stderr) = run(&["--strict"]);
    assert_eq!(code, 3, "{stderr}");
    assert!(stderr.contains("a.toml") && stderr.contains("b.toml"), "{stderr}");
}
