//! Patterns: what the `paths` of a file source mean. `*`, `?`, `[…]` and `{a,b}` within a name, `**` for any number of
//! folders.
//!
//! A pattern is matched name by name, never as a whole, so that names of any bytes can be walked. What is no UTF-8 in a
//! name is matched as replacement characters, which `*` and `?` match. What `${…}` has put into a path stands for itself.
//! `braces` resolves `{a,b}`, `expectations` finds what only a shell or a reader of URLs would understand. This module does
//! no I/O.

mod braces;
mod expectations;

use std::borrow::Cow;
use std::ffi::{OsStr, OsString};
use std::ops::Range;
use std::path::{Component, Path, PathBuf};

use glob::{MatchOptions, Pattern};

use crate::interpolated::{self, TextRef};

use braces::{alternatives, ends_within_class};
use expectations::{for_a_shell, path_of_url};

/// As in a shell: `*` does not match hidden files.
const MATCHING: MatchOptions =
    MatchOptions { case_sensitive: true, require_literal_separator: true, require_literal_leading_dot: true };

/// One pattern without braces.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct PathPattern {
    /// As it is written, for people to recognise it.
    pub(super) text: String,
    /// Where it starts.
    pub(super) start: PathBuf,
    /// The names from there on; never empty.
    pub(super) parts: Vec<Part>,
}

/// A part of a pattern.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Part {
    /// This very name.
    Name(OsString),
    /// Any name that matches.
    Names(Pattern),
    /// Any number of folders, none of them hidden.
    Folders,
}

/// Why a path is no pattern, and which part of it is to blame.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum PatternError {
    /// Nothing at all.
    #[error("the path is empty")]
    Empty,
    /// It ends with a separator.
    #[error("`{text}` names a folder, and only files can be read")]
    Folder {
        /// The path.
        text: String,
    },
    /// It counts on a shell, which would put something else in the place of a part of it.
    #[error("`{text}` is read as it stands: `{sign}` is not replaced, as a shell would do")]
    Unexpanded {
        /// The path.
        text: String,
        /// What a shell would replace.
        sign: String,
        /// Where that is.
        part: Option<Range<usize>>,
    },
    /// It is a URL.
    #[error("`{text}` is a URL, and only paths of files can be read")]
    Url {
        /// The path.
        text: String,
        /// What it names when it is a `file:` URL.
        path: Option<String>,
    },
    /// What `glob` says.
    #[error("`{text}` is not a glob: {message}")]
    Glob {
        /// The path.
        text: String,
        /// What is wrong with it.
        message: String,
        /// Where.
        part: Option<Range<usize>>,
    },
}

impl PathPattern {
    /// The patterns that `text` stands for: one, or one for each alternative of its braces. Relative ones start at
    /// `base`, in whose own name no character is special.
    pub(super) fn parse<'a>(text: impl Into<TextRef<'a>>, base: &Path) -> Result<Vec<Self>, PatternError> {
        let text = text.into();
        match Self::parse_pattern(text.as_str(), &as_pattern(text)?, base) {
            // The part is one of the pattern, and no longer one of what is written.
            Err(error) if text.all_written().is_none() => Err(error.without_part()),
            parsed => parsed,
        }
    }

    /// `whole` is the text as it is shown to people.
    fn parse_pattern(whole: &str, text: &str, base: &Path) -> Result<Vec<Self>, PatternError> {
        if text.is_empty() {
            return Err(PatternError::Empty);
        }
        let not_a_glob =
            |message: &str, part| Err(PatternError::Glob { text: whole.to_owned(), message: message.to_owned(), part });
        // As it stands first, so that a fault is shown where it stands.
        if let Err(error) = text.split('/').try_for_each(|name| Pattern::new(name).map(|_| ())) {
            let at = Pattern::new(text).err().map_or(0, |whole| whole.pos);
            return not_a_glob(error.msg, Some(at..text.len()));
        }
        let alternatives = match alternatives(text) {
            Ok(alternatives) => alternatives,
            Err((message, at)) => return not_a_glob(message, Some(at..text.len())),
        };
        alternatives.iter().map(|alternative| Self::parse_plain(whole, alternative, base)).collect()
    }

    /// The same, starting at the root of the file system.
    pub(super) fn absolute(&self) -> Self {
        // It can only fail when there is no current folder, from which nothing relative can be found anyway.
        let start = std::path::absolute(&self.start).unwrap_or_else(|_| self.start.clone());
        Self { start, ..self.clone() }
    }

    /// True when a file at this path would match, were it there.
    pub(super) fn matches(&self, path: &Path) -> bool {
        let Ok(rest) = path.strip_prefix(&self.start) else { return false };
        let names: Option<Vec<&OsStr>> = rest
            .components()
            .map(|component| match component {
                Component::Normal(name) => Some(name),
                Component::ParentDir => Some(OsStr::new("..")),
                Component::Prefix(_) | Component::RootDir | Component::CurDir => None,
            })
            .collect();
        names.is_some_and(|names| matches(&self.parts, &names))
    }

    /// The path itself when no part of it is a wildcard.
    pub(super) fn as_path(&self) -> Option<PathBuf> {
        let mut path = self.start.clone();
        for part in &self.parts {
            let Part::Name(name) = part else { return None };
            path.push(name);
        }
        Some(path)
    }

    fn parse_plain(whole: &str, text: &str, base: &Path) -> Result<Self, PatternError> {
        if let Some(path) = path_of_url(text) {
            return Err(PatternError::Url { text: whole.to_owned(), path });
        }
        if let Some(range) = for_a_shell(text) {
            let sign = text[range.clone()].to_owned();
            return Err(PatternError::Unexpanded {
                text: whole.to_owned(),
                sign,
                part: (text == whole).then_some(range),
            });
        }
        if text.ends_with('/') {
            return Err(PatternError::Folder { text: whole.to_owned() });
        }
        let mut parts = Vec::new();
        // Behind folders of any number at the end stands whatever is in them.
        let any = text.ends_with("**").then_some("*");
        for name in text.split('/').chain(any).filter(|name| !name.is_empty() && *name != ".") {
            match name {
                // Several in a row say no more than one.
                "**" if parts.last() == Some(&Part::Folders) => {}
                "**" => parts.push(Part::Folders),
                name => parts.push(match fixed_name(name) {
                    Some(name) => Part::Name(name.into()),
                    None => Part::Names(Pattern::new(name).map_err(|error| not_a_glob(whole, error.msg))?),
                }),
            }
        }
        if parts.is_empty() {
            return Err(PatternError::Folder { text: whole.to_owned() });
        }
        let start = if text.starts_with('/') { PathBuf::from("/") } else { base.to_owned() };
        Ok(Self { text: whole.to_owned(), start, parts })
    }
}

impl PatternError {
    fn without_part(mut self) -> Self {
        if let Self::Unexpanded { part, .. } | Self::Glob { part, .. } = &mut self {
            *part = None;
        }
        self
    }
}

fn not_a_glob(text: &str, message: &str) -> PatternError {
    PatternError::Glob { text: text.to_owned(), message: message.to_owned(), part: None }
}

/// The text as a pattern in which every value stands for itself.
fn as_pattern(text: TextRef<'_>) -> Result<Cow<'_, str>, PatternError> {
    if let Some(written) = text.all_written() {
        return Ok(written.into());
    }
    let mut pattern = String::new();
    for part in text.parts() {
        match part {
            interpolated::Part::Written(written) => pattern.push_str(written),
            interpolated::Part::Value(_) if ends_within_class(&pattern) => {
                return Err(not_a_glob(text.as_str(), "no `${…}` can stand within `[…]`"));
            }
            interpolated::Part::Value(value) => value.chars().for_each(|character| match character {
                '*' | '?' | '[' | ']' | '{' | '}' | ',' | '$' => pattern.extend(['[', character, ']']),
                _ => pattern.push(character),
            }),
        }
    }
    Ok(pattern.into())
}

/// The only name that a pattern matches, if it has no wildcard: `[x]` is `x`.
fn fixed_name(pattern: &str) -> Option<String> {
    let mut name = String::new();
    let mut characters = pattern.chars();
    while let Some(character) = characters.next() {
        name.push(match character {
            '*' | '?' => return None,
            '[' => {
                let only = characters.next().filter(|only| *only != '!')?;
                characters.next().filter(|end| *end == ']')?;
                only
            }
            other => other,
        });
    }
    Some(name)
}

/// True when a glob matches a name, as a shell would have it.
pub(super) fn name_matches(pattern: &Pattern, name: &OsStr) -> bool {
    pattern.matches_with(&name.to_string_lossy(), MATCHING)
}

/// True for names that a shell's `*` does not match.
pub(super) fn is_hidden(name: &OsStr) -> bool {
    name.as_encoded_bytes().starts_with(b".")
}

fn matches(parts: &[Part], names: &[&OsStr]) -> bool {
    match (parts, names) {
        ([], []) => true,
        ([Part::Folders, rest @ ..], _) => {
            let folders = names.iter().take_while(|name| !is_hidden(name)).count();
            (0..=folders).any(|skipped| matches(rest, &names[skipped..]))
        }
        ([Part::Name(part), parts @ ..], [name, names @ ..]) => part == name && matches(parts, names),
        ([Part::Names(part), parts @ ..], [name, names @ ..]) => name_matches(part, name) && matches(parts, names),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::interpolated::InterpolatedText;
    use proptest::prelude::*;

    fn matching(pattern: &str, path: &str) -> bool {
        let patterns = PathPattern::parse(pattern, Path::new("/base")).unwrap();
        patterns.iter().any(|pattern| pattern.matches(Path::new(path)))
    }

    #[test]
    fn a_pattern_means_what_a_shell_means_by_it() {
        for (pattern, path, expected) in [
            ("/a/*.log", "/a/b.log", true),
            ("/a/*.log", "/a/b/c.log", false),
            ("/a/*.log", "/a/.hidden.log", false),
            ("/a/.*.log", "/a/.hidden.log", true),
            ("/a/?.log", "/a/ä.log", true),
            ("/a/[!b].log", "/a/c.log", true),
            ("/a/[*].log", "/a/*.log", true),
            ("/a/**/*.log", "/a/b.log", true),
            ("/a/**/*.log", "/a/b/c/d.log", true),
            ("/a/**/*.log", "/a/.git/d.log", false),
            ("/a/**/b/*.log", "/a/b/c/b/d.log", true),
            ("/a/**", "/a/b/c", true),
            ("b/./c.log", "/base/b/c.log", true),
            ("./c.log", "/base/c.log", true),
            ("/a/{b,c}.log", "/a/c.log", true),
            ("/a/{b,c/d}/e.log", "/a/c/d/e.log", true),
            ("/a/{b,{c,d}}.log", "/a/d.log", true),
            ("/a/app.log{,.1}", "/a/app.log", true),
            ("/a/{b,c}.log", "/a/d.log", false),
            ("/a/[{]b[}]", "/a/{b}", true),
            ("./~/b", "/base/~/b", true),
            ("~b.log", "/base/~b.log", true),
            ("a/b~", "/base/a/b~", true),
            ("/a/Outer$Inner.log", "/a/Outer$Inner.log", true),
            ("/a/[$]HOME", "/a/$HOME", true),
            ("/a/b:c://d", "/a/b:c:/d", true),
        ] {
            assert_eq!(matching(pattern, path), expected, "{pattern} {path}");
        }
    }

    #[test]
    fn a_folders_own_name_is_not_special() {
        let patterns = PathPattern::parse("*.log", Path::new("/a[b]/{c}")).unwrap();
        assert!(patterns[0].matches(Path::new("/a[b]/{c}/d.log")));
    }

    #[test]
    fn what_is_no_pattern_says_why() {
        for (text, message) in [
            ("", "empty"),
            ("/var/log/", "names a folder"),
            ("/", "names a folder"),
            ("a[b", "is not a glob"),
            ("a{b", "a `{` without its `}`"),
            ("ab}", "a `}` without its `{`"),
            ("a**b", "is not a glob"),
            ("~", "`~` is not replaced"),
            ("~/logs/*.log", "`~` is not replaced"),
            ("~shop/a.log", "`~shop` is not replaced"),
            ("{/a,~/b}.log", "`~` is not replaced"),
            ("$home/a.log", "`$home` is not replaced"),
            ("/var/log/$HOSTNAME.log", "`$HOSTNAME` is not replaced"),
            ("/var/log/app-$(hostname)-*.log", "`$(hostname)` is not replaced"),
            ("file:///var/log/a.log", "is a URL"),
            ("FILE:/var/log/a.log", "is a URL"),
            ("s3://logs/a.log", "is a URL"),
        ] {
            let error = PathPattern::parse(text, Path::new("")).unwrap_err();
            assert!(error.to_string().contains(message), "{text}: {error}");
        }
        let many = "{a,b}".repeat(12);
        assert!(PathPattern::parse(&many, Path::new("")).is_err());
    }

    /// What is written and what was put in, by turns.
    fn text(parts: &[&str]) -> InterpolatedText {
        serde_json::from_value(serde_json::json!(parts)).unwrap()
    }

    #[test]
    fn a_value_stands_for_itself() {
        for (parts, path, expected) in [
            (&["/a/", "*", ".log"][..], "/a/*.log", true),
            (&["/a/", "*", ".log"], "/a/b.log", false),
            (&["", "/logs/b[1]", "/*.log"], "/logs/b[1]/c.log", true),
            (&["", "/logs/**", "/*.log"], "/logs/x/c.log", false),
            (&["/a/{", "b,c", ",d}.log"], "/a/b,c.log", true),
            (&["/a/{", "b,c", ",d}.log"], "/a/c.log", false),
            (&["/a/", "{b,c}", "*"], "/a/{b,c}1", true),
            (&["/a/Outer", "$INNER", ".log"], "/a/Outer$INNER.log", true),
            (&["", "app", "*"], "/base/app.log", true),
            (&["/a/", "?", "?"], "/a/?b", true),
        ] {
            let patterns = PathPattern::parse(&text(parts), Path::new("/base")).unwrap();
            let matches = patterns.iter().any(|pattern| pattern.matches(Path::new(path)));
            assert_eq!(matches, expected, "{parts:?} {path}");
        }
        for parts in [&["/a/[", "a-z", "].log"][..], &["/a/[!", "a", ""], &["", "~", "/a"], &["", "file:///a", ""]] {
            assert!(PathPattern::parse(&text(parts), Path::new("")).is_err(), "{parts:?}");
        }
    }

    #[test]
    fn a_name_without_wildcards_is_known() {
        for (pattern, name) in
            [("a", Some("a")), ("[*][]][a]", Some("*]a")), ("[!a]", None), ("[ab]", None), ("a*", None), ("a?", None)]
        {
            assert_eq!(fixed_name(pattern).as_deref(), name, "{pattern}");
        }
    }

    proptest! {
        /// Whatever a value holds, as a name it matches itself and nothing else.
        #[test]
        fn a_value_matches_itself_only(value in "[^/~\\x00]{1,12}", other in "[a*?\\[\\]{},$]{1,4}") {
            prop_assume!(value != "." && value != ".." && !value.contains(':') && value != other);
            let patterns = PathPattern::parse(&text(&["/a/", &value, ""]), Path::new("/")).unwrap();
            prop_assert_eq!(patterns.len(), 1);
            prop_assert!(patterns[0].matches(&Path::new("/a").join(&value)));
            prop_assert!(!patterns[0].matches(&Path::new("/a").join(&other)));
        }

        #[test]
        fn no_text_is_too_much(text in "[a{},/*?\\[\\]!.ä\\-]{0,20}", path in "[a,/.ä]{0,12}") {
            for pattern in PathPattern::parse(&text, Path::new("/b")).into_iter().flatten() {
                pattern.matches(&Path::new("/").join(&path));
            }
        }
    }
}
