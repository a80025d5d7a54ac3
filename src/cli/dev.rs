//! `bridge dev`: runs a pipeline for real, with a local receiver in the place of every sink, and shows what arrives.
//!
//! Sources, filters, templates, signing, retries and rate limits are those of the file; only the scheme, host and port
//! of the sinks' URLs are replaced. State lives in a folder that is thrown away at the end, whatever store the file
//! names, and dead letters go to no broker.

use std::fmt::Write as _;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::thread;

use clap::Args;
use tokio::runtime::Runtime;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::load::{Compiled, load};
use super::show::{self, Summary};
use super::{CliError, signals};
use crate::config::PipelineConfig;
use crate::delivery::dead_letter::destination::DestinationName;
use crate::interpolated::InterpolatedText;
use crate::jq::ValueText;
use crate::pipeline;
use crate::pipeline::run::{lock_state, new_runtime};
use crate::receiver::{Behaviour, ReceivedRequest, Receiver, Verifier};
use crate::secret::{Secret, mask};
use crate::shutdown::Shutdown;
use crate::sink::TypeConfig;
use crate::source;
use crate::source::file::FileConfig;
use crate::store::StoreError;
use crate::store::config::StoreSettings;
use crate::store::letters::{LetterFilter, LetterSummary, Letters};

/// Runs a pipeline for real, with a local receiver in the place of every sink.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  # show what the sample events become, then exit
  bridge dev --once examples/quickstart/pipeline.toml
  # without a broker: the payloads are lines of a file
  bridge dev --once --events samples.jsonl pipeline.toml
  # go on: what is appended to the file is seen to arrive
  bridge dev examples/quickstart/pipeline.toml

Every delivered webhook is shown with method, URL, headers, body and whether its signature is right. \
Nothing is sent to the sinks of the file, no dead letter to a broker, and the store is a new one \
that goes with the run. Brokers are read for real: what is taken from a queue is gone from it, and \
a consumer group's offsets are committed. Use a queue and a `group_id` made for trying, or \
--events, with which no source of the file is read.")]
pub struct DevArgs {
    /// The pipeline file
    #[arg(value_name = "PIPELINE")]
    pub pipeline: PathBuf,
    /// Stop when every source has reached the end that it saw at the start
    #[arg(long)]
    pub once: bool,
    /// Read payloads from this file, one a line, in the place of brokers and files; `meta` is that of a test's event
    #[arg(long, value_name = "FILE")]
    pub events: Option<PathBuf>,
    /// The source that the payloads come from, where the pipeline has several
    #[arg(long, value_name = "NAME", requires = "events")]
    pub source: Option<String>,
}

/// Requests that have been received and not yet printed, at most; more wait for their answer.
const UNPRINTED: usize = 64;

/// Dead letters in the summary, at most.
const LETTERS_SHOWN: u32 = 1000;

/// Runs the subcommand.
///
/// # Errors
/// A faulty pipeline file, or what ended the run.
pub fn run(args: &DevArgs) -> Result<(), CliError> {
    let state = tempfile::tempdir().map_err(CliError::io("cannot make a folder for the state"))?;
    let runtime = new_runtime().map_err(CliError::io("cannot start"))?;
    let mut stand_ins = Ok(Vec::new());
    let mut fed = Ok(());
    let take_place = |config: &mut PipelineConfig| {
        if let Some(events) = &args.events {
            fed = take_the_place_of_sources(config, events, args.source.as_deref(), state.path());
        }
        take_the_place_of_the_store(config);
        keep_dead_letters_here(config);
        stand_ins = runtime.block_on(take_the_place_of_sinks(config));
    };
    let Compiled { graph, state_dir, store, .. } = load(&args.pipeline, state.path(), args.once, take_place)?;
    fed?;
    let stand_ins = stand_ins.map_err(CliError::io("cannot start the local receivers"))?;
    say(&greeting(&stand_ins, args.once))?;

    let _lock = lock_state(&state_dir)?;
    let shutdown = Shutdown::new(graph.shutdown_timeout);
    signals::act_on(shutdown.clone()).map_err(CliError::io("cannot handle signals"))?;
    let (stop, stopped) = tokio::sync::oneshot::channel();
    let receiving = thread::spawn(move || receive(&runtime, stand_ins, stopped));
    let result = pipeline::run(graph, &shutdown);
    // The receiving thread has ended already when it is not there to be told.
    stop.send(()).ok();
    let summaries = receiving.join().unwrap_or_default();
    let (count, letters) = store.map(|store| dead_letters(&store)).transpose()?.unwrap_or_default();
    say(&conclusion(&summaries, count, &letters))?;
    Ok(result?)
}

/// A local receiver in the place of a sink.
struct StandIn {
    sink: String,
    url: String,
    receiver: Receiver,
    printing: JoinHandle<Summary>,
}

/// One source reads the payloads of a file, and the others nothing.
fn take_the_place_of_sources(
    config: &mut PipelineConfig,
    events: &Path,
    name: Option<&str>,
    folder: &Path,
) -> Result<(), CliError> {
    let known: Vec<&String> = config.sources.keys().collect();
    let name = match (name, known.as_slice()) {
        (Some(name), _) if config.sources.contains_key(name) => name.to_owned(),
        (None, [only]) => (*only).clone(),
        (name, _) => {
            let known = known.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ");
            return Err(CliError::Usage(match name {
                Some(name) => format!("there is no source `{name}`: there are {known}"),
                None => format!("the pipeline has several sources ({known}): say with --source which one is fed"),
            }));
        }
    };
    let cannot_read = || CliError::io(format!("cannot read {}", events.display()));
    if std::fs::metadata(events).map_err(cannot_read())?.is_dir() {
        return Err(cannot_read()(std::io::ErrorKind::IsADirectory.into()));
    }
    let nothing = folder.join("no-events");
    std::fs::write(&nothing, "").map_err(CliError::io("cannot make a file for the state"))?;
    for (source, settings) in &mut config.sources {
        let file = if *source == name { events } else { &nothing };
        // Templates may need what the broker says of an event.
        settings.meta_beside = settings.kind.meta_of_tests();
        settings.kind =
            source::TypeConfig::File(FileConfig::of_file(file).map_err(CliError::io("cannot read the events"))?);
    }
    Ok(())
}

/// State must not reach the store of the real pipeline. `none` stays, as it changes what the pipeline can do; so does
/// what is no URL, for the compilation that follows to find.
fn take_the_place_of_the_store(config: &mut PipelineConfig) {
    let names_a_database = |url: &Secret| ["sqlite:", "postgres"].iter().any(|kind| url.expose().starts_with(kind));
    config.store.url.take_if(|url| names_a_database(url));
}

/// A broker's dead letters are for those who look after the real pipeline. Without a store there is one then, as the
/// letters would be held otherwise.
fn keep_dead_letters_here(config: &mut PipelineConfig) {
    let sources = config.sources.values_mut().map(|source| &mut source.common.dead_letter);
    let sinks = config.sinks.values_mut().map(|sink| &mut sink.delivery.dead_letter);
    let mut have_left = false;
    for destination in sources.chain(sinks) {
        let is_broker = |name: &String| {
            matches!(DestinationName::parse(name), Ok(DestinationName::Kafka { .. } | DestinationName::Amqp { .. }))
        };
        have_left |= destination.take_if(|name| is_broker(name)).is_some();
    }
    if have_left {
        config.store.url.take_if(|url| url.expose() == "none");
    }
}

/// Starts a receiver for every sink and points the sink's URL at it.
async fn take_the_place_of_sinks(config: &mut PipelineConfig) -> io::Result<Vec<StandIn>> {
    let mut stand_ins = Vec::new();
    for (sink, settings) in &mut config.sinks {
        let TypeConfig::Webhook(webhook) = &mut settings.kind;
        let (mut behaviour, recorded) = Behaviour::recording(UNPRINTED);
        // What cannot be used of it is found by the compilation that follows.
        behaviour.verifier = webhook.signing.as_ref().and_then(|signing| Verifier::new(signing).ok());
        let receiver = Receiver::bind("127.0.0.1:0", behaviour).await?;
        let url = webhook.url.template().map_or("a program", InterpolatedText::as_str).to_owned();
        webhook.url = match webhook.url.template() {
            Some(written) => ValueText::Template(replace_authority(written, &receiver.url())),
            // What a program gives is not known before: all of it goes to the receiver.
            None => receiver.url().as_str().into(),
        };
        let printing = tokio::spawn(print_all(sink.clone(), authority_of(&url).to_owned(), recorded));
        stand_ins.push(StandIn { sink: sink.clone(), url, receiver, printing });
    }
    Ok(stand_ins)
}

/// Serves and prints until told to stop; gives the summary of each sink.
fn receive(
    runtime: &Runtime,
    stand_ins: Vec<StandIn>,
    stopped: tokio::sync::oneshot::Receiver<()>,
) -> Vec<(String, Summary)> {
    runtime.block_on(async {
        // An error means that the other side is gone, which is as good a reason to stop.
        stopped.await.ok();
        let mut summaries = Vec::new();
        for StandIn { sink, receiver, printing, .. } in stand_ins {
            receiver.stop().await;
            summaries.push((sink, printing.await.unwrap_or_default()));
        }
        summaries
    })
}

async fn print_all(sink: String, authority: String, mut recorded: mpsc::Receiver<ReceivedRequest>) -> Summary {
    let mut summary = Summary::default();
    while let Some(request) = recorded.recv().await {
        summary.add(&request);
        let mut text = Vec::new();
        let heading = format!("── {sink}, in the place of {}", mask(&authority));
        // Writing to memory does not fail; and when nobody reads the output any more, the pipeline still runs on.
        writeln!(text, "{heading}").ok();
        show::request(&mut text, &request, "the sink does not sign").ok();
        anstream::stdout().write_all(&text).ok();
    }
    summary
}

/// The part of a URL (or of a URL's template) from its beginning to the path.
fn authority_of(url: &str) -> &str {
    let start = url.find("://").map_or(0, |position| position + 3);
    let mut depth = 0_i32;
    let end = url[start..].find(|character| {
        match character {
            '{' => depth += 1,
            '}' => depth -= 1,
            _ => {}
        }
        // A slash within an expression belongs to the expression.
        depth == 0 && matches!(character, '/' | '?' | '#')
    });
    end.map_or(url, |end| &url[..start + end])
}

fn replace_authority(written: &InterpolatedText, by: &str) -> InterpolatedText {
    let url = written.as_str();
    if !url.starts_with("http://") && !url.starts_with("https://") {
        // Left as it is: the compilation that follows will say what is wrong with it.
        return written.clone();
    }
    written.with_beginning(by, authority_of(url).len())
}

fn greeting(stand_ins: &[StandIn], once: bool) -> String {
    let mut text = String::new();
    for StandIn { sink, url, receiver, .. } in stand_ins {
        // Writing to a string does not fail.
        writeln!(text, "sink {sink}: {} stands in for {}", receiver.url(), mask(url)).ok();
    }
    text + if once { "" } else { "Waiting for events; Ctrl-C ends.\n" }
}

/// How many dead letters there are, and the last of them.
fn dead_letters(store: &StoreSettings) -> Result<(u64, Vec<LetterSummary>), CliError> {
    let runtime = new_runtime().map_err(CliError::io("cannot read the dead letters"))?;
    let read = runtime.block_on(async {
        let mut letters = Letters::open(store).await?;
        let all = LetterFilter::default();
        Ok::<_, StoreError>((letters.count(&all).await?, letters.newest(&all, LETTERS_SHOWN).await?))
    });
    Ok(read?)
}

fn conclusion(summaries: &[(String, Summary)], count: u64, letters: &[LetterSummary]) -> String {
    let mut text = String::from("── Summary\n");
    for (sink, summary) in summaries {
        // Writing to a string does not fail.
        writeln!(text, "{sink}: {summary}").ok();
    }
    writeln!(text, "dead letters: {count}").ok();
    for LetterSummary { event_id, node, message, .. } in letters.iter().rev() {
        writeln!(text, "  {} at {node}: {}", show::printable(event_id), show::printable(message)).ok();
    }
    text
}

fn say(text: &str) -> Result<(), CliError> {
    anstream::stdout().write_all(text.as_bytes()).map_err(CliError::io("cannot print"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_scheme_host_and_port_are_replaced() {
        for (url, expected) in [
            ("https://crm.example.com/hooks/{{data.region}}?a=1", "http://h:1/hooks/{{data.region}}?a=1"),
            ("https://{{#if a}}x{{/if}}.example.com:8443", "http://h:1"),
            ("http://crm.example.com?x={{id}}", "http://h:1?x={{id}}"),
            ("ftp://crm.example.com/", "ftp://crm.example.com/"),
        ] {
            assert_eq!(replace_authority(&url.into(), "http://h:1").as_str(), expected, "{url}");
        }
    }

    #[test]
    fn one_source_reads_the_file_of_events_and_the_others_nothing() {
        let text = "name = 'p'\n[sources.q]\ntype = 'amqp'\nuri = 'amqp://h'\nqueue = 'q'\n[sources.k]\ntype = 'stdin'\n\
                    [sinks.a]\ntype = 'webhook'\nfrom = ['q', 'k']\nurl = 'http://h/'\n";
        let mut config = crate::config::parse("p.toml", text, &|_| None).unwrap().pipeline;
        let folder = tempfile::tempdir().unwrap();
        let events = folder.path().join("events*.jsonl");
        std::fs::write(&events, "{}\n").unwrap();
        let mut feed = |name| take_the_place_of_sources(&mut config, &events, name, folder.path());
        assert!(feed(None).unwrap_err().to_string().contains("--source"));
        assert!(feed(Some("x")).unwrap_err().to_string().contains("`q`, `k`"));
        feed(Some("q")).unwrap();
        let path = |name: &str| match &config.sources[name].kind {
            source::TypeConfig::File(file) => file.paths[0].as_str().to_owned(),
            _ => String::new(),
        };
        assert!(
            path("q").ends_with("events*.jsonl") && path("k").ends_with("no-events"),
            "{} {}",
            path("q"),
            path("k")
        );
    }

    #[test]
    fn dead_letters_go_to_no_broker_and_are_kept_nevertheless() {
        let text = "name = 'p'\n[store]\nurl = 'none'\n[sources.q]\ntype = 'stdin'\ndead_letter = 'amqp:/lost'\n\
                    [sinks.a]\ntype = 'webhook'\nfrom = ['q']\nurl = 'http://h/'\ndead_letter = 'kafka@k:lost'\n\
                    [sinks.b]\ntype = 'webhook'\nfrom = ['q']\nurl = 'http://h/'\ndead_letter = 'a'\n";
        let mut config = crate::config::parse("p.toml", text, &|_| None).unwrap().pipeline;
        keep_dead_letters_here(&mut config);
        assert_eq!(config.sources["q"].common.dead_letter, None);
        assert_eq!(config.sinks["a"].delivery.dead_letter, None);
        assert_eq!(config.sinks["b"].delivery.dead_letter.as_deref(), Some("a"), "a sink has its stand-in");
        assert!(config.store.url.is_none());
    }
}
