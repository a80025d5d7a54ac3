//! The command line as a user meets it: exit codes, what is printed where, help.

use std::process::{Output, Stdio};

use clap::CommandFactory as _;
use serde_json::Value;
use webhook_bridge::cli::Cli;
use webhook_bridge::receiver::{Behaviour, Receiver};

use crate::support::command;

/// Runs `bridge` to its end. Its output must be no terminal's.
fn bridge(args: &[&str]) -> (i32, String, String) {
    let Output { status, stdout, stderr } = command().args(args).stdin(Stdio::null()).output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    let (stdout, stderr) = (text(stdout), text(stderr));
    for shown in [&stdout, &stderr] {
        assert!(!shown.contains('\x1b'), "colour without a terminal: {shown:?}");
        assert!(!shown.contains("panicked"), "{shown}");
    }
    (status.code().unwrap(), stdout, stderr)
}

#[test]
fn check_accepts_sound_files() {
    let (code, stdout, stderr) =
        bridge(&["check", "tests/config/valid/minimal.toml", "tests/config/valid/dotted.toml"]);
    assert_eq!((code, stderr.as_str()), (0, ""));
    assert_eq!(stdout.lines().count(), 2);
    assert!(stdout.lines().all(|line| line.contains(".toml: ok")), "{stdout}");
}

#[test]
fn check_shows_every_fault_of_every_file() {
    let files = ["unknown_keys", "ranges", "unknown_nodes"].map(|name| format!("tests/config/invalid/{name}.toml"));
    let [first, second, third] = &files;
    let (code, stdout, stderr) = bridge(&["check", first, "tests/config/valid/minimal.toml", second, third]);
    assert_eq!(code, 3);
    assert!(stdout.contains("tests/config/valid/minimal.toml: ok (1 source, 0 filters, 1 sink)\n"), "{stdout}");
    assert_eq!(stdout.lines().count(), 4, "each file has its line: {stdout}");
    for file in &files {
        assert!(stderr.matches(file.as_str()).count() > 1, "{file} has several faults: {stderr}");
    }
}

#[test]
fn check_says_which_file_it_cannot_read() {
    let (code, _, stderr) = bridge(&["check", "no-such-file.toml"]);
    assert_eq!(code, 3);
    assert!(stderr.contains("no-such-file.toml"), "{stderr}");
}

#[tokio::test(flavor = "multi_thread")]
async fn check_connect_reaches_for_receivers() {
    let receiver = Receiver::bind("127.0.0.1:0", Behaviour::default()).await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("pipeline.toml");
    let path = path.to_str().unwrap();
    let config = |url: &str| {
        format!(
            "name = 'x'\n[sources.a]\ntype = 'stdin'\n[sinks.there]\ntype = 'webhook'\nfrom = ['a']\nurl = '{}'\n\
             [sinks.asked]\ntype = 'webhook'\nfrom = ['a']\nurl = '{url}'\n",
            receiver.url()
        )
    };
    std::fs::write(path, config("https://{{data.host}}/")).unwrap();
    let (code, stdout, stderr) = bridge(&["check", "--connect", path]);
    assert_eq!((code, stderr.as_str()), (0, ""), "{stdout}");
    assert!(stdout.contains("sinks.there: 127.0.0.1:") && stdout.contains("accepts connections"), "{stdout}");
    assert!(stdout.contains("sinks.asked: not probed"), "{stdout}");
    assert_eq!(receiver.requests(), 0, "no request is made");

    std::fs::write(path, config("http://127.0.0.1:1/")).unwrap();
    let (code, stdout, stderr) = bridge(&["check", "--connect", path]);
    assert_eq!(code, 4);
    assert!(stdout.contains("sinks.asked: UNREACHABLE"), "{stdout}");
    assert!(stderr.contains("could not be reached"), "{stderr}");
    let (code, ..) = bridge(&["check", path]);
    assert_eq!(code, 0, "without --connect nobody is asked");
}

#[test]
fn check_connect_reaches_for_the_brokers_of_dead_letters() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("pipeline.toml");
    let config = "name = 'x'\n[sources.a]\ntype = 'amqp'\nuri = 'amqp://guest:hunter2@127.0.0.1:1/%2f'\nqueue = 'q'\n\
                  dead_letter = 'last'\n[sinks.first]\ntype = 'webhook'\nfrom = ['a']\nurl = 'https://{{data.host}}/'\n\
                  dead_letter = 'amqp:dead/key'\n[sinks.last]\ntype = 'webhook'\nurl = 'https://{{data.host}}/'\n";
    std::fs::write(&path, config).unwrap();
    let (code, stdout, stderr) = bridge(&["check", "--connect", path.to_str().unwrap()]);
    assert_eq!(code, 4, "{stdout}");
    let expected = "sinks.first.dead_letter: UNREACHABLE: amqp://127.0.0.1:1/%2f: cannot connect";
    assert!(stdout.contains(expected), "{stdout}");
    assert_eq!(stdout.matches("dead_letter").count(), 1, "another sink is probed as a sink: {stdout}");
    assert!(stderr.contains("2 of the pipeline's brokers"), "{stderr}");
}

#[test]
fn schema_and_reference_are_those_checked_in() {
    for (args, file) in
        [(&["schema"][..], "schemas/pipeline.schema.json"), (&["schema", "--format", "markdown"], "docs/reference.md")]
    {
        let (code, stdout, _) = bridge(args);
        assert_eq!(code, 0);
        assert!(stdout == std::fs::read_to_string(file).unwrap(), "{file} is out of date: run `make schemas`");
    }
}

#[test]
fn completions_know_the_subcommands() {
    for shell in ["bash", "zsh", "fish"] {
        let (code, stdout, stderr) = bridge(&["completions", shell]);
        assert_eq!((code, stderr.as_str()), (0, ""));
        assert!(stdout.contains("check") && stdout.contains("state-dir"), "{shell}");
    }
}

#[test]
fn help_is_helpful() {
    let mut cli = Cli::command();
    cli.build();
    let subcommands: Vec<String> = cli.get_subcommands().map(|command| command.get_name().to_owned()).collect();
    assert!(subcommands.contains(&"run".to_owned()));
    for name in subcommands.iter().filter(|name| *name != "help") {
        let subcommand = cli.find_subcommand_mut(name).unwrap();
        assert_help(name, subcommand);
        for nested in subcommand.get_subcommands_mut().filter(|nested| nested.get_name() != "help") {
            assert_help(&format!("{name}_{}", nested.get_name()), nested);
        }
    }
    insta::assert_snapshot!("help", cli.term_width(100).render_long_help().to_string());
}

/// clap wraps the help to the width of the terminal: a line break that is written within a paragraph would break it twice.
#[test]
fn help_is_wrapped_once_at_any_width() {
    let mut cli = Cli::command();
    cli.build();
    let mut commands = vec![cli];
    while let Some(command) = commands.pop() {
        commands.extend(command.get_subcommands().filter(|nested| nested.get_name() != "help").cloned());
        for width in [60, 80, 100] {
            let help = command.clone().term_width(width).render_long_help().to_string();
            let lines: Vec<&str> = help.lines().collect();
            let name = command.get_name();
            // clap leaves the usage on one line.
            let fits = |line: &&str| line.chars().count() <= width || line.starts_with("Usage: ");
            assert!(lines.iter().all(fits), "{name} at {width}:\n{help}");
            let is_wrapped_too_early = |pair: &[&str]| {
                let word = pair[1].split(' ').next().unwrap_or_default();
                let are_prose = [pair[0], pair[1]].iter().all(|line| !line.is_empty() && !line.starts_with(' '));
                are_prose && !pair[0].ends_with(':') && pair[0].chars().count() + 1 + word.chars().count() <= width
            };
            let broken = lines.windows(2).find(|pair| is_wrapped_too_early(pair));
            assert_eq!(broken, None, "{name} at {width}:\n{help}");
            let written = command.get_after_help().map(ToString::to_string).unwrap_or_default();
            for example in written.lines().filter(|line| line.starts_with("  ")) {
                assert!(lines.contains(&example), "{name} at {width} breaks {example:?}:\n{help}");
            }
        }
    }
}

fn assert_help(name: &str, command: &clap::Command) {
    let help = command.clone().term_width(100).render_long_help().to_string();
    assert!(help.contains("Example"), "{name} has no example:\n{help}");
    insta::assert_snapshot!(format!("help_{name}"), help);
}

#[test]
fn a_wrong_command_line_is_exit_code_2() {
    for args in
        [&["run"][..], &["fly"], &["run", "--fast", "x.toml"], &["check"], &["completions", "cobol"], &["dead"], &[]]
    {
        let (code, stdout, stderr) = bridge(args);
        assert_eq!(code, 2, "{args:?}");
        assert!(stdout.is_empty() && stderr.contains("--help"), "{args:?}: {stderr}");
    }
    let (code, stdout, _) = bridge(&["--version"]);
    assert_eq!((code, stdout), (0, format!("bridge {}\n", env!("CARGO_PKG_VERSION"))));

    let (code, stdout, _) = bridge(&["--version", "--verbose"]);
    assert_eq!(code, 0);
    for part in [
        "bridge 0.",
        "\nbuild: ",
        &format!(", {}, linux\n", std::env::consts::ARCH),
        "stores:      SQLite 3.",
        "librdkafka:  2.",
        "zstd",
    ] {
        assert!(stdout.contains(part), "{part}: {stdout}");
    }
    let (code, _, stderr) = bridge(&["--verbose"]);
    assert_eq!(code, 2);
    assert!(stderr.contains("a subcommand is missing"), "{stderr}");
}

#[test]
fn json_logs_are_json_and_nothing_else() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("pipeline.toml");
    let config = "name = 'x'\n[sources.a]\ntype = 'file'\npaths = ['events']\n[sinks.b]\ntype = 'webhook'\n\
                  from = ['a']\nurl = 'http://127.0.0.1:1/'\nretry = { schedule = [] }\n";
    std::fs::write(&path, config).unwrap();
    std::fs::write(folder.path().join("events"), "{}\n").unwrap();
    let state = folder.path().join("state");
    let (path, state) = (path.to_str().unwrap(), state.to_str().unwrap());
    let (code, stdout, stderr) = bridge(&["run", "--once", "-v", "--log-format", "json", "--state-dir", state, path]);
    assert_eq!((code, stdout.as_str()), (0, ""));
    let lines: Vec<Value> = stderr.lines().map(|line| serde_json::from_str(line).expect(line)).collect();
    assert!(lines.iter().any(|line| line["level"] == "WARN" && line["sink"] == "b"), "{stderr}");

    for args in [["run", "tests/config/invalid/ranges.toml"], ["run", "no-such-file.toml"]] {
        let (code, _, stderr) = bridge(&["--log-format", "json", args[0], args[1]]);
        assert_eq!(code, 3);
        for line in stderr.lines() {
            let line: Value = serde_json::from_str(line).expect(line);
            assert_eq!(line["level"], "ERROR");
        }
        assert!(!stderr.is_empty());
    }
}

#[test]
fn a_closed_standard_output_is_no_panic() {
    for args in [&["schema"][..], &["check", "tests/config/valid/minimal.toml"], &["completions", "bash"], &["--help"]]
    {
        let mut child = command().args(args).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        drop(child.stdout.take());
        let Output { stderr, .. } = child.wait_with_output().unwrap();
        let stderr = String::from_utf8(stderr).unwrap();
        assert!(!stderr.contains("panicked"), "{args:?}: {stderr}");
    }
}
