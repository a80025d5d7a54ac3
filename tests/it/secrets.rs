//! Secrets never print: whatever fails, no output, log, dead letter or state file shows one.

use std::path::Path;
use std::process::{Command, Stdio};

use axum::http::StatusCode;
use webhook_bridge::receiver::{Behaviour, Receiver};

use crate::support::{command, run_to_end};

/// Values with characters that URLs, JSON and log lines write in other ways.
const IN_URL: &str = "url-s3cr3t wörd_1.x";
const IN_HEADER: &str = "header-s3cr3t\"quoted\\2";
const IN_QUERY: &str = "query-s3cr3t'<&>+3";
const SIGNING: &str = "whsec_c2lnbmluZy1zZWNyZXQtb2YtdGhlLXRlc3Q=";
const KAFKA: &str = "kafka-s3cr3t-4";
const AMQP: &str = "amqp-s3cr3t-5";
/// Parts of the above that survive every way of writing them.
const TELLING: [&str; 7] =
    ["url-s3", "header-s3", "query-s3", "c2lnbmluZy1zZWNyZXQt", "kafka-s3", "amqp-s3", "dWVyeS1zM2NyM3"];

fn with_secrets(mut command: Command) -> Command {
    let secrets = [("IN_URL", IN_URL), ("IN_HEADER", IN_HEADER), ("IN_QUERY", IN_QUERY)];
    command.envs(secrets).env("SIGNING", SIGNING).env("KAFKA", KAFKA);
    command
}

/// What is printed for a pipeline, by all that can be done with it.
fn outputs(folder: &Path, config: &str, commands: &[&[&str]]) -> Vec<(String, String)> {
    std::fs::write(folder.join("pipeline.toml"), config).unwrap();
    std::fs::write(folder.join("amqp-secret"), format!("{AMQP}\n")).unwrap();
    std::fs::write(folder.join("events.jsonl"), "{\"n\":1}\nnot json\n{\"n\":2,\"name\":\"a\\r\\nb\"}\n").unwrap();
    let run = |args: &&[&str]| {
        let mut command = with_secrets(command());
        command.args(["-vv", "--log-format"]).arg(if args.contains(&"--once") { "json" } else { "text" });
        command.args(*args).arg(folder.join("pipeline.toml")).env("BRIDGE_STATE_DIR", folder.join("state"));
        let output = command.stdin(Stdio::null()).output().unwrap();
        let shown = [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).concat();
        (args.join(" "), shown)
    };
    commands.iter().map(run).collect()
}

/// What is printed of the dead letters: all of them exported and listed, and each of them shown.
fn letters_shown(folder: &Path) -> Vec<(String, String)> {
    let dead = |args: &[&str]| {
        let mut command = with_secrets(command());
        command.arg("-vv").arg("dead").arg(args[0]).arg(folder.join("pipeline.toml")).args(&args[1..]);
        let (code, stdout, stderr) = run_to_end(command.env("BRIDGE_STATE_DIR", folder.join("state")));
        assert_eq!(code, 0, "{stderr}");
        (args.join(" "), stdout + &stderr)
    };
    let mut shown = vec![dead(&["export"]), dead(&["list"]), dead(&["list", "--format", "json"])];
    let ids: Vec<i64> = shown[2]
        .1
        .lines()
        .filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok()?["id"].as_i64())
        .collect();
    assert!(!ids.is_empty(), "{shown:?}");
    for id in ids {
        shown.push(dead(&["show", &id.to_string()]));
        shown.push(dead(&["show", &id.to_string(), "--format", "json"]));
    }
    shown
}

/// Every file below a folder, with its path.
fn files(folder: &Path) -> Vec<(String, String)> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files(&path));
        } else {
            found.push((
                path.display().to_string(),
                String::from_utf8_lossy(&std::fs::read(&path).unwrap()).into_owned(),
            ));
        }
    }
    found
}

fn assert_no_secret(shown: &[(String, String)]) {
    for (what, text) in shown {
        for telling in TELLING {
            let leak = text.lines().find(|line| line.contains(telling));
            assert!(leak.is_none(), "{what} shows {telling}: {}", leak.unwrap_or_default());
        }
    }
}

fn webhook(url: &str) -> String {
    format!(
        "name = \"secrets\"\n[sources.a]\ntype = \"file\"\npaths = [\"events.jsonl\"]\n\
         [sinks.fixed]\ntype = \"webhook\"\nfrom = [\"a\"]\n\
         url = \"{url}/${{env:IN_URL}}?token=${{env:IN_QUERY}}\"\nheaders = {{ X-Key = \"k ${{env:IN_HEADER}}\" }}\n\
         retry = {{ schedule = [\"10ms\"] }}\nsigning = {{ secrets = [\"${{env:SIGNING}}\"] }}\n\
         [sinks.rendered]\ntype = \"webhook\"\nfrom = [\"a\"]\nurl = \"{url}/${{env:IN_URL}}/{{{{data.n}}}}\"\n\
         headers = {{ X-Key = \"${{env:IN_HEADER}}\", X-Name = \"{{{{data.name}}}}\" }}\nretry = {{ schedule = [] }}\n\
         [sinks.plain]\ntype = \"webhook\"\nfrom = [\"a\"]\nurl = \"{url}/{{{{data.n}}}}/${{env:IN_URL}}\"\n\
         body = '{{\"key\": \"${{env:IN_QUERY}}\", \"n\": {{{{data.n}}}}}}'\nretry = {{ schedule = [] }}\n\
         [sinks.query]\ntype = \"webhook\"\nfrom = [\"a\"]\nurl = \"{url}/q\"\nmethod = \"GET\"\nretry = {{ schedule = [] }}\n\
         query = {{ k = \"${{env:IN_QUERY}}\", l = \"${{env:IN_URL}}\", m = \"${{env:IN_HEADER}}\", n = \"{{{{data.n}}}}\" }}\n\
         [sinks.looked_up]\ntype = \"webhook\"\nfrom = [\"a\"]\nurl = \"{url}/l\"\nretry = {{ schedule = [] }}\n\
         query = {{ k = '{{{{lookup tables.keys \"a\"}}}}', n = \"{{{{data.n}}}}\" }}\n\
         [sinks.form]\ntype = \"webhook\"\nfrom = [\"a\"]\nurl = \"{url}/f\"\nretry = {{ schedule = [] }}\n\
         form = {{ k = \"${{env:IN_QUERY}}\", l = \"${{env:IN_URL}}\", m = \"${{env:IN_HEADER}}\", n = \"{{{{data.n}}}}\" }}\n\
         [sinks.basic]\ntype = \"webhook\"\nfrom = [\"a\"]\nurl = \"{url}/b\"\nretry = {{ schedule = [] }}\n\
         body = '{{{{base64 \"user:${{env:IN_QUERY}}\"}}}} {{{{data.n}}}}'\ncontent_type = \"text/plain\"\n\
         [sinks.xml]\ntype = \"webhook\"\nfrom = [\"a\"]\nurl = \"{url}/x\"\nretry = {{ schedule = [] }}\n\
         content_type = \"application/xml\"\nbody = '<a k=\"{{{{tables.keys.a}}}}\">{{{{data.n}}}}</a>'\n\
         [sinks.program]\ntype = \"webhook\"\nfrom = [\"a\"]\nretry = {{ schedule = [] }}\n\
         url = {{ jq = '\"{url}/p?k=\\($tables.keys.a | @uri)&n=\\(.data.n)\"' }}\njq = '{{k: $tables.keys.a, n: .data.n}}'\n\
         [tables.keys]\na = \"${{env:IN_QUERY}}\"\n"
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn no_secret_shows_when_deliveries_fail() {
    // An echo as a receiver's error page may have it, with a secret across the end of what is kept.
    let echo = format!("{} {IN_URL} {IN_HEADER} {IN_QUERY}", "x".repeat(1010));
    for response_body in [echo, format!("bad token {IN_QUERY}, bad key {IN_HEADER}, {SIGNING}")] {
        let behaviour = Behaviour {
            status: StatusCode::INTERNAL_SERVER_ERROR,
            response_body: response_body.into(),
            ..Behaviour::default()
        };
        let receiver = Receiver::bind("127.0.0.1:0", behaviour).await.unwrap();
        let folder = tempfile::tempdir().unwrap();
        let shown = outputs(folder.path(), &webhook(&receiver.url()), &[&["run", "--once"], &["check", "--connect"]]);
        assert!(shown[0].1.contains("given up"), "the deliveries failed: {}", shown[0].1);
        assert_no_secret(&shown);
        let letters = letters_shown(folder.path());
        assert!(letters[0].1.lines().count() >= 6 && letters[0].1.contains("***"), "{}", letters[0].1);
        assert_no_secret(&letters);
        assert!(receiver.requests() >= 3);
    }
}

#[test]
fn no_secret_shows_when_nobody_can_be_reached() {
    let folder = tempfile::tempdir().unwrap();
    let shown = outputs(folder.path(), &webhook("http://127.0.0.1:1"), &[&["run", "--once"], &["check", "--connect"]]);
    assert!(shown[0].1.contains("cannot connect") && shown[1].1.contains("UNREACHABLE"), "{shown:?}");
    assert_no_secret(&shown);
    assert_no_secret(&letters_shown(folder.path()));
}

#[test]
fn no_secret_of_a_broker_shows_when_it_cannot_be_reached() {
    let folder = tempfile::tempdir().unwrap();
    let config = format!(
        "name = \"secrets\"\n[sources.kafka]\ntype = \"kafka\"\nbrokers = [\"127.0.0.1:1\"]\ntopics = [\"t\"]\n\
         options = {{ \"security.protocol\" = \"SASL_PLAINTEXT\", \"sasl.mechanism\" = \"PLAIN\", \
         \"sasl.username\" = \"u\", \"sasl.password\" = \"${{env:KAFKA}}\", \"debug\" = \"security,broker,conf\" }}\n\
         [sources.amqp]\ntype = \"amqp\"\nuri = \"amqp://u:${{file:{}}}@127.0.0.1:1/%2f\"\nqueue = \"q\"\n\
         [sinks.b]\ntype = \"webhook\"\nfrom = [\"kafka\", \"amqp\"]\nurl = \"http://127.0.0.1:1/\"\n",
        folder.path().join("amqp-secret").display()
    );
    let shown = outputs(folder.path(), &config, &[&["check", "--connect"], &["check"]]);
    assert!(shown[0].1.contains("sources.amqp: UNREACHABLE"), "{}", shown[0].1);
    assert_no_secret(&shown);

    let log = std::fs::File::create(folder.path().join("run.log")).unwrap();
    let mut run = with_secrets(command())
        .args(["-vv", "run", "--state-dir"])
        .args([folder.path().join("state"), folder.path().join("pipeline.toml")])
        .stdin(Stdio::null())
        .stderr(log)
        .spawn()
        .unwrap();
    let deadline = std::time::Instant::now() + crate::support::PATIENCE;
    let log = || std::fs::read_to_string(folder.path().join("run.log")).unwrap();
    let failed = |source: &str| {
        log().lines().any(|line| line.contains(source) && (line.contains("WARN") || line.contains("ERROR")))
    };
    while !(failed("kafka") && failed("amqp")) {
        assert!(std::time::Instant::now() < deadline, "both sources were to fail: {}", log());
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    run.kill().unwrap();
    run.wait().unwrap();
    assert_no_secret(&[("run".to_owned(), log())]);
    assert_no_secret(&files(&folder.path().join("state")));
}

#[test]
fn no_secret_shows_in_the_faults_of_the_very_values_that_hold_it() {
    let folder = tempfile::tempdir().unwrap();
    let config = "name = \"secrets\"\n[sources.a]\ntype = \"kafka\"\nbrokers = [\"${env:KAFKA}:x\"]\ntopics = [\"^${env:KAFKA}(\"]\n\
         options = { \"no.such.option\" = \"${env:KAFKA}\", \"security.protocol\" = \"${env:KAFKA}\" }\n\
         [sources.c]\ntype = \"amqp\"\nuri = \"amqps:/${env:KAFKA}@\"\nqueue = \"q\"\n\
         [filters.f]\nfrom = [\"a\", \"c\", \"${env:KAFKA}\"]\nwhen = \"$.data == ${env:IN_URL}\"\n\
         [templates.t]\nbody = \"{{${env:IN_URL}\"\n\
         [sinks.b]\ntype = \"webhook\"\nfrom = [\"f\"]\nurl = \"ftp://${env:IN_URL}\"\nmethod = \"${env:IN_QUERY}\"\n\
         headers = { X-Key = \"{{no_such_helper ${env:IN_HEADER}}}\", Y = \"\\n${env:IN_HEADER}\" }\ntemplate = \"${env:IN_QUERY}\"\n\
         timeout = \"${env:IN_QUERY}\"\ncontent_type = \"\\n${env:IN_URL}\"\nrate_limit = { requests = 1, key = \"{{${env:IN_URL}}}\" }\n\
         signing = { secrets = [\"${env:IN_QUERY}\"] }\n[sinks.d]\ntype = \"webhook\"\nfrom = [\"f\"]\nurl = \"http://${env:IN_URL}:port/\"\n\
         template = \"t\"\nsigning = { secrets = [\"${env:SIGNING}!\"] }\n";
    let shown = outputs(folder.path(), config, &[&["check"], &["run"]]);
    assert!(shown[0].1.matches("pipeline.toml:").count() >= 8, "{}", shown[0].1);
    assert_no_secret(&shown);
}
