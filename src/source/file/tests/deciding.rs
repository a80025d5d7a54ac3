//! What one look means, decided on files that are made up.

use std::time::{Duration, SystemTime};

use crate::source::file::discovery::Scan;
use crate::source::file::identity::{Fingerprint, HEAD_LENGTH, Identity};
use crate::source::file::names::{self, Age};
use crate::source::file::observed::{Observed, Role};
use crate::source::file::registry::{Key, TrackedFile};
use crate::source::file::rotation::{Fresh, Known, Plan, plan};

/// A content of `app.log` of which `read` was read.
fn tracked(inode: u64, read: &str) -> TrackedFile {
    let identity = Identity { device: 1, inode, born: Some(inode) };
    TrackedFile {
        id: Some(format!("content-{inode}").into()),
        path: "app.log".into(),
        real_path: "app.log".into(),
        identity,
        origin: identity,
        generation: 0,
        fingerprint: Fingerprint::of(read.as_bytes()),
        mark: None,
        offset: read.len() as u64,
        size: read.len() as u64,
        finished: false,
        at_rest: false,
        once_end: None,
        missing_since: None,
        stored_size: None,
    }
}

fn seen(inode: u64, name: &str, text: &str) -> Observed {
    let compressed = names::is_compressed(name.as_bytes());
    let head = &text.as_bytes()[..text.len().min(HEAD_LENGTH)];
    let role = names::rotated_age(b"app.log", name.as_bytes()).map_or(Role::Root, Role::Rotated);
    let number = match &role {
        Role::Rotated(Age::Count(number)) => *number,
        _ => 0,
    };
    Observed {
        root: "app.log".into(),
        real_root: "app.log".into(),
        base: "app.log".into(),
        path: name.into(),
        named: role == Role::Root,
        role,
        identity: Identity { device: 1, inode, born: Some(inode) },
        compressed,
        size: (!compressed || head.len() < HEAD_LENGTH).then_some(text.len() as u64),
        stored_size: text.len() as u64,
        head_is_whole: true,
        size_modulo: compressed.then(|| u32::try_from(text.len()).unwrap()),
        modified: SystemTime::UNIX_EPOCH + Duration::from_secs(1000 - number),
        born: SystemTime::UNIX_EPOCH + Duration::from_secs(1000 - number),
        head: Some(head.into()),
        line_end: None,
        begins_root: None,
    }
}

/// The same of a file that a pattern names.
fn named(inode: u64, name: &str, text: &str) -> Observed {
    Observed { named: true, ..seen(inode, name, text) }
}

/// What the plan says of `files`, given what is known: known contents by index, and the names of the files.
fn says(known: &[TrackedFile], files: &[Observed]) -> (Vec<String>, Vec<Key>, Vec<String>) {
    let scan = Scan { files: files.to_vec(), ..Scan::default() };
    let known: Vec<Known<'_>> = known
        .iter()
        .enumerate()
        .map(|(key, file)| Known { key: key as Key, file, position: file.offset, displaced: None })
        .collect();
    let plan = plan(&known, &scan, |_| true);
    let name = |index: &usize| files[*index].path.display().to_string();
    assert!(plan.bygone.is_empty() || known.is_empty(), "{plan:?}");
    let found = plan.found.iter().map(|(key, index)| format!("{key}={}", name(index))).collect();
    (found, plan.missing.clone(), plan.fresh.iter().map(|fresh| name(&fresh.index)).collect())
}

fn strings(texts: &[&str]) -> Vec<String> {
    texts.iter().map(|text| (*text).to_owned()).collect()
}

#[test]
fn a_file_that_grows_is_the_same_file() {
    let found = says(&[tracked(1, "one\n")], &[seen(1, "app.log", "one\ntwo\n")]);
    assert_eq!(found, (strings(&["0=app.log"]), vec![], vec![]));
}

#[test]
fn a_rename_is_followed_and_the_new_file_is_new() {
    let files = [seen(1, "app.log.1", "one\ntwo\n"), seen(2, "app.log", "three\n")];
    let found = says(&[tracked(1, "one\n")], &files);
    assert_eq!(found, (strings(&["0=app.log.1"]), vec![], strings(&["app.log"])));
}

#[test]
fn a_chain_of_rotations_is_read_oldest_first() {
    let files = [
        seen(4, "app.log.2.gz", "three\n"),
        seen(1, "app.log.3.gz", "one\ntwo\n"),
        seen(3, "app.log.1", "four\n"),
        seen(5, "app.log", "five\n"),
    ];
    // The content was compressed meanwhile: another file holds it.
    let found = says(&[tracked(9, "one\n")], &files);
    let fresh = strings(&["app.log.2.gz", "app.log.1", "app.log"]);
    assert_eq!(found, (strings(&["0=app.log.3.gz"]), vec![], fresh));
}

#[test]
fn after_copytruncate_the_content_is_in_the_copy() {
    let copy = seen(2, "app.log.1", "one\ntwo\n");
    for regrown in ["", "x\n", "another\nand more\n"] {
        let files = [copy.clone(), seen(1, "app.log", regrown)];
        let found = says(&[tracked(1, "one\n")], &files);
        assert_eq!(found, (strings(&["0=app.log.1"]), vec![], strings(&["app.log"])), "{regrown}");
    }
}

#[test]
fn a_copy_that_ends_before_what_was_read_is_no_new_content() {
    let files = [seen(2, "app.log.1", "one\ntwo\n"), seen(1, "app.log", "four\n")];
    let found = says(&[tracked(1, "one\ntwo\nthree\n")], &files);
    assert_eq!(found, (strings(&["0=app.log.1"]), vec![], strings(&["app.log"])));
    let files = [seen(2, "app.log.1", "another\n"), seen(1, "app.log", "four\n")];
    let found = says(&[tracked(1, "one\ntwo\nthree\n")], &files);
    assert_eq!(found, (vec![], vec![0], strings(&["app.log.1", "app.log"])));
}

#[test]
fn equal_first_lines_do_not_hide_a_truncation() {
    let files = [seen(2, "app.log.1", "head\nold\n"), seen(1, "app.log", "head\nnew\nmore\n")];
    let found = says(&[tracked(1, "head\n")], &files);
    assert_eq!(found, (strings(&["0=app.log.1"]), vec![], strings(&["app.log"])));
}

#[test]
fn what_was_empty_when_last_seen_is_read_from_the_copy() {
    let files = [seen(2, "app.log.1", "one\n"), seen(1, "app.log", "")];
    let found = says(&[tracked(1, "")], &files);
    assert_eq!(found, (strings(&["0=app.log.1"]), vec![], strings(&["app.log"])));
}

#[test]
fn a_copy_without_a_truncation_is_no_new_content() {
    let files = [seen(2, "app.log.1", "one\n"), seen(1, "app.log", "one\ntwo\n")];
    let found = says(&[tracked(1, "one\n")], &files);
    assert_eq!(found, (strings(&["0=app.log"]), vec![], vec![]));
}

#[test]
fn a_reused_inode_is_another_file() {
    let mut known = tracked(1, "one\n");
    known.identity.born = Some(77);
    let found = says(&[known], &[seen(1, "app.log", "two\n")]);
    assert_eq!(found, (vec![], vec![0], strings(&["app.log"])));
}

#[test]
fn equal_contents_of_two_generations_are_both_read() {
    // Two rotations while nobody looked, and every file begins with the same line.
    let files =
        [seen(1, "app.log.2", "head\n"), seen(2, "app.log.1", "head\none\n"), seen(3, "app.log", "head\ntwo\n")];
    let found = says(&[tracked(1, "head\n")], &files);
    assert_eq!(found, (strings(&["0=app.log.2"]), vec![], strings(&["app.log.1", "app.log"])));
}

#[test]
fn at_first_sight_rotated_files_are_bygone_unless_they_came_since() {
    let files = [seen(1, "app.log.2", "old\n"), seen(2, "app.log.1", "since\n"), seen(3, "app.log", "one\n")];
    let scan = Scan { files: files.to_vec(), ..Scan::default() };
    let last_look = SystemTime::UNIX_EPOCH + Duration::from_secs(999);
    let plan = plan(&[], &scan, |born| born < last_look);
    let fresh: Vec<usize> = plan.fresh.iter().map(|fresh| fresh.index).collect();
    assert_eq!((plan.bygone, fresh), (vec![0], vec![1, 2]));
}

#[test]
fn a_rotated_file_that_shows_up_late_comes_before_what_is_newer() {
    let live = tracked(1, "three\n");
    let rotated = tracked(2, "one\n");
    let files = [seen(2, "app.log.2", "one\n"), seen(3, "app.log.1", "two\n"), seen(1, "app.log", "three\nfour\n")];
    let known = [&rotated, &live].map(|file| file.clone());
    let known: Vec<Known<'_>> = known
        .iter()
        .enumerate()
        .map(|(key, file)| Known { key: key as Key, file, position: 0, displaced: None })
        .collect();
    let scan = Scan { files: files.to_vec(), ..Scan::default() };
    assert_eq!(plan(&known, &scan, |_| true).fresh, [Fresh { index: 1, before: Some(1) }]);
}

#[test]
fn a_file_that_cannot_be_opened_or_a_folder_that_cannot_be_read_is_not_lost() {
    let mut locked = seen(1, "app.log", "one\n");
    locked.head = None;
    assert_eq!(says(&[tracked(1, "one\n")], &[locked]).0, strings(&["0=app.log"]));

    let known = tracked(1, "one\n");
    let known = [Known { key: 0, file: &known, position: 4, displaced: None }];
    let scan = Scan { unknown: ["app.log".into()].into(), ..Scan::default() };
    assert_eq!(plan(&known, &scan, |_| true), Plan::default());
}

#[test]
fn other_siblings_count_only_when_they_hold_what_is_known() {
    let mut moved = seen(1, "app.log", "one\n");
    moved.role = Role::Sibling;
    let mut stranger = seen(2, "app.log", "two\n");
    stranger.role = Role::Sibling;
    assert_eq!(says(&[tracked(1, "one\n")], &[moved, stranger]), (strings(&["0=app.log"]), vec![], vec![]));
}

#[test]
fn a_copy_and_its_original_that_are_first_seen_together_are_one_content() {
    // A look between copytruncate's copy and its truncation, or while the copy is made.
    for copy in ["one\ntwo\n", "one\nt"] {
        let files = [named(2, "app.log.1", copy), named(1, "app.log", "one\ntwo\n")];
        assert_eq!(says(&[], &files), (vec![], vec![], strings(&["app.log"])), "{copy}");
        let files = [seen(3, "app.log.2", "zero\n"), seen(2, "app.log.1", copy), seen(1, "app.log", "one\ntwo\n")];
        let found = says(&[tracked(3, "zero\n")], &files);
        assert_eq!(found, (strings(&["0=app.log.2"]), vec![], strings(&["app.log"])), "{copy}");
    }
}

#[test]
fn what_only_begins_as_a_new_file_does_is_no_copy_of_it() {
    // Renamed: it was made before the file at the path.
    let files = [named(1, "app.log.1", "head\n"), named(2, "app.log", "head\none\n")];
    assert_eq!(says(&[], &files).2, strings(&["app.log.1", "app.log"]));
    // A long header that all files have.
    let header = "h".repeat(HEAD_LENGTH);
    for (begins_root, expected) in [(Some(true), &["app.log"][..]), (Some(false), &["app.log.1", "app.log"])] {
        let mut copy = named(2, "app.log.1", &format!("{header}one\n"));
        copy.begins_root = begins_root;
        let files = [copy, seen(1, "app.log", &format!("{header}two and three\n"))];
        assert_eq!(says(&[], &files).2, strings(expected), "first seen");
        let known = tracked(1, &header);
        let (found, _, fresh) = says(&[known], &files);
        let (place, other) =
            if begins_root == Some(true) { ("0=app.log", None) } else { ("0=app.log.1", Some("app.log")) };
        assert_eq!((found, fresh), (strings(&[place]), other.map(str::to_owned).into_iter().collect()), "known");
    }
}
