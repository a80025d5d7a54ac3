//! `dev`, `listen` and a reload with schemes of all kinds.

use std::io::{BufRead as _, BufReader, Read as _};
use std::process::Stdio;

use webhook_bridge::receiver::Behaviour;

use super::document::sections;
use crate::delivery::Site;
use crate::support::{command, wait_until};

/// A pipeline from standard input to a sink for every scheme, each with two secrets.
fn pipeline(url: &str) -> String {
    let mut config = "name = \"it\"\n[sources.input]\ntype = \"stdin\"\n".to_owned();
    for section in sections() {
        config += &format!(
            "[sinks.{scheme}]\ntype = \"webhook\"\nfrom = [\"input\"]\nurl = \"{url}/{scheme}?a=b c\"\n\
             [sinks.{scheme}.signing]\n{keys}",
            scheme = section.scheme,
            keys = section.keys(&section.secrets())
        );
    }
    config
}

#[test]
fn dev_verifies_every_scheme() {
    let folder = tempfile::tempdir().unwrap();
    let (file, events) = (folder.path().join("pipeline.toml"), folder.path().join("events.jsonl"));
    std::fs::write(&file, pipeline("https://receiver.example")).unwrap();
    std::fs::write(&events, "{\"n\": 1}\n{\"n\": 2}\n").unwrap();
    let output = command().args(["dev", "--once", "--events"]).args([&events, &file]).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    for section in sections() {
        let summary = format!("{}: 2 requests: 2 answered 200; signatures: 2 verified, 0 failed", section.scheme);
        assert!(text.contains(&summary), "{text}");
        for secret in section.secrets() {
            let without_prefix = secret.rsplit('_').next().unwrap();
            assert!(!text.contains(without_prefix), "{text}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn listen_verifies_every_scheme_and_says_why_one_fails() {
    for section in sections() {
        let config = section.config(&section.secrets());
        let mut listen = command();
        listen.args(["listen", "--addr", "127.0.0.1:0", "--count", "1", "--scheme", &section.scheme]);
        listen.args(["--secret", section.receivers_secrets()[0]]);
        let flags = [("content", config.content), ("header", config.header), ("value", config.value)];
        for (flag, value) in flags.into_iter().chain([("separator", config.separator)]) {
            listen.args(value.map(|value| [format!("--{flag}"), value]).into_iter().flatten());
        }
        if section.scheme == "custom" {
            listen.args(["--algorithm", "hmac-sha512", "--encoding", "base64url"]);
        }
        for (secret, expected) in
            [(0, "✓ signature verified"), (1, "no signature matches: the secret is another, or the ")]
        {
            let site = Site::start(Behaviour::default()).await;
            let mut child = listen.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
            let mut greeting = String::new();
            let mut stderr = BufReader::new(child.stderr.take().unwrap());
            stderr.read_line(&mut greeting).unwrap();
            let url = greeting.split_whitespace().nth(2).unwrap_or_else(|| panic!("{greeting}"));
            let keys = section.keys(&section.secrets()[secret..=secret]);
            site.deliver(&format!("url = \"{url}/hook?a=1\"\n[sinks.out.signing]\n{keys}"), &["{\"n\": 1}"]);
            let mut text = String::new();
            child.stdout.take().unwrap().read_to_string(&mut text).unwrap();
            child.wait().unwrap();
            assert!(text.contains(expected), "{}: {text}", section.scheme);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn another_scheme_and_another_secret_count_from_the_next_attempt_on() {
    let mut site = Site::start(Behaviour::default()).await;
    let version = |keys: &str| site.file_pipeline(&format!("[sinks.out.signing]\n{keys}"));
    let sections = sections();
    let mut versions = Vec::new();
    for section in sections.iter().filter(|section| section.scheme != "custom") {
        versions.extend(section.secrets().map(|secret| (section, secret, version(&section.keys(&[secret])))));
    }
    let first = version("secrets = [\"whsec_bm90LXVzZWQtYnktYW55LW90aGVyLXRlc3Q=\"]\n");
    let bridge = crate::support::Bridge::run(site.folder.path(), &first);
    site.append(&["{\"n\": 0}"]);
    wait_until("the bridge runs", || !site.received().is_empty()).await;
    let mut verified = 0;
    for (section, secret, config) in &versions {
        crate::reload::reload(&site, &bridge, config, crate::reload::APPLIED).await;
        site.append(&["{\"n\": 1}"]);
        let mut requests = Vec::new();
        wait_until("the event arrives", || {
            requests.extend(site.received());
            !requests.is_empty()
        })
        .await;
        let verifier = webhook_bridge::receiver::Verifier::new(&section.config(&[*secret])).unwrap();
        assert_eq!(verifier.verify(&requests[0]), Ok(()), "{}", section.scheme);
        verified += 1;
    }
    assert_eq!(verified, 2 * (sections.len() - 1));
    for (_, secret, _) in versions {
        assert!(!bridge.log().contains(secret), "{}", bridge.log());
    }
}
