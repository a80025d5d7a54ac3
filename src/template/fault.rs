//! What is wrong in a template, and how its place in the parsed tree becomes a place in the text.

use std::ops::Range;

use super::TemplateError;

/// What is wrong with an expression; its place is known a level above.
#[derive(Debug)]
pub(super) struct TemplateFault {
    pub(super) message: String,
    pub(super) help: Option<String>,
    /// What of the expression is at fault, as it is written there.
    word: Option<String>,
}

impl TemplateFault {
    pub(super) fn new(message: impl Into<String>) -> Self {
        Self { message: message.into(), help: None, word: None }
    }

    pub(super) fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    /// Adds help, if there is none yet.
    pub(super) fn or_help(self, help: impl Into<String>) -> Self {
        if self.help.is_some() { self } else { self.help(help) }
    }

    /// Narrows the fault to a word of the expression.
    pub(super) fn about(mut self, word: &str) -> Self {
        self.word = Some(word.to_owned());
        self
    }

    /// Adds the place: the expression that begins at `offset`, or the one character there.
    pub(super) fn at(self, text: &str, offset: usize) -> TemplateError {
        let here = text.get(offset..).unwrap_or_default();
        let part = expression_at(offset, here);
        self.within(text, part)
    }

    /// Adds the place: these bytes, or the word in them if it stands there once.
    pub(super) fn within(self, text: &str, part: Range<usize>) -> TemplateError {
        let narrow = |word: &String| only_place(text.get(part.clone())?, word).map(|place| shifted(place, part.start));
        let part = self.word.as_ref().and_then(narrow).unwrap_or(part);
        let before = text.get(..part.start).unwrap_or(text);
        let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
        TemplateError {
            message: self.message,
            line: before.matches('\n').count() + 1,
            column: before[line_start..].chars().count() + 1,
            part,
            help: self.help,
        }
    }
}

/// The bytes of the expression at a place, counted from 1; nothing when there is no such place.
pub(super) fn part_at(text: &str, line: usize, column: usize) -> Option<Range<usize>> {
    let offset = offset_of(text, line.max(1), column.max(1));
    Some(expression_at(offset, text.get(offset..)?))
}

/// The byte offset of a line and column, both from 1.
pub(super) fn offset_of(text: &str, line: usize, column: usize) -> usize {
    let start: usize = text.split_inclusive('\n').take(line - 1).map(str::len).sum();
    let rest = &text[start..];
    start + rest.char_indices().nth(column - 1).map_or(rest.len(), |(offset, _)| offset)
}

fn expression_at(offset: usize, here: &str) -> Range<usize> {
    let expression = here.starts_with("{{").then(|| here.find("}}")).flatten().map(|end| end + 2);
    let length = expression.or(here.chars().next().map(char::len_utf8)).unwrap_or(0);
    offset..offset + length
}

/// Where a word stands, if it stands in one place only and is no part of a longer one.
fn only_place(text: &str, word: &str) -> Option<Range<usize>> {
    let is_word = |character: char| character.is_alphanumeric() || matches!(character, '_' | '-' | '$' | '@');
    let is_whole = |start: &usize| {
        let (before, behind) = (text[..*start].chars().next_back(), text[*start + word.len()..].chars().next());
        // A sign such as `==` has no beginning and no end that others could go on with.
        !word.contains(is_word)
            || !(before.is_some_and(|character| is_word(character) || character == '.') || behind.is_some_and(is_word))
    };
    let mut places = text.match_indices(word).map(|(start, _)| start).filter(is_whole);
    let start = places.next().filter(|_| places.next().is_none() && !word.is_empty())?;
    Some(start..start + word.len())
}

fn shifted(place: Range<usize>, by: usize) -> Range<usize> {
    place.start + by..place.end + by
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_points_at_its_word_where_only_one_can_be_meant() {
        let text = "é\n{{ upper (uper data.uper) }}";
        let part_of = |word: &str| {
            let error = TemplateFault::new("m").about(word).at(text, 3);
            (text[error.part].to_owned(), error.line, error.column)
        };
        assert_eq!(part_of("uper"), ("uper".into(), 2, 11));
        assert_eq!(part_of("data.uper"), ("data.uper".into(), 2, 16));
        assert_eq!(part_of("lower"), (text[3..].to_owned(), 2, 1));
        assert_eq!(part_of("e"), (text[3..].to_owned(), 2, 1));
    }
}
