//! `bridge dead` and `bridge sinks` with the real process: looking at letters, sending them again, throwing them away.

use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};

use axum::http::StatusCode;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;
use webhook_bridge::receiver::{Behaviour, ReceivedRequest, Reply};

use crate::delivery::{Site, answer, header, numbered, numbers};
use crate::support::{Bridge, command, rows, run_to_end, store_file, wait_until};

/// A receiver whose answer can be changed, and the pipeline that delivers to it.
struct Mailbox {
    site: Site,
    status: Arc<AtomicU16>,
}

impl Mailbox {
    /// The receiver rejects everything at first.
    async fn rejecting() -> Self {
        let status = Arc::new(AtomicU16::new(400));
        let chosen = Arc::clone(&status);
        let site = Site::choosing(move |_| answer(chosen.load(Ordering::Relaxed), &[], "no such order")).await;
        Self { site, status }
    }

    fn answer_with(&self, status: u16) {
        self.status.store(status, Ordering::Relaxed);
    }

    fn write(&self, config: &str) {
        std::fs::write(self.site.folder.path().join("pipeline.toml"), config).unwrap();
    }

    /// `bridge NOUN VERB pipeline.toml ARGS…`
    fn command(&self, noun: &str, verb: &str, args: &[&str]) -> Command {
        let folder = self.site.folder.path();
        let mut bridge = command();
        bridge.args([noun, verb, "--state-dir"]).arg(folder.join("state")).arg(folder.join("pipeline.toml")).args(args);
        bridge
    }

    fn bridge(&self, noun: &str, verb: &str, args: &[&str]) -> (i32, String, String) {
        run_to_end(&mut self.command(noun, verb, args))
    }

    fn dead(&self, verb: &str, args: &[&str]) -> (i32, String, String) {
        self.bridge("dead", verb, args)
    }

    /// As [`dead`](Self::dead), for what must go well; gives standard output.
    fn dead_well(&self, verb: &str, args: &[&str]) -> String {
        let (code, stdout, stderr) = self.dead(verb, args);
        assert_eq!(code, 0, "{stdout}{stderr}");
        stdout
    }

    fn list(&self, args: &[&str]) -> Vec<Value> {
        let lines = self.dead_well("list", &[&["--format", "json"], args].concat());
        lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }
}

const NO_RETRY: &str = "retry = { schedule = [], jitter = 0 }";

#[tokio::test(flavor = "multi_thread")]
async fn letters_are_listed_shown_and_exported_with_secrets_masked() {
    let mailbox = Mailbox::rejecting().await;
    let sink = format!(
        "{NO_RETRY}\nheaders = {{ Authorization = \"Bearer t0k3n-4711\", X-N = \"{{{{data.n}}}} t0k3n-4711\" }}\n\
         body = '{{\"number\": {{{{data.n}}}}, \"key\": \"t0k3n-4711\"}}'"
    );
    mailbox.site.deliver(&sink, &[r#"{"n": 1}"#, "no JSON", r#"{"n": 2}"#]);

    let list = mailbox.dead_well("list", &[]);
    assert!(list.starts_with("ID") && list.ends_with("\n3 dead letters\n"), "{list}");
    let rows = list.lines().skip(1).take(3).collect::<Vec<_>>();
    assert_eq!(rows.iter().filter(|row| row.contains("  rejected  ")).count(), 2, "{list}");
    assert!(rows.iter().any(|row| row.contains("undecodable") && row.contains("the payload is not JSON")), "{list}");
    let limited = mailbox.dead_well("list", &["--limit", "1"]);
    assert!(limited.contains("3 dead letters; the newest 1 are listed"), "{limited}");

    assert_eq!(mailbox.list(&["--reason", "rejected"]).len(), 2);
    let letters = mailbox.site.dead_letters();
    let id = letters.iter().find(|letter| letter["event"]["payload"] == r#"{"n": 2}"#).unwrap()["id"].to_string();
    let shown = mailbox.dead_well("show", &[&id]);
    for part in ["rejected", "\"n\": 2", "POST http://", "authorization: ***", "\"number\": 2", "400", "no such order"]
    {
        assert!(shown.contains(part), "{part} is missing:\n{shown}");
    }
    assert!(shown.contains("Attempts: 1"), "{shown}");
    let json: Value = serde_json::from_str(&mailbox.dead_well("show", &[&id, "--format", "json"])).unwrap();
    assert_eq!((&json["attempts"], &json["attempt_log"][0]["status"]), (&1.into(), &400.into()));
    assert_eq!(json["event"]["payload"], r#"{"n": 2}"#);

    let exported = mailbox.dead_well("export", &["--sink", "out"]);
    assert_eq!(exported.lines().count(), 3);
    for text in [list, limited, shown, json.to_string(), exported] {
        assert!(!text.contains("4711"), "{text}");
    }
    let (code, _, stderr) = mailbox.dead("show", &["999"]);
    assert_eq!(code, 1);
    assert!(stderr.contains("no dead letter 999"), "{stderr}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replay_renders_with_todays_pipeline_and_keeps_the_webhook_id() {
    let mut mailbox = Mailbox::rejecting().await;
    let config = |body: &str| mailbox.site.file_pipeline(&format!("{NO_RETRY}\nbody = '{body}'"));
    mailbox.site.append(&numbered(3));
    let first = config(r#"{"old": {{data.n}}}"#);
    let mended = config(r#"{"n": {{data.n}}}"#);
    assert!(Bridge::run_with(mailbox.site.folder.path(), &first, &["--once"], Stdio::null()).wait().success());
    let sent = mailbox.site.received();
    assert_eq!(sent.len(), 3);

    mailbox.write(&mended);
    mailbox.answer_with(200);
    let said = mailbox.dead_well("replay", &["--sink", "out"]);
    assert_eq!(said, "3 deliveries: 3 delivered\n");
    let again = mailbox.site.received();
    assert_eq!(sorted(numbers(&again)), [1, 2, 3]);
    assert_eq!(ids(&sent), ids(&again));
    assert_eq!(mailbox.dead_well("list", &[]), "no dead letters\n");
    assert_eq!(mailbox.dead_well("replay", &["--all"]), "0 deliveries: 0 delivered\n");
    for verb in ["list", "replay", "export"] {
        let (code, _, said) = mailbox.dead(verb, &["--sink", "outt"]);
        assert_eq!(code, 2, "{said}");
        assert!(said.contains("there is no `sinks.outt`") && said.contains("did you mean `sinks.out`?"), "{said}");
    }
}

fn sorted(mut numbers: Vec<u64>) -> Vec<u64> {
    numbers.sort_unstable();
    numbers
}

fn ids(requests: &[ReceivedRequest]) -> std::collections::BTreeSet<&str> {
    requests.iter().map(|request| header(request, "webhook-id")).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn as_sent_sends_the_very_bytes_again() {
    let mut mailbox = Mailbox::rejecting().await;
    let sink = format!("{NO_RETRY}\nheaders = {{ X-At = \"{{{{now}}}}\" }}\nbody = '{{\"id\": \"{{{{uuid}}}}\"}}'");
    mailbox.site.deliver(&sink, &numbered(1));
    let first = mailbox.site.received().remove(0);
    mailbox.answer_with(200);
    assert_eq!(mailbox.dead_well("replay", &["--all", "--as-sent"]), "1 delivery: 1 delivered\n");
    let again = mailbox.site.received().remove(0);
    assert_eq!(first.body, again.body);
    for name in ["webhook-id", "x-at", "content-type"] {
        assert_eq!(header(&first, name), header(&again, name), "{name}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn as_sent_sends_the_first_bytes_whatever_was_replayed_in_between() {
    let mut mailbox = Mailbox::rejecting().await;
    let sink = format!("{NO_RETRY}\nheaders = {{ X-At = \"{{{{now}}}}\" }}\nbody = '{{\"id\": \"{{{{uuid}}}}\"}}'");
    mailbox.site.deliver(&sink, &numbered(1));
    let first = mailbox.site.received().remove(0);
    let id = mailbox.list(&[])[0]["id"].to_string();
    for _ in 0..2 {
        assert_eq!(mailbox.dead("replay", &[&id]).0, 1);
        assert_ne!(first.body, mailbox.site.received().remove(0).body, "it is rendered anew");
        let shown = mailbox.dead_well("show", &[&id]);
        assert!(shown.contains("The first attempts sent another request"), "{shown}");
    }
    for status in [400, 200] {
        mailbox.answer_with(status);
        mailbox.dead("replay", &[&id, "--as-sent"]);
        let again = mailbox.site.received().remove(0);
        assert_eq!(first.body, again.body);
        assert_eq!(header(&first, "x-at"), header(&again, "x-at"));
    }
    assert!(mailbox.list(&[]).is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_letter_that_fails_again_is_one_letter_with_more_attempts() {
    let mailbox = Mailbox::rejecting().await;
    mailbox.site.deliver(NO_RETRY, &numbered(2));
    let before = mailbox.list(&[]);
    let id = before[0]["id"].to_string();
    for attempts in [2, 3] {
        let (code, stdout, stderr) = mailbox.dead("replay", &[&id]);
        assert_eq!((code, stdout.as_str()), (1, "1 delivery: 0 delivered, 1 dead again\n"), "{stderr}");
        assert!(stderr.contains("1 of the letters are dead letters"), "{stderr}");
        let after = mailbox.list(&[]);
        assert_eq!(after.len(), 2);
        assert_eq!((after[0]["id"].to_string(), &after[0]["attempts"]), (id.clone(), &attempts.into()), "the newest");
    }
    let shown = mailbox.dead_well("show", &[&id]);
    assert_eq!(shown.matches("no such order").count(), 3, "{shown}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_running_bridge_delivers_what_is_replayed() {
    let mut mailbox = Mailbox::rejecting().await;
    mailbox.site.append(&numbered(20));
    let sink = format!("{NO_RETRY}\nrate_limit = {{ requests = 20, per = \"1s\", burst = 1 }}");
    let bridge = Bridge::run(mailbox.site.folder.path(), &mailbox.site.file_pipeline(&sink));
    wait_until("all are dead letters", || mailbox.site.dead_letters().len() == 20).await;
    mailbox.site.received();
    mailbox.answer_with(200);
    assert_eq!(mailbox.dead_well("replay", &["--all"]), "20 deliveries: 20 delivered\n");
    let again = mailbox.site.received();
    assert_eq!(sorted(numbers(&again)), (1..=20).collect::<Vec<_>>());
    let took = crate::delivery::millis_between(&again[0], &again[19]);
    assert!(took >= 900, "the rate limit is respected: {took} ms");

    mailbox.answer_with(400);
    mailbox.site.append(&numbered(1));
    wait_until("one more is a dead letter", || mailbox.site.dead_letters().len() == 1).await;
    mailbox.answer_with(200);
    let said = mailbox.dead_well("replay", &["--all", "--no-wait"]);
    assert_eq!(said, "queued 1 delivery: the running bridge delivers them\n");
    let mut received = Vec::new();
    wait_until("it is delivered", || {
        received.extend(
            mailbox.site.received().into_iter().filter(|request| request.answered_status == Some(StatusCode::OK)),
        );
        received.len() == 1
    })
    .await;
    assert!(bridge.stop().success());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_replayed_without_waiting_is_delivered_by_the_next_run() {
    let mut mailbox = Mailbox::rejecting().await;
    mailbox.site.deliver(NO_RETRY, &numbered(2));
    mailbox.site.received();
    mailbox.answer_with(200);
    let said = mailbox.dead_well("replay", &["--all", "--no-wait"]);
    assert_eq!(said, "queued 2 deliveries: the next `bridge run` delivers them\n");
    assert_eq!(mailbox.site.received().len(), 0);
    mailbox.site.deliver(NO_RETRY, &[] as &[&str]);
    assert_eq!(sorted(numbers(&mailbox.site.received())), [1, 2]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replay_that_must_wait_leaves_the_rest_to_the_next_run() {
    let mut mailbox = Mailbox::rejecting().await;
    let sink = "retry = { schedule = [\"1h\"], jitter = 0 }";
    mailbox.site.deliver(sink, &numbered(1));
    mailbox.answer_with(503);
    assert_eq!(mailbox.dead_well("replay", &["--all"]), "1 delivery: 0 delivered, 1 waiting for the next attempt\n");
    assert_eq!(mailbox.site.received().len(), 2);
    let (code, sinks, _) = mailbox.bridge("sinks", "list", &["--format", "json"]);
    let sinks: Value = serde_json::from_str(&sinks).unwrap();
    assert_eq!((code, &sinks["parked"], &sinks["dead_letters"]), (0, &1.into(), &0.into()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replay_that_is_interrupted_leaves_the_rest_to_the_next_run() {
    let mut mailbox = Mailbox::rejecting().await;
    mailbox.site.deliver(NO_RETRY, &numbered(3));
    mailbox.site.received();
    mailbox.answer_with(200);
    mailbox.write(&mailbox.site.pipeline("rate_limit = { requests = 1, per = \"1h\", burst = 1 }"));
    let mut replay = mailbox.command("dead", "replay", &["--all"]);
    let replay = replay.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut received = Vec::new();
    wait_until("the first is delivered", || {
        received.extend(mailbox.site.received());
        !received.is_empty()
    })
    .await;
    kill(Pid::from_raw(replay.id().try_into().unwrap()), Signal::SIGINT).unwrap();
    let output = replay.wait_with_output().unwrap();
    let (stdout, stderr) = (String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap());
    assert_eq!(stdout, "3 deliveries: 1 delivered, 2 not attempted yet: left to `bridge run`\n", "{stderr}");
    assert_eq!(output.status.code(), Some(0), "{stderr}");
    mailbox.site.deliver(NO_RETRY, &[] as &[&str]);
    received.extend(mailbox.site.received());
    assert_eq!(sorted(numbers(&received)), [1, 2, 3]);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_undecodable_letter_goes_on_from_its_filter_when_the_format_was_mended() {
    let mut mailbox = Mailbox::rejecting().await;
    mailbox.answer_with(200);
    let config = |format: &str, when: &str| {
        let source = format!(
            "[sources.input]\ntype = \"stdin\"\nformat = \"{format}\"\n[filters.some]\nfrom = [\"input\"]\nwhen = \"{when}\""
        );
        mailbox.site.pipeline_of(&source, "").replace("from = [\"input\"]\nurl", "from = [\"some\"]\nurl")
    };
    mailbox.site.deliver_all(&config("json", "$.data"), &["hello world", "goodbye"]);
    let letters = mailbox.list(&["--node", "filters.some"]);
    assert_eq!(letters.len(), 2);
    assert!(letters.iter().all(|letter| letter["reason"] == "undecodable"), "{letters:?}");
    let (code, stdout, stderr) = mailbox.dead("replay", &["--all"]);
    assert_eq!((code, stdout.as_str()), (1, "0 deliveries: 0 delivered, 2 not replayed\n"), "still no JSON: {stderr}");
    assert!(stderr.contains("the payload is not JSON"), "{stderr}");

    mailbox.write(&config("text", "search($.data, 'hello')"));
    let said = mailbox.dead_well("replay", &["--reason", "undecodable"]);
    assert_eq!(said, "1 delivery: 1 delivered, 1 turned away by the filters\n");
    let received = mailbox.site.received();
    assert_eq!(received.len(), 1);
    assert_eq!(received[0].body, "hello world");
    assert_eq!(header(&received[0], "content-type"), "text/plain; charset=utf-8");
    assert_eq!(mailbox.list(&[]).len(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn letters_whose_payload_is_not_whole_are_refused() {
    let mailbox = Mailbox::rejecting().await;
    let source = "[sources.input]\ntype = \"stdin\"\nmax_event_size = \"16B\"";
    mailbox.site.deliver_all(&mailbox.site.pipeline_of(source, ""), &["x".repeat(100)]);
    mailbox.write(&mailbox.site.pipeline(""));
    let (code, stdout, stderr) = mailbox.dead("replay", &["--all"]);
    assert_eq!((code, stdout.as_str()), (1, "0 deliveries: 0 delivered, 1 not replayed\n"));
    assert!(stderr.contains("only the beginning of its payload was kept"), "{stderr}");
    assert_eq!(mailbox.list(&["--reason", "too-large"]).len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn letters_are_purged_by_reason_time_and_number() {
    let mailbox = Mailbox::rejecting().await;
    let sink = format!("{NO_RETRY}\nbody = '{{\"n\": {{{{data.n}}}}}}'");
    mailbox.site.deliver(&sink, &[r#"{"n": 1}"#, r#"{"n": 2}"#, r#"{"n": 3}"#, "{}"]);
    let (code, _, stderr) = mailbox.dead("purge", &[]);
    assert_eq!(code, 2);
    assert!(stderr.contains("--all"), "{stderr}");
    let (code, _, stderr) = mailbox.dead("purge", &["--all"]);
    assert_eq!(code, 2);
    assert!(stderr.contains("4 dead letters would be purged: add --yes"), "{stderr}");
    assert_eq!(mailbox.dead_well("purge", &["--until", "1h", "--yes"]), "no dead letters to purge\n");
    assert_eq!(mailbox.dead_well("purge", &["--reason", "unrenderable", "--yes"]), "purged 1 dead letter\n");
    let id = mailbox.list(&["--since", "1h"])[0]["id"].to_string();
    assert_eq!(mailbox.dead_well("purge", &[&id, "--yes"]), "purged 1 dead letter\n");
    assert_eq!(mailbox.list(&[]).len(), 2);
    assert_eq!(mailbox.dead_well("purge", &["--all", "--yes"]), "purged 2 dead letters\n");
    assert_eq!(mailbox.list(&[]).len(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn letters_older_than_the_limit_are_gone_once_a_bridge_runs_with_it() {
    let mailbox = Mailbox::rejecting().await;
    let config = mailbox.site.file_pipeline(NO_RETRY);
    let limited = format!("{config}[store]\nkeep_dead_letters = \"1h\"\n");
    mailbox.site.append(&numbered(5));
    let folder = mailbox.site.folder.path();
    assert!(Bridge::run_with(folder, &config, &["--once"], Stdio::null()).wait().success());
    let age = "UPDATE deliveries SET died = died - 7200000 WHERE id IN (SELECT id FROM deliveries ORDER BY id LIMIT 3)";
    rows(&store_file(folder, "it"), age);
    let old = mailbox.list(&["--until", "1h"]);
    assert_eq!((old.len(), mailbox.list(&[]).len()), (3, 5));

    mailbox.write(&limited);
    mailbox.answer_with(200);
    assert_eq!(mailbox.dead_well("replay", &[&old[0]["id"].to_string()]), "1 delivery: 1 delivered\n");
    assert_eq!(mailbox.list(&["--until", "1h"]).len(), 2, "a replay of one letter deletes no other");
    let bridge = Bridge::run(folder, &config);
    wait_until("it runs", || bridge.log().contains("running")).await;
    assert_eq!(mailbox.list(&[]).len(), 4, "there is no limit by default");

    mailbox.write(&limited);
    bridge.signal(Signal::SIGHUP);
    let list = || mailbox.dead_well("list", &[]);
    wait_until("the old ones are gone", || list().ends_with("\n2 dead letters\n")).await;
    assert_eq!(mailbox.list(&["--until", "1h"]).len(), 0);
    wait_until("it is logged", || bridge.log().contains("letters=2 given_up_before=")).await;
    assert!(bridge.stop().success());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_number_that_names_no_letter_is_an_error_and_nothing_is_done() {
    let mailbox = Mailbox::rejecting().await;
    mailbox.site.deliver(NO_RETRY, &numbered(1));
    let id = mailbox.list(&[])[0]["id"].to_string();
    for verb in ["replay", "purge", "export"] {
        for ids in [&["99"][..], &[&id, "99"]] {
            let (code, stdout, stderr) = mailbox.dead(verb, ids);
            assert_eq!((code, stdout.as_str()), (1, ""), "{verb}: {stderr}");
            assert!(stderr.contains("there is no dead letter 99"), "{verb}: {stderr}");
        }
    }
    assert_eq!(mailbox.list(&[])[0]["attempts"], 1, "nothing was done");
    for filter in [["--until", "1h"], ["--sink", "out"], ["--key", "nobody"]] {
        let (code, _, stderr) = mailbox.dead("export", &filter);
        assert_eq!(code, 0, "a filter may match nothing: {stderr}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disabled_sink_is_listed_and_enabled_again() {
    let mut mailbox = Mailbox::rejecting().await;
    mailbox.answer_with(410);
    mailbox.site.deliver(NO_RETRY, &numbered(1));
    let (_, list, _) = mailbox.bridge("sinks", "list", &[]);
    assert!(list.contains("disabled since") && list.contains("410"), "{list}");
    mailbox.answer_with(200);
    mailbox.site.received();
    let (code, _, stderr) = mailbox.dead("replay", &["--all"]);
    assert_eq!(code, 1);
    assert!(stderr.contains("sinks.out is disabled"), "{stderr}");

    let (code, _, stderr) = mailbox.bridge("sinks", "enable", &["uot"]);
    assert_eq!(code, 2);
    assert!(stderr.contains("did you mean `out`?"), "{stderr}");
    assert_eq!(mailbox.bridge("sinks", "enable", &["out"]).1, "sink out is enabled again\n");
    assert_eq!(mailbox.bridge("sinks", "enable", &["out"]).1, "sink out was not disabled\n");
    let (_, list, _) = mailbox.bridge("sinks", "list", &[]);
    assert!(list.lines().nth(1).unwrap().ends_with("1             enabled"), "{list}");
    assert_eq!(mailbox.dead_well("replay", &["--all"]), "1 delivery: 1 delivered\n");
    assert_eq!(mailbox.site.received().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_waits_for_a_sink_that_was_removed_is_in_sight() {
    let mailbox = Mailbox::rejecting().await;
    mailbox.answer_with(503);
    let waits = "retry = { schedule = [\"1h\"], jitter = 0, park_after = \"1s\" }";
    mailbox.site.deliver(waits, &numbered(2));
    mailbox.site.deliver_all(&mailbox.site.pipeline("").replace("[sinks.out]", "[sinks.new]"), &[] as &[&str]);
    let log = std::fs::read_to_string(mailbox.site.folder.path().join("bridge.log")).unwrap();
    assert!(log.contains("a sink that the pipeline does not have any more") && log.contains("sink=out"), "{log}");
    let (_, list, _) = mailbox.bridge("sinks", "list", &["--format", "json"]);
    let sinks: Vec<Value> = list.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(sinks.len(), 2, "{list}");
    assert_eq!((&sinks[0]["sink"], &sinks[0]["in_pipeline"]), (&"new".into(), &true.into()));
    assert_eq!(
        (&sinks[1]["sink"], &sinks[1]["parked"], &sinks[1]["in_pipeline"]),
        (&"out".into(), &2.into(), &false.into())
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_export_ends_quietly_when_nobody_reads_on() {
    let mailbox = Mailbox::rejecting().await;
    // More than a pipe holds.
    let lines = vec![format!("{{\"n\": 1, \"x\": \"{}\"}}", "x".repeat(50_000)); 5];
    mailbox.site.deliver(NO_RETRY, &lines);
    let mut export = mailbox.command("dead", "export", &[]);
    let mut export = export.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    drop(export.stdout.take());
    let output = export.wait_with_output().unwrap();
    assert_eq!((output.status.code(), output.stderr.as_slice()), (Some(0), &b""[..]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pipeline_without_a_store_says_so() {
    let site = Site::start(Behaviour { chooser: Some(Arc::new(|_: &_| Reply::Reset)), ..Behaviour::default() }).await;
    let mailbox = Mailbox { site, status: Arc::default() };
    let config = mailbox.site.pipeline(NO_RETRY);
    mailbox.write(&config);
    let (code, _, stderr) = mailbox.dead("list", &[]);
    assert_eq!(code, 2);
    assert!(stderr.contains("there is no store") && stderr.contains("--state-dir"), "{stderr}");
    mailbox.write(&format!("{config}\n[store]\nurl = \"none\"\n"));
    let (code, _, stderr) = mailbox.bridge("sinks", "list", &[]);
    assert_eq!(code, 2);
    assert!(stderr.contains("has no store"), "{stderr}");
}
