//! `bridge listen`: a webhook receiver on this machine that shows what arrives.
//!
//! It stands in for the service that a pipeline delivers to, also when that service is slow or failing.

use std::io::{self, Write};
use std::pin::pin;
use std::time::Duration;

use axum::http::{HeaderValue, StatusCode};
use clap::{Args, ValueEnum};
use tokio::sync::mpsc;

use super::show::{self, Summary};
use super::signing_args::{SigningArgs, wrong_signing};
use super::{CliError, signals};
use crate::pipeline::run::new_runtime;
use crate::receiver::{Behaviour, ReceivedRequest, Receiver, Verifier};

/// Requests that are answered but not yet printed, at most: when printing falls behind, answers wait.
const UNPRINTED: usize = 64;

const EXAMPLES: &str = "\
Examples:
  # show every request and answer 200
  bridge listen
  # verify Standard Webhooks signatures too
  bridge listen --secret \\
    whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw
  # or as GitHub signs
  bridge listen --scheme github --secret \\
    $(cat secret.txt)
  # watch the bridge retry
  bridge listen --fail-first 3 --retry-after 5
  # watch it give an endpoint up
  bridge listen --status 410
  # watch it run into its timeout
  bridge listen --delay 20s
  # look at one request with a script
  bridge listen --count 1 --format json | jq .headers";

/// Receive webhooks on this machine and show them.
///
/// Answers any method and path. Requests go to the standard output, everything else to the standard error.
/// Ends on Ctrl-C (SIGINT) or SIGTERM with a summary.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct ListenArgs {
    /// Address and port to listen on; port 0 lets the system choose
    #[arg(long, value_name = "HOST:PORT", default_value = "127.0.0.1:9000")]
    pub addr: String,

    /// Status of the answers
    #[arg(long, value_name = "STATUS", default_value = "200", value_parser = answer_status)]
    pub status: StatusCode,

    /// Answer the first N requests with 503
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub fail_first: u64,

    /// `Retry-After` of answers that are not 2xx: seconds, or an HTTP date
    #[arg(long, value_name = "SECONDS|DATE")]
    pub retry_after: Option<HeaderValue>,

    /// How long to wait before each answer, for example `250ms` or `20s`
    #[arg(long, value_name = "DURATION", default_value = "0s", value_parser = humantime::parse_duration)]
    pub delay: Duration,

    /// Body of the answers; empty if not given
    #[arg(long, value_name = "TEXT", default_value = "", hide_default_value = true)]
    pub body: String,

    /// End after N requests
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub count: Option<u64>,

    /// Print no requests, only the summary
    #[arg(long, short)]
    pub quiet: bool,

    /// How requests are printed
    #[arg(long, value_enum, default_value_t = Format::Text)]
    pub format: Format,

    /// How requests are signed
    #[command(flatten)]
    pub signing: SigningArgs,
}

/// How requests are printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// For people: several lines each, in colour on a terminal
    Text,
    /// For programs: one line of JSON each
    Json,
}

/// Listens until it is stopped by a signal or has received `--count` requests.
///
/// # Errors
/// When a secret, the address or the output cannot be used.
pub fn run(args: &ListenArgs) -> Result<(), CliError> {
    let runtime = new_runtime().map_err(CliError::io("cannot start"))?;
    runtime.block_on(listen(args))
}

async fn listen(args: &ListenArgs) -> Result<(), CliError> {
    let (behaviour, recorded) = behaviour(args)?;
    let (mut terminate, mut interrupt) = signals::handlers().map_err(CliError::io("cannot handle signals"))?;
    let cannot_listen = CliError::io(format!("cannot listen on {}", args.addr));
    let receiver = Receiver::bind(&args.addr, behaviour).await.map_err(cannot_listen)?;
    greet(&receiver).map_err(CliError::io("cannot print"))?;
    let stop = async {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
    };
    let summary = print_until(receiver, recorded, args, &mut anstream::stdout(), stop).await;
    let summary = summary.map_err(CliError::io("cannot print"))?;
    writeln!(anstream::stderr(), "{summary}").map_err(CliError::io("cannot print"))
}

fn behaviour(args: &ListenArgs) -> Result<(Behaviour, mpsc::Receiver<ReceivedRequest>), CliError> {
    let (mut behaviour, recorded) = Behaviour::recording(UNPRINTED);
    behaviour.status = args.status;
    behaviour.fail_first = args.fail_first;
    behaviour.retry_after = args.retry_after.clone();
    behaviour.delay = args.delay;
    behaviour.response_body = args.body.clone().into();
    behaviour.verifier = args.signing.config().as_ref().map(Verifier::new).transpose().map_err(wrong_signing)?;
    Ok((behaviour, recorded))
}

fn greet(receiver: &Receiver) -> io::Result<()> {
    let mut err = anstream::stderr();
    writeln!(err, "Listening on {} (Ctrl-C ends)", receiver.url())?;
    if !receiver.local_addr().ip().is_loopback() {
        writeln!(err, "warning: other machines may reach this address and see the answers; nothing is encrypted")?;
    }
    Ok(())
}

/// Prints requests until `stop` or the wanted count, then lets the receiver end and prints what it still records.
async fn print_until(
    receiver: Receiver,
    mut recorded: mpsc::Receiver<ReceivedRequest>,
    args: &ListenArgs,
    out: &mut impl Write,
    stop: impl Future<Output = ()>,
) -> io::Result<Summary> {
    let mut summary = Summary::default();
    let mut stop = pin!(stop);
    while args.count.is_none_or(|count| summary.requests() < count) {
        tokio::select! {
            () = &mut stop => break,
            Some(request) = recorded.recv() => print(out, &request, args, &mut summary)?,
        }
    }
    let mut stopped = pin!(receiver.stop());
    loop {
        tokio::select! {
            biased;
            Some(request) = recorded.recv() => print(out, &request, args, &mut summary)?,
            () = &mut stopped => return Ok(summary),
        }
    }
}

fn print(out: &mut impl Write, request: &ReceivedRequest, args: &ListenArgs, summary: &mut Summary) -> io::Result<()> {
    summary.add(request);
    match args.format {
        _ if args.quiet => return Ok(()),
        Format::Text => show::request(out, request, "no --secret was given")?,
        Format::Json => show::request_as_json(out, request)?,
    }
    out.flush()
}

fn answer_status(text: &str) -> Result<StatusCode, String> {
    let status = text.parse::<u16>().ok().filter(|status| (200..600).contains(status));
    status
        .and_then(|status| StatusCode::from_u16(status).ok())
        .ok_or_else(|| "give a status from 200 to 599".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::{Command, FromArgMatches as _};
    use std::future::{pending, ready};

    fn command() -> Command {
        ListenArgs::augment_args(Command::new("listen"))
    }

    fn parse(line: &str) -> Result<ListenArgs, clap::Error> {
        let words = std::iter::once("listen").chain(line.split_whitespace());
        command().try_get_matches_from(words).and_then(|matches| ListenArgs::from_arg_matches(&matches))
    }

    async fn start(line: &str) -> (ListenArgs, Receiver, mpsc::Receiver<ReceivedRequest>) {
        let args = parse(line).unwrap();
        let (behaviour, recorded) = behaviour(&args).unwrap();
        let receiver = Receiver::bind("127.0.0.1:0", behaviour).await.unwrap();
        (args, receiver, recorded)
    }

    fn send(receiver: &Receiver, requests: usize) -> tokio::task::JoinHandle<Vec<u16>> {
        // Another test of this process may have installed it already.
        drop(rustls::crypto::ring::default_provider().install_default());
        let client = reqwest::Client::builder().no_proxy().build().unwrap();
        let url = receiver.url();
        tokio::spawn(async move {
            let mut statuses = Vec::new();
            for _ in 0..requests {
                statuses.push(client.post(&url).body("{}").send().await.unwrap().status().as_u16());
            }
            statuses
        })
    }

    #[test]
    fn the_command_line_is_sound_and_help_shows_examples() {
        command().debug_assert();
        let help = command().render_long_help().to_string();
        assert!(help.contains("bridge listen --fail-first 3 --retry-after 5"), "{help}");
    }

    #[test]
    fn flags_become_the_behaviour() {
        let (plain, _) = behaviour(&parse("").unwrap()).unwrap();
        assert_eq!((plain.status, plain.delay, plain.verifier.is_some()), (StatusCode::OK, Duration::ZERO, false));

        let line = "--status 410 --fail-first 3 --retry-after 5 --delay 250ms --body no \
                    --secret whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw --secret whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD";
        let (set, _) = behaviour(&parse(line).unwrap()).unwrap();
        assert_eq!((set.status, set.fail_first, set.delay), (StatusCode::GONE, 3, Duration::from_millis(250)));
        assert_eq!((set.retry_after.unwrap(), &set.response_body[..]), (HeaderValue::from_static("5"), &b"no"[..]));
        assert_eq!(format!("{:?}", set.verifier.unwrap()), "Verifier { secrets: 2 }");
    }

    #[test]
    fn wrong_values_are_refused_with_advice() {
        for (line, advice) in [
            ("--status 100", "give a status from 200 to 599"),
            ("--status ok", "give a status from 200 to 599"),
            ("--delay soon", "--delay"),
            ("--count 0", "--count"),
            ("--scheme github", "--secret <SECRET>"),
            ("--scheme git --secret x", "standard-webhooks-ed25519"),
            ("--secret x --header X-A", "--scheme <NAME>"),
        ] {
            let error = parse(line).unwrap_err().to_string();
            assert!(error.contains(advice), "{error}");
        }
        let error = behaviour(&parse("--secret whsec_c2hvcnQtb25l").unwrap()).unwrap_err().to_string();
        assert!(error.starts_with("--secret: the secret has only 9 bytes") && !error.contains("c2hvcnQ"), "{error}");
        let custom = "--scheme custom --secret 0123456789abcdef --value {{timestamp}} --content {{bdy}} --header X-A";
        let error = behaviour(&parse(custom).unwrap()).unwrap_err().to_string();
        assert!(
            error.starts_with("--content: `content` cannot name `bdy` (did you mean `{{body}}`?); --value: "),
            "{error}"
        );
    }

    #[test]
    fn secrets_do_not_show_and_empty_ones_count_for_none() {
        let args = parse("--secret whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").unwrap();
        assert!(format!("{args:?}").contains("secrets: [***]"), "{args:?}");
        assert!(behaviour(&parse("--secret=").unwrap()).unwrap().0.verifier.is_none());
    }

    #[tokio::test]
    async fn it_ends_after_the_wanted_count() {
        let (args, receiver, recorded) = start("--count 2 --fail-first 1 --format json").await;
        let sent = send(&receiver, 2);
        let mut out = Vec::new();
        let summary = print_until(receiver, recorded, &args, &mut out, pending()).await.unwrap();
        assert_eq!(sent.await.unwrap(), [503, 200]);
        assert_eq!(summary.to_string(), "2 requests: 1 answered 200, 1 answered 503");
        assert_eq!(String::from_utf8(out).unwrap().lines().count(), 2);
    }

    #[tokio::test]
    async fn what_was_recorded_before_the_end_is_still_printed() {
        let (args, receiver, recorded) = start("").await;
        assert_eq!(send(&receiver, 3).await.unwrap(), [200; 3]);
        let mut out = Vec::new();
        let summary = print_until(receiver, recorded, &args, &mut out, ready(())).await.unwrap();
        assert_eq!(summary.requests(), 3);
        let text = anstream::adapter::strip_str(std::str::from_utf8(&out).unwrap()).to_string();
        assert_eq!(text.matches("  POST /  ").count(), 3, "{text}");
    }

    #[tokio::test]
    async fn quiet_counts_without_printing() {
        let (args, receiver, recorded) = start("--quiet --count 1").await;
        let sent = send(&receiver, 1);
        let mut out = Vec::new();
        let summary = print_until(receiver, recorded, &args, &mut out, pending()).await.unwrap();
        assert_eq!((sent.await.unwrap(), summary.requests(), out.len()), (vec![200], 1, 0));
    }

    #[tokio::test]
    async fn an_address_that_is_taken_is_named() {
        let (_, receiver, _) = start("").await;
        let args = parse(&format!("--addr {}", receiver.local_addr())).unwrap();
        let error = listen(&args).await.unwrap_err().to_string();
        assert!(error.starts_with(&format!("cannot listen on {}: ", receiver.local_addr())), "{error}");
    }
}
