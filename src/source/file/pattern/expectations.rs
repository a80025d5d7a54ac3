//! Paths that count on somebody else: a shell, or a reader of URLs. They are refused, as nobody replaces anything here. Pure.

use std::ops::Range;

/// `None` when the text is no URL; otherwise the path that it names, if it is one of a file.
pub(super) fn path_of_url(text: &str) -> Option<Option<String>> {
    let (scheme, rest) = text.split_once(':')?;
    let is_scheme = scheme.starts_with(|first: char| first.is_ascii_alphabetic())
        && scheme.chars().all(|other| other.is_ascii_alphanumeric() || "+-.".contains(other));
    let is_file = scheme.eq_ignore_ascii_case("file");
    if !is_scheme || !(rest.starts_with("//") || is_file && rest.starts_with('/')) {
        return None;
    }
    let path = match rest.strip_prefix("//") {
        Some(with_host) => &with_host[with_host.find('/').unwrap_or(with_host.len())..],
        None => rest,
    };
    Some((is_file && path.len() > 1).then(|| path.to_owned()))
}

/// The part of a path that a shell would replace: `~` or `~user` as its first folder, a variable at its beginning, and
/// anywhere a variable in capitals or the output of a command. Other names may hold a `$`, as those of Java classes do.
pub(super) fn for_a_shell(text: &str) -> Option<Range<usize>> {
    let first = &text[..text.find('/').unwrap_or(text.len())];
    if let Some(user) = first.strip_prefix('~')
        && (user.is_empty() || first.len() < text.len())
        && user.chars().all(|other| other.is_ascii_alphanumeric() || "_-".contains(other))
    {
        return Some(0..first.len());
    }
    text.match_indices('$').find_map(|(at, _)| {
        let rest = &text[at + 1..];
        if rest.starts_with('(') {
            return Some(at..rest.find(')').map_or(text.len(), |end| at + end + 2));
        }
        let length = rest.find(|other: char| !other.is_ascii_alphanumeric() && other != '_').unwrap_or(rest.len());
        let name = &rest[..length];
        let is_name = name.starts_with(|first: char| first.is_ascii_alphabetic() || first == '_');
        let in_capitals = !name.contains(|other: char| other.is_ascii_lowercase());
        (is_name && (at == 0 || in_capitals)).then_some(at..at + 1 + length)
    })
}
