//! The names that rotation gives to files: `app.log.1`, `app.log-20240131.gz`, `app.log.2024-01-31_12`, `app.log.old`,
//! and with the extension kept `app-20240131.log`, `app.1.log`.
//!
//! This module does no I/O.

use std::cmp::{Ordering, Reverse};
use std::time::SystemTime;

/// More digits than this are a date, not a count.
const LONGEST_COUNT: usize = 6;

/// What a rotated file's name says of its age.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Age {
    /// A count of rotations: the higher, the older.
    Count(u64),
    /// Anything else, usually a date.
    Text(String),
}

/// The age that `name` gives to a file rotated away from `root` (both without their folders), or `None` when it is not
/// the name of such a file.
pub(super) fn rotated_age(root: &str, name: &str) -> Option<Age> {
    if let Some(suffix) = name.strip_prefix(root) {
        return suffix_age(suffix);
    }
    let (stem, extension) = root.rsplit_once('.').filter(|(stem, _)| !stem.is_empty())?;
    let middle = uncompressed(name).strip_suffix(extension)?.strip_suffix('.')?.strip_prefix(stem)?;
    separated_age(middle)
}

/// The names from which a file of this name can have been rotated away, by what was put behind them.
pub(super) fn possible_roots(name: &str) -> impl Iterator<Item = &str> {
    name.char_indices().skip(1).map(|(index, _)| name.split_at(index)).filter_map(|(root, suffix)| {
        suffix_age(suffix)?;
        Some(root)
    })
}

/// True for names of files that are read through a decompressor.
pub(super) fn is_compressed(name: &str) -> bool {
    name.ends_with(".gz")
}

/// The name without `.gz`.
pub(super) fn uncompressed(name: &str) -> &str {
    name.strip_suffix(".gz").unwrap_or(name)
}

/// Puts rotated files in the order in which they were written.
///
/// Counts say it best, as a program may go on writing to a file long after it was rotated away; where there are others
/// the time of the last change decides, and the name when times are equal.
pub(super) fn sort_oldest_first<T>(files: &mut [T], age: impl Fn(&T) -> (&Age, SystemTime)) {
    let count = |file: &T| match age(file).0 {
        Age::Count(count) => Some(*count),
        Age::Text(_) => None,
    };
    if files.iter().all(|file| count(file).is_some()) {
        files.sort_by_key(|file| Reverse(count(file)));
        return;
    }
    files.sort_by(|left, right| {
        let ((left_age, left_time), (right_age, right_time)) = (age(left), age(right));
        left_time.cmp(&right_time).then_with(|| by_name(left_age, right_age))
    });
}

fn by_name(left: &Age, right: &Age) -> Ordering {
    match (left, right) {
        (Age::Count(left), Age::Count(right)) => right.cmp(left),
        (Age::Text(left), Age::Text(right)) => left.cmp(right),
        (Age::Count(_), Age::Text(_)) => Ordering::Less,
        (Age::Text(_), Age::Count(_)) => Ordering::Greater,
    }
}

fn suffix_age(suffix: &str) -> Option<Age> {
    match uncompressed(suffix) {
        // `app.log.gz`: compressed by hand, without a count.
        "" => is_compressed(suffix).then(|| Age::Text(String::new())),
        plain => separated_age(plain),
    }
}

fn separated_age(suffix: &str) -> Option<Age> {
    let age = suffix.strip_prefix(['.', '-', '_'])?;
    if matches!(age, "old" | "bak") {
        return Some(Age::Text(age.to_owned()));
    }
    let dated = age.starts_with(|first: char| first.is_ascii_digit())
        && age.chars().all(|char| char.is_ascii_digit() || ".-_:+TZ".contains(char));
    if !dated {
        return None;
    }
    match age.parse() {
        Ok(count) if age.len() <= LONGEST_COUNT => Some(Age::Count(count)),
        _ => Some(Age::Text(age.to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn the_names_of_the_field_are_known() {
        let text = |text: &str| Some(Age::Text(text.into()));
        for (name, age) in [
            ("app.log.1", Some(Age::Count(1))),
            ("app.log.12.gz", Some(Age::Count(12))),
            ("app.log-20240131", text("20240131")),
            ("app.log-20240131.gz", text("20240131")),
            ("app.log.2024-01-31_12-00", text("2024-01-31_12-00")),
            ("app.log.20240131-120000.gz", text("20240131-120000")),
            ("app.log.gz", text("")),
            ("app.log.old", text("old")),
            ("app-20240131.log", text("20240131")),
            ("app.1.log", Some(Age::Count(1))),
            ("app.1.log.gz", Some(Age::Count(1))),
            ("app.log", None),
            ("app.log2", None),
            ("app.log.lock", None),
            ("app.log.1.swp", None),
            ("app.log-audit", None),
            ("application.log", None),
            ("other.log.1", None),
        ] {
            assert_eq!(rotated_age("app.log", name), age, "{name}");
        }
        assert_eq!(rotated_age(".log", "x.log"), None);
    }

    #[test]
    fn a_rotated_name_leads_back_to_its_root() {
        let roots: Vec<&str> = possible_roots("app.log.2.gz").collect();
        assert_eq!(roots, ["app.log", "app.log.2"]);
        assert_eq!(possible_roots("app.log").count(), 0);
    }

    #[test]
    fn rotated_files_are_sorted_by_count_then_by_time() {
        let at = |seconds| SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
        let mut counted = [(Age::Count(1), at(5)), (Age::Count(10), at(9)), (Age::Count(2), at(1))];
        sort_oldest_first(&mut counted, |file| (&file.0, file.1));
        assert_eq!(counted.map(|file| file.0), [Age::Count(10), Age::Count(2), Age::Count(1)]);

        let text = |text: &str| Age::Text(text.into());
        let mut dated = [(text("20240103"), at(3)), (text("20240102"), at(2)), (text("20240101"), at(2))];
        sort_oldest_first(&mut dated, |file| (&file.0, file.1));
        assert_eq!(dated.map(|file| file.0), [text("20240101"), text("20240102"), text("20240103")]);
    }
}
