//! Braces and classes in the text of a pattern: `{a,b}` stands for several patterns, `[…]` for one character. Pure.

/// As many patterns may come of one with braces.
const MOST_ALTERNATIVES: usize = 1000;

/// What is wrong with braces, and at which byte.
pub(super) type BraceFault = (&'static str, usize);

/// What a text with braces stands for. A brace within `[…]` stands for itself.
pub(super) fn alternatives(text: &str) -> Result<Vec<String>, BraceFault> {
    let mut done = Vec::new();
    let mut open = vec![text.to_owned()];
    while let Some(text) = open.pop() {
        let Some((start, ends)) = first_braces(&text)? else {
            done.push(text);
            continue;
        };
        let Some(end) = ends.last().copied() else { continue };
        let mut from = start + 1;
        for to in ends {
            open.push(format!("{}{}{}", &text[..start], &text[from..to], &text[end + 1..]));
            from = to + 1;
        }
        if done.len() + open.len() > MOST_ALTERNATIVES {
            return Err(("its braces stand for more than a thousand paths", start));
        }
    }
    done.sort();
    done.dedup();
    Ok(done)
}

/// Where the first outermost braces start, and where each of their alternatives ends.
fn first_braces(text: &str) -> Result<Option<(usize, Vec<usize>)>, BraceFault> {
    let mut starts = Vec::new();
    let mut ends = Vec::new();
    let mut class_end = 0;
    for (index, byte) in text.bytes().enumerate().filter(|(_, byte)| b"[{},".contains(byte)) {
        if index < class_end {
            continue;
        }
        match byte {
            b'[' => class_end = end_of_class(text, index),
            b'{' => starts.push(index),
            b',' if starts.len() == 1 => ends.push(index),
            b'}' => match starts.pop() {
                None => return Err(("a `}` without its `{`", index)),
                Some(start) if starts.is_empty() => {
                    ends.push(index);
                    return Ok(Some((start, ends)));
                }
                Some(_) => {}
            },
            _ => {}
        }
    }
    match starts.first() {
        Some(start) => Err(("a `{` without its `}`", *start)),
        None => Ok(None),
    }
}

/// True when a class `[…]` begins in the pattern that does not end in it.
pub(super) fn ends_within_class(pattern: &str) -> bool {
    let mut from = 0;
    while let Some(start) = pattern[from..].find('[').map(|found| from + found) {
        from = end_of_class(pattern, start);
        if from == start + 1 {
            return true;
        }
    }
    false
}

/// Where `[…]` ends; a `]` at its beginning belongs to it.
fn end_of_class(text: &str, start: usize) -> usize {
    let mut first = start + 1;
    first += usize::from(text[first..].starts_with('!'));
    let from = first + text[first..].chars().next().map_or(0, char::len_utf8);
    text[from..].find(']').map_or(start + 1, |end| from + end + 1)
}
