//! A receiver whose certificate is not valid: the log says what is wrong with it, once, in the bridge's own words.

use std::process::Stdio;

use super::numbered;
use crate::support::{Certificate, Nginx, NginxSetup, command, dead_letters};

/// What a bridge with the default verbosity logs that sends 100 events to this nginx, each of them four times.
fn log_of(nginx: &Nginx, is_trusted: bool) -> String {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("events.jsonl"), numbered(100).join("\n") + "\n").unwrap();
    let config = format!(
        "name = \"it\"\n[sources.input]\ntype = \"file\"\npaths = [\"events.jsonl\"]\n\
         [sinks.crm]\ntype = \"webhook\"\nfrom = [\"input\"]\nurl = \"{}\"\n\
         retry = {{ schedule = [\"10ms\", \"10ms\", \"10ms\"] }}\nbreaker = {{ failures = 0 }}\n",
        nginx.url()
    );
    let pipeline = folder.path().join("pipeline.toml");
    std::fs::write(&pipeline, config).unwrap();
    let mut bridge = command();
    if is_trusted {
        bridge.env("SSL_CERT_FILE", nginx.authority());
    }
    bridge.args(["run", "--once", "--state-dir"]).arg(folder.path().join("state")).arg(&pipeline);
    let output = bridge.stdin(Stdio::null()).output().unwrap();
    let log = String::from_utf8(output.stderr).unwrap();
    let letters = dead_letters(folder.path());
    assert_eq!(letters.len(), 100, "{log}");
    assert!(letters.iter().all(|letter| letter["attempts"] == 4), "{}", letters[0]);
    log
}

/// Asserts that the bridge says this, with the name of the sink, and says nothing else but what it says of each letter.
async fn assert_says(certificate: Certificate, is_trusted: bool, reason: &str) {
    let nginx = Nginx::start(NginxSetup { certificate, ..NginxSetup::default() }).await;
    let log = log_of(&nginx, is_trusted);
    let (letters, others): (Vec<&str>, Vec<&str>) =
        log.lines().partition(|line| line.contains("becomes a dead letter"));
    assert!(letters.iter().all(|line| line.contains(reason) && line.contains("sink=crm")), "{log}");
    let failing: Vec<_> = others.iter().filter(|line| line.contains("attempts fail")).collect();
    assert_eq!(failing.len(), 1, "{log}");
    assert!(failing[0].contains(&format!("cannot connect: {reason}")) && failing[0].contains("sink=crm"), "{log}");
    assert!(letters.len() == 100 && others.len() < 10, "{log}");
    assert!(!log.contains("ERROR") && !log.contains("rustls"), "no library speaks for itself:\n{log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_expired_certificate_is_told_with_its_date() {
    let reason = "the receiver's certificate expired on 2021-01-01T00:00:00Z";
    assert_says(Certificate::Expired, true, reason).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_else_is_wrong_with_a_certificate_is_told() {
    let not_yet = "the receiver's certificate is not valid before 2098-01-01T00:00:00Z, by the clock of this machine";
    assert_says(Certificate::NotYetValid, true, not_yet).await;
    let other_name = "the receiver's certificate is for other.example, not for localhost";
    assert_says(Certificate::OtherName, true, other_name).await;
    let unknown = "this system does not know the authority that has signed the receiver's certificate";
    assert_says(Certificate::Valid, false, unknown).await;
}
