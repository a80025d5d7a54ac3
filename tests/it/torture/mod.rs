//! The bridge under random load, a receiver that fails in every way it can, and kill -9 at random moments: nothing is
//! lost, nothing is made up, little is repeated, and keys keep their order.
//!
//! Meanwhile messages share their ids, the file is rotated by copytruncate, and the topic is deleted and created anew.
//!
//! [`plan`] is what chance decides, [`ledger`] what must hold; both are pure. [`run`] starts and kills real processes,
//! [`change`] does to the source what is to be done to it.
//! `TORTURE_CYCLES` is the number of kills of all six tests together, `TORTURE_SEED` repeats the decisions of a run.

mod change;
mod ledger;
mod plan;
mod run;
mod source;
mod store;

use tempfile::TempDir;

use plan::Plan;
use run::Torture;
use source::Source;
use store::Store;

/// Kills of all six tests together, unless `TORTURE_CYCLES` says otherwise.
const CYCLES: u64 = 102;

fn number_from_environment(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().unwrap_or_else(|_| panic!("{name} is no number: {text}")))
}

/// A torture with a source and a store that are made for its folder and its pipeline's name.
async fn torture(source: impl AsyncFnOnce(&TempDir, Plan) -> Source, store: impl FnOnce(&TempDir, &str) -> Store) {
    let seed = number_from_environment("TORTURE_SEED").unwrap_or_else(rand::random);
    let cycles = number_from_environment("TORTURE_CYCLES").unwrap_or(CYCLES).div_ceil(6);
    let folder = tempfile::tempdir().unwrap();
    let pipeline = format!("torture-{}", uuid::Uuid::new_v4());
    let plan = Plan { seed };
    let source = source(&folder, plan).await;
    let store = store(&folder, &pipeline);
    let (is_gone, faults) = (false, Vec::new());
    Torture { plan, cycles, folder, pipeline, source, store, is_gone, faults }.run().await;
}

fn sqlite(folder: &TempDir, pipeline: &str) -> Store {
    Store::sqlite(folder.path(), pipeline)
}

fn postgres(_: &TempDir, pipeline: &str) -> Store {
    Store::postgres(pipeline)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_and_sqlite() {
    torture(async |folder, plan| Source::file(folder.path(), plan), sqlite).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs PostgreSQL: make brokers-up"]
async fn a_file_and_postgres() {
    torture(async |folder, plan| Source::file(folder.path(), plan), postgres).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Kafka: make brokers-up"]
async fn kafka_and_sqlite() {
    torture(async |_, _| Source::kafka().await, sqlite).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Kafka and PostgreSQL: make brokers-up"]
async fn kafka_and_postgres() {
    torture(async |_, _| Source::kafka().await, postgres).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs RabbitMQ: make brokers-up"]
async fn amqp_and_sqlite() {
    torture(async |_, _| Source::amqp().await, sqlite).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs RabbitMQ and PostgreSQL: make brokers-up"]
async fn amqp_and_postgres() {
    torture(async |_, _| Source::amqp().await, postgres).await;
}
