//! One content being read: what follows a chunk, fed by hand.

use std::time::{Duration, SystemTime};

use crate::event::Format;
use crate::source::file::identity::{Fingerprint, Identity};
use crate::source::file::registry::TrackedFile;
use crate::source::file::tail::{Next, Tail};

fn tail() -> Tail {
    let identity = Identity { device: 1, inode: 1, born: None };
    let file = TrackedFile {
        id: None,
        path: "app.log".into(),
        real_path: "app.log".into(),
        identity,
        origin: identity,
        generation: 0,
        fingerprint: Fingerprint::of(b""),
        mark: None,
        offset: 0,
        size: 0,
        finished: false,
        stored_size: None,
        at_rest: false,
        once_end: None,
        missing_since: None,
    };
    Tail::new(0, &file, 16, Format::Json)
}

/// Feeds a chunk, takes its lines, and says what follows.
fn read(tail: &mut Tail, bytes: &[u8], end_of_file: bool) -> (Vec<String>, Next) {
    let size = tail.position() + bytes.len() as u64;
    tail.feed(bytes.to_vec(), end_of_file, size, SystemTime::now());
    let lines = std::iter::from_fn(|| tail.next_line());
    let lines = lines.map(|line| String::from_utf8_lossy(&line.payload).into_owned()).collect();
    (lines, tail.finish_chunk().0)
}

#[test]
fn a_line_waits_for_its_end_and_is_read_again() {
    let mut tail = tail();
    assert_eq!(read(&mut tail, b"one\ntw", true), (vec!["one".into()], Next::Wait));
    assert_eq!(tail.position(), 4, "nothing is held while waiting");
    assert!(!tail.lets_newer_pass(), "the rest of a line comes before newer contents");
    assert_eq!(read(&mut tail, b"two\n", true), (vec!["two".into()], Next::Wait));
    assert!(tail.lets_newer_pass());
    assert_eq!(tail.head(), b"one\ntwo\n");
}

#[test]
fn the_last_line_of_what_is_final_needs_no_end() {
    let mut tail = tail();
    tail.is_final = true;
    let (lines, next) = read(&mut tail, b"one\ntwo", true);
    assert_eq!(lines, ["one"]);
    assert!(matches!(next, Next::End(Some(line)) if line.end == 7));
    assert!(tail.has_ended() && tail.last_position == 7);
}

#[test]
fn a_line_longer_than_a_chunk_is_read_on() {
    let mut tail = tail();
    assert_eq!(read(&mut tail, b"one\ntwo", false).1, Next::More { stay: false });
    assert_eq!(tail.position(), 4);
    assert_eq!(read(&mut tail, b"twotwotwo", false).1, Next::More { stay: true });
    assert_eq!(tail.position(), 13);
    assert_eq!(read(&mut tail, b"twotwotwo", true).1, Next::Wait);
    assert_eq!(tail.position(), 22, "an over-long line is not read again from its start");
    assert_eq!(read(&mut tail, b"\n", true).0, ["twotwotwotwotwot"]);
}

#[test]
fn what_is_closed_while_its_chunk_is_in_use_keeps_the_line_that_began_before() {
    for (bytes, end_of_file) in [(&b"e\nthree\nfo"[..], true), (b"e\nthree\nfo", false), (b"e", true), (b"e", false)] {
        let mut tail = tail();
        assert_eq!(read(&mut tail, b"on", false).1, Next::More { stay: true });
        tail.feed(bytes.to_vec(), end_of_file, 2 + bytes.len() as u64, SystemTime::now());
        tail.close();
        let lines: Vec<_> = std::iter::from_fn(|| tail.next_line()).collect();
        let ends: Vec<_> = lines.iter().map(|line| (&line.payload[..], line.end)).collect();
        let has_lines = bytes.len() > 1;
        let expected: &[(&[u8], u64)] = if has_lines { &[(b"one", 4), (b"three", 10)] } else { &[] };
        assert_eq!(ends, expected);
        assert_eq!(tail.finish_chunk().0, Next::More { stay: false });
        assert_eq!(tail.position(), if has_lines { 10 } else { 0 }, "the unfinished line is read again");
        assert!(!tail.lets_newer_pass(), "there may be more where it is found");
    }
}

#[test]
fn once_ends_with_the_line_that_reaches_the_end_seen_at_the_start() {
    let mut tail = tail();
    tail.once_end = Some(5);
    let (lines, next) = read(&mut tail, b"one\ntwo\nthree\n", false);
    assert_eq!((lines, next), (vec!["one".into(), "two".into()], Next::End(None)));
}

#[test]
fn what_is_superseded_is_looked_at_once_more() {
    let mut tail = tail();
    read(&mut tail, b"one\n", true);
    assert!(tail.lets_newer_pass());
    tail.supersede();
    assert!(!tail.lets_newer_pass());
    read(&mut tail, b"", true);
    tail.supersede();
    assert!(tail.lets_newer_pass());
}

#[test]
fn a_file_is_quiet_when_nothing_was_written_for_a_while() {
    let mut tail = tail();
    let settle = Duration::from_secs(5);
    tail.feed(b"one\n".to_vec(), true, 4, SystemTime::now());
    while tail.next_line().is_some() {}
    tail.finish_chunk();
    assert!(!tail.is_quiet(settle));
    tail.feed(Vec::new(), true, 4, SystemTime::now() - settle);
    tail.finish_chunk();
    assert!(tail.is_quiet(settle));
}
