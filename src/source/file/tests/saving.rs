//! The checkpoint in the store: what is refused, and a store that takes its time.

use sqlx::Connection as _;

use super::*;
use crate::shutdown::Shutdown;
use crate::source::SourceError;
use crate::source::drive::{Bounds, drive};
use crate::source::file::LAST_SAVE;

async fn saved(setup: &Setup, text: &str) -> SourceError {
    setup.store.save_checkpoint("logs".into(), text.to_owned()).await.unwrap();
    setup.source().connect().await.unwrap_err()
}

#[tokio::test]
async fn a_checkpoint_that_cannot_be_understood_stops_the_source_and_says_what_to_do() {
    let setup = Setup::new(&["*.log"]);
    for text in ["", "{\"version\":1,\"sta", "{\"version\":1,\"state\":{}}"] {
        let error = saved(&setup, text).await;
        let message = error.to_string();
        assert!(matches!(error, SourceError::Permanent(_)), "{message}");
        assert!(message.contains("`logs` is damaged") && message.contains("rename the source"), "{message}");
    }
    let error = saved(&setup, "{\"version\":2,\"state\":\"later\"}").await;
    assert!(matches!(error, SourceError::Permanent(_)), "{error}");
    assert!(error.to_string().contains("version 2, this bridge reads versions up to 1"), "{error}");
}

#[tokio::test]
async fn a_file_source_without_a_store_is_refused() {
    let mut context = Setup::new(&["*.log"]).source().context;
    context.store = None;
    let config =
        FileConfig { paths: vec!["a.log".into()], start: FileStart::Beginning, rotated_wait: Period::from_secs(60) };
    let problems = FileSource::new(context, config).err().unwrap();
    assert_eq!(problems.len(), 1);
    assert_eq!(problems[0].path, ["type"]);
    assert!(problems[0].help.as_deref().unwrap().contains("store.url"), "{problems:?}");
}

#[tokio::test]
async fn a_confirmed_position_is_saved_while_reading_goes_on() {
    let setup = Setup::new(&["a.log"]);
    setup.write("a.log", "one\ntwo\n");
    let mut reader = setup.reader().await;
    reader.lines(1).await;
    reader.commit().await;
    assert_eq!(reader.lines(1).await, ["two"]);
    assert_eq!(setup.checkpoint().await.unwrap()["state"]["files"][0]["offset"], 4);
}

#[tokio::test]
async fn nothing_is_handed_out_before_its_id_is_durable() {
    let setup = Setup::new(&["a.log"]);
    setup.write("a.log", "one\n");
    let mut source = setup.source();
    let database = &mut setup.second_connection().await;
    let writing = database.connection().begin_with("BEGIN IMMEDIATE").await.unwrap();
    assert!(timeout(Duration::from_millis(200), source.connect()).await.is_err());
    writing.rollback().await.unwrap();
    source.connect().await.unwrap();
    let mut reader = Reader { source, read: BTreeMap::new() };
    let first = reader.record().await;
    drop(reader);
    assert_eq!(setup.reader().await.record().await.event.id, first.event.id);
}

#[tokio::test]
async fn a_slow_store_is_no_error_and_stops_reading_after_a_while() {
    let setup = Setup::new(&["a.log"]);
    setup.write("a.log", "0\n");
    let mut reader = setup.reader().await;
    reader.lines(1).await;
    let database = &mut setup.second_connection().await;
    let writing = database.connection().begin_with("BEGIN IMMEDIATE").await.unwrap();
    let watermarks = std::mem::take(&mut reader.read).into_iter().collect();
    reader.source.commit(Progress { watermarks, settled: Vec::new() }).await.unwrap();
    setup.append("a.log", "1\n");
    assert_eq!(reader.lines(1).await, ["1"], "reading goes on at first");
    let mut read = 1;
    let begun = std::time::Instant::now();
    loop {
        read += 1;
        setup.append("a.log", &format!("{read}\n"));
        assert!(begun.elapsed() < PATIENCE, "reading goes on for ever");
        match timeout(Duration::from_millis(300), reader.source.read(Room::ONE_RECORD)).await {
            Ok(input) => assert!(matches!(input.unwrap(), Input::Records(_))),
            Err(_) => break,
        }
    }
    writing.rollback().await.unwrap();
    assert_eq!(reader.lines(1).await, [read.to_string()]);
}

#[tokio::test]
async fn a_store_that_cannot_be_written_does_not_hold_up_the_end() {
    let setup = Setup::new(&["a.log"]);
    setup.write("a.log", "one\n");
    let bounds = Bounds {
        max_in_flight: 8,
        max_in_flight_bytes: 1024,
        max_event_size: 1024,
        commit_interval: Some(Duration::from_millis(10)),
    };
    let (arrivals, mut arrived) = tokio::sync::mpsc::channel(8);
    let shutdown = Shutdown::new(Duration::ZERO);
    let health = crate::health::NodeHealth::default();
    let driven = tokio::spawn(drive(setup.source(), "logs".into(), bounds, arrivals, health, shutdown.clone()));
    let first = timeout(PATIENCE, arrived.recv()).await.unwrap().unwrap();
    let database = &mut setup.second_connection().await;
    let writing = database.connection().begin_with("BEGIN IMMEDIATE").await.unwrap();
    first.ack.settle();
    shutdown.begin();
    timeout(LAST_SAVE + Duration::from_secs(2), driven).await.expect("the source did not end").unwrap().unwrap();
    writing.rollback().await.unwrap();
    let offset = async || setup.checkpoint().await.unwrap()["state"]["files"][0]["offset"].clone();
    assert_eq!(offset().await, 4, "the store does what it was asked for as soon as it can");
}

#[tokio::test]
async fn what_the_store_has_already_is_not_saved_again() {
    let setup = Setup::new(&["a.log"]);
    setup.write("a.log", "one\n");
    let mut reader = setup.reader().await;
    reader.lines(1).await;
    reader.commit().await;
    reader.source.close().await;
    let saved = setup.checkpoint().await.unwrap();
    assert_eq!(saved["state"]["files"][0]["offset"], 4);
    let mut reader = setup.reader().await;
    reader.source.close().await;
    assert_eq!(setup.checkpoint().await.unwrap(), saved);
    setup.append("a.log", "two\n");
    let mut reader = setup.reader().await;
    reader.lines(1).await;
    reader.commit().await;
    reader.source.close().await;
    assert_eq!(setup.checkpoint().await.unwrap()["state"]["files"][0]["offset"], 8);
}
