//! `bridge dead replay`: sends dead letters again.
//!
//! First the letters that were chosen are made into deliveries again, in the store. A bridge that runs on the store then
//! delivers them; when there is none, this process does, by the sinks of the pipeline without its sources. Either way
//! they pass the sinks' rate limits.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write as _;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use clap::Args;
use jiff::Timestamp;
use tokio::runtime::Runtime;

use super::filter::{ChoiceArgs, FilterArgs};
use super::progress::ProgressLine;
use super::{PipelineArgs, expect_known};
use crate::cli::load::Compiled;
use crate::cli::{CliError, signals};
use crate::pipeline::replay::Replayer;
use crate::pipeline::run::new_runtime;
use crate::pipeline::{Graph, RunError, run_replay};
use crate::secret::mask;
use crate::shutdown::Shutdown;
use crate::store::StoreError;
use crate::store::config::{Location, StoreSettings};
use crate::store::database::is_in_use;
use crate::store::letters::{Cursor, LetterFilter, Letters};
use crate::store::record::{Letter, RowId};
use crate::store::replays::{Change, Fate, Progress};
use crate::store::sinks::SinkStates;

/// Sends dead letters again, rendered with today's pipeline file or as they were sent.
///
/// Letters of filters and sources go on from there: the filters decide, and every sink that is reached gets its delivery.
/// A letter that fails again is the same letter with more attempts.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  bridge dead replay pipeline.toml 17 18
  # after a template was mended
  bridge dead replay pipeline.toml \\
    --sink crm --reason rejected
  # the very bytes of the first time
  bridge dead replay pipeline.toml --sink crm --as-sent
  bridge dead replay pipeline.toml --all --no-wait

A letter of a filter or a source goes on from there: the filters decide, and every sink that is \
reached gets its delivery. A letter that fails again is the same letter with more attempts.

A running bridge delivers them; when there is none, this command does, without reading from any \
source. Rate limit, Retry-After and circuit breaker hold. At Ctrl-C the rest stays queued for the \
next `bridge run`.

Exit codes: 0 when all were delivered, were turned away by a filter, or wait for their next attempt; \
1 when some are dead letters still or again, or when there is no letter of a number that was given: \
then nothing is sent.")]
pub struct ReplayArgs {
    #[command(flatten)]
    pipeline: PipelineArgs,
    #[command(flatten)]
    choice: ChoiceArgs,
    /// Send the bytes of the first attempts, instead of rendering them anew
    #[arg(long)]
    as_sent: bool,
    /// Return when they are queued
    #[arg(long)]
    no_wait: bool,
    #[command(flatten)]
    filter: FilterArgs,
}

pub(super) fn run(args: &ReplayArgs) -> Result<(), CliError> {
    let now = Timestamp::now();
    let filter = args.choice.filter(&args.filter, now, "--sink crm")?;
    let (Compiled { graph, .. }, settings) = args.pipeline.load()?;
    let shutdown = Shutdown::new(graph.shutdown_timeout);
    signals::act_on(shutdown.clone()).map_err(CliError::io("cannot handle signals"))?;
    let runtime = new_runtime().map_err(CliError::io("cannot start"))?;
    let mut replay = runtime.block_on(Replay::open(&graph, &settings, args.as_sent, now))?;
    runtime.block_on(expect_known(&mut replay.letters, &graph, &filter))?;
    let queued = runtime.block_on(replay.queue(&filter, &shutdown));
    replay.report_refused();
    queued?;
    if args.no_wait {
        runtime.block_on(replay.letters.forget_replay(&replay.name))?;
        return replay.conclude_unwaited(&settings);
    }
    let delivered = deliver(&runtime, &mut replay, graph, &settings, &shutdown);
    let progress = runtime.block_on(async {
        let progress = replay.letters.progress(&replay.name, now).await?;
        replay.letters.forget_replay(&replay.name).await.map(|()| progress)
    })?;
    delivered?;
    replay.conclude(progress)
}

/// Letters on their way back.
struct Replay {
    /// What the store knows the replay by.
    name: String,
    letters: Letters,
    replayer: Replayer,
    disabled: BTreeSet<String>,
    as_sent: bool,
    now: Timestamp,
    tally: Tally,
}

/// What has become of the letters that were chosen.
#[derive(Debug, Default)]
struct Tally {
    /// Letters that are deliveries again.
    replayed: u64,
    /// The deliveries they have become.
    queued: u64,
    /// Letters whose event reaches no sink today.
    filtered: u64,
    /// Letters that cannot be replayed, and the first of them of each reason.
    refused: u64,
    refusals: BTreeMap<String, (RowId, u64)>,
}

impl Replay {
    async fn open(graph: &Graph, settings: &StoreSettings, as_sent: bool, now: Timestamp) -> Result<Self, StoreError> {
        let states = SinkStates::open(settings).await?.all().await?;
        let disabled = states.into_iter().filter(|(_, state)| state.disabled.is_some());
        Ok(Self {
            name: uuid::Uuid::new_v4().to_string(),
            letters: Letters::open(settings).await?,
            replayer: Replayer::new(graph),
            disabled: disabled.map(|(sink, _)| sink).collect(),
            as_sent,
            now,
            tally: Tally::default(),
        })
    }

    /// Makes the letters into deliveries, page by page, until there are no more or the shutdown begins.
    async fn queue(&mut self, filter: &LetterFilter, shutdown: &Shutdown) -> Result<(), StoreError> {
        let mut line = ProgressLine::new();
        let mut cursor = Cursor::default();
        while shutdown.deadline().is_none() {
            let page = self.letters.page(filter, &mut cursor).await?;
            if page.is_empty() {
                return Ok(());
            }
            for (id, error) in &page.damaged {
                self.refuse(*id, error.to_string());
            }
            let changes = page.letters.into_iter().filter_map(|letter| self.decide(letter)).collect();
            self.tally.queued += self.letters.change(changes, &self.name).await?;
            line.show(&format!("queued {}", self.tally.queued));
        }
        Ok(())
    }

    fn decide(&mut self, letter: Letter) -> Option<Change> {
        let id = letter.core.row?;
        match self.replayer.replay(letter, self.as_sent, self.now).and_then(|fate| self.check_enabled(fate)) {
            Ok(Fate::Letter(letter)) => {
                self.refuse(id, letter.message.clone());
                Some(Change { letter: id, fate: Fate::Letter(letter) })
            }
            Ok(fate) => {
                self.tally.replayed += 1;
                self.tally.filtered += u64::from(matches!(&fate, Fate::Rows(rows) if rows.is_empty()));
                Some(Change { letter: id, fate })
            }
            Err(why) => {
                self.refuse(id, why);
                None
            }
        }
    }

    /// Nothing goes to a sink that is disabled: it would only wait there.
    fn check_enabled(&self, fate: Fate) -> Result<Fate, String> {
        match &fate {
            Fate::Delivery { node, .. } if node.as_sink().is_some_and(|sink| self.disabled.contains(&**sink)) => {
                Err(format!("{node} is disabled; `bridge sinks enable` lifts that"))
            }
            _ => Ok(fate),
        }
    }

    fn refuse(&mut self, id: RowId, why: String) {
        self.tally.refused += 1;
        self.tally.refusals.entry(why).or_insert((id, 0)).1 += 1;
        if self.tally.refusals.len() > REFUSALS_SHOWN {
            self.tally.refusals.pop_last();
        }
    }

    fn report_refused(&self) {
        let mut stderr = anstream::stderr().lock();
        for (why, (id, count)) in &self.tally.refusals {
            let others = if *count > 1 { format!(" and {} more", count - 1) } else { String::new() };
            // Nobody is left to tell when standard error is closed.
            writeln!(stderr, "letter {id}{others} not replayed: {}", mask(why)).ok();
        }
    }

    fn conclude_unwaited(&self, settings: &StoreSettings) -> Result<(), CliError> {
        let then = match settings.location {
            Location::Postgres(_) => "a running bridge, or the next `bridge run`,",
            Location::Sqlite(_) if is_in_use(settings) => "the running bridge",
            Location::Sqlite(_) => "the next `bridge run`",
        };
        say(&format!("queued {}: {then} delivers them", deliveries(self.tally.queued)))?;
        self.exit(0)
    }

    fn conclude(&self, progress: Progress) -> Result<(), CliError> {
        let Progress { pending, waiting, dead } = progress;
        let delivered = self.tally.queued.saturating_sub(pending + waiting + dead);
        let mut parts = vec![format!("{delivered} delivered")];
        let mut add = |count: u64, text: &str| parts.extend((count > 0).then(|| format!("{count} {text}")));
        add(self.tally.filtered, "turned away by the filters");
        add(waiting, "waiting for the next attempt");
        add(dead, "dead again");
        add(self.tally.refused, "not replayed");
        add(pending, "not attempted yet: left to `bridge run`");
        say(&format!("{}: {}", deliveries(self.tally.queued), parts.join(", ")))?;
        self.exit(dead)
    }

    fn exit(&self, dead: u64) -> Result<(), CliError> {
        match dead + self.tally.refused {
            0 => Ok(()),
            still_dead => Err(CliError::StillDead(still_dead)),
        }
    }

    /// One look at how the delivering goes; true when nothing is left that can be attempted now.
    async fn look(&mut self, line: &mut ProgressLine) -> Result<bool, StoreError> {
        let Progress { pending, waiting, dead } = self.letters.progress(&self.name, self.now).await?;
        let queued = self.tally.queued;
        let delivered = queued.saturating_sub(pending + waiting + dead);
        line.show(&format!("{delivered} of {queued} delivered, {waiting} waiting, {dead} dead again, {pending} to go"));
        Ok(pending == 0)
    }
}

/// Different reasons for not replaying letters that are told, at most.
const REFUSALS_SHOWN: usize = 20;

/// The time between two looks at the store.
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// Sees to it that what was queued is delivered, by a running bridge or else by this process.
fn deliver(
    runtime: &Runtime,
    replay: &mut Replay,
    graph: Graph,
    settings: &StoreSettings,
    shutdown: &Shutdown,
) -> Result<(), CliError> {
    if runtime.block_on(watch(replay, shutdown, || is_in_use(settings)))? {
        return Ok(());
    }
    let name: Arc<str> = replay.name.as_str().into();
    let sinks = thread::Builder::new().name("sinks".to_owned());
    let sinks = sinks.spawn({
        let shutdown = shutdown.clone();
        move || run_replay(graph, name, &shutdown)
    });
    let sinks = sinks.map_err(CliError::io("cannot start"))?;
    // A failed look at the store must not end the process before the sinks have ended.
    let watched = runtime.block_on(watch(replay, &Shutdown::new(Duration::ZERO), || !sinks.is_finished()));
    let ended = sinks.join().unwrap_or_else(|_| Err(RunError::Panicked("the replay".to_owned())));
    match ended {
        // A bridge was started in the meantime, and delivers.
        Err(RunError::Store(StoreError::Locked { .. })) => {
            runtime.block_on(watch(replay, shutdown, || is_in_use(settings))).map(drop).map_err(Into::into)
        }
        ended => Ok(ended.and(watched.map(drop).map_err(RunError::from))?),
    }
}

/// Shows how the delivering goes for as long as somebody delivers. True when nothing is left to do here: all has been
/// attempted, or the shutdown has begun.
async fn watch(replay: &mut Replay, shutdown: &Shutdown, is_delivering: impl Fn() -> bool) -> Result<bool, StoreError> {
    let mut line = ProgressLine::new();
    while is_delivering() {
        if replay.look(&mut line).await? || shutdown.deadline().is_some() {
            return Ok(true);
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
    Ok(replay.tally.queued == 0 || shutdown.deadline().is_some())
}

fn deliveries(count: u64) -> String {
    format!("{count} {}", if count == 1 { "delivery" } else { "deliveries" })
}

fn say(line: &str) -> Result<(), CliError> {
    writeln!(anstream::stdout(), "{line}").map_err(CliError::io("cannot print"))
}
