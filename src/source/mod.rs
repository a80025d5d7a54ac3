//! Sources: what every connector provides, and the list of connectors.
//!
//! A connector is one [`Source`]: it connects, reads, commits and closes, and it knows nothing of filters, sinks or
//! retries. What all connectors share is written once, in [`drive`]: reconnecting with backoff, the bounds on events in
//! flight, the watermarks, the commit interval and the shutdown. `lines` is shared by the connectors that read text.
//!
//! Connectors must not import `config`, `pipeline` or each other.

pub mod amqp;
pub mod drive;
pub mod file;
pub mod kafka;
mod lines;
pub mod outgoing;
mod record;
pub mod stdin;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use schemars::JsonSchema;
use serde::Deserialize;
use tokio::sync::mpsc;

use crate::descriptors::{self, Budget};
use crate::event::{Format, Meta};
use crate::health::NodeHealth;
use crate::problem::Problem;
use crate::shutdown::Shutdown;
use crate::store::Store;
use crate::units::{ByteSize, Period};

pub use record::{Defect, Record, Room};

/// What a connector provides. The driver calls the methods one at a time, never two at once.
///
/// The methods are declared with `impl Future + Send`; a connector writes them as plain `async fn`.
pub trait Source: Send {
    /// True when records are acknowledged to the broker one by one ([`Progress::settled`]) and not only by position.
    const ACKNOWLEDGES_EACH: bool = false;

    /// True when no other process reads a partition while this one does, and what this one reads first of it comes behind
    /// all that others had settled.
    const READS_PARTITIONS_ALONE: bool = false;

    /// When progress is committed; the pipeline file's `commit_interval` goes before the interval given here.
    fn commit_policy(&self) -> CommitPolicy {
        CommitPolicy::default()
    }

    /// Connects, or reconnects after an error or a failed event. Reading then starts behind the last commit, and all
    /// partition numbers given out before are void.
    fn connect(&mut self) -> impl Future<Output = Result<(), SourceError>> + Send;

    /// Waits for what happens next. When that is a record, those behind it that are at hand come with it, as many as
    /// there is room for; there is no waiting for a second one. The rest stays in the connector: see [`Room::fill`].
    ///
    /// It must be cancel safe: the driver drops the future whenever something else comes first, and no record may be lost
    /// by that. So nothing is awaited between the taking of a record and the return. What was taken before an error is
    /// read again over the next connection.
    ///
    /// The connector need not give way to other tasks, however much it has at hand: the driver does, between two calls.
    fn read(&mut self, room: Room) -> impl Future<Output = Result<Input, SourceError>> + Send;

    /// Called instead of [`read`](Self::read) while the bound on events in flight is reached. It must not return
    /// records. A source whose connection must be kept alive by polling does so here; it pauses when this is called
    /// and resumes when `read` is called again. Cancel safe, as `read` is.
    fn read_paused(&mut self) -> impl Future<Output = Result<Input, SourceError>> + Send {
        std::future::pending()
    }

    /// Makes progress durable, or sees to it that it soon is. Called at the commit interval, and a last time before
    /// `release`, `give_back` and `close`.
    fn commit(&mut self, progress: Progress) -> impl Future<Output = Result<(), SourceError>> + Send;

    /// The partitions named by an [`Input::Closing`] have been drained and committed, or their time was up. Nothing is
    /// committed for them after this.
    fn release(&mut self, _partitions: &[u32]) -> impl Future<Output = Result<(), SourceError>> + Send {
        async { Ok(()) }
    }

    /// Gives back, at the end of the run, what was not processed: `open` holds the places of the records of this
    /// connection that were handed over and have not settled, in the order of their partition. What has been received
    /// beyond those goes back, too, so this is called even when nothing is open. Nothing is read or committed after it,
    /// and `close` follows. The connection may be lost; errors are of no use to anyone: log them.
    ///
    /// A source that commits positions has nothing to do: it reads again behind its last commit.
    fn give_back(&mut self, _open: &[(u32, u64)]) -> impl Future<Output = ()> + Send {
        std::future::ready(())
    }

    /// Closes the connection after the last commit. Errors are of no use to anyone by then: log them.
    fn close(&mut self) -> impl Future<Output = ()> + Send;

    /// Connects once without taking any record, for `check --connect`: says what was found, or why it failed.
    fn probe(&mut self) -> impl Future<Output = Result<String, SourceError>> + Send;
}

/// What a source reads.
#[derive(Debug)]
pub enum Input {
    /// Records, one at least, those of a partition in its order.
    Records(Vec<Record>),
    /// These partitions are going away (a Kafka revoke, a file rotated away and read to its end). The connector
    /// returns no further records of them; the driver lets what is in flight finish, for `within` at most when given,
    /// commits, and calls [`Source::release`].
    Closing {
        /// Numbers as in [`Record::partition`].
        partitions: Vec<u32>,
        /// The longest time to wait for what is in flight; `None` waits for ever.
        within: Option<Duration>,
    },
    /// These partitions were taken away without notice: nothing can be committed for them any more.
    Lost {
        /// Numbers as in [`Record::partition`].
        partitions: Vec<u32>,
    },
    /// The broker is out of reach, and the connector itself goes on trying: there is no new connection to be made.
    Away {
        /// Why, as far as is known.
        reason: String,
    },
    /// The broker is within reach again after [`Away`](Self::Away).
    Back,
    /// The source has reached its end: the end of standard input, or with `--once` the end it saw when it connected
    /// first. No `read` follows.
    End,
}

/// What has settled since the last commit.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Progress {
    /// The partitions whose watermark has moved, with the position to commit.
    pub watermarks: Vec<(u32, u64)>,
    /// Every position that has settled since the last commit, in no order: those below their partition's watermark, and
    /// those above it, behind a record that is still open. Filled for sources that acknowledge each record
    /// ([`Source::ACKNOWLEDGES_EACH`]) only.
    pub settled: Vec<(u32, u64)>,
}

/// When progress is committed: whichever of the two comes first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CommitPolicy {
    /// Time between commits.
    pub interval: Duration,
    /// Commit early once this many records have settled.
    pub settled: usize,
}

impl Default for CommitPolicy {
    fn default() -> Self {
        Self { interval: Duration::from_secs(1), settled: usize::MAX }
    }
}

/// What a connector knows of its surroundings.
#[derive(Debug, Clone)]
pub struct SourceContext {
    /// The pipeline's name.
    pub pipeline: Arc<str>,
    /// The source's name in the pipeline file.
    pub name: Arc<str>,
    /// What `data` is.
    pub format: Format,
    /// Payloads larger than this many bytes are not delivered.
    pub max_event_size: usize,
    /// Stop at the end seen at the start.
    pub once: bool,
    /// Keeps the positions of sources that have no broker to keep them; `None` with `store.url = "none"`.
    pub store: Option<Store>,
    /// The folder of the pipeline file: relative paths in it start there.
    pub base_dir: PathBuf,
    /// What `meta` has beside the connector's own, where it stands for another one.
    pub meta_beside: Meta,
}

#[cfg(test)]
impl SourceContext {
    /// A text source of a pipeline without a store.
    pub(crate) fn for_tests(pipeline: &str, name: &str) -> Self {
        Self {
            pipeline: pipeline.into(),
            name: name.into(),
            format: Format::Text,
            max_event_size: 1024,
            once: false,
            store: None,
            base_dir: PathBuf::new(),
            meta_beside: Meta::new(),
        }
    }
}

/// Why a source cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// The broker is away, refuses us, or has dropped the connection: the driver waits and connects again.
    #[error("{0}")]
    Transient(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// Connecting again cannot help: the source ends, which is logged as an error. The pipeline's other sources go on;
    /// the process exits with an error once they have ended too.
    #[error("{0}")]
    Permanent(#[source] Box<dyn std::error::Error + Send + Sync>),
}

impl SourceError {
    /// An error after which connecting again may help.
    pub fn transient(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self::Transient(error.into())
    }

    /// An error after which connecting again cannot help.
    pub fn permanent(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self::Permanent(error.into())
    }
}

/// Keys that every source has, beside those of its type.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CommonConfig {
    /// What `data` is in the envelope.
    #[serde(default)]
    pub format: Format,
    /// Events that may be open at once: read and not yet delivered, parked or given up. What has ended behind an event
    /// that is still open counts too, as it would be read again after a crash. At the bound the source pauses.
    #[serde(default = "default_max_in_flight")]
    #[schemars(range(min = 1, max = 1_000_000))]
    pub max_in_flight: usize,
    /// Payload bytes that may be open at once. At the bound the source pauses.
    #[serde(default = "default_max_in_flight_bytes")]
    #[schemars(extend("x-minimum" = "1B", "x-maximum" = "1TiB"))]
    pub max_in_flight_bytes: ByteSize,
    /// The largest payload; a larger one becomes a dead letter.
    #[serde(default = "default_max_event_size")]
    #[schemars(extend("x-minimum" = "1B", "x-maximum" = "256MiB"))]
    pub max_event_size: ByteSize,
    /// How often progress is committed. Default: `"1s"`, for AMQP `"50ms"`.
    #[schemars(extend("x-minimum" = "1ms", "x-maximum" = "1h"))]
    pub commit_interval: Option<Period>,
    /// Where events are sent that are given up before they reach a sink, at the source itself or at a filter, before
    /// they go into the store: `"kafka:topic"`, `"amqp:exchange/routing-key"`, or a sink's name; see `dead_letter` of
    /// sinks. Without it they go into the store only.
    #[schemars(example = &"kafka:orders-dead")]
    pub dead_letter: Option<String>,
}

/// The keys of one type of source. A new connector adds a variant here; schema and reference follow.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum TypeConfig {
    /// `type = "kafka"`
    Kafka(kafka::KafkaConfig),
    /// `type = "amqp"`
    Amqp(amqp::AmqpConfig),
    /// `type = "file"`
    File(file::FileConfig),
    /// `type = "stdin"`
    Stdin(stdin::StdinConfig),
}

/// A connector of any type: a new one adds a variant here, and the compiler names the places that must know it.
pub enum Connector {
    /// `type = "kafka"`
    Kafka(Box<kafka::KafkaSource>),
    /// `type = "amqp"`
    Amqp(Box<amqp::AmqpSource>),
    /// `type = "file"`
    File(Box<file::FileSource>),
    /// `type = "stdin"`
    Stdin(Box<stdin::StdinSource>),
}

impl Connector {
    /// Builds a connector, without any I/O.
    ///
    /// # Errors
    /// Every value at fault, with its path below the source.
    pub fn new(context: SourceContext, config: &TypeConfig) -> Result<Self, Vec<Problem>> {
        Ok(match config.clone() {
            TypeConfig::Kafka(config) => Self::Kafka(Box::new(kafka::KafkaSource::new(context, config)?)),
            TypeConfig::Amqp(config) => Self::Amqp(Box::new(amqp::AmqpSource::new(context, config)?)),
            TypeConfig::File(config) => Self::File(Box::new(file::FileSource::new(context, config)?)),
            TypeConfig::Stdin(config) => Self::Stdin(Box::new(stdin::StdinSource::new(context, config)?)),
        })
    }

    /// Runs the source to its end; see [`drive::drive`].
    ///
    /// # Errors
    /// [`SourceError::Permanent`] only.
    pub async fn drive(
        self,
        name: Arc<str>,
        bounds: drive::Bounds,
        arrivals: mpsc::Sender<drive::Arrival>,
        health: NodeHealth,
        shutdown: Shutdown,
    ) -> Result<(), SourceError> {
        let _kept_back = Budget::of_process().keep_back(self.fixed_descriptors());
        match self {
            Self::Kafka(source) => drive::drive(*source, name, bounds, arrivals, health, shutdown).await,
            Self::Amqp(source) => drive::drive(*source, name, bounds, arrivals, health, shutdown).await,
            Self::File(source) => drive::drive(*source, name, bounds, arrivals, health, shutdown).await,
            Self::Stdin(source) => drive::drive(*source, name, bounds, arrivals, health, shutdown).await,
        }
    }

    /// How many descriptors it cannot do without, however few there are.
    fn fixed_descriptors(&self) -> usize {
        match self {
            Self::Kafka(_) => descriptors::KAFKA,
            Self::Amqp(_) => descriptors::AMQP,
            // A file source has a share, and standard input is open anyway.
            Self::File(_) | Self::Stdin(_) => 0,
        }
    }

    /// True when a payload over `max_event_size` is kept whole in its dead letter; of a long line, only the beginning
    /// is.
    pub fn keeps_large_payloads(&self) -> bool {
        match self {
            Self::Kafka(_) | Self::Amqp(_) => true,
            Self::File(_) | Self::Stdin(_) => false,
        }
    }

    /// Connects once without taking any record; see [`Source::probe`].
    ///
    /// # Errors
    /// Why the source cannot be reached.
    pub async fn probe(&mut self) -> Result<String, SourceError> {
        match self {
            Self::Kafka(source) => source.probe().await,
            Self::Amqp(source) => source.probe().await,
            Self::File(source) => source.probe().await,
            Self::Stdin(source) => source.probe().await,
        }
    }
}

impl TypeConfig {
    /// True for standard input: it can be read once only, so one source has it for as long as the process lives.
    pub fn is_standard_input(&self) -> bool {
        matches!(self, Self::Stdin(_))
    }

    /// The `meta` of an event that nothing was read for, as tests have it: the first that the source could read, with
    /// names as they are written in the pipeline file.
    pub fn meta_of_tests(&self) -> Meta {
        match self {
            Self::Kafka(config) => config.meta_of_tests(),
            Self::Amqp(config) => config.meta_of_tests(),
            Self::File(config) => config.meta_of_tests(),
            Self::Stdin(config) => config.meta_of_tests(),
        }
    }
}

/// One source of the pipeline file.
#[derive(Debug, Clone)]
pub struct SourceConfig {
    /// Keys that every source has.
    pub common: CommonConfig,
    /// Keys of its type.
    pub kind: TypeConfig,
    /// What `meta` has beside the connector's own, where it stands for another one. No key of the pipeline file.
    pub meta_beside: Meta,
}

fn default_max_in_flight() -> usize {
    4096
}

fn default_max_in_flight_bytes() -> ByteSize {
    ByteSize::mib(64)
}

fn default_max_event_size() -> ByteSize {
    ByteSize::mib(1)
}
