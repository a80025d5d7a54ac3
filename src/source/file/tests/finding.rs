//! Which files are read, whatever their names and wherever links lead.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::symlink;

use super::*;
use crate::event::MetaValue;

#[tokio::test]
async fn rotated_files_that_a_pattern_names_are_read_oldest_first_at_the_first_start() {
    for paths in [&["a.log*"][..], &["a.log.1", "a.log.2", "a.log"], &["a.log{,.1,.2}"]] {
        let setup = Setup::new(paths);
        setup.write("a.log", "three\n");
        setup.write("a.log.2", "one\n");
        setup.write("a.log.1", "two\n");
        let mut reader = setup.reader().await;
        assert_eq!(reader.lines(3).await, ["one", "two", "three"], "{paths:?}");
        reader.commit().await;
        setup.rename("a.log.2", "a.log.3");
        setup.rename("a.log.1", "a.log.2");
        setup.rename("a.log", "a.log.1");
        setup.write("a.log", "four\n");
        assert_eq!(reader.lines(1).await, ["four"], "{paths:?}");
    }
}

#[tokio::test]
async fn rotated_files_that_no_pattern_names_are_from_before_the_first_start() {
    let setup = Setup::new(&["a.log"]);
    setup.write("a.log.1", "bygone\n");
    setup.write("a.log", "one\n");
    assert_eq!(setup.reader().await.lines(1).await, ["one"]);
}

#[tokio::test]
async fn a_name_of_any_bytes_is_read_and_followed() {
    let setup = Setup::new(&["*.log"]);
    setup.write("a.log", "good\n");
    let path = setup.logs.path().join(OsStr::from_bytes(b"caf\xe9.log"));
    let rotated = setup.logs.path().join(OsStr::from_bytes(b"caf\xe9.log.1"));
    fs::write(&path, "one\n").unwrap();
    let mut reader = setup.reader().await;
    let mut lines = reader.lines(2).await;
    lines.sort();
    assert_eq!(lines, ["good", "one"]);
    reader.commit().await;
    drop(reader);
    let mut file = OpenOptions::new().append(true).open(&path).unwrap();
    file.write_all(b"two\n").unwrap();
    fs::rename(&path, &rotated).unwrap();
    fs::write(&path, "three\n").unwrap();
    let mut reader = setup.reader().await;
    let records = reader.records(2).await;
    assert_eq!(records.iter().map(text).collect::<Vec<_>>(), ["two", "three"]);
    let shown = format!("{}/caf\u{fffd}.log", setup.logs.path().display());
    assert_eq!(records[0].event.meta[0], ("path".into(), MetaValue::Text(shown.as_str().into())));
}

#[tokio::test]
async fn links_in_circles_are_walked_once() {
    let setup = Setup::new(&["**/*.log"]);
    fs::create_dir(setup.path("d")).unwrap();
    setup.write("d/a.log", "one\n");
    for name in ["d/here", "d/again"] {
        symlink(".", setup.path(name)).unwrap();
    }
    symlink("..", setup.path("d/up")).unwrap();
    let mut reader = setup.reader().await;
    assert_eq!(reader.lines(1).await, ["one"]);
    setup.write("d/b.log", "two\n");
    assert_eq!(reader.lines(1).await, ["two"]);
}

/// What a kubelet does: a container's log is rotated, the container starts again, and the link leads to the new one's.
#[tokio::test]
async fn what_a_link_led_to_before_is_read_to_its_end_whatever_has_replaced_it() {
    for running in [false, true] {
        let setup = Setup::new(&["current.log"]);
        fs::create_dir(setup.path("pod")).unwrap();
        setup.write("pod/0.log", "one\n");
        symlink("pod/0.log", setup.path("current.log")).unwrap();
        let mut reader = setup.reader().await;
        assert_eq!(reader.lines(1).await, ["one"]);
        reader.commit().await;
        if !running {
            reader.source.close().await;
        }
        setup.append("pod/0.log", "two\n");
        setup.rename("pod/0.log", "pod/0.log.20240131-120000");
        setup.write("pod/0.log", "three\n");
        setup.write("pod/1.log", "four\n");
        symlink("pod/1.log", setup.path("new")).unwrap();
        setup.rename("new", "current.log");
        if !running {
            reader = setup.reader().await;
        }
        assert_eq!(reader.lines(3).await, ["two", "three", "four"], "running: {running}");
        setup.append("pod/1.log", "five\n");
        assert_eq!(reader.lines(1).await, ["five"]);
    }
}

#[tokio::test]
async fn short_dates_and_numbers_that_count_up_are_read_in_the_order_they_were_written() {
    for (one, two) in [("a.log-260101", "a.log-260102"), ("a-1.log", "a-2.log"), ("a.log-20260101", "a.log-2026010112")]
    {
        let setup = Setup::new(&["a.log"]);
        setup.write("a.log", "zero\n");
        let mut reader = setup.reader().await;
        assert_eq!(reader.lines(1).await, ["zero"]);
        reader.commit().await;
        drop(reader);
        setup.rename("a.log", one);
        setup.append(one, "one\n");
        setup.write(two, "two\n");
        setup.write("a.log", "three\n");
        assert_eq!(setup.reader().await.lines(3).await, ["one", "two", "three"], "{one}");
    }
}
