//! Finds a JSON body that can never be JSON, or that always is, whatever the event, before any event comes.
//!
//! The template is written out with a stand-in for each value, once for every way through its conditions and lists. A
//! template is refused only when all ways fail, or all ways on which one `{{#each}}` finds elements; behind what cannot be
//! foreseen, such as `{{{…}}}`, nothing is judged. No message shows any of the text, which may hold secrets.

use handlebars::template::{HelperTemplate, Parameter, TemplateElement};
use serde::de::IgnoredAny;

use super::fault::{TemplateFault, offset_of};
use super::insert::is_call_of;
use super::place::Place;
use super::{Escape, TemplateError, each};

/// As many ways through a template are looked at. Each condition doubles them, and each list makes more of them.
const MOST_WAYS: usize = 64;

/// A piece of the output, and where it stands in the template's text.
#[derive(Clone)]
struct Piece<'a> {
    content: Content<'a>,
    offset: usize,
}

#[derive(Clone, Copy)]
enum Content<'a> {
    Text(&'a str),
    WithinString,
    Value,
}

/// One way through a template.
#[derive(Clone, Default)]
struct Way<'a> {
    pieces: Vec<Piece<'a>>,
    /// Where the `{{#each}}` stand that find elements on this way.
    lists: Vec<usize>,
}

impl Way<'_> {
    /// This way and then another.
    fn then(&self, other: &Self) -> Self {
        let pieces = self.pieces.iter().chain(&other.pieces).cloned().collect();
        Self { pieces, lists: self.lists.iter().chain(&other.lists).copied().collect() }
    }
}

/// The fault of a checked template whose output is never JSON.
pub(super) fn fault(template: &handlebars::Template, text: &str, escape: Escape) -> Option<TemplateError> {
    if !escape.is_json() {
        return None;
    }
    let mut ways = vec![Way::default()];
    let is_whole = extend(&mut ways, template, text);
    let wrongs: Vec<_> = ways.iter().map(|way| wrong_in_way(&way.pieces, is_whole, text, escape)).collect();
    if let Some(wrong) = furthest(wrongs.iter()) {
        return Some(wrong.fault("this can never be").at(text, wrong.offset));
    }
    // With an empty list it is JSON, so the first element must be what is wrong.
    let mut lists: Vec<usize> = ways.iter().flat_map(|way| &way.lists).copied().collect();
    lists.sort_unstable();
    let of_list = |list: &usize| {
        let is_there = |(way, _): &(&Way<'_>, _)| way.lists.contains(list);
        furthest(ways.iter().zip(&wrongs).filter(is_there).map(|(_, wrong)| wrong))
    };
    let wrong = lists.iter().find_map(of_list)?;
    Some(wrong.fault("this can never be, as soon as `{{#each}}` finds an element").at(text, wrong.offset))
}

/// What is wrong with all of the ways; `None` when one of them may be JSON. The way that gets furthest is the likeliest to
/// be the one that was meant.
fn furthest<'a>(wrongs: impl Iterator<Item = &'a Option<Wrong>>) -> Option<&'a Wrong> {
    let wrongs: Option<Vec<_>> = wrongs.map(Option::as_ref).collect();
    wrongs?.into_iter().max_by_key(|wrong| wrong.offset)
}

/// Whether the output of a checked template is JSON whatever the event holds, so that it need not be checked each time.
///
/// A letter that ends every escape sequence stands for what is inserted within a string, and a value that can be neither
/// the name of a member nor a part of a number for any other: where these make JSON, everything does. Lists may have any
/// length, so that nothing is said of a template with one.
pub(super) fn is_always(template: &handlebars::Template, text: &str, escape: Escape) -> bool {
    let mut ways = vec![Way::default()];
    escape.is_json()
        && extend(&mut ways, template, text)
        && ways.iter().all(|way| {
            let piece = |piece: &Piece<'_>| match piece.content {
                Content::Text(text) => text.to_owned(),
                Content::WithinString => "z".to_owned(),
                Content::Value => "{}".to_owned(),
            };
            way.lists.is_empty() && escape.verify(&way.pieces.iter().map(piece).collect::<String>()).is_ok()
        })
}

/// Goes all ways through a template. False when the rest of it, or some of that, cannot be foreseen.
fn extend<'a>(ways: &mut Vec<Way<'a>>, template: &'a handlebars::Template, text: &str) -> bool {
    for (index, element) in template.elements.iter().enumerate() {
        let place = template.mapping.get(index).map_or((1, 1), |place| (place.0, place.1));
        let offset = offset_of(text, place.0, place.1);
        let (content, offset) = match element {
            TemplateElement::Comment(_) => continue,
            // What stands there may be shorter than in the template, as `{{~` takes blanks away.
            TemplateElement::RawString(raw) => {
                // The library's place of text is sometimes behind its first line break.
                let from = if raw.starts_with('\n') { offset.saturating_sub(1) } else { offset };
                let skipped = text.get(from..).and_then(|rest| rest.find(raw.as_str()));
                (Content::Text(raw), skipped.map_or(offset, |skipped| from + skipped))
            }
            TemplateElement::Expression(call) if is_call_of(call, Place::JsonString) => (Content::WithinString, offset),
            TemplateElement::Expression(call) if is_call_of(call, Place::JsonValue) => (Content::Value, offset),
            TemplateElement::HtmlExpression(call) if is_call_of(call, Place::JsonValue) && is_json_text(call) => {
                (Content::Value, offset)
            }
            TemplateElement::HelperBlock(block) => {
                let is_whole = match each::guarded(block) {
                    Some(each) => extend_by_list(ways, each, offset, text),
                    None => is_condition(block) && extend_by_condition(ways, block, text),
                };
                if is_whole {
                    continue;
                }
                return false;
            }
            _ => return false,
        };
        for way in ways.iter_mut() {
            way.pieces.push(Piece { content, offset });
        }
    }
    true
}

/// Goes the ways of both branches.
fn extend_by_condition<'a>(ways: &mut Vec<Way<'a>>, block: &'a HelperTemplate, text: &str) -> bool {
    if ways.len() >= MOST_WAYS {
        return false;
    }
    let mut others = ways.clone();
    let is_whole = block.template.as_ref().is_none_or(|inner| extend(ways, inner, text));
    let others_whole = block.inverse.as_ref().is_none_or(|inner| extend(&mut others, inner, text));
    ways.append(&mut others);
    is_whole && others_whole
}

/// Goes the ways of no element, one and two: a list may be written so that it needs a second element.
fn extend_by_list<'a>(ways: &mut Vec<Way<'a>>, each: &'a HelperTemplate, offset: usize, text: &str) -> bool {
    let mut element = vec![Way::default()];
    let is_whole = each.template.as_ref().is_none_or(|inner| extend(&mut element, inner, text));
    if !is_whole || ways.len() * (1 + element.len() + element.len().pow(2)) > MOST_WAYS {
        return false;
    }
    element.iter_mut().for_each(|way| way.lists.push(offset));
    let then = |ways: &[Way<'a>]| -> Vec<Way<'a>> {
        ways.iter().flat_map(|way| element.iter().map(|element| way.then(element))).collect()
    };
    let mut one = then(ways);
    let mut two = then(&one);
    let is_whole = each.inverse.as_ref().is_none_or(|inner| extend(ways, inner, text));
    ways.append(&mut one);
    ways.append(&mut two);
    is_whole
}

/// Whether the helper `json` wrote the value.
fn is_json_text(call: &HelperTemplate) -> bool {
    matches!(call.params.first(), Some(Parameter::Subexpression(inner)) if inner.name() == "json")
}

/// Whether a block shows one of two branches, once.
fn is_condition(block: &HelperTemplate) -> bool {
    !matches!(block.name.as_name(), None | Some("raw"))
}

/// What is wrong with one way.
struct Wrong {
    /// Where in the template.
    offset: usize,
    what: String,
    help: String,
}

impl Wrong {
    fn fault(&self, never: &str) -> TemplateFault {
        TemplateFault::new(format!("the content type promises JSON, and {never}: {}", self.what))
            .help(self.help.clone())
    }
}

fn wrong_in_way(way: &[Piece<'_>], is_whole: bool, text: &str, escape: Escape) -> Option<Wrong> {
    let mut output = String::new();
    let mut starts = Vec::with_capacity(way.len());
    for (index, piece) in way.iter().enumerate() {
        starts.push(output.len());
        match piece.content {
            Content::Text(text) => output.push_str(text),
            // These may follow `\u` as well as any other text.
            Content::WithinString => output.push_str("0000"),
            Content::Value if is_part_of_number(way, index) => output.push('1'),
            // Text may be a value and the name of a member.
            Content::Value => output.push_str("\"0\""),
        }
    }
    let (offset, error) = first_error(&output, is_whole, escape)?;
    let index = starts.iter().rposition(|start| *start <= offset);
    let place = match index.and_then(|index| Some((way.get(index)?, *starts.get(index)?))) {
        Some((Piece { content: Content::Text(raw), offset: place }, start))
            if text.get(*place..).is_some_and(|rest| rest.starts_with(raw)) =>
        {
            (place + offset - start).min(text.len())
        }
        Some((piece, _)) => piece.offset,
        None => 0,
    };
    let (what, help) = explain(&output, offset, &error);
    Some(Wrong { offset: place, what, help })
}

/// Whether a value makes a number together with what stands next to it, as in `-{{data.n}}` and `{{data.n}}.5`.
fn is_part_of_number(way: &[Piece<'_>], index: usize) -> bool {
    let is_part = |character: char| matches!(character, '0'..='9' | '.' | 'e' | 'E' | '+' | '-');
    let before = index.checked_sub(1).and_then(|before| way.get(before)).map(|piece| match piece.content {
        Content::Text(text) => text.ends_with(is_part),
        Content::Value => true,
        Content::WithinString => false,
    });
    let after = way.get(index + 1).map(|piece| match piece.content {
        Content::Text(text) => text.starts_with(is_part),
        Content::Value => true,
        Content::WithinString => false,
    });
    before == Some(true) || after == Some(true)
}

/// The first error in what should be JSON, and its offset. What is not whole may go on with anything.
fn first_error(output: &str, is_whole: bool, escape: Escape) -> Option<(usize, serde_json::Error)> {
    let separator = match escape {
        Escape::JsonLines => Some('\n'),
        Escape::JsonSequence => Some('\u{1e}'),
        _ => None,
    };
    let mut parts = vec![(0, output)];
    if let Some(separator) = separator {
        let starts = output.match_indices(separator).map(|(offset, found)| offset + found.len());
        parts = std::iter::once(0).chain(starts).zip(output.split(separator)).collect();
        parts.retain(|(_, part)| !part.trim().is_empty());
    }
    parts.into_iter().find_map(|(start, part)| {
        let error = serde_json::from_str::<IgnoredAny>(part).err()?;
        let goes_on = !is_whole && start + part.len() == output.len();
        // A number that ends here may go on as well.
        let is_open = error.is_eof() || part.ends_with(|c: char| c.is_ascii_digit() || "+-.eE".contains(c));
        (!(goes_on && is_open)).then(|| (start + offset_in(part, &error), error))
    })
}

fn offset_in(part: &str, error: &serde_json::Error) -> usize {
    let line: usize = part.split_inclusive('\n').take(error.line().saturating_sub(1)).map(str::len).sum();
    // The columns of this library count bytes.
    let mut offset = (line + error.column()).saturating_sub(1).min(part.len());
    if error.to_string().starts_with("control character") {
        offset += part.get(offset..).and_then(|rest| rest.find(char::is_control)).unwrap_or(0);
    }
    while !part.is_char_boundary(offset) {
        offset -= 1;
    }
    offset
}

/// What is wrong with what should be JSON, and what to write.
fn explain(output: &str, offset: usize, error: &serde_json::Error) -> (String, String) {
    const OTHER_TYPE: &str = "if it is not meant to be JSON, say what it is: `content_type = \"text/plain\"`";
    let words = error.to_string();
    let words = words.split(" at line ").next().unwrap_or_default();
    let here = output.get(offset..).and_then(|rest| rest.chars().next());
    let (what, help) = match here {
        _ if output.trim().is_empty() => ("it is empty", format!("write `{{}}` or another JSON text; {OTHER_TYPE}")),
        _ if error.is_eof() => {
            ("an object, an array or a text is not closed", "add the missing `}`, `]` or quote".into())
        }
        Some('}' | ']') if output.get(..offset).is_some_and(|before| before.trim_end().ends_with(',')) => (
            "trailing comma",
            "leave out the comma behind the last member or element, in `{{#each}}` by `{{#unless @last}},{{/unless}}`"
                .into(),
        ),
        _ if words.contains("trailing characters") => (
            words,
            "one JSON text ends before this; lines of JSON have `content_type = \"application/x-ndjson\"`".into(),
        ),
        _ if words.contains("control character") => (words, "within a string, a line break is written as `\\n`".into()),
        Some('\'') => (words, "JSON puts text and names in double quotes".into()),
        _ if words.contains("key must be a string") => {
            (words, "JSON puts the names of members in double quotes".into())
        }
        _ => (words, format!("JSON puts text in double quotes; {OTHER_TYPE}")),
    };
    (what.to_owned(), help)
}

#[cfg(test)]
mod tests {
    use crate::template::{Escape, Options, Template};

    fn fault_in(text: &str, escape: Escape) -> Option<(String, usize, usize, String)> {
        let error = Template::compile_body(text, escape, &Options::default()).err()?.remove(0);
        assert!(error.message.contains("can never be"), "{text}: {error}");
        Some((error.message, error.line, error.column, error.help.unwrap_or_default()))
    }

    #[test]
    fn a_body_that_can_never_be_json_is_refused_where_it_is_wrong() {
        for (text, message, place, help) in [
            ("hello", "expected value", (1, 1), "text/plain"),
            ("", "it is empty", (1, 1), "`{}`"),
            (" \n ", "it is empty", (2, 1), "text/plain"),
            ("{{! nothing }}", "it is empty", (1, 1), "text/plain"),
            ("{\"a\": 1,}", "trailing comma", (1, 9), "leave out the comma"),
            ("[1,\n 2,\n]", "trailing comma", (3, 1), "leave out the comma"),
            ("{\"a\": \"{{data.id}}\",}", "trailing comma", (1, 21), "leave out the comma"),
            ("{\"ä\": {{data.id}},}", "trailing comma", (1, 19), "leave out the comma"),
            ("{'a': 1}", "key must be a string", (1, 2), "double quotes"),
            ("{a: {{data.id}}}", "key must be a string", (1, 2), "double quotes"),
            ("{\"a\": {{data.id}}", "not closed", (1, 7), "add the missing"),
            ("{\"a\": \"{{data.id}}}", "not closed", (1, 19), "add the missing"),
            ("Order {{data.id}}", "expected value", (1, 1), "double quotes"),
            ("{{data.id}} {{data.n}}", "trailing characters", (1, 13), "x-ndjson"),
            ("{\"a\": \"x\"{{data.id}}}", "expected `,` or `}`", (1, 10), ""),
            ("{\"a\" {{data.id}}}", "expected `:`", (1, 6), ""),
            ("{\"a\": {{~ data.id ~}}  ,\n}", "trailing comma", (2, 1), ""),
            ("{\"a\": \"{{data.a}}\nb\"}", "control character", (1, 18), "`\\n`"),
            ("{\"a\": {{#if data.a}}1{{else}}2{{/if}},}", "trailing comma", (1, 39), ""),
            ("{\"a\": {{#if data.a}}one{{else}}two{{/if}}}", "expected", (1, 33), ""),
            ("{\"a\": 1,}{{#each data.x}}{{this}}{{/each}}", "trailing comma", (1, 9), ""),
            ("[{{#each data.x}}{{this}},{{/each}}]", "finds an element: trailing comma", (1, 36), "#unless @last"),
            ("{\"a\": [{{#each data.x}}\"{{this}}\",\n{{/each}}]}", "finds an element", (2, 10), ""),
            (
                "{\"a\": [{{#each data.x}}{{#if y}}{{z}},{{/if}} 1,{{else}}null{{/each}}]}",
                "trailing comma",
                (1, 70),
                "",
            ),
            ("{\"a\": [{{#each data.x}}{{this}}{{/each}}],}", "never be: trailing comma", (1, 43), ""),
            ("[{{#each data.x}}[{{#each y}}{{this}} 1{{/each}}]{{/each}}]", "expected `,`", (1, 39), ""),
        ] {
            let (found, line, column, helps) = fault_in(text, Escape::Json).unwrap_or_else(|| panic!("{text}"));
            assert!(found.contains(message), "{text}: {found}");
            assert_eq!(((line, column), helps.contains(help)), (place, true), "{text}: {found}; {helps}");
        }
        let (message, line, ..) = fault_in("{\"a\": 1}\n{\"a\": {{data.id}},}\n", Escape::JsonLines).unwrap();
        assert!(message.contains("trailing comma") && line == 2, "{message}");
        assert!(fault_in("\u{1e}{\"a\": 1}\n\u{1e}{{data.id}},\n", Escape::JsonSequence).is_some());
    }

    #[test]
    fn a_body_that_may_be_json_is_left_alone() {
        for text in [
            "{\"a\": \"{{data.id}}\", {{data.name}}: {{data.value}}}",
            "[-{{data.n}}, {{data.n}}.5, 1{{data.n}}, {{data.a}}{{data.b}}, {{data.n}}e{{data.m}}, {{json data.x}}]",
            "\"\\u{{data.hex}} {{data.id}}\"",
            "{{{data.raw}}} anything",
            "{{data}}",
            "[{{#each data.x}}{{this}}{{#unless @last}},{{/unless}}{{/each}}]",
            "[{{#each data.x}}{{#if @first}}{{else}},{{/if}}{{#each y}}{{this}}{{/each}}{{/each}}]",
            "{{#each data.x}}{{#if @first}}[{{this}}{{else}},{{this}}]{{/if}}{{else}}null{{/each}}",
            "[0{{#each data.x}},{{this}}{{/each}}{{#each data.y}},{{this}}{{/each}}]",
            "{{#each data.only}}{{this}}{{/each}}",
            "[{{#each data.x}}{{{this}}},{{/each}}]",
            "[1{{#if data.x}},2{{/if}}]",
            "{{#if data.x}}{\"a\": 1}{{else}}never{{/if}}",
            "{{#if data.x}}\"{{else}}[{{/if}}{{data.a}}{{#if data.x}}\"{{else}}]{{/if}}",
            "{\"a\": -{{#each data.x}}1{{/each}}}",
            "{\"a\": \"{{{data.raw}}}}",
            "{{#with data.x}}{{json this}}{{else}}null{{/with}}",
        ] {
            assert_eq!(fault_in(text, Escape::Json), None, "{text}");
        }
        assert_eq!(fault_in("{{data.a}}\n\n{{data.b}}\n", Escape::JsonLines), None);
        for escape in [Escape::Text, Escape::Xml, Escape::Form] {
            assert_eq!(fault_in("hello", escape), None);
        }
    }

    #[test]
    fn a_body_that_is_always_json_is_known() {
        let is_always = |text: &str, escape| Template::compile(text, escape).unwrap().is_always_json;
        for text in [
            "{\"a\": \"{{data.id}}\", \"b {{key}}\": {{data.n}}, \"c\": [{{json data.x}}, {{now}}], \"d\": 1}",
            "[1{{#if data.x}},2{{/if}}]",
            "{{#with data.x}}{{json this}}{{else}}null{{/with}}",
            "{{data}}",
            "\"\\u00e4{{data.x}}\"",
            "{\"a\": 1}",
        ] {
            assert!(is_always(text, Escape::Json), "{text}");
        }
        assert!(is_always("{{data.a}}\n\n{{data.b}}\n", Escape::JsonLines));
        for text in [
            "{{{data.raw}}}",
            "\"{{{data.raw}}}\"",
            "{ {{data.name}}: 1}",
            "[-{{data.n}}]",
            "[{{data.n}}.5]",
            "[{{data.a}}{{data.b}}]",
            "\"\\u{{data.hex}}\"",
            "\"\\u12{{data.hex}}34\"",
            "[{{#each data.x}}{{this}}{{#unless @last}},{{/unless}}{{/each}}]",
            "{{#if data.x}}{\"a\": 1}{{/if}}",
            "{{#if data.x}}\"{{else}}[{{/if}}{{data.a}}{{#if data.x}}\"{{else}}]{{/if}}",
        ] {
            assert!(!is_always(text, Escape::Json), "{text}");
        }
        assert!(!is_always("{{data.a}}\n{{data.b}}", Escape::Json));
        assert!(!is_always("{{data.a}}", Escape::Text));
    }
}
