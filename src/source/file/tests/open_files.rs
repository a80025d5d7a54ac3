//! Many files under a low limit on open files.

use std::collections::BTreeSet;

use super::*;
use crate::descriptors::{Budget, Purpose};

const FILES: usize = 60;

/// A source that may have `most` files open.
async fn reader(setup: &Setup, most: usize) -> Reader {
    let mut source = setup.source();
    source.connect().await.unwrap();
    let budget = Budget::new(4 * most);
    source.session.as_mut().unwrap().open_files = budget.share(Purpose::Files);
    source.session.as_mut().unwrap().open_files.want(FILES);
    assert_eq!(source.session.as_ref().unwrap().open_files.granted(), most);
    Reader { source, read: BTreeMap::new() }
}

fn name(number: usize) -> String {
    format!("{number}.log")
}

#[tokio::test]
async fn files_that_all_keep_growing_are_all_read() {
    let setup = Setup::new(&["*.log"]);
    (0..FILES).for_each(|file| setup.write(&name(file), format!("{file} 0\n")));
    let mut reader = reader(&setup, 5).await;
    for round in 0..4 {
        let lines: BTreeSet<String> = reader.lines(FILES).await.into_iter().collect();
        assert_eq!(lines, (0..FILES).map(|file| format!("{file} {round}")).collect());
        let open = |reader: &Reader| {
            let tails = reader.source.session.as_ref().unwrap().tails.values();
            tails.filter(|tail| tail.content.is_some()).count()
        };
        assert!(open(&reader) <= 5, "{} are open", open(&reader));
        (0..FILES).for_each(|file| setup.append(&name(file), &format!("{file} {}\n", round + 1)));
    }
}

#[tokio::test]
async fn what_was_closed_is_followed_when_it_is_rotated_or_truncated() {
    let setup = Setup::new(&["*.log"]);
    (0..FILES).for_each(|file| setup.write(&name(file), format!("{file}\n")));
    let mut reader = reader(&setup, 5).await;
    let first = reader.records(FILES).await;
    for file in 0..FILES {
        setup.append(&name(file), "rest\n");
        match file % 2 {
            0 => setup.rename(&name(file), &format!("{}.1", name(file))),
            _ => setup.copytruncate(&name(file), &format!("{}.1", name(file))),
        }
        setup.append(&name(file), &format!("new {file}\n"));
    }
    let records = reader.records(2 * FILES).await;
    let contents: BTreeSet<&str> = first.iter().map(content_of).collect();
    let rests: Vec<&Record> = records.iter().filter(|record| text(record) == "rest").collect();
    assert_eq!(rests.len(), FILES, "each rest is read once");
    assert!(rests.iter().all(|rest| contents.contains(content_of(rest))), "a rest belongs to what was read before");
    let new: BTreeSet<String> = records.iter().map(text).filter(|text| text != "rest").collect();
    assert_eq!(new, (0..FILES).map(|file| format!("new {file}")).collect());
}

#[tokio::test]
async fn a_deleted_file_is_not_closed_before_it_is_read() {
    let setup = Setup::new(&["*.log"]);
    (0..5).for_each(|file| setup.write(&name(file), format!("{file}\n")));
    let mut reader = reader(&setup, 5).await;
    reader.lines(5).await;
    for file in 0..5 {
        setup.append(&name(file), "rest\n");
        fs::remove_file(setup.path(&name(file))).unwrap();
    }
    (5..FILES).for_each(|file| setup.write(&name(file), format!("{file}\n")));
    let mut lines = reader.lines(FILES).await;
    lines.retain(|line| line == "rest");
    assert_eq!(lines.len(), 5);
}

/// A line of several chunks, of which a part is there whenever its file is closed for others.
#[tokio::test]
async fn a_long_line_that_is_written_in_parts_is_read_once_although_its_file_is_closed_in_between() {
    // A line that is longer than allowed is not read again from its beginning.
    for limit in [1024 * 1024, 300 * 1024] {
        let mut setup = Setup::new(&["*.log"]);
        setup.max_event_size = limit;
        (0..FILES).for_each(|file| setup.write(&name(file), format!("{file}\n")));
        let mut reader = reader(&setup, 5).await;
        reader.lines(FILES).await;
        for part in ["a", "b", "c"] {
            setup.append(&name(0), &part.repeat(200 * 1024));
            (1..FILES).for_each(|file| setup.append(&name(file), &format!("{file} {part}\n")));
            reader.lines(FILES - 1).await;
        }
        setup.append(&name(0), "\nlast\n");
        let records = reader.records(2).await;
        let ends: Vec<u64> = records.iter().map(|record| record.position).collect();
        assert_eq!(ends, [2 + 600 * 1024 + 1, 2 + 600 * 1024 + 1 + 5]);
        let line = ["a", "b", "c"].map(|part| part.repeat(200 * 1024)).concat();
        assert!(line.as_bytes().starts_with(records[0].event.payload.as_deref().unwrap_or_default()));
        assert_eq!((records[0].defect.is_some(), text(&records[1]).as_str()), (limit < line.len(), "last"));
    }
}
