//! `bridge` turns events into webhooks and never loses one without saying so. This page is the map of its code.
//!
//! # One event's way
//!
//! This is also the order to read the code in:
//!
//! 1. `main` parses the command line and calls [`cli::run`], and that the [supervisor], which [loads](pipeline::load) the
//!    pipeline files: [`config`] makes text into typed config, and [`pipeline::compile`](mod@pipeline::compile) makes that
//!    into a [`Graph`](pipeline::Graph).
//! 2. [`pipeline::run`](mod@pipeline::run) opens the store, and `pipeline::controller` starts the graph's tasks on their
//!    [workers](pipeline::threads). A reload brings a new graph to it; [changes](pipeline::changes) and `pipeline::steps`
//!    say what becomes of each node.
//! 3. A [`Source`](source::Source) reads records; the [driver](source::drive) gives each [`Event`](event::Event) an
//!    [`Ack`](ack::Ack), within the bounds on events in flight.
//! 4. The source's router (`pipeline::router`) takes the event on its [walk](pipeline::walk): it asks the [filters](filter),
//!    has [transforms](transform) make other events, and renders a [request](sink::request) for every sink that is reached,
//!    with its [templates](template).
//! 5. The sink's [worker](delivery::worker) brings each [delivery](delivery::Delivery) to its end: its
//!    [lane](delivery::lane) says whose turn it is, the [schedule](delivery::schedule) with its
//!    [rate limit](delivery::rate_limit) and [breaker](delivery::breaker) says when, the [webhook](sink::webhook) makes one
//!    attempt and gives its [verdict](sink::verdict), and [retry](delivery::retry) says what follows from a failure.
//!    Whenever something has happened to a delivery, `delivery::step` says what is next for it.
//! 6. What has to wait for long is parked in the [store] (`delivery::parking`) and claimed from it when it is due
//!    (`delivery::claims`); what is given up is kept there as a [dead letter](delivery::dead_letter). One
//!    [keeper](store::running) reads and writes for all.
//! 7. When all of an event's deliveries have ended, its ack settles; the driver moves the [watermark](ack::Watermark),
//!    and the source commits it. File sources keep their positions in the store, too.
//!
//! Meanwhile every node notes in the registry of [`health`] how it is, and the [`admin`] port answers probes from it.
//! Tests in the pipeline file take the same way up to the attempt: [`pipeline::trial`] finds out what becomes of an event,
//! [`testing`] judges it.
//!
//! Beside that way: [`cli::check`], [`cli::diff`] and [`cli::graph`] look at files without running them. They print what
//! [`pipeline::warnings`], [`pipeline::changes`] (which a reload follows, too) and [`pipeline::outline`] say.
//!
//! # What always holds
//!
//! - A position is committed only when everything below it has settled. An ack that is dropped is a failure, never
//!   success.
//! - What cannot be delivered becomes a dead letter. It, and what is parked, is durable before its ack settles.
//! - A delivery that waits holds no connection and no slot, for long it holds not even its place; every attempt passes
//!   the rate limit and the breaker.
//! - Every attempt of a delivery sends the same bytes and the same `webhook-id`.
//! - Config and compiled graph are different types: nothing runs that was not checked.
//! - What came from the environment or a secret file is never printed: see [`secret`].
//!
//! # Who may import whom
//!
//! `ack`, `backoff`, `clock`, `descriptors`, `event`, `functions`, `health`, `interpolated`, `node`, `off_worker`,
//! `problem`, `reminder`, `secret`, `shutdown`, `timer`, `turns`, `units` ← `jsonpath`, `jq` ← `filter`, `template`,
//! `transform` ← `sink`; `store` ← `source`; all of these ← `delivery` ← `config` ← `pipeline` ← `supervisor`, `testing` ← `cli` ←
//! `main`. `admin` and `service_manager` tell others what `health` knows. `receiver` stands at the far side of the bridge
//! and knows `sink::parts` and `sink::signing` only. A connector never imports `config`, `pipeline` or another connector.
//!
//! `ARCHITECTURE.md` says why it is so.

pub mod ack;
pub mod admin;
pub mod backoff;
pub mod cli;
pub mod clock;
pub mod config;
pub mod delivery;
pub mod descriptors;
pub mod event;
pub mod filter;
mod functions;
pub mod health;
pub mod interpolated;
pub mod jq;
pub mod jsonpath;
pub mod node;
pub mod off_worker;
pub mod pipeline;
pub mod problem;
pub mod receiver;
pub mod reminder;
pub mod secret;
pub mod service_manager;
pub mod shutdown;
pub mod sink;
pub mod source;
pub mod store;
pub mod supervisor;
pub mod template;
pub mod testing;
pub mod timer;
pub mod transform;
pub mod turns;
pub mod units;
