//! Bounds how deep a template nests, before the recursive parser of Handlebars sees it.

/// How deep blocks (an `{{else if}}` is one more level) and the parentheses within one expression may be nested.
pub(super) const MAX_NESTING: usize = 64;

/// The offset at which a template nests deeper than [`MAX_NESTING`].
pub(super) fn too_deep(text: &str) -> Option<usize> {
    // For every open block, how many levels it takes: its `{{else if}}`s are closed along with it.
    let mut blocks: Vec<usize> = Vec::new();
    let mut offset = 0;
    while let Some(start) = text[offset..].find("{{").map(|found| offset + found) {
        let tag = &text[start + 2..];
        let end = tag.find("}}").unwrap_or(tag.len());
        let body = tag[..end].trim_start_matches(['~', ' ', '\t', '\r', '\n', '{']);
        match body.chars().next() {
            // A raw block opens with four braces and no sign.
            Some('#') => blocks.push(1),
            _ if tag.starts_with("{{") && !body.starts_with('/') => blocks.push(1),
            Some('/') => drop(blocks.pop()),
            Some('^') => blocks.last_mut().into_iter().for_each(|levels| *levels += 1),
            _ if body.starts_with("else") => blocks.last_mut().into_iter().for_each(|levels| *levels += 1),
            _ => {}
        }
        if blocks.iter().sum::<usize>() > MAX_NESTING || parentheses(&tag[..end]) > MAX_NESTING {
            return Some(start);
        }
        // Not beyond the tag's end: what looks like one tag may hold the beginning of another.
        offset = start + 2;
    }
    None
}

fn parentheses(tag: &str) -> usize {
    let (mut depth, mut deepest) = (0_usize, 0);
    for character in tag.chars() {
        match character {
            '(' | '[' | '{' => depth += 1,
            ')' | ']' | '}' => depth = depth.saturating_sub(1),
            _ => {}
        }
        deepest = deepest.max(depth);
    }
    deepest
}
