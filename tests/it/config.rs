//! The pipeline files of `tests/config`: the valid ones load and match the schema, the invalid ones are explained.

use std::path::{Path, PathBuf};

use proptest::prelude::*;
use serde_json::Value;
use webhook_bridge::cli::load::compile_parsed;
use webhook_bridge::config;
use webhook_bridge::problem::Problem;
use webhook_bridge::sink;
use webhook_bridge::sink::responses::Action;
use webhook_bridge::units::Period;

fn files(folder: &str) -> Vec<PathBuf> {
    let folder = Path::new("tests/config").join(folder);
    let mut files: Vec<PathBuf> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    assert!(!files.is_empty());
    files
}

fn environment(name: &str) -> Option<String> {
    let value = match name {
        "HOST" => "example.com",
        "INTERVAL" => "2s",
        "KAFKA_PASSWORD" => "kafka-password-1d2",
        "CRM_SECRET" => "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
        "NUMBER" => "7",
        "SECRET_WORD" => "hunter2",
        "SPACED" => "a secret with spaces",
        "SLACK_WEBHOOK_URL" => "https://hooks.slack.example/services/T1/B2/x",
        "WEBHOOK_SECRET" => "whsec_bmV3LXNlY3JldC1vZi10aGUtZXhhbXBsZS1mb3ItdGVzdHM=",
        _ => return None,
    };
    Some(value.to_owned())
}

fn load(path: &Path) -> Result<config::Loaded, config::ConfigErrors> {
    let text = std::fs::read_to_string(path).unwrap();
    config::parse(&path.display().to_string(), &text, &environment)
}

fn valid(name: &str) -> config::Loaded {
    load(&Path::new("tests/config/valid").join(name)).unwrap()
}

/// Everything that is wrong with a pipeline file, as the user sees it: in its text and in what it means.
fn diagnose(path: &Path) -> String {
    let text = std::fs::read_to_string(path).unwrap();
    let parsed = config::parse_lenient(&path.display().to_string(), &text, &environment);
    let compiled = compile_parsed(parsed, path, Path::new("/state"), false);
    compiled.map(|_| String::new()).unwrap_or_else(|errors| errors.to_string())
}

/// The pipeline files of `examples`, one a folder.
fn examples() -> Vec<PathBuf> {
    let folders = std::fs::read_dir("examples").unwrap().map(|entry| entry.unwrap().path());
    let files = folders.map(|folder| folder.join("pipeline.toml")).filter(|file| file.exists());
    let files: Vec<PathBuf> = files.collect();
    assert!(!files.is_empty());
    files
}

#[test]
fn valid_files_and_examples_compile_and_match_the_schema() {
    let validator = jsonschema::validator_for(&config::schema()).unwrap();
    for path in files("valid").into_iter().chain(examples()) {
        assert_eq!(diagnose(&path), "", "{}", path.display());
        let text = std::fs::read_to_string(&path).unwrap();
        let file: Value = serde_json::to_value(toml::from_str::<toml::Table>(&text).unwrap()).unwrap();
        let errors: Vec<String> = validator.iter_errors(&file).map(|error| error.to_string()).collect();
        assert!(errors.is_empty(), "{}: {errors:#?}", path.display());
    }
}

#[test]
fn every_fault_of_an_invalid_file_is_explained() {
    for path in files("invalid") {
        let name = path.file_stem().unwrap().to_string_lossy().into_owned();
        let shown = diagnose(&path);
        assert!(!shown.is_empty(), "{name} has no fault");
        for secret in ["hunter2", "a secret with spaces", "kafka-password"] {
            assert!(!shown.contains(secret), "{name} shows a secret:\n{shown}");
        }
        insta::with_settings!({ snapshot_path => "../config/snapshots", prepend_module_to_snapshot => false, omit_expression => true }, {
            insta::assert_snapshot!(name, shown);
        });
    }
}

#[test]
fn files_with_unknown_keys_or_words_do_not_match_the_schema() {
    let validator = jsonschema::validator_for(&config::schema()).unwrap();
    for name in ["unknown_keys", "wrong_types", "ranges", "empty_lists", "unknown_type", "bad_names", "missing_name"] {
        let text = std::fs::read_to_string(format!("tests/config/invalid/{name}.toml")).unwrap();
        let file = serde_json::to_value(toml::from_str::<toml::Table>(&text).unwrap()).unwrap();
        assert!(!validator.is_valid(&file), "{name}");
    }
    let is_valid = |signing: &str| {
        let sink =
            format!("type = 'webhook'\nfrom = ['a']\nurl = 'https://x/'\nsigning = {{ secrets = ['s'], {signing} }}");
        let text = format!("name = 'x'\nsources.a.type = 'stdin'\n[sinks.b]\n{sink}");
        validator.is_valid(&serde_json::to_value(toml::from_str::<toml::Table>(&text).unwrap()).unwrap())
    };
    assert!(is_valid("scheme = 'custom', header = 'X-A'") && is_valid("scheme = '${var:SCHEME}', header = 'X-A'"));
    assert!(!is_valid("scheme = 'github', header = 'X-A'"), "a key of another scheme");
}

#[test]
fn a_password_from_the_environment_cannot_lead_to_another_host() {
    let text = "name = 'x'\n[sources.a]\ntype = 'amqp'\nqueue = 'q'\nuri = 'amqp://u:${env:P}@rabbit/'\n\
                [store]\nurl = 'postgres://u:${env:P}@db/x'\n\
                [sinks.b]\ntype = 'webhook'\nfrom = ['a']\nurl = 'https://x/'";
    let loaded = config::parse("x.toml", text, &|_| Some("p@elsewhere/%?x=".to_owned())).unwrap();
    let kind = &loaded.pipeline.sources["a"].kind;
    let webhook_bridge::source::TypeConfig::Amqp(amqp) = kind else { panic!("{kind:?}") };
    assert_eq!(amqp.uri.expose(), "amqp://u:p%40elsewhere%2F%25%3Fx%3D@rabbit/");
    let store = loaded.pipeline.store.url.as_ref().unwrap();
    assert_eq!(store.expose(), "postgres://u:p%40elsewhere%2F%25%3Fx%3D@db/x");
}

/// What a schema can say, it says: an editor and `check` judge alike.
#[test]
fn the_schema_and_the_check_agree() {
    let validator = jsonschema::validator_for(&config::schema()).unwrap();
    let sink = |lines: &str| format!("[sinks.b]\ntype = 'webhook'\nfrom = ['a']\nurl = 'https://x/'\n{lines}");
    let test = |event: &str, expect: &str| {
        sink(&format!("[[tests]]\nname = 't'\nsource = 'a'\nevent = {event}\nexpect = [{expect}]"))
    };
    let retry = |keys: &str| sink(&format!("retry = {{ {keys} }}"));
    let timeout = |period: &str| sink(&format!("timeout = {period}"));
    let size = |size: &str| sink(&format!("max_response_size = {size}"));
    let defaults = "[defaults.webhook]\nbody = '\"x\"'\nretry.schedule = ['1s']\n[templates.t]\nbody = '\"y\"'\n";
    let right = [
        sink("body = '\"x\"'"),
        sink("template = 't'\n[templates.t]\nbody = '\"y\"'"),
        format!("{defaults}{}", sink("template = 't'\nretry.initial = '1s'")),
        retry("initial = '1s', factor = 3, max = '1h 30m'"),
        retry("schedule = ['250ms', '1.5s', '3d', '2 hours', '1h30m']"),
        retry("schedule = []"),
        timeout("'${env:TIMEOUT:-5s}'"),
        size("'512B'"),
        size("'1 MiB'"),
        size("'1.5kB'"),
        test("{ data = 1 }", "{ sink = 'b', body = '1' }"),
        test("{ payload = '1' }", "{ sink = 'b', body_json = 1 }"),
        test("{ data = 1 }", "{ dead_letter = 'sinks.b', reason = 'too-large' }"),
        sink("rate_limit = { requests = 1, per = '366d' }"),
    ];
    let wrong = [
        sink("template = 't'\nbody = '\"x\"'\n[templates.t]\nbody = '\"y\"'"),
        retry("schedule = ['1s'], initial = '1s'"),
        retry("schedule = ['1s'], factor = 2"),
        retry("schedule = [5]"),
        retry("schedule = ['5']"),
        retry("max_elapsed = '5 parsecs'"),
        retry("max_attempts = 0"),
        retry("factor = 1001"),
        timeout("5"),
        timeout("'5'"),
        timeout("''"),
        timeout("'-5s'"),
        timeout("'5s,'"),
        timeout("'1M'"),
        size("'100'"),
        size("'1M'"),
        size("'lots'"),
        sink("concurrency = 100001"),
        sink("responses = { 4x = 'drop' }"),
        test("{ data = 1, payload = '1' }", "{ sink = 'b' }"),
        test("{ data = 1 }", "{ sink = 'b', body = '1', body_json = 1 }"),
        test("{ data = 1 }", "{ sink = 'b', dead_letter = 'sinks.b' }"),
        test("{ data = 1 }", "{ sink = 'b', reason = 'too-large' }"),
        test("{ data = 1 }", "{ dead_letter = 'sinks.b', url = 'x' }"),
        test("{ data = 1 }", "{ body = '1' }"),
    ];
    let cases = right.map(|text| (text, true)).into_iter().chain(wrong.map(|text| (text, false)));
    for (lines, is_right) in cases {
        let text = format!("name = 'x'\n[sources.a]\ntype = 'stdin'\n{lines}");
        let file = serde_json::to_value(toml::from_str::<toml::Table>(&text).unwrap()).unwrap();
        let errors: Vec<String> = validator.iter_errors(&file).map(|error| error.to_string()).collect();
        assert_eq!(errors.is_empty(), is_right, "the schema on {text}: {errors:?}");
        let faults = config::parse_lenient("x.toml", &text, &|_| None).faults;
        assert_eq!(faults.is_empty(), is_right, "the check on {text}: {faults:?}");
    }
}

#[test]
fn the_checked_in_schema_is_fresh() {
    let checked_in = std::fs::read_to_string("schemas/pipeline.schema.json").unwrap_or_default();
    assert!(config::schema_text() == checked_in, "schemas/pipeline.schema.json is out of date: run `make schemas`");
}

#[test]
fn the_checked_in_reference_is_fresh() {
    let checked_in = std::fs::read_to_string("docs/reference.md").unwrap_or_default();
    assert!(config::reference() == checked_in, "docs/reference.md is out of date: run `make schemas`");
}

/// Every key of the schema, with its path and its schema, and whether it must be there.
fn keys(table: &Value, path: &str) -> Vec<(String, Value, bool)> {
    let mut found = Vec::new();
    for (key, schema) in table["properties"].as_object().into_iter().flatten() {
        let path = format!("{path}.{key}");
        let is_required = table["required"].as_array().is_some_and(|required| required.contains(&key.as_str().into()));
        found.push((path.clone(), schema.clone(), is_required));
        found.extend(keys(schema, &path));
    }
    for inner in ["items", "additionalProperties"].iter().filter_map(|key| table.get(*key)) {
        found.extend(keys(inner, &format!("{path}.*")));
    }
    for kind in ["oneOf", "anyOf"].iter().filter_map(|key| table[*key].as_array()).flatten() {
        found.extend(keys(kind, path));
    }
    found
}

#[test]
fn editors_are_told_what_every_key_is() {
    let keys = keys(&config::schema(), "");
    assert!(keys.len() > 100, "{}", keys.len());
    for (path, schema, is_required) in keys {
        let description = schema["description"].as_str().unwrap_or_default();
        assert!(!description.is_empty(), "{path} has no description");
        let is_table = schema.get("properties").is_some() || schema["additionalProperties"].is_object();
        let is_self_evident =
            schema["type"] == "boolean" || schema.get("anyOf").is_some() || schema.get("const").is_some();
        let has_default = schema.get("default").is_some();
        if !is_table && !is_self_evident {
            let has_example = schema["examples"].as_array().is_some_and(|examples| !examples.is_empty());
            assert!(has_example || has_default, "{path} has neither an example nor a default");
        }
        // Defaults, and `[defaults.webhook]`, need nothing; a default that is no single value is told in words.
        let is_told = ["default", "ithout"].iter().any(|word| description.to_lowercase().contains(word));
        let is_a_sinks = path.starts_with(".sinks") || path.starts_with(".defaults");
        assert!(is_required || has_default || is_table || is_told || is_a_sinks, "{path} has no default");
    }
}

/// What a key's default is, is told twice: by the schema, and by what happens.
#[test]
fn the_defaults_of_the_schema_are_those_that_hold() {
    let schema = config::schema();
    let sink = &schema["properties"]["sinks"]["additionalProperties"]["properties"];
    let defaults = |table: &Value| {
        let keys = table["properties"].as_object().unwrap().iter();
        keys.filter_map(|(key, schema)| Some((key.clone(), schema.get("default")?.clone())))
            .collect::<serde_json::Map<_, _>>()
    };
    let retry: webhook_bridge::delivery::retry::RetryConfig =
        serde_json::from_value(defaults(&sink["retry"]).into()).unwrap();
    let policy = webhook_bridge::delivery::retry::RetryPolicy::new;
    // The schedule and the exponential backoff exclude each other, and the schedule is the default.
    let by_schedule = webhook_bridge::delivery::retry::RetryConfig { factor: None, max: None, ..retry };
    assert_eq!(policy(&by_schedule).unwrap(), policy(&Default::default()).unwrap());
}

#[test]
fn nodes_keep_the_order_of_the_file() {
    let loaded = valid("everything.toml");
    let sources: Vec<&str> = loaded.pipeline.sources.keys().map(String::as_str).collect();
    assert_eq!(sources, ["orders", "legacy", "audit", "input"]);
}

#[test]
fn values_are_typed_and_put_in() {
    let loaded = valid("everything.toml");
    let crm = &loaded.pipeline.sinks["crm"];
    let sink::TypeConfig::Webhook(webhook) = &crm.kind;
    assert_eq!(webhook.timeout, Period::from_secs(15));
    assert_eq!(webhook.signing.as_ref().unwrap().secrets[1].expose(), "");
    assert_eq!(crm.delivery.responses["404"], Action::Drop.into());
    assert_eq!(loaded.pipeline.runtime.workers, 2);

    let references = valid("references.toml");
    assert_eq!(references.pipeline.name, "shop-dev");
    let sink::TypeConfig::Webhook(webhook) = &references.pipeline.sinks["receiver"].kind;
    assert_eq!(webhook.url.as_str(), "https://example.com/from-a-file-7f3a");
    assert_eq!(webhook.body.as_ref().map(|body| body.as_str()), Some(r#"{"price": "${not_a_reference}"}"#));
}

#[test]
fn sinks_start_from_the_defaults() {
    let loaded = valid("defaults.toml");
    let sinks = &loaded.pipeline.sinks;
    let webhook = |name: &str| {
        let sink::TypeConfig::Webhook(webhook) = &sinks[name].kind;
        webhook
    };
    assert_eq!(webhook("as_it_is").url.as_str(), "https://gateway.example.com/{{source}}");
    assert_eq!(webhook("as_it_is").template.as_deref(), Some("one"));
    assert_eq!(sinks["as_it_is"].delivery.retry.schedule.as_ref().unwrap().len(), 2);

    let own = webhook("of_its_own");
    assert_eq!((own.template.as_deref(), own.body.as_ref().map(|body| body.as_str())), (None, Some("{{data}}")));
    assert_eq!((own.headers["X-Team"].as_str(), own.headers["User-Agent"].as_str()), ("crm", "bridge"));
    let delivery = &sinks["of_its_own"].delivery;
    assert_eq!((&delivery.retry.schedule, delivery.retry.max_elapsed), (&None, Some(Period::from_secs(3600))));
    let limit = delivery.rate_limit.as_ref().unwrap();
    assert_eq!((limit.requests, limit.burst), (50, 5));
}

#[test]
fn problems_of_a_later_stage_are_shown_where_they_stand() {
    let path = "tests/config/valid/everything.toml";
    let parsed = config::parse_lenient(path, &std::fs::read_to_string(path).unwrap(), &environment);
    let problems = vec![
        Problem::new(["sinks", "crm", "url"], "a part").with_part(30..45).with_help("help"),
        Problem::new(["sinks", "crm", "from", "1"], "an element"),
        Problem::new(["filters", "paid", "unheard_of"], "a parent"),
        Problem::new(["sources", "legacy", "uri"], "a value with a secret").with_part(0..5),
        Problem::new(["templates", "plain", "body"], "a part of lines").with_part(2..6),
    ];
    insta::assert_snapshot!(parsed.report(problems));
}

#[test]
fn what_is_sound_is_typed_beside_what_is_faulty() {
    let text = "name = 'x'\n[sources.a]\ntype = 'stdin'\n[sources.b]\ntype = 'nope'\n[filters.c]\nfrom = ['a']\n\
                [templates.t]\n[sinks.d]\ntype = 'webhook'\nfrom = ['c']\nurl = 'u'\ntimeout = 'x'\n";
    let parsed = config::parse_lenient("x.toml", text, &environment);
    assert_eq!(parsed.declared.iter().map(String::as_str).collect::<Vec<_>>(), ["a", "b", "c"]);
    assert_eq!(parsed.declared_templates.iter().map(String::as_str).collect::<Vec<_>>(), ["t"]);
    assert_eq!(parsed.pipeline.sources.keys().collect::<Vec<_>>(), ["a"]);
    let sink::TypeConfig::Webhook(webhook) = &parsed.pipeline.sinks["d"].kind;
    assert_eq!(webhook.timeout, Period::from_secs(15), "a faulty key has its default");
    assert_eq!(parsed.faults.len(), 4);

    let errors = parsed.report(vec![Problem::new(["sinks", "d", "url"], "is no URL")]);
    assert_eq!(errors.faults().len(), 5);
    assert!(errors.to_string().contains("x.toml:12:7"), "{errors}");
}

#[test]
fn a_file_that_cannot_be_read_says_so() {
    let shown = config::load(Path::new("tests/config/valid/none.toml")).unwrap_err().to_string();
    assert!(shown.contains("cannot read tests/config/valid/none.toml"), "{shown}");
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("latin-1.toml");
    std::fs::write(&path, b"name = \"caf\xe9\"").unwrap();
    let shown = config::load(&path).unwrap_err().to_string();
    assert!(shown.contains("invalid utf-8"), "{shown}");
}

/// One change to a text, at a place given as a share of its length.
#[derive(Debug, Clone)]
enum Mutation {
    Replace(f64, char),
    Delete(f64, usize),
    Insert(f64, &'static str),
    SwapLines(f64, f64),
}

impl Mutation {
    fn apply(&self, text: &str) -> String {
        let mut chars: Vec<char> = text.chars().collect();
        let index = |share: f64| ((chars.len() as f64 * share) as usize).min(chars.len().saturating_sub(1));
        match *self {
            Self::Replace(at, with) => {
                let at = index(at);
                chars[at] = with;
            }
            Self::Delete(at, length) => {
                let at = index(at);
                chars.drain(at..(at + length).min(chars.len()));
            }
            Self::Insert(at, what) => {
                let at = index(at);
                chars.splice(at..at, what.chars());
            }
            Self::SwapLines(a, b) => {
                let mut lines: Vec<&str> = text.split_inclusive('\n').collect();
                let line = |share: f64| ((lines.len() as f64 * share) as usize).min(lines.len() - 1);
                let (a, b) = (line(a), line(b));
                lines.swap(a, b);
                return lines.concat();
            }
        }
        chars.push('\n');
        chars.into_iter().collect()
    }
}

fn mutations() -> impl Strategy<Value = Vec<Mutation>> {
    const PIECES: [&str; 14] =
        ["[", "]", "{", "}", "\"", "'", "'''", "=", "\n", "${env:", "${", ".", "\u{feff}", "[[sinks.crm.retry]]\n"];
    let mutation = prop_oneof![
        (0.0..1.0, any::<char>()).prop_map(|(at, with)| Mutation::Replace(at, with)),
        (0.0..1.0, 1_usize..30).prop_map(|(at, length)| Mutation::Delete(at, length)),
        (0.0..1.0, prop::sample::select(&PIECES[..])).prop_map(|(at, what)| Mutation::Insert(at, what)),
        (0.0..1.0, 0.0..1.0).prop_map(|(a, b)| Mutation::SwapLines(a, b)),
    ];
    prop::collection::vec(mutation, 1..6)
}

proptest! {
    #[test]
    fn no_text_brings_the_reader_down(file in 0_usize..5, mutations in mutations(), colour in any::<bool>()) {
        let files = files("valid");
        let text = std::fs::read_to_string(&files[file % files.len()]).unwrap();
        let text = mutations.iter().fold(text, |text, mutation| mutation.apply(&text));
        if let Err(errors) = config::parse("mutated.toml", &text, &environment) {
            let look = if colour { config::ReportStyle::Colour } else { config::ReportStyle::Plain };
            let shown = errors.render(look);
            for fault in errors.faults() {
                prop_assert!(fault.span.as_ref().is_none_or(|span| text.get(span.clone()).is_some()), "{fault:?}");
            }
            prop_assert!(!shown.contains("Failed to read"), "{shown}");
        }
    }
}
