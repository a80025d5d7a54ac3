//! Bounds how deep a template nests, before the recursive parser of Handlebars sees it: it has no bound of its own and
//! overflows the stack at some 300 levels.
//!
//! It may count too much and never too little. So a `{{/…}}` only counts as the end of a block while it is certain
//! where every tag before it ends; strings, comments and raw blocks may hold text that merely looks like one.

/// How deep blocks may be nested (an `{{else}}` is one more level), and how many parentheses and brackets one
/// expression may open.
pub(super) const MAX_NESTING: usize = 64;

/// The offset at which a template nests deeper than [`MAX_NESTING`].
pub(super) fn too_deep(text: &str) -> Option<usize> {
    // For every open block, how many levels it takes: its `{{else}}`s end with it.
    let mut blocks: Vec<usize> = Vec::new();
    let mut certain = true;
    let mut offset = 0;
    while let Some(start) = text[offset..].find("{{").map(|found| offset + found) {
        offset = start + 2;
        let rest = &text[offset..];
        if rest.starts_with('!') {
            offset += comment_length(rest);
            continue;
        }
        let tag = &rest[..rest.find("}}").unwrap_or(rest.len())];
        let was_certain = certain;
        // Four braces begin a raw block.
        certain &= is_whole(tag) && !rest.starts_with("{{");
        let extent = if was_certain && !certain { rest } else { tag };
        match Sign::of(tag) {
            Sign::Open => blocks.push(1),
            Sign::Else => blocks.last_mut().into_iter().for_each(|levels| *levels += 1),
            Sign::Close if certain && !text[..start].ends_with('\\') => drop(blocks.pop()),
            Sign::Close | Sign::Other => {}
        }
        let opened = extent.matches(['(', '[', '{']).count();
        if opened > MAX_NESTING || blocks.iter().sum::<usize>() > MAX_NESTING {
            return Some(start);
        }
    }
    None
}

/// What a tag does to the nesting of blocks.
enum Sign {
    Open,
    Else,
    Close,
    Other,
}

impl Sign {
    fn of(tag: &str) -> Self {
        let body = tag.trim_start_matches(|c: char| c.is_ascii_whitespace() || matches!(c, '~' | '{'));
        match body.chars().next() {
            Some('#') => Self::Open,
            Some('^') => Self::Else,
            Some('/') => Self::Close,
            _ if body.starts_with("else") => Self::Else,
            _ => Self::Other,
        }
    }
}

/// How far a comment goes, from its exclamation mark.
fn comment_length(rest: &str) -> usize {
    let long = rest.starts_with("!--").then(|| rest[3..].find("--}}").map(|end| 3 + end + 4)).flatten();
    long.or_else(|| rest.find("}}").map(|end| end + 2)).unwrap_or(rest.len())
}

/// Whether a tag that reaches to the next two braces certainly ends there, because no string and no name in brackets
/// goes on beyond them.
fn is_whole(tag: &str) -> bool {
    let (mut end, mut escaped, mut previous) = (None, false, ' ');
    for character in tag.chars() {
        match end {
            Some(_) if escaped => escaped = false,
            Some('"' | '\'') if character == '\\' => escaped = true,
            Some(closing) if character == closing => end = None,
            Some(_) => {}
            None if matches!(character, '"' | '\'') => end = Some(character),
            None if character == '[' && matches!(previous, '.' | '/') => end = Some(']'),
            // A list or a name: the two treat quotes differently.
            None if character == '[' && tag.contains(['"', '\'']) => return false,
            None if character == '[' => end = Some(']'),
            None => {}
        }
        previous = character;
    }
    end.is_none()
}
