use super::*;
use crate::event::MetaValue;
use crate::source::Defect;
use crate::source::file::watch::Watch;

#[tokio::test]
async fn lines_are_events_with_their_place() {
    let setup = Setup::new(&["*.log"]);
    setup.write("a.log", "one\r\n\n\ntwo\n");
    let mut reader = setup.reader().await;
    let records = reader.records(2).await;
    assert_eq!(records.iter().map(text).collect::<Vec<_>>(), ["one", "two"]);
    assert_eq!((records[0].position, records[1].position), (5, 11));
    assert!(records[0].event.id.ends_with("/0") && records[1].event.id.ends_with("/7"));
    let path = setup.path("a.log").to_str().unwrap().into();
    assert_eq!(records[1].event.meta[0], ("path".into(), MetaValue::Text(path)));
    assert_eq!(records[1].event.meta[1], ("offset".into(), MetaValue::Integer(7)));
    setup.append("a.log", "three\n");
    assert_eq!(reader.lines(1).await, ["three"]);
}

#[tokio::test]
async fn a_line_is_not_read_before_its_end_is_written() {
    let setup = Setup::new(&["a.log"]);
    setup.write("a.log", "one\ntw");
    setup.write("b.log", "");
    let mut reader = setup.reader().await;
    assert_eq!(reader.lines(1).await, ["one"]);
    assert!(
        timeout(Duration::from_millis(100), reader.source.read(Room::ONE_RECORD)).await.is_err(),
        "half a line was read"
    );
    setup.append("a.log", "o\n");
    assert_eq!(reader.lines(1).await, ["two"]);
}

#[tokio::test]
async fn a_line_over_the_limit_is_cut_and_says_where_it_was() {
    let mut setup = Setup::new(&["a.log"]);
    setup.max_event_size = 8;
    let long = "x".repeat(600 * 1024);
    setup.write("a.log", format!("one\n{long}\ntwo\n"));
    let mut reader = setup.reader().await;
    let records = reader.records(3).await;
    assert_eq!(records[1].defect, Some(Defect::TooLarge { size: 600 * 1024, limit: 8 }));
    assert_eq!(records[1].event.payload.as_deref(), Some(&b"xxxxxxxx"[..]));
    assert_eq!(records[1].event.meta.last(), Some(&("end".into(), MetaValue::Integer(4 + 600 * 1024 + 1))));
    assert_eq!(text(&records[2]), "two");
}

#[tokio::test]
async fn new_files_and_new_folders_are_found() {
    let setup = Setup::new(&["*/*.log"]);
    let mut reader = setup.reader().await;
    fs::create_dir(setup.path("new")).unwrap();
    setup.write("new/a.log", "one\n");
    assert_eq!(reader.lines(1).await, ["one"]);
    setup.write("new/b.log", "two\n");
    assert_eq!(reader.lines(1).await, ["two"]);
}

#[tokio::test]
async fn what_no_watcher_reports_is_found_by_looking() {
    let setup = Setup::new(&["*.log"]);
    setup.write("a.log", "one\n");
    let mut reader = setup.reader().await;
    reader.source.session.as_mut().unwrap().watch = Watch::blind();
    assert_eq!(reader.lines(1).await, ["one"]);
    setup.append("a.log", "two\n");
    assert_eq!(reader.lines(1).await, ["two"]);
    setup.rename("a.log", "a.log.1");
    setup.write("a.log", "three\n");
    setup.write("b.log", "four\n");
    let mut lines = reader.lines(2).await;
    lines.sort();
    assert_eq!(lines, ["four", "three"]);
}

#[tokio::test]
async fn a_large_file_does_not_starve_the_others() {
    let setup = Setup::new(&["*.log"]);
    let large: String = (0..200_000).map(|number| format!("line {number}\n")).collect();
    setup.write("a.log", &large);
    setup.write("b.log", "small\n");
    let mut reader = setup.reader().await;
    let mut before = 0;
    while text(&reader.record().await) != "small" {
        before += 1;
    }
    assert!(before < 50_000, "{before} lines of the large file came first");
    assert_eq!(reader.lines(200_000 - before).await.last().unwrap(), "line 199999");
}

#[tokio::test]
async fn many_files_are_all_read_and_followed() {
    let setup = Setup::new(&["*.log"]);
    for number in 0..300 {
        setup.write(&format!("{number}.log"), format!("first of {number}\n"));
    }
    let mut reader = setup.reader().await;
    let records = reader.records(300).await;
    let contents: std::collections::HashSet<&str> = records.iter().map(content_of).collect();
    assert_eq!(contents.len(), 300);
    for number in 0..300 {
        setup.append(&format!("{number}.log"), &format!("second of {number}\n"));
    }
    let mut lines = reader.lines(300).await;
    lines.sort();
    lines.dedup();
    assert_eq!(lines.len(), 300);
    assert!(lines.iter().all(|line| line.starts_with("second")));
}

#[tokio::test]
async fn what_is_read_can_be_dropped_halfway_without_losing_a_record() {
    let setup = Setup::new(&["a.log"]);
    let text_of = |number: usize| format!("line {number}");
    setup.write("a.log", (0..5_000).map(|number| text_of(number) + "\n").collect::<String>());
    let mut reader = setup.reader().await;
    let mut lines = Vec::new();
    while lines.len() < 5_000 {
        // The driver drops the future whenever something else comes first.
        let read = tokio::select! {
            biased;
            read = reader.source.read(Room::new(7, usize::MAX).unwrap()) => Some(read),
            () = std::future::ready(()) => None,
        };
        match read {
            Some(Ok(Input::Records(records))) => lines.extend(records.iter().map(text)),
            Some(other) => panic!("{other:?}"),
            None => tokio::task::yield_now().await,
        }
    }
    assert_eq!(lines, (0..5_000).map(text_of).collect::<Vec<_>>());
}

#[tokio::test]
async fn the_lines_at_hand_come_together_as_far_as_there_is_room() {
    let mut setup = Setup::new(&["a.log"]);
    setup.once = true;
    setup.write("a.log", "one\ntwo\n3\n4\n5\n\nsix\nlast");
    let mut reader = setup.reader().await;
    let mut bunches = Vec::new();
    for room in [(2, 100), (9, 2), (9, 1), (9, 9), (9, 9)] {
        let room = Room::new(room.0, room.1).unwrap();
        match timeout(PATIENCE, reader.source.read(room)).await.unwrap().unwrap() {
            Input::Records(records) => bunches.push(records.iter().map(text).collect::<Vec<_>>()),
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(bunches, [vec!["one", "two"], vec!["3", "4"], vec!["5"], vec!["six"], vec!["last"]]);
    assert!(matches!(reader.next().await, Input::End));
}

#[tokio::test]
async fn once_reads_everything_that_is_there_and_ends() {
    let mut setup = Setup::new(&["*.log"]);
    setup.once = true;
    setup.write("a.log", "one\ntwo");
    setup.write("b.log", "three\n");
    setup.write("empty.log", "");
    let mut reader = setup.reader().await;
    setup.write("c.log", "later\n");
    let mut lines = reader.rest().await;
    lines.sort();
    assert_eq!(lines, ["one", "three", "two"]);
}

#[tokio::test]
async fn once_without_files_ends_at_once() {
    let mut setup = Setup::new(&["*.log"]);
    setup.once = true;
    assert!(setup.reader().await.rest().await.is_empty());
}

#[tokio::test]
async fn a_compressed_file_that_matches_is_read_as_what_it_holds() {
    let setup = Setup::new(&["*.gz"]);
    setup.write("a.log", "one\ntwo");
    setup.compress("a.log");
    let mut reader = setup.reader().await;
    assert_eq!(reader.lines(2).await, ["one", "two"]);
    reader.closing().await;
    setup.write("b.log", "three\n");
    setup.compress("b.log");
    assert_eq!(reader.lines(1).await, ["three"], "and is read once");
}

#[tokio::test]
async fn rotation_is_followed_while_reading_is_paused() {
    let setup = Setup::new(&["a.log"]);
    setup.write("a.log", "one\n");
    let mut reader = setup.reader().await;
    reader.lines(1).await;
    setup.append("a.log", "two\n");
    setup.rename("a.log", "a.log.1");
    setup.write("a.log", "three\n");
    // While the source is paused the new file is opened, so that it can be read even when it is gone by then.
    let opened =
        |reader: &Reader| reader.source.session.as_ref().unwrap().tails.values().all(|tail| tail.content.is_some());
    while reader.source.session.as_ref().unwrap().tails.len() < 2 || !opened(&reader) {
        let paused = timeout(Duration::from_millis(20), reader.source.read_paused()).await;
        assert!(paused.is_err(), "{paused:?}");
    }
    fs::remove_file(setup.path("a.log.1")).unwrap();
    fs::remove_file(setup.path("a.log")).unwrap();
    assert_eq!(reader.lines(2).await, ["two", "three"]);
}

#[tokio::test]
async fn a_glob_that_is_none_is_named() {
    let context = Setup::new(&["*.log"]).source().context;
    let config = FileConfig {
        paths: vec!["ok*.log".into(), "bad[.log".into()],
        start: FileStart::Beginning,
        rotated_wait: Period::from_secs(60),
    };
    let problems = FileSource::new(context.clone(), config).err().unwrap();
    assert_eq!(problems.len(), 1);
    assert_eq!(problems[0].path, ["paths", "1"]);
    let none = FileConfig { paths: Vec::new(), start: FileStart::Beginning, rotated_wait: Period::from_secs(60) };
    assert_eq!(FileSource::new(context, none).err().unwrap()[0].path, ["paths"]);
}

#[tokio::test]
async fn a_probe_takes_nothing_and_says_what_is_there() {
    let setup = Setup::new(&["*.log"]);
    assert_eq!(setup.source().probe().await.unwrap(), "no file matches yet");
    setup.write("a.log", "one\n");
    assert_eq!(setup.source().probe().await.unwrap(), "1 file matches");
    assert_eq!(setup.checkpoint().await, None);
}

#[tokio::test]
async fn nuls_and_a_byte_order_mark_before_a_record_are_no_part_of_it() {
    let setup = Setup::new(&["*.log"]);
    setup.write("a.log", "\u{feff}one\n");
    let mut writer = OpenOptions::new().write(true).open(setup.path("a.log")).unwrap();
    let mut reader = setup.reader().await;
    assert_eq!(reader.lines(1).await, ["one"]);
    reader.commit().await;
    // A program that does not append, and is far in its file: what it writes next stands behind two mebibytes of nothing.
    let far = 2 << 20;
    std::io::Seek::seek(&mut writer, std::io::SeekFrom::Start(far)).unwrap();
    setup.truncate("a.log");
    writer.write_all(b"two\n").unwrap();
    let two = reader.record().await;
    assert_eq!((text(&two), two.position), ("two".to_owned(), far + 4));
    assert!(two.event.id.ends_with("/0"), "{}", two.event.id);
    writer.write_all(b"three\0\n").unwrap();
    assert_eq!(reader.lines(1).await, ["three\0"]);
}

#[tokio::test]
async fn a_file_in_utf_16_is_one_letter_however_much_it_grows() {
    let setup = Setup::new(&["*.log"]);
    let utf16 = |text: &str| text.encode_utf16().flat_map(u16::to_le_bytes).collect::<Vec<u8>>();
    setup.write("a.log", utf16("\u{feff}one\ntwo\n"));
    let mut reader = setup.reader().await;
    let letter = reader.record().await;
    assert!(text(&letter).contains("UTF-16"), "{}", text(&letter));
    reader.commit().await;
    let mut file = OpenOptions::new().append(true).open(setup.path("a.log")).unwrap();
    file.write_all(&utf16("three\n")).unwrap();
    setup.write("b.log", "next\n");
    assert_eq!(reader.lines(1).await, ["next"]);
    reader.commit().await;
    drop(reader);
    let mut reader = setup.reader().await;
    setup.append("b.log", "last\n");
    assert_eq!(reader.lines(1).await, ["last"]);
}

/// The rest comes while it is waited for, after a restart, or after it was given up; and more is added to what was whole.
#[tokio::test]
async fn the_rest_of_an_incomplete_compressed_file_is_read_when_it_comes() {
    for count in [12, 400] {
        let setup = Setup::new(&["*.gz"]);
        let lines: Vec<String> = (0..count).map(|number| format!("line {number} {}", number * 7919 % 10_007)).collect();
        setup.write("a.log", lines.join("\n") + "\n");
        setup.compress("a.log");
        let whole = fs::read(setup.path("a.log.gz")).unwrap();
        setup.write("a.log.gz", &whole[..whole.len() / 2]);
        let append = |bytes: &[u8]| {
            let mut file = OpenOptions::new().append(true).open(setup.path("a.log.gz")).unwrap();
            file.write_all(bytes).unwrap();
        };

        let mut reader = setup.reader().await;
        let mut records = reader.records(1).await;
        append(&whole[whole.len() / 2..whole.len() * 3 / 4]);
        loop {
            let record = reader.record().await;
            if let Some(defect) = &record.defect {
                assert!(matches!(defect, Defect::Lost(reason) if reason.contains("incomplete")), "{defect:?}");
                break;
            }
            records.push(record);
        }
        assert!(records.len() < count);
        reader.closing().await;
        drop(reader);

        append(&whole[whole.len() * 3 / 4..whole.len() - 4]);
        let mut reader = setup.reader().await;
        records.extend(reader.records(count - records.len()).await);
        reader.commit().await;
        drop(reader);
        append(&whole[whole.len() - 4..]);
        let mut reader = setup.reader().await;
        reader.closing().await;
        append(&whole);
        records.extend(reader.records(count).await);

        let read: Vec<String> = records.iter().map(text).collect();
        assert_eq!(read, [&lines[..], &lines[..]].concat());
        let (file, _) = records[0].event.id.split_once('/').unwrap();
        let mut offset = 0;
        for (record, line) in records.iter().zip(&read) {
            assert_eq!(record.event.id, format!("{file}/{offset}"));
            offset += line.len() + 1;
        }
    }
}

#[tokio::test]
async fn text_that_is_named_as_if_it_were_compressed_is_read_as_text() {
    let setup = Setup::new(&["*.gz"]);
    setup.write("a.log.gz", "");
    setup.write("b.log.gz", "one\ntwo\n");
    let mut reader = setup.reader().await;
    assert_eq!(reader.lines(2).await, ["one", "two"]);
    setup.append("b.log.gz", "three\n");
    assert_eq!(reader.lines(1).await, ["three"]);
    setup.append("a.log.gz", "late\n");
    assert_eq!(reader.lines(1).await, ["late"]);
    reader.commit().await;
    drop(reader);
    setup.append("a.log.gz", "later\n");
    assert_eq!(setup.reader().await.lines(1).await, ["later"]);
}

#[tokio::test]
async fn a_compressed_file_is_read_as_far_as_it_can_be() {
    let setup = Setup::new(&["*.gz"]);
    let lines: String = (0..400).map(|number| format!("line {number} {}\n", "x".repeat(number % 50))).collect();
    setup.write("a.log", &lines);
    setup.compress("a.log");
    let whole = fs::read(setup.path("a.log.gz")).unwrap();
    setup.write("a.log.gz", [&whole[..], &[0; 4096]].concat());
    setup.write("b.log.gz", [&whole[..], b"garbage"].concat());
    let mut reader = setup.reader().await;
    let mut read = reader.lines(801).await;
    read.retain(|line| !line.starts_with("line "));
    assert!(matches!(read.as_slice(), [letter] if letter.contains("no gzip data")), "{read:?}");
}
