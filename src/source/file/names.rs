//! The names that rotation gives to files: `app.log.1`, `app.log-20240131.gz`, `app.log.2024-01-31_12`, `app.log.old`,
//! and with the extension kept `app-20240131.log`, `app.1.log`.
//!
//! This module does no I/O.

use std::cmp::Reverse;
use std::time::SystemTime;

/// More digits than this are a date, not a count.
const LONGEST_COUNT: usize = 5;

/// What a rotated file's name says of its age.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Age {
    /// A count of rotations behind the whole name (`app.log.3`): the higher, the older.
    Count(u64),
    /// A number where programs count in either direction (`app-3.log`), and in which direction they do more often.
    Number { number: u64, up: bool },
    /// A date of which year, month and day are certain, and the numbers behind it.
    Date { day: u32, rest: Vec<u64> },
    /// Anything else.
    Text(String),
}

/// Two times of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Times {
    /// When it was last written to.
    pub(super) modified: SystemTime,
    /// When it was made.
    pub(super) born: SystemTime,
}

/// The age that `name` gives to a file rotated away from `root` (both without their folders), or `None` when it is not
/// the name of such a file.
pub(super) fn rotated_age(root: &[u8], name: &[u8]) -> Option<Age> {
    if let Some(suffix) = name.strip_prefix(root) {
        return suffix_age(suffix);
    }
    let stem = stem(root);
    let extension = root.strip_prefix(stem)?.strip_prefix(b".")?;
    let middle = uncompressed(name).strip_suffix(extension)?.strip_suffix(b".")?.strip_prefix(stem)?;
    let age = separated_age(middle)?;
    Some(match age {
        Age::Count(number) => Age::Number { number, up: !middle.starts_with(b".") },
        age => age,
    })
}

/// The name without its extension; all of it when it has none, or is nothing else.
pub(super) fn stem(name: &[u8]) -> &[u8] {
    match memchr::memrchr(b'.', name) {
        Some(dot) if dot > 0 => &name[..dot],
        _ => name,
    }
}

/// The names from which a file of this name can have been rotated away, by what was put behind them.
pub(super) fn possible_roots(name: &[u8]) -> impl Iterator<Item = &[u8]> {
    let splits = (1..name.len()).map(|index| name.split_at(index));
    splits.filter_map(|(root, suffix)| suffix_age(suffix).map(|_| root))
}

/// True for names of files that are read through a decompressor.
pub(super) fn is_compressed(name: &[u8]) -> bool {
    name.ends_with(b".gz")
}

/// The name without `.gz`.
pub(super) fn uncompressed(name: &[u8]) -> &[u8] {
    name.strip_suffix(b".gz").unwrap_or(name)
}

/// Puts rotated files in the order in which they were written.
///
/// Names decide where they say it beyond doubt: all are counts, or all are dates that differ in the day or have the same
/// form. Numbers that programs count in either direction go in the direction in which the files' times do. Otherwise the
/// time of the last change decides, and the name when times are equal.
pub(super) fn sort_oldest_first<T>(files: &mut [T], age: impl Fn(&T) -> (&Age, Times)) {
    let all = |is: fn(&Age) -> bool| files.iter().all(|file| is(age(file).0));
    // Every order is one of keys, so that there is no contradiction in it, whatever the names.
    if all(|age| matches!(age, Age::Count(_))) {
        files.sort_by_key(|file| Reverse(number(age(file).0)));
    } else if all(|age| matches!(age, Age::Number { .. })) {
        let up = counts_up(files, &age);
        files.sort_by_key(|file| number(age(file).0));
        if !up {
            files.reverse();
        }
    } else if all(|age| matches!(age, Age::Date { .. })) {
        let form = |file: &T| match age(file).0 {
            Age::Date { rest, .. } => rest.iter().map(|number| is_clock(*number)).collect::<Vec<bool>>(),
            _ => Vec::new(),
        };
        let alike = files.windows(2).all(|pair| form(&pair[0]) == form(&pair[1]));
        files.sort_by_cached_key(|file| {
            let (age, times) = age(file);
            let Age::Date { day, rest } = age else { return (0, Vec::new(), times.modified, Vec::new()) };
            let (sure, unsure) = if alike { (rest.clone(), Vec::new()) } else { (Vec::new(), rest.clone()) };
            (*day, sure, times.modified, unsure)
        });
    } else {
        files.sort_by_cached_key(|file| {
            let (age, times) = age(file);
            (times.modified, by_name(age))
        });
    }
}

/// True for a time of day in one number, or seconds since 1970, as opposed to a short count.
fn is_clock(number: u64) -> bool {
    number > 99_999
}

/// True when files with higher numbers are younger. Only where both times of two files say the same of them they say
/// anything: one is changed by writing on, the other by copying.
fn counts_up<T>(files: &[T], age: &impl Fn(&T) -> (&Age, Times)) -> bool {
    let mut votes = 0_i64;
    for (index, left) in files.iter().enumerate() {
        for right in &files[index + 1..] {
            let ((left, left_times), (right, right_times)) = (age(left), age(right));
            let by_number = number(left).cmp(&number(right)) as i64;
            let by_writing = left_times.modified.cmp(&right_times.modified) as i64;
            let by_birth = left_times.born.cmp(&right_times.born) as i64;
            if by_writing == by_birth {
                votes += by_number * by_writing;
            }
        }
    }
    match votes {
        0 => files.iter().all(|file| matches!(age(file).0, Age::Number { up: true, .. })),
        votes => votes > 0,
    }
}

fn number(age: &Age) -> u64 {
    match age {
        Age::Count(number) | Age::Number { number, .. } => *number,
        Age::Date { .. } | Age::Text(_) => 0,
    }
}

/// Older names first, between files of the same time.
fn by_name(age: &Age) -> (u8, Reverse<u64>, u32, Vec<u64>, String) {
    match age {
        Age::Count(count) | Age::Number { number: count, up: false } => {
            (0, Reverse(*count), 0, Vec::new(), String::new())
        }
        Age::Number { number, up: true } => (0, Reverse(u64::MAX - number), 0, Vec::new(), String::new()),
        Age::Date { day, rest } => (1, Reverse(0), *day, rest.clone(), String::new()),
        Age::Text(text) => (2, Reverse(0), 0, Vec::new(), text.clone()),
    }
}

fn suffix_age(suffix: &[u8]) -> Option<Age> {
    match uncompressed(suffix) {
        // `app.log.gz`: compressed by hand, without a count.
        b"" => is_compressed(suffix).then(|| Age::Text(String::new())),
        plain => separated_age(plain),
    }
}

fn separated_age(suffix: &[u8]) -> Option<Age> {
    let age = suffix.strip_prefix(b".").or(suffix.strip_prefix(b"-")).or(suffix.strip_prefix(b"_"))?;
    let age = std::str::from_utf8(age).ok()?;
    if matches!(age, "old" | "bak") {
        return Some(Age::Text(age.to_owned()));
    }
    let dated = age.starts_with(|first: char| first.is_ascii_digit())
        && age.chars().all(|char| char.is_ascii_digit() || ".-_:+TZ".contains(char));
    if !dated {
        return None;
    }
    if let Some(date) = date(age) {
        return Some(date);
    }
    match age.parse() {
        Ok(count) if age.len() <= LONGEST_COUNT && !(age.len() >= 4 && is_century(age)) => Some(Age::Count(count)),
        _ => Some(Age::Text(age.to_owned())),
    }
}

/// A date that begins with year, month and day, the year with its century.
fn date(text: &str) -> Option<Age> {
    let separated = text.as_bytes().get(4).is_some_and(|byte| !byte.is_ascii_digit());
    let length = if separated { 10 } else { 8 };
    let (day, rest) = text.split_at_checked(length)?;
    let digits: String = day.chars().filter(char::is_ascii_digit).collect();
    let sound = digits.len() == 8
        && is_century(&digits)
        && (1..=12).contains(&digits[4..6].parse().unwrap_or(0))
        && (1..=31).contains(&digits[6..].parse().unwrap_or(0));
    if !sound {
        return None;
    }
    let numbers = rest.split(|char: char| !char.is_ascii_digit()).filter(|number| !number.is_empty());
    let rest = numbers.map(str::parse).collect::<Result<_, _>>().ok()?;
    Some(Age::Date { day: digits.parse().ok()?, rest })
}

fn is_century(text: &str) -> bool {
    text.starts_with("19") || text.starts_with("20")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::time::Duration;

    fn date_of(day: u32, rest: &[u64]) -> Option<Age> {
        Some(Age::Date { day, rest: rest.to_vec() })
    }

    #[test]
    fn the_names_of_the_field_are_known() {
        let text = |text: &str| Some(Age::Text(text.into()));
        for (name, age) in [
            ("app.log.1", Some(Age::Count(1))),
            ("app.log.12.gz", Some(Age::Count(12))),
            ("app.log-20240131", date_of(20_240_131, &[])),
            ("app.log-20240131.gz", date_of(20_240_131, &[])),
            ("app.log-20240131-1706700000", date_of(20_240_131, &[1_706_700_000])),
            ("app.log.2024-01-31_12-00", date_of(20_240_131, &[12, 0])),
            ("app.log.20240131-120000.gz", date_of(20_240_131, &[120_000])),
            ("app.log-260131", text("260131")),
            ("app.log-202401", text("202401")),
            ("app.log-2024", text("2024")),
            ("app.log-1706700000", text("1706700000")),
            ("app.log.gz", text("")),
            ("app.log.old", text("old")),
            ("app-20240131.log", date_of(20_240_131, &[])),
            ("app.1.log", Some(Age::Number { number: 1, up: false })),
            ("app-1.log.gz", Some(Age::Number { number: 1, up: true })),
            ("app.log", None),
            ("app.log2", None),
            ("app.log.lock", None),
            ("app.log.1.swp", None),
            ("app.log-audit", None),
            ("application.log", None),
            ("other.log.1", None),
        ] {
            assert_eq!(rotated_age(b"app.log", name.as_bytes()), age, "{name}");
        }
        assert_eq!(rotated_age(b".log", b"x.log"), None);
        assert_eq!(rotated_age(b"caf\xe9.log", b"caf\xe9.log.1"), Some(Age::Count(1)));
    }

    #[test]
    fn a_rotated_name_leads_back_to_its_root() {
        let roots: Vec<&[u8]> = possible_roots(b"app.log.2.gz").collect();
        assert_eq!(roots, [&b"app.log"[..], b"app.log.2"]);
        assert_eq!(possible_roots(b"app.log").count(), 0);
    }

    /// The names in the order they are sorted into. Each was made and last written to at the given seconds.
    fn sorted(files: &[(&str, u64)]) -> Vec<String> {
        let mut files: Vec<(Age, Times, String)> = files
            .iter()
            .map(|(name, seconds)| {
                let time = SystemTime::UNIX_EPOCH + Duration::from_secs(*seconds);
                let age = rotated_age(b"app.log", name.as_bytes()).unwrap();
                (age, Times { modified: time, born: time }, (*name).to_owned())
            })
            .collect();
        sort_oldest_first(&mut files, |file| (&file.0, file.1));
        files.into_iter().map(|file| file.2).collect()
    }

    #[test]
    fn names_decide_where_they_are_certain_and_times_elsewhere() {
        // Counts behind the name, whatever was written to which of them last.
        assert_eq!(
            sorted(&[("app.log.1", 5), ("app.log.10", 9), ("app.log.2", 1)]),
            ["app.log.10", "app.log.2", "app.log.1"]
        );
        // Short dates are not counts.
        assert_eq!(sorted(&[("app.log-260102", 2), ("app.log-260101", 1)]), ["app.log-260101", "app.log-260102"]);
        // Dates of several lengths.
        let dates = [("app.log-2024013112", 9), ("app.log-20240131", 8), ("app.log-20240130", 9)];
        assert_eq!(sorted(&dates), ["app.log-20240130", "app.log-20240131", "app.log-2024013112"]);
        // Numbers before the extension, in either direction.
        assert_eq!(
            sorted(&[("app-2.log", 2), ("app-10.log", 3), ("app-1.log", 1)]),
            ["app-1.log", "app-2.log", "app-10.log"]
        );
        assert_eq!(
            sorted(&[("app-2.log", 2), ("app-10.log", 1), ("app-1.log", 3)]),
            ["app-10.log", "app-2.log", "app-1.log"]
        );
        assert_eq!(sorted(&[("app.1.log", 1), ("app.2.log", 2)]), ["app.1.log", "app.2.log"]);
    }

    /// How a program names its rotated files: the number of files there are, and the number of this one.
    const FORMS: [fn(u32, u32) -> String; 9] = [
        |all, number| format!("app.log.{}", all - number),
        |all, number| format!("app.{}.log", all - number),
        |_, number| format!("app-{number}.log"),
        |_, number| format!("app.log-202401{:02}", number + 1),
        |_, number| format!("app.log-2401{:02}", number + 1),
        |_, number| format!("app.log.2024-01-01.{number}"),
        |_, number| format!("app-2024-01-{:02}_12-00.log.gz", number + 1),
        |_, number| format!("app.log-{:02}012024", number + 1),
        |_, number| format!("app.log-{}", 1_706_700_000 + number),
    ];

    proptest! {
        #[test]
        fn rotated_files_are_sorted_as_they_were_written(form in 0..FORMS.len(), all in 1..28_u32, seed in any::<u64>()) {
            use rand::SeedableRng as _;
            use rand::seq::SliceRandom as _;
            let written: Vec<String> = (0..all).map(|number| FORMS[form](all, number)).collect();
            let mut files: Vec<(&str, u64)> = written.iter().map(String::as_str).zip(0..).collect();
            files.shuffle(&mut rand::rngs::StdRng::seed_from_u64(seed));
            prop_assert_eq!(sorted(&files), written);
        }

        #[test]
        fn any_mixture_of_names_has_an_order(
            files in proptest::collection::vec(("[.-][0-9]{1,10}([-_][0-9]{1,4})?", 0..5_u64), 0..30),
        ) {
            let names: Vec<(String, u64)> = files.into_iter().map(|(age, time)| (format!("app.log{age}"), time)).collect();
            let files: Vec<(&str, u64)> = names.iter().map(|(name, time)| (name.as_str(), *time)).collect();
            let mut reversed = files.clone();
            reversed.reverse();
            prop_assert_eq!(sorted(&files).len(), sorted(&reversed).len());
        }
    }
}
