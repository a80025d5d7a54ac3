//! The checkpoint in the store: what is refused, and a store that takes its time.

use super::*;
use crate::source::SourceError;
use crate::source::drive::Bounds;

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
    let config = FileConfig { paths: vec!["a.log".into()], start: FileStart::Beginning };
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

/// A store whose thread takes nothing: to the source it is one whose disk is full.
fn stalled_store(folder: &Path) -> (Store, StoreThread) {
    let settings = StoreSettings::new(&StoreConfig::default(), "p", folder, folder).unwrap().unwrap();
    StoreThread::new(settings)
}

#[tokio::test]
async fn nothing_is_handed_out_before_its_id_is_durable() {
    let mut setup = Setup::new(&["a.log"]);
    let mut reader = setup.reader().await;
    let state = tempfile::tempdir().unwrap();
    let (store, thread) = stalled_store(state.path());
    setup.store = store;
    setup.write("a.log", "one\n");
    reader.source = setup.source();
    assert!(timeout(Duration::from_millis(100), reader.source.connect()).await.is_err());
    thread.start().map_err(|(_, error)| error).unwrap();
    reader.source.connect().await.unwrap();
    assert_eq!(reader.lines(1).await, ["one"]);
}

#[tokio::test]
async fn a_store_that_refuses_to_write_does_not_hold_up_the_end() {
    let setup = Setup::new(&["a.log"]);
    let state = tempfile::tempdir().unwrap();
    let (store, _thread) = stalled_store(state.path());
    let mut context = setup.source().context;
    context.store = Some(store);
    setup.write("a.log", "one\n");
    let config = FileConfig { paths: setup.paths.clone(), start: FileStart::Beginning };
    let source = FileSource::new(context, config).unwrap();
    let bounds = Bounds { max_in_flight: 8, max_in_flight_bytes: 1024, max_event_size: 1024, commit_interval: None };
    let (arrivals, _arrived) = tokio::sync::mpsc::channel(8);
    let shutdown = crate::shutdown::Shutdown::new(Duration::ZERO);
    let driven = tokio::spawn(crate::source::drive::drive(source, "logs".into(), bounds, arrivals, shutdown.clone()));
    tokio::task::yield_now().await;
    shutdown.begin();
    timeout(PATIENCE, driven).await.expect("the source did not end").unwrap().unwrap();
}
