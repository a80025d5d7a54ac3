//! What is said about a template that Handlebars cannot parse.
//!
//! The parser stops at its first error and names its grammar. So every tag is parsed by itself, those that are none are
//! explained, and they are replaced by sound ones: then the rest can be checked as well.

use handlebars::TemplateErrorReason;

use super::TemplateError;
use super::fault::{TemplateFault, offset_of};
use super::helpers::SIGNATURES;
use super::mistakes;
use super::tags::{Kind, Tag, tags};

/// The faults of a template that is none, in order.
pub(super) struct Unparsed {
    pub(super) faults: Vec<TemplateError>,
    /// The text with sound tags in the place of those at fault, of the same length, if that is a template.
    pub(super) mended: Option<String>,
}

pub(super) fn explain(text: &str, error: &handlebars::TemplateError) -> Unparsed {
    let tags = tags(text);
    let mut faults = wrong_blocks(text, &tags);
    let mut mended = Some(text.to_owned()).filter(|_| faults.is_empty());
    for tag in &tags {
        if faults.iter().any(|fault: &TemplateError| tag.place.contains(&fault.part.start)) {
            continue;
        }
        if !tag.is_closed {
            faults.push(not_closed(text, tag));
            // Without a brace, nobody knows how far it was meant to go.
            mended = mended.filter(|_| tag.body.ends_with('}')).and_then(|text| mend(&text, tag));
        } else if !parses_alone(text, tag) {
            let fault = mistakes::in_tag(tag).unwrap_or_else(not_an_expression);
            faults.push(fault.within(text, tag.place.clone()));
            mended = mended.and_then(|text| mend(&text, tag));
        }
    }
    if faults.is_empty() {
        faults.push(in_other_words(text, error));
    }
    faults.sort_by_key(|fault| fault.part.start);
    Unparsed { faults, mended }
}

fn not_closed(text: &str, tag: &Tag<'_>) -> TemplateError {
    let fault = TemplateFault::new("the expression is not closed");
    let fault = match tag.body.contains('}') {
        true => fault.help("it ends with two braces: }}"),
        false => fault.help("close it with }}, or write \\{{ for two braces that are meant as text"),
    };
    fault.within(text, tag.place.clone())
}

fn not_an_expression() -> TemplateFault {
    TemplateFault::new("this is not a Handlebars expression").help("write \\{{ for two braces that are meant as text")
}

fn parses_alone(text: &str, tag: &Tag<'_>) -> bool {
    let Some(written) = text.get(tag.place.clone()) else { return true };
    let whole = match tag.kind {
        Kind::Value => written.to_owned(),
        Kind::Open => format!("{written}{{{{/{}}}}}", tag.name()),
        Kind::Else => format!("{{{{#if 1}}}}{written}{{{{/if}}}}"),
        Kind::Close | Kind::Other => return true,
    };
    handlebars::Template::compile(&whole).is_ok()
}

/// Puts a tag that stands for any value in the place of one. `None` when it does not fit.
fn mend(text: &str, tag: &Tag<'_>) -> Option<String> {
    let name = tag.name();
    // As many values as the helper takes, so that nothing more is said about it.
    let values = || {
        let known = SIGNATURES.iter().find(|known| known.name == name);
        " 1".repeat(known.map_or(0, |known| known.values.0))
    };
    let sound = match tag.kind {
        Kind::Value => "id".to_owned(),
        Kind::Open => format!("#{name}{}", values()),
        Kind::Else if SIGNATURES.iter().any(|known| known.name == name) => format!("else {name}{}", values()),
        Kind::Else => "else if 1".to_owned(),
        Kind::Close | Kind::Other => return None,
    };
    let length = tag.place.len();
    let inner = length.checked_sub(4)?;
    let sound = match (sound.len() <= inner, tag.kind) {
        (true, _) => format!("{{{{{sound:inner$}}}}}"),
        (false, Kind::Value) if inner > 0 => format!("{{{{!{}}}}}", " ".repeat(inner - 1)),
        _ => return None,
    };
    let (before, behind) = (text.get(..tag.place.start)?, text.get(tag.place.end..)?);
    Some(format!("{before}{sound}{behind}"))
}

/// Blocks that are not closed, or closed under another name.
fn wrong_blocks(text: &str, tags: &[Tag<'_>]) -> Vec<TemplateError> {
    let mut open: Vec<&Tag<'_>> = Vec::new();
    let mut faults = Vec::new();
    for tag in tags {
        let at = |fault: TemplateFault| fault.within(text, tag.place.clone());
        match tag.kind {
            Kind::Open => open.push(tag),
            Kind::Else if open.is_empty() => faults.push(at(else_alone(tag))),
            Kind::Close => {
                let Some(known) = open.iter().rposition(|block| block.name() == tag.body) else {
                    let Some(block) = open.pop() else {
                        let help = format!("begin it with {{{{#{} …}}}}, or leave this out", tag.body);
                        faults.push(at(TemplateFault::new(format!("`{}` closes no block", tag.body)).help(help)));
                        continue;
                    };
                    let message = format!("the block `{}` is closed as `{}`", block.name(), tag.body);
                    faults.push(at(TemplateFault::new(message).help(format!("write {{{{/{}}}}}", block.name()))));
                    continue;
                };
                let unclosed = open.drain(known..).skip(1);
                faults.extend(unclosed.map(|block| not_closed_block(text, block)));
            }
            Kind::Value | Kind::Else | Kind::Other => {}
        }
    }
    faults.extend(open.into_iter().map(|block| not_closed_block(text, block)));
    faults
}

fn not_closed_block(text: &str, block: &Tag<'_>) -> TemplateError {
    let name = block.name();
    let fault = TemplateFault::new(format!("the block `{name}` is not closed"));
    let fault = match name {
        "else" | "elseif" | "elif" => fault.help("a branch has no `#`: write {{else}}, or {{else if …}}"),
        _ => fault.help(format!("close it with {{{{/{name}}}}}")),
    };
    fault.within(text, block.place.clone())
}

fn else_alone(tag: &Tag<'_>) -> TemplateFault {
    match tag.body {
        "" => TemplateFault::new("`else` stands within no block").help("write {{#if data.vip}}…{{else}}…{{/if}}"),
        name => TemplateFault::new(format!("`{name}` is a branch of no block"))
            .help(format!("where there is no value, `unless` shows its text: {{{{#unless {name}}}}}…{{{{/unless}}}}")),
    }
}

/// A syntax error in the words of someone who writes templates rather than grammars.
fn in_other_words(text: &str, error: &handlebars::TemplateError) -> TemplateError {
    let (line, column) = error.pos().unwrap_or((1, 1));
    let offset = offset_of(text, line, column);
    let fault = match error.reason() {
        TemplateErrorReason::MismatchingClosedHelper(opened, closed)
        | TemplateErrorReason::MismatchingClosedDecorator(opened, closed) => {
            TemplateFault::new(format!("the block `{opened}` is closed as `{closed}`"))
        }
        TemplateErrorReason::InvalidParam(value) => TemplateFault::new(format!("`{value}` is not a value")),
        _ if offset >= text.trim_end().len() => {
            TemplateFault::new("the template ends within a block or an expression").help("close it with {{/…}} or }}")
        }
        _ => not_an_expression(),
    };
    fault.at(text, offset)
}
